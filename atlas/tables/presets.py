"""The recipes that a study is judged under: for each preset, the arms that stand for those that the ledger names.

The ledger names arms as the default study does, taught by the essay's recipe. Under another preset the arm at the same
place (method, targets, ranks and what of the base is left at random) stands for it, whatever it is called. Editors
follow no recipe: they stand beside the arms of every preset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from atlas.tables.ledger import Claim, Combined, Exact, Ledger, Spread
from atlas.tables.runs import Runs
from atlas.ttt.run_files import RunRecord

ESSAY, RECALL = "essay", "recall"
JUDGED = (ESSAY, RECALL)
"""Presets that the ledger is judged under wherever a study has them."""

Place = tuple[str, frozenset[str], tuple[int, ...], frozenset[str]]


@dataclass(frozen=True)
class Renamed(Runs):
    """Some arms of other runs, under other names. Facts only: no claim is about more."""

    origin: Runs
    names: Mapping[str, str]  # of an arm of the origin to its name here

    @cached_property
    def facts(self) -> pd.DataFrame:
        """The rows of these arms, see ``atlas.tables.runs.Runs.facts``."""
        facts = self.origin.facts
        facts = facts[facts["arm"].isin(list(self.names))]
        arms = pd.Categorical(facts["arm"].astype(str).map(self.names), categories=self.arms, ordered=True)
        return facts.assign(arm=arms)


@dataclass(frozen=True)
class Under:
    """The runs of one preset, arms named as in the ledger."""

    preset: str
    runs: Runs
    own: Mapping[str, str]  # what the study calls an arm that stands for one of the ledger

    def named(self, arm: str) -> str:
        """The study's name of an arm of the ledger."""
        return self.own.get(arm, arm)


def under_each(book: Ledger, runs: Runs) -> list[Under]:
    """The runs by preset, the essay's first: every preset of an arm that the ledger names, and those of ``JUDGED``.

    A preset without any arm that stands for one of the ledger is left out; if none has any, all runs stand as they are.
    """
    named = [arm for arm in arms_of(book) if arm in runs.arms]
    records = [_record(runs, arm) for arm in named]
    presets = dict.fromkeys([*JUDGED, *(one.recipe.preset for one in records if one.editing is None)])
    found = [under for preset in presets if (under := _under(preset, named, runs))]
    return found or [Under(ESSAY, runs, {})]


def arms_of(book: Ledger) -> list[str]:
    """The arms that the ledger names, each once."""
    return list(dict.fromkeys(arm for claim in book.all_claims for arm in arms_named(claim)))


def arms_named(claim: Claim) -> list[str]:
    """The arms that a claim names, each once."""
    if isinstance(claim, Exact):
        named = [claim.arm, claim.over] if claim.over and claim.over != "model" else [claim.arm]
    elif isinstance(claim, Combined):
        named = [cell.arm for _, cell in claim.signed]
    elif isinstance(claim, Spread):
        named = [arm for arms in claim.grid.values() for arm in arms]
    else:
        named = []
    return list(dict.fromkeys(named))


def _under(preset: str, named: list[str], runs: Runs) -> Under | None:
    standing = {arm: found for arm in named if (found := _stands_for(arm, preset, runs))}
    if not standing:
        return None
    own = [arm for arm in runs.arms if _record(runs, arm).editing or _record(runs, arm).recipe.preset == preset]
    names = {arm: arm for arm in own} | {found: arm for arm, found in standing.items()}
    records = [one.model_copy(update={"arm": names[one.arm]}) for one in runs.records if one.arm in names]
    return Under(preset, Renamed((), tuple(records), runs, names), standing)


def _stands_for(arm: str, preset: str, runs: Runs) -> str | None:
    """The arm of a preset at the place of ``arm``; the first one, since others at a place vary its recipe.

    For the same reason nothing stands for an arm that is itself such a variant.
    """
    record = _record(runs, arm)
    if record.recipe.preset == preset:
        return arm
    if arm != _first(_place(record), record.recipe.preset, runs):
        return None
    return _first(_place(record), preset, runs)


def _first(place: Place, preset: str, runs: Runs) -> str | None:
    records = (record for record in runs.records if record.recipe.preset == preset and record.recipe.active)
    return next((record.arm for record in records if _place(record) == place), None)


def _place(record: RunRecord) -> Place:
    return record.method, frozenset(record.targets), tuple(record.ranks), frozenset(record.reinit)


def _record(runs: Runs, arm: str) -> RunRecord:
    return runs.of(arm)[0]
