"""What a study measures of a claim under each preset: the arms that stand for the ledger's, one figure a seed, and the
estimate over seeds.

The ledger names arms as the default study does, taught by the essay's recipe. Under another preset the arm at the same
place (method, targets, ranks and what of the base is left at random) stands for it, whatever it is called; where there
is none, one of another rank, so that places can be compared at equal parameters. Editors follow no recipe: they stand
beside the arms of every preset.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from atlas.metrics import OF_FACTS
from atlas.tables.contrasts import Cell, Paired
from atlas.tables.intervals import BySeed, Estimate, Floats, Sample, as_floats, estimate, seed_interval
from atlas.tables.knockouts import HITS, Knockouts
from atlas.tables.ledger import (
    ArmCell,
    Claim,
    Combined,
    Exact,
    Ledger,
    Measure,
    Needed,
    Spared,
    Spread,
    slope_weights,
    weighted_sum,
)
from atlas.tables.runs import Runs
from atlas.tables.scores import CHANCE, counted, fact_scores, with_all_domains
from atlas.ttt.run_files import RunRecord

ESSAY, RECALL = "essay", "recall"
JUDGED = (ESSAY, RECALL)
"""Presets that the ledger is judged under wherever a study has them."""

CELL = ["arm", "sessions", "probe", "domain"]


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
    resized: Mapping[str, str] = field(default_factory=dict)  # arms of the ledger that one of another size stands for

    def named(self, arm: str) -> str:
        """The study's name of an arm of the ledger."""
        return self.own.get(arm, arm)


def under_each(book: Ledger, runs: Runs) -> list[Under]:
    """The runs by preset, the essay's first: every preset of an arm that the ledger names, and those of ``JUDGED``.

    A preset without any arm that stands for one of the ledger is left out; if none has any, all runs stand as they are.
    """
    every = dict.fromkeys(arm for claim in book.all_claims for arm in arms_named(claim))
    named = [arm for arm in every if arm in runs.arms]
    records = [runs.first(arm) for arm in named]
    presets = dict.fromkeys([*JUDGED, *(one.recipe.preset for one in records if not one.edits)])
    found = [under for preset in presets if (under := _under(preset, named, runs))]
    return found or [Under(ESSAY, runs, {})]


def arms_named(claim: Claim) -> list[str]:
    """The arms that a claim names, each once."""
    if isinstance(claim, Exact):
        named = [claim.arm, claim.over] if claim.over and claim.over != "model" else [claim.arm]
    elif isinstance(claim, Combined):
        named = [cell.arm for _, cell in claim.signed]
    elif isinstance(claim, Spread):
        named = [arm for arms in claim.grid.values() for arm in arms]
    elif isinstance(claim, Spared | Needed):
        named = claim.arms
    else:
        named = []
    return list(dict.fromkeys(named))


def _under(preset: str, named: list[str], runs: Runs) -> Under | None:
    standing, resized = {}, {}
    for arm in named:
        record = runs.first(arm)
        if record.recipe.preset == preset:
            standing[arm] = arm
        # the first arm at the place stands for it, since others vary its recipe; so nothing stands for such a variant
        elif arm == _first(record, record.recipe.preset, runs) and (found := _first(record, preset, runs)):
            standing[arm] = found
    for arm in named:
        found = None if arm in standing else _of_another_rank(arm, preset, runs)
        if found and found not in standing.values():
            standing[arm] = found
            sizes = [f"{runs.first(name).trainable_params:,}" for name in (found, arm)]
            resized[arm] = f"{found} stands for {arm}, with {sizes[0]} parameters, not {sizes[1]}"
    if not standing:
        return None
    own = [arm for arm in runs.arms if runs.first(arm).edits or runs.first(arm).recipe.preset == preset]
    names = {arm: arm for arm in own} | {found: arm for arm, found in standing.items()}
    records = [one.model_copy(update={"arm": names[one.arm]}) for one in runs.records if one.arm in names]
    return Under(preset, Renamed((), tuple(records), runs, names), standing, resized)


def _first(like: RunRecord, preset: str, runs: Runs) -> str | None:
    """The first arm of a preset that trains at the place of another arm."""
    records = (record for record in runs.records if record.recipe.preset == preset and record.recipe.active)
    return next((record.arm for record in records if _place(record) == _place(like)), None)


