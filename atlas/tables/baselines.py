"""Editors, fine-tuning and adapters side by side: the metrics of the literature on editing by the number of edits.

A fact taught counts as an edit, whatever teaches it.

Definitions of CounterFact (Meng et al. 2022, arXiv 2202.05262, section 3.4 and appendix C) compare two answers to a
prompt: the new one, ``o*``, and the one that the model gave before, ``o_c``. They need a fact that contradicts what the
model knew. Ours need no old answer, and so suit facts that a model never knew:

efficacy     theirs: P(o*) > P(o_c) after the prompt as taught (ES). Ours: recall, greedy decoding gives exactly the
             answer and the line end; or association, the answer is likelier than every other that was taught in its
             template, which is theirs where ``o_c`` is the only one.
paraphrase   the same after paraphrases of the prompt (PS).
specificity  theirs: P(o_c) > P(o*) after prompts of other subjects whose true answer is ``o_c`` (NS). Ours: facts of
             the same template that were never taught are left alone; whether those that the base knows are answered
             still is in ``atlas.tables.knowledge``.
edit_score   the harmonic mean of the three (S).

zsRE, as Mitchell et al. 2022 (MEND, arXiv 2110.11309) and Meng et al. 2023 use it, takes the share of right argmax
tokens for efficacy and paraphrase; recall asks for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from atlas.metrics import OF_EDITING, TOLERANCE
from atlas.tables import table_step
from atlas.tables.columns import BASELINES
from atlas.tables.intervals import Floats, seed_interval
from atlas.tables.runs import Runs
from atlas.tables.scores import PER_FACT, complete, counted, matrix_scores, mean_by_fact
from atlas.ttt.run_files import EDIT_FAILURES

SHARES = {"efficacy": "taught", "paraphrase": "rephrase", "specificity": "placebo"}
"""Metric to the probe that it asks, in the order of the harmonic mean."""


def table(runs: Runs) -> pa.Table:
    """One row per arm, number of edits and metric: efficacy wherever all facts taught by then were measured, the other
    metrics at the checkpoints."""
    scores, matrix = editing_scores(runs.facts), matrix_scores(complete(runs.matrix))
    rows: list[dict[str, Any]] = []
    for arm in runs.arms:
        record, mine = runs.first(arm), scores[scores["arm"] == arm]
        of_arm = runs.matrix[runs.matrix["arm"] == arm]
        size = int(of_arm.groupby(["seed", "session_taught"])["fact_id"].nunique().max())
        # after each session that all facts were measured at
        efficacy = counted(matrix[matrix["arm"] == arm], "efficacy", ["session"], "recall")
        found = [row | {"sessions": row["session"]} for row in efficacy.rows()]
        for metric in ("paraphrase", "specificity"):
            found += counted(mine[mine["probe"] == SHARES[metric]], metric, ["sessions"], "score").rows()
        means = mine.groupby(["sessions", "seed", "probe"], observed=True)["score"].mean().unstack("probe")
        shares = means.reindex(columns=list(SHARES.values())).dropna()  # a pool may have no paraphrases
        for sessions in sorted(set(shares.index.get_level_values("sessions"))):
            edit_scores = np.array([harmonic_mean(of_seed) for of_seed in shares.loc[sessions].to_numpy()])
            found.append(_interval("edit_score", int(sessions), edit_scores, 0.0, 1.0))
        found += [*_by_seed(runs, arm), *_failed(runs, arm, size), *_seconds(runs, arm, size)]
        about = {"arm": arm, "method": record.method, "at_once": record.at_once}
        for row in sorted(found, key=lambda row: OF_EDITING.index(row["metric"])):
            rows.append(row | about | {"edits": row["sessions"] * size})
    return table_step.as_table(pd.DataFrame(rows), BASELINES)


def editing_scores(facts: pd.DataFrame) -> pd.DataFrame:
    """Rows of facts.parquet with each fact once, its ``score`` the mean over its prompts: of facts taught recall, of
    those never taught whether they are left alone, from 0 to 1."""
    left_alone = still_likely(facts["answer_nll"], facts["answer_nll_base"])
    score = facts["recalled"].where(facts["probe"] != "placebo", left_alone).astype(float)
    return mean_by_fact(facts[PER_FACT].assign(score=score))


def still_likely(answer_nll: pd.Series[float], answer_nll_base: pd.Series[float]) -> pd.Series[bool]:
    """Which facts never taught have an answer as likely as under the base, or within ``TOLERANCE`` of it.

    Both are negative log-likelihoods of answer and line end, nats per character, (facts,). A fact that happens to get
    likelier is left alone; what recognition of placebo facts says of that is another question.
    """
    return answer_nll <= answer_nll_base + TOLERANCE


def harmonic_mean(shares: Floats) -> float:
    """The harmonic mean of shares, (shares,): 0 where one is 0, nan where one is."""
    if np.isnan(shares).any():
        return float("nan")
    return float(len(shares) / np.sum(1 / shares)) if (shares > 0).all() else 0.0


def _by_seed(runs: Runs, arm: str) -> Iterator[dict[str, Any]]:
    """What the records have a figure of for each seed and checkpoint."""
    losses = [loss for record in runs.of(arm) for loss in record.val_loss]
    grown = [one for record in runs.of(arm) for one in record.growth]
    figures = {
        "rise": [(loss.sessions, loss.adapted - loss.base) for loss in losses],
        "update_size": [(one.sessions, one.size) for one in grown],
        "norm_growth": [(one.sessions, one.growth) for one in grown],
    }
    for metric, pairs in figures.items():
        for sessions in sorted({point for point, _ in pairs}):
            yield _interval(metric, sessions, np.array([value for point, value in pairs if point == sessions]))


def _interval(
    metric: str, sessions: int, by_seed: Floats, least: float = -np.inf, most: float = np.inf
) -> dict[str, Any]:
    """The mean of one figure a seed with Student's interval, which ends where the figure's range does."""
    low, high = seed_interval(by_seed)
    row = {"metric": metric, "sessions": sessions, "n_seeds": len(by_seed), "value": float(by_seed.mean())}
    return row | {"ci_low": max(low, least), "ci_high": min(high, most)}


def _failed(runs: Runs, arm: str, size: int) -> Iterator[dict[str, Any]]:
    """Shares of an editor's edits up to each checkpoint that failed in some way; nothing of what trains."""
    at_once, sessions = runs.first(arm).at_once, runs.sessions[runs.sessions["arm"] == arm]
    for metric in EDIT_FAILURES:
        known = sessions[sessions[metric].notna()]
        for point in sorted({loss.sessions for record in runs.of(arm) for loss in record.val_loss}):
            counted = known[known["session"] == point if at_once else known["session"] <= point]
            if len(counted):
                shares = counted.groupby("seed")[metric].sum().to_numpy(float) / (point * size)
                yield _interval(metric, point, shares, 0.0, 1.0)


def _seconds(runs: Runs, arm: str, size: int) -> Iterator[dict[str, Any]]:
    """Core-seconds of teaching a fact at the checkpoints, all seeds together."""
    records, sessions = runs.of(arm), runs.sessions[runs.sessions["arm"] == arm]
    seeds = sum(len(record.seeds) for record in records)
    for point in sorted({loss.sessions for record in records for loss in record.val_loss}):
        spent = 0.0
        for record in records:
            once = sessions[sessions["seed"] == record.seeds[0]].drop_duplicates("session")  # of all lanes together
            counts = once["session"] == point if record.at_once else once["session"] <= point
            spent += float(once.loc[counts, "seconds_train"].sum())
        yield {"metric": "edit_seconds", "sessions": point, "n_seeds": seeds, "value": spent / (seeds * point * size)}


if __name__ == "__main__":
    table_step.step("atlas.tables.baselines", __doc__, table)
