"""What a number of seeds, and of blocks of them, can tell at all: said when a study is read, not after hours.

Nothing here that is slow to import: every snakemake command asks.
"""

from __future__ import annotations

import itertools
import sys

from atlas.phrases import plural
from atlas.study.config import Study
from atlas.tables.level import LEVEL, attainable

SEEDS_TO_DECIDE = next(seeds for seeds in itertools.count(2) if attainable(seeds) < LEVEL)


def planned(study: Study) -> int:
    """How many comparisons a study plans."""
    return sum(map(len, study.contrasts.values()))


def undecidable(study: Study) -> str:
    """What the plan of a study cannot decide, in one line with the remedy; empty where it can decide all of it."""
    seeds = len(study.all_seeds)
    if not planned(study) or seeds >= SEEDS_TO_DECIDE:
        return ""
    cannot = f"{plural(seeds, 'seed')} cannot decide {plural(planned(study), 'planned comparison')}"
    enough = written(more_seeds(study, SEEDS_TO_DECIDE))
    return (
        f"seeds: {cannot}, however large the difference: p cannot fall below {attainable(seeds):.3g}, and a verdict "
        f"takes p < {LEVEL}; for verdicts, write seeds: {enough}"
    )


def unused_bases(study: Study) -> str:
    """That there are fewer blocks of seeds than bases, in one line with the remedy; empty where there are not."""
    blocks, bases = len(study.blocks), study.base.replicas
    if blocks >= bases:
        return ""
    return (
        f"base.replicas: {bases}, but {plural(blocks, 'block')} of seeds {'is' if blocks == 1 else 'are'} taught on "
        f"{plural(blocks, 'base')}, and no other is made; add entries to seeds, lower lanes, or write base.replicas: "
        f"{blocks}"
    )


def warn(study: Study) -> None:
    """Say what cannot be decided, and which bases are not used, where there is anything."""
    for line in filter(None, (undecidable(study), unused_bases(study))):
        print(f"atlas: warning: {line}", file=sys.stderr)


def more_seeds(study: Study, number: int) -> list[int | str]:
    """The study's entries of ``seeds`` with one more behind them, so that there are ``number`` in all."""
    first, new = max(study.all_seeds) + 1, number - len(study.all_seeds)
    return [*study.seeds, first if new == 1 else f"{first}-{first + new - 1}"]


def written(entries: list[int | str]) -> str:
    """Entries of ``seeds`` as YAML has them."""
    return "[" + ", ".join(f'"{entry}"' if isinstance(entry, str) else str(entry) for entry in entries) + "]"
