"""The metrics of the literature on editing, beside those of Atlas, and how ours read.

Definitions of CounterFact (Meng et al. 2022, arXiv 2202.05262, section 3.4 and appendix C) compare two answers to a
prompt: the new one, ``o*``, and the one that the model gave before, ``o_c``. They need a fact that contradicts what the
model knew. Ours need no old answer, and so suit facts that a model never knew:

efficacy     theirs: P(o*) > P(o_c) after the prompt as taught (ES). Ours: recall, greedy decoding gives exactly the
             answer and the line end; or ranked, the answer is likelier than every alternative, which is theirs where
             ``o_c`` is the only alternative.
paraphrase   the same after prompts that say it in other words (PS).
specificity  theirs: P(o_c) > P(o*) after prompts of other subjects whose true answer is ``o_c`` (NS). Ours: facts of
             the same template that were never taught are unharmed; whether those that the base knows are answered
             still is in ``atlas.tables.knowledge``.
score        the harmonic mean of the three (S).

zsRE, as Mitchell et al. 2022 (MEND, arXiv 2110.11309) and Meng et al. 2023 use it, takes the share of right argmax
tokens for efficacy and paraphrase; recall asks for all of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from atlas.metrics import TOLERANCE


class EditScores(NamedTuple):
    """Shares of 1; nan where nothing was asked."""

    efficacy: float
    paraphrase: float
    specificity: float

    @property
    def score(self) -> float:
        """The harmonic mean of the three."""
        return harmonic_mean(*self)


def unharmed(answer_nll: pd.Series[float], answer_nll_base: pd.Series[float]) -> pd.Series[bool]:
    """Which facts never taught have an answer as likely as under the base, or within ``TOLERANCE`` of it.

    Both are negative log-likelihoods of answer and line end, nats per character, (facts,). A fact that happens to get
    likelier is unharmed; what recognition of placebo facts says of that is another question.
    """
    return answer_nll <= answer_nll_base + TOLERANCE


def harmonic_mean(*shares: float) -> float:
    """The harmonic mean of shares: 0 where one is 0, nan where one is."""
    values = np.array(shares, float)
    if np.isnan(values).any():
        return float("nan")
    return float(len(values) / np.sum(1 / values)) if (values > 0).all() else 0.0
