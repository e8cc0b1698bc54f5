"""Association by template, beside chance and beside what spelling alone gets right.

Some answers can be told from their subject without knowing anything: of the plurals *geese*, *feet* and *mice* only one
looks like *goose*. So beside the association of each template stands a baseline that was taught nothing: among the same
answers it takes the one that is spelled most like the subject (the prompt, where no subject is known). How alike two
texts are is Dice's coefficient of their letters and pairs of neighbouring letters, without regard to capitals; the
first and the last letter make a pair with the end of the text (Dice, Measures of the amount of ecologic association
between species, 1945; Adamson and Boreham, Information Storage and Retrieval 10, 1974, for pairs of letters). Where k
answers are equally alike, the right one among them, the baseline scores 1/k.

Facts without an alternative are left out and counted, as everywhere. A template of which no fact counts has no row;
its facts are among those that the row of all templates counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from atlas.errors import AtlasError
from atlas.pool.facts import Fact, read_pool
from atlas.tables import table_step
from atlas.tables.columns import ASSOCIATION
from atlas.tables.runs import Runs
from atlas.tables.scores import ALL, ALTERNATIVES, CHANCE, counted, fact_scores
from atlas.workflow.steps import run_step

METRIC = "association"
CELL = ["arm", "sessions", "template"]
ASKED = ["seed", "sessions", "fact_id"]


def table(runs: Runs, pool: Sequence[Fact], origin: str) -> pa.Table:
    """One row per arm, checkpoint and template, of facts asked as they were taught; ``all`` templates first.

    Raises AtlasError where the pool (of the file ``origin``) lacks a fact that the runs were taught.
    """
    by_id = facts_taught(runs, pool, origin)
    scores = fact_scores(runs.facts[runs.facts["probe"] == "taught"], [METRIC])
    scores = scores.merge(by_spelling(scores[ASKED].drop_duplicates(), by_id), on=ASKED)
    scores["template"] = [by_id[fact_id].template for fact_id in scores["fact_id"]]
    domains = {fact.template: fact.domain for fact in pool}
    both = pd.concat([scores.assign(template=ALL), scores], ignore_index=True)
    columns = [CHANCE[METRIC], ALTERNATIVES, "spelling"]
    means = both.groupby([*CELL, "seed"], observed=True)[columns].mean().groupby(CELL, observed=True).mean()
    rows: list[dict[str, Any]] = []
    for place, found in counted(both, METRIC, CELL).estimates():
        beside = means.loc[tuple(place[name] for name in CELL)].rename({CHANCE[METRIC]: "chance"})
        rows.append(place | asdict(found) | beside.to_dict() | {"domain": domains.get(place["template"], ALL)})
    order = {ALL: 0} | {template: at for at, template in enumerate(domains, start=1)}
    rows.sort(key=lambda row: (runs.arms.index(row["arm"]), row["sessions"], order[row["template"]]))
    return table_step.as_table(rows, ASSOCIATION)


def facts_taught(runs: Runs, pool: Sequence[Fact], origin: str) -> dict[str, Fact]:
    """The facts of a pool by their id. Raises AtlasError where the runs were taught one that it lacks; ``origin`` is
    its file."""
    facts = {fact.fact_id: fact for fact in pool}
    taught = runs.facts.loc[runs.facts["probe"] == "taught", "fact_id"].unique()
    if strangers := sorted({*taught} - {*facts}):
        raise AtlasError(
            f"{origin}: no fact {strangers[0]!r} ({len(strangers)} lacking), which {runs.folders[0]} was taught; give "
            "the pool that the runs were taught from, or make them again"
        )
    return facts


def by_spelling(asked: pd.DataFrame, pool: dict[str, Fact]) -> pd.DataFrame:
    """What spelling alone scores on facts that seeds were taught by a checkpoint: ``asked`` with ``spelling``, NaN
    where no other answer was taught in the template by then."""
    parts = []
    for _, facts in asked.groupby(["seed", "sessions"], sort=False):
        taught = [pool[fact_id] for fact_id in facts["fact_id"]]
        answers: dict[str, dict[str, None]] = {}
        for fact in taught:
            answers.setdefault(fact.template, {})[fact.answer] = None
        parts.append(facts.assign(spelling=[guessed(fact, list(answers[fact.template])) for fact in taught]))
    return pd.concat(parts, ignore_index=True)


def guessed(fact: Fact, answers: Sequence[str]) -> float:
    """The chance that the answer of a fact is picked by its spelling among some answers, the fact's own with them; NaN
    where no other is there. An alias of the fact is no other."""
    about = fact.subject or fact.prompt
    others = [alike(about, answer) for answer in answers if answer not in fact.answers]
    if not others:
        return float("nan")
    own = alike(about, fact.answer)
    return 0.0 if own < max(others) else 1 / (1 + others.count(own))


@cache
def alike(one: str, other: str) -> float:
    """How alike two texts are spelled, from 0 to 1."""
    mine, theirs = _letters(one), _letters(other)
    return 2 * (mine & theirs).total() / (mine.total() + theirs.total())


def _letters(text: str) -> Counter[str]:
    """Letters and pairs of neighbours; a line end, which no text holds, stands before the first and behind the last."""
    low = f"\n{text.lower()}\n"
    return Counter(low[1:-1]) + Counter(map("".join, pairwise(low)))


def make(module: str, doc: str | None, table: Callable[[Runs, Sequence[Fact], str], pa.Table]) -> None:
    """Make by the command line a table that takes runs and their pool."""
    arguments = table_step.options(doc)
    arguments.add_argument("--pool", type=Path, required=True, help="pool.parquet that the runs were taught from")
    args = arguments.parse_args()
    runs = table_step.runs_of(args)
    table_step.write(module, args.out, table(runs, read_pool(args.pool), str(args.pool)), runs)


if __name__ == "__main__":
    run_step(lambda: make("atlas.tables.association", __doc__, table))