def _of_another_rank(arm: str, preset: str, runs: Runs) -> str | None:
    """The first arm of a preset on the targets of another arm; both with one rank for all layers."""
    record = runs.first(arm)
    if len(set(record.ranks)) > 1 or arm != _first(record, record.recipe.preset, runs):
        return None
    alike = (
        (one.arm, one.model_copy(update={"ranks": record.ranks})) for one in runs.records if len(set(one.ranks)) == 1
    )
    return next(
        (
            name
            for name, one in alike
            if one.recipe.preset == preset and one.recipe.active and _place(one) == _place(record)
        ),
        None,
    )


def _place(record: RunRecord) -> tuple[object, ...]:
    return record.method, record.plugged, set(record.targets), record.ranks, set(record.reinit)


class NotMeasuredError(Exception):
    """The study lacks what a claim needs; the text says what."""


@dataclass(frozen=True)
class Quantity:
    """An estimate over seeds, and what it is the mean of."""

    measure: Measure
    exact: BySeed
    detail: str = ""

    @property
    def by_seed(self) -> Floats:
        """What it is the mean of, shape (seeds,)."""
        return as_floats(self.exact)


class Quantities:
    """The scores of a study, by cell and metric, as claims on sessions of so many facts ask for them."""

    def __init__(self, runs: Runs, facts_per_session: int) -> None:
        scores = fact_scores(runs.facts).astype({"arm": str, "probe": str, "domain": str})
        both = with_all_domains(scores)
        self._cells = {metric: counted(both, metric, CELL) for metric in OF_FACTS}
        by_seed = both.groupby([*CELL, "seed"])[list(CHANCE.values())].mean()
        self._chances = by_seed.groupby(CELL).mean().to_dict("index")
        self._domains = list(dict.fromkeys(scores["domain"]))
        self._runs, self._expected = runs, facts_per_session
        self._compare = cache(Paired.of(runs).compare)

    def combined(self, claim: Combined, metric: str) -> Quantity:
        """Plus cells less minus cells, or their slopes. Raises NotMeasuredError."""
        cells = [cell for _, cell in claim.signed]
        if claim.by_size:
            return self._slopes(claim, metric)
        parts = [self.share(cell, metric) for cell in cells]
        if len(cells) == 1:
            return _measured(parts[0])
        if len(cells) == 2 and cells[0].place[1:] == cells[1].place[1:]:
            place = Cell(cells[0].sessions, cells[0].probe, metric, cells[0].domain)
            found = self._compare(cells[0].arm, cells[1].arm).get(place)
            if found is None:
                raise NotMeasuredError("no seed of the study has facts in all cells of this claim")
            return _measured(found.diff)
        signs = [sign for sign, _ in claim.signed]
        exact = _summed(signs, [part.exact for part in parts])
        measures = [_as_measure(part) for part in parts]
        return Quantity(_over_seeds(exact, signs, measures), exact, _shift(claim, [part.value for part in parts]))

    def share(self, cell: ArmCell, metric: str) -> Estimate:
        """What is retained in a cell. Raises NotMeasuredError where there are no such facts."""
        found = estimate(self._sample(cell, metric))
        assert found is not None
        return found

    def placebo(self, cell: ArmCell, metric: str) -> float | None:
        """The score of facts never taught, beside a cell; None where the study has none."""
        sample = self._cells[metric].sample((cell.arm, cell.sessions, "placebo", cell.domain))
        found = sample and estimate(sample)
        return found.value if found else None

    def left_out(self, cells: Sequence[ArmCell], metric: str) -> int:
        """How many facts of some cells have no score of a metric."""
        samples = [self._cells[metric].sample(place) for place in dict.fromkeys(cell.place for cell in cells)]
        return sum(sample.left_out for sample in samples if sample)

    def chance(self, cell: ArmCell, metric: str) -> float:
        """What an adapter that knows nothing scores on the facts of a cell that count."""
        return float(self._chances[cell.place][CHANCE[metric]])

    def spread(self, claim: Spread, metric: str) -> Quantity:
        """By how much recipes spread wider than placements: the root of the difference of the two variances.

        A two-way analysis of variance of every seed's grid, from which each variance comes free of noise, which else
        would favour the side that is averaged over fewer arms (Searle, Casella and McCulloch, Variance Components,
        1992, section 4.3). The root keeps the sign.
        """
        cells = [[ArmCell(arm=arm, sessions=claim.sessions) for arm in arms] for arms in claim.grid.values()]
        shares = [[self.share(cell, metric).exact for cell in row] for row in cells]
        seeds = _in_common([share for row in shares for share in row])
        recipes, places = variances(np.array([[[share[seed] for seed in seeds] for share in row] for row in shares]))
        exact = dict(zip(seeds, recipes - places, strict=True))
        by_seed = as_floats(exact)
        low, high = seed_interval(by_seed)
        detail = f"standard deviation over recipes {_root(recipes):.1%}, over placements {_root(places):.1%}"
        roots = [float(np.sign(end) * abs(end) ** 0.5) for end in (float(by_seed.mean()), low, high)]
        return Quantity(Measure(*roots), exact, detail)

    def knocked_out(self, claim: Spared | Needed, arm: str, found: Knockouts, metric: str) -> Quantity:
        """What is left without a place of ``arm`` less what was there; or how much more is lost without a place than
        without another. Raises NotMeasuredError."""
        if metric not in HITS:
            raise NotMeasuredError(f"knock-outs do not measure {metric}")
        if (after := found.sessions(arm)) != claim.sessions:
            raise NotMeasuredError(f"the study locates {arm!r} after {after} sessions, not {claim.sessions}")
        self._insist_on_sessions()
        spared = isinstance(claim, Spared)
        places = (claim.without, claim.without.other if isinstance(claim, Spared) else claim.beside)
        sides = [(place, found.lost_without(place, arm, metric)) for place in places]
        for place, losses in sides[: 1 if spared else 2]:
            if not losses:
                raise NotMeasuredError(f"{arm!r} has no part that is {place.words}")
        weights: list[Fraction] = []
        parts: list[Estimate] = []
        for sign, (_, losses) in zip([-1] if spared else [1, -1], sides, strict=False):
            weights += [Fraction(sign, len(losses))] * len(losses)
            parts += losses
        seeds = _in_common([part.exact for part in parts])
        pairs = list(zip(weights, parts, strict=True))
        exact = {seed: sum((weight * part.exact[seed] for weight, part in pairs), Fraction(0)) for seed in seeds}
        measures = [_as_measure(part) for part in parts]
        of_one = len(parts) == 1
        measure = weighted_sum([-1], measures) if of_one else _over_seeds(exact, list(map(float, weights)), measures)
        said = [
            f"without {place.words} {np.mean([loss.value for loss in losses]):.1%}" for place, losses in sides if losses
        ]
        return Quantity(measure, exact, f"{metric} lost {', '.join(said)}")

    def _slopes(self, claim: Combined, metric: str) -> Quantity:
        weights: list[float] = []
        parts: list[Measure] = []
        by_cell: list[BySeed] = []
        for sign, cell in claim.signed:
            self._sample(cell, metric)  # says what is missing
            places = [(cell.arm, cell.sessions, cell.probe, domain) for domain in self._domains]
            samples = [sample for place in places if (sample := self._cells[metric].sample(place))]
            if len({float(size) for sample in samples for size in sample.facts}) < 2:
                raise NotMeasuredError("all domains of the study are of one size")
            by_cell.append(slopes(samples))
            facts = np.mean([sample.facts for sample in samples], axis=1)
            weights += list(sign * slope_weights(facts))
            parts += [_as_measure(found) for sample in samples if (found := estimate(sample))]
        exact = _summed([sign for sign, _ in claim.signed], by_cell)
        return Quantity(_over_seeds(exact, weights, parts), exact)

    def _sample(self, cell: ArmCell, metric: str) -> Sample:
        sample = self._cells[metric].sample(cell.place)
        if sample is None:
            if cell.arm not in self._runs.arms:
                raise NotMeasuredError(f"the study has no arm {cell.arm!r}")
            if not any(place[:2] == (cell.arm, cell.sessions) for place in self._cells["recall"].cells):
                raise NotMeasuredError(f"the study does not probe {cell.arm!r} after {cell.sessions} sessions")
            none = f"the study asks {cell.arm!r} no facts of this kind"
            if self._cells["recall"].sample(cell.place):
                none = f"no fact of this kind that {cell.arm!r} is asked has an alternative"
            raise NotMeasuredError(f"{none} ({cell.probe}, {cell.domain})")
        self._insist_on_sessions()
        return sample

    def _insist_on_sessions(self) -> None:
        if self._runs.facts_per_session != self._expected:
            raise NotMeasuredError(
                f"the study teaches {self._runs.facts_per_session} facts a session, the essay {self._expected}"
            )


