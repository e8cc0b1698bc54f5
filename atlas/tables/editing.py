"""The metrics of the literature on editing, beside those of Atlas, as functions of per-fact numbers.

Definitions of CounterFact (Meng et al. 2022, arXiv 2202.05262, section 3.4 and appendix C) compare two answers to a
prompt: the new one, ``o*``, and the one that the model gave before, ``o_c``. They need a fact that contradicts what the
model knew. Ours need no old answer, and so suit facts that a model never knew:

efficacy     theirs: P(o*) > P(o_c) after the prompt as taught (ES). Ours: recall, greedy decoding gives exactly the
             answer and the line end; or ranked, the answer is likelier than every foil, which is theirs where ``o_c``
             is the only foil.
paraphrase   the same after prompts that say it in other words (PS).
specificity  theirs: P(o_c) > P(o*) after prompts of other subjects whose true answer is ``o_c`` (NS). Ours: facts of
             the same template that were never taught are unharmed, or what the base recalled of them it recalls still.
score        the harmonic mean of the three (S).

zsRE, as Mitchell et al. 2022 (MEND, arXiv 2110.11309) and Meng et al. 2023 use it, takes the share of right argmax
tokens for efficacy and paraphrase; recall asks for all of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

TOLERANCE = 0.1
"""Nats per character by which an answer may get less likely and its fact still counts as unharmed."""


class EditScores(NamedTuple):
    """Shares of 1; nan where nothing was asked."""

    efficacy: float
    paraphrase: float
    specificity: float

    @property
    def score(self) -> float:
        """The harmonic mean of the three."""
        return harmonic_mean(*self)


def share(flags: np.ndarray) -> float:
    """The share of facts for which something holds, nan of none."""
    return float(np.mean(flags)) if np.size(flags) else float("nan")


def success(new: np.ndarray, old: np.ndarray) -> float:
    """ES and PS of CounterFact: share of prompts after which the new answer is likelier than the old one.

    Both are probabilities of whole answers, or their logarithms, (prompts,).
    """
    return share(np.asarray(new) > np.asarray(old))


def magnitude(new: np.ndarray, old: np.ndarray) -> float:
    """EM and PM of CounterFact: the mean of P(o*) - P(o_c), from probabilities, (prompts,)."""
    return share(np.asarray(new, float) - np.asarray(old, float))


def neighbourhood_success(new: np.ndarray, old: np.ndarray) -> float:
    """NS of CounterFact: share of prompts of other subjects after which their true answer, ``o_c``, is the likelier."""
    return success(old, new)


def unharmed(answer_nll: np.ndarray, answer_nll_base: np.ndarray, tolerance: float = TOLERANCE) -> float:
    """Share of facts never taught whose answer is as likely as under the base, or within ``tolerance`` of it.

    Both are negative log-likelihoods of answer and line end, nats per character, (facts,). A fact that happens to get
    likelier is unharmed; what recognition of placebo facts says of that is another question.
    """
    return share(np.asarray(answer_nll) <= np.asarray(answer_nll_base) + tolerance)


def still_recalled(recalled: np.ndarray, recalled_base: np.ndarray) -> float:
    """Share still recalled of the facts that the base recalls, nan where it recalls none: locality for real models."""
    return share(np.asarray(recalled, bool)[np.asarray(recalled_base, bool)])


def harmonic_mean(*shares: float) -> float:
    """The harmonic mean of shares: 0 where one is 0, nan where one is."""
    values = np.array(shares, float)
    if np.isnan(values).any():
        return float("nan")
    return float(len(values) / np.sum(1 / values)) if (values > 0).all() else 0.0