def slopes(samples: Sequence[Sample]) -> BySeed:
    """Slope of retention over the decimal logarithm of domain size, seed by seed.

    ``samples`` are the domains; one that a seed was taught nothing of does not count for that seed, and a seed whose
    domains are of one size has no slope. The weights are taken as the fractions that they are to the machine, so that
    seeds with the same facts retained are tied.
    """
    result = {}
    for at, seed in enumerate(samples[0].seeds or range(len(samples[0].tallies))):
        there = [sample for sample in samples if sample.facts[at]]
        sizes = [float(sample.facts[at]) for sample in there]
        if len(set(sizes)) > 1:
            shares = [sample.shares[seed] for sample in there]
            pairs = zip(slope_weights(sizes), shares, strict=True)
            result[seed] = sum((Fraction(float(weight)) * share for weight, share in pairs), Fraction(0))
    return result


def variances(grid: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Variance over recipes and over placements, free of noise, of a grid (placements, recipes, seeds).

    Both have shape (seeds,) and are unbiased, so they may fall below 0. Of fractions they are fractions.
    """
    places, recipes = grid.shape[:2]
    grand = grid.mean(axis=(0, 1))
    of_place, of_recipe = grid.mean(axis=1) - grand, grid.mean(axis=0) - grand
    rest = grid - grand - of_place[:, None] - of_recipe[None]
    noise = (rest**2).sum(axis=(0, 1)) / ((places - 1) * (recipes - 1))
    over_recipes = ((of_recipe**2).sum(axis=0) * places / (recipes - 1) - noise) / places
    over_places = ((of_place**2).sum(axis=0) * recipes / (places - 1) - noise) / recipes
    return over_recipes, over_places


def _shift(claim: Combined, values: Sequence[float]) -> str:
    """The difference at either checkpoint, for a difference of differences: a lead may grow, or a lag may shrink."""
    by_checkpoint: dict[int, float] = defaultdict(float)
    for (sign, cell), value in zip(claim.signed, values, strict=True):
        by_checkpoint[cell.sessions] += 100 * sign * value
    if len(by_checkpoint) != 2:
        return ""
    (first, before), (last, after) = sorted(by_checkpoint.items())
    # zero is added so that none reads as -0.0
    return f"from {round(-before, 1) + 0:+.1f} points after {first} sessions to {round(after, 1) + 0:+.1f} after {last}"


def _in_common(several: Sequence[BySeed]) -> list[int]:
    """The seeds that all have. Raises NotMeasuredError where there are none."""
    seeds = [seed for seed in several[0] if all(seed in one for one in several)]
    if not seeds:
        raise NotMeasuredError("no seed of the study has facts in all cells of this claim")
    return seeds


def _summed(signs: Sequence[float], several: Sequence[BySeed]) -> BySeed:
    """The sum of sign times figure, seed by seed."""
    seeds = _in_common(several)
    return {
        seed: sum((int(sign) * one[seed] for sign, one in zip(signs, several, strict=True)), Fraction(0))
        for seed in seeds
    }


def _over_seeds(exact: BySeed, weights: Sequence[float], parts: Sequence[Measure]) -> Measure:
    """Student's interval over seeds. Where all seeds agree it would have no width: then that of the parts."""
    by_seed = as_floats(exact)
    if len(exact) > 1 and len(set(exact.values())) == 1:
        return replace(weighted_sum(weights, parts), value=float(by_seed[0]))
    return Measure(float(by_seed.mean()), *seed_interval(by_seed))


def _measured(found: Estimate) -> Quantity:
    return Quantity(_as_measure(found), found.exact, "few seeds carry it" if found.few_seeds else "")


def _as_measure(found: Estimate) -> Measure:
    return Measure(found.value, found.ci_low, found.ci_high)


def _root(by_seed: npt.NDArray[Any]) -> float:
    return math.sqrt(max(0.0, float(by_seed.mean())))
