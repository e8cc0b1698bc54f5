"""The ledger, typed: what the essay claims, as ``claims.yaml`` lists it, and what its figures are worth.

A figure, and a claim that nothing is lost, has a margin: half of what the essay says that the placement changes there,
its figures of two arms (`effect`) subtracted. A figure whose own interval is wider than its margin to both sides is too
vague: even a study that retains exactly as much in truth could not be held against it.

Each figure has the interval of its own sample size, and sums of figures have theirs. The interval of a share is
Wilson's (1927), that of a weighted sum of independent shares is put together from theirs (MOVER: Newcombe 1998, method
10, for a difference; Zou and Donner 2008 for sums). It covers the choice of facts only: every figure is of one seed, so
how much seeds differ is not in it, and it is rather too narrow than too wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
import pandas as pd
from pydantic import Field, ValidationError, model_validator

from atlas.errors import AtlasError
from atlas.study import strict_yaml
from atlas.study.settings import Name, Positive, Settings, explain
from atlas.tables import intervals
from atlas.tables.intervals import Floats

SOURCE = Path(__file__).with_name("claims.yaml")
BASELINES = Path(__file__).with_name("baseline_claims.yaml")

Topic = Literal[
    "size",
    "retention",
    "rephrasing",
    "placement",
    "domains",
    "confound",
    "layers",
    "location",
    "recipe",
    "editing",
    "mechanism",
    # of the baselines' own ledger
    "editors",
    "finetuning",
]

Half = Literal["attention", "feed_forward"]
Depth = Literal["middle", "outer"]

OF_BASELINES = ("editing", "editors", "finetuning")
"""Topics of claims about editors and fine-tuning: only a study that has the arms of one, such as
studies/baselines.yaml, is asked about it."""


class ArmCell(Settings):
    """Facts of one kind, tested under one arm after so many sessions."""

    arm: Name
    sessions: Positive
    probe: Literal["taught", "rephrase"] = "taught"
    domain: str = "all"

    @property
    def place(self) -> tuple[str, int, str, str]:
        """What tells a cell from others: arm, sessions, probe, domain."""
        return self.arm, self.sessions, self.probe, self.domain


class EssayFigure(ArmCell):
    """A percentage that the essay prints, and the number of facts behind it."""

    printed: str = Field(pattern=r"^\d+(\.\d+)?$", description="percent, as it stands in the essay")
    of: Positive = Field(description="facts behind the figure")
    effect: tuple[Name, Name] | None = Field(None, description="as in the ledger, for this figure")

    @model_validator(mode="after")
    def _is_a_share_of_whole_facts(self) -> EssayFigure:
        digits = len(self.printed.partition(".")[2])
        if round(100 * self.hits / self.of, digits) != float(self.printed):
            raise ValueError(f"printed: {self.printed}% is no whole number of {self.of} facts; mend one of the two")
        return self

    @property
    def hits(self) -> int:
        """Facts that were retained, of ``of``."""
        return round(float(self.printed) * self.of / 100)


class _Claim(Settings):
    id: Name
    topic: Topic
    label: str = Field(max_length=40, description="short, for charts")
    statement: str
    remark: str | None = Field(None, description="goes into the note of every verdict")


class Exact(_Claim):
    """A number of parameters, alone or as a share or multiple of others."""

    rule: Literal["exact"]
    arm: Name
    over: str | None = Field(None, description="'model': share of base and adapter; an arm: multiple of its parameters")
    essay: float
    within: float = Field(gt=0, description="one unit of the last digit that the essay prints")


class Combined(_Claim):
    """What a claim on several cells is about: ``plus`` cells less ``minus`` cells."""

    plus: list[ArmCell] = Field(min_length=1)
    minus: list[ArmCell] = Field([], description="none where a figure stands for itself")
    by_size: bool = Field(False, description="the slope over the size of domains, in place of the mean")

    @property
    def signed(self) -> list[tuple[float, ArmCell]]:
        """Cells with the sign that they enter with."""
        return [(1.0, cell) for cell in self.plus] + [(-1.0, cell) for cell in self.minus]


class _WithMargin(Combined):
    """A claim that a figure, or nothing, is met but for a margin."""

    effect: tuple[Name, Name] | None = Field(None, description="as in the ledger, for this claim")


class PrintedValue(_WithMargin):
    """One printed figure."""

    rule: Literal["value"] = "value"


class Order(Combined):
    """A difference or a slope that is above zero."""

    rule: Literal["order"]


class Same(_WithMargin):
    """A difference or a slope that is next to nothing, beside what the cell ``beside`` retains."""

    rule: Literal["same"]
    one_sided: bool = Field(False, description="more is no contradiction")
    beside: ArmCell


class Spread(_Claim):
    """Recipes spread wider than placements: a grid of arms, one row a placement, one column a recipe."""

    rule: Literal["spread"]
    sessions: Positive
    grid: dict[Name, list[Name]] = Field(min_length=2)

    @model_validator(mode="after")
    def _is_rectangular(self) -> Spread:
        if len({len(arms) for arms in self.grid.values()}) != 1 or len(next(iter(self.grid.values()))) < 2:
            raise ValueError("grid: every placement needs the same recipes, at least two; fill the row that is short")
        return self


class Where(Settings):
    """A place in an adapter. Of a half in all layers it is one part; else it is many: slots of a half (a role in a
    layer), or layers in all roles, of the middle (the inner half of the depth) or outside (its first and last quarter).
    """

    half: Half | None = None
    layers: Depth | None = None

    @model_validator(mode="after")
    def _is_somewhere(self) -> Where:
        if not (self.half or self.layers):
            raise ValueError("names no place; give half, layers or both")
        return self

    @property
    def words(self) -> str:
        """One part of the place, in words."""
        half = {"attention": "attention", "feed_forward": "feed-forward", None: ""}[self.half]
        if not self.layers:
            return f"the {half} half"
        layer = f"{'a' if self.layers == 'middle' else 'an'} {self.layers} layer"
        return f"{'an' if half.startswith('a') else 'a'} {half} slot of {layer}" if half else layer

    @property
    def other(self) -> Where:
        """The other half, or at the other depth."""
        if not self.layers:
            return Where(half="feed_forward" if self.half == "attention" else "attention")
        return self.model_copy(update={"layers": "outer" if self.layers == "middle" else "middle"})


class _Located(_Claim):
    """A claim on what is lost without parts of an adapter over all places."""

    sessions: Positive
    arms: list[Name] = Field(min_length=1, description="over all places; the first of these that a preset has")
    without: Where


class Spared(_Located):
    """Next to nothing is lost without a place, so that facts do not sit there."""

    rule: Literal["spared"]
    at_most: float = Field(gt=0, lt=0.5, description="margin, as a share of what the intact adapter recalls")


class Needed(_Located):
    """More is lost without a slot of one place than without one of another, on average over the slots of each."""

    rule: Literal["needed"]
    beside: Where


class Untestable(_Claim):
    """A claim that no study of this kind can judge."""

    rule: Literal["not testable"]
    why: str


Claim = Exact | PrintedValue | Order | Same | Spread | Spared | Needed | Untestable


class Ledger(Settings):
    """All that the essay claims, or what is claimed of the baselines."""

    base_params: Positive = Field(description="parameters of the base that the essay's shares follow from")
    facts_per_session: Positive = Field(description="that the essay teaches")
    effect: tuple[Name, Name] | None = Field(
        None, description="the arms whose figures the essay compares: half of it is the margin"
    )
    figures: list[EssayFigure]
    claims: list[Annotated[Exact | Order | Same | Spread | Spared | Needed | Untestable, Field(discriminator="rule")]]

    @model_validator(mode="after")
    def _each_once(self) -> Ledger:
        ids = [claim.id for claim in self.all_claims]  # of figures, too: they are made of the place
        if twice := sorted({name for name in ids if ids.count(name) > 1}):
            raise ValueError(f"claim {twice[0]} is there twice; remove or rename one")
        return self

    @model_validator(mode="after")
    def _has_margins(self) -> Ledger:
        for claim in self.all_claims:
            if isinstance(claim, PrintedValue | Same) and not self.margin(claim):
                arms = " and ".join(claim.effect or self.effect or ("any arms",))
                raise ValueError(f"claim {claim.id}: the essay prints no difference of {arms}; name two arms by effect")
        return self

    @property
    def all_claims(self) -> list[Claim]:
        """Every claim, by topic in the order of the essay's argument: a figure of its own is one, too."""
        order = get_args(Topic).index
        return sorted([*map(value_claim, self.figures), *self.claims], key=lambda claim: order(claim.topic))

    @cached_property
    def figure_of(self) -> dict[tuple[str, int, str, str], EssayFigure]:
        """The essay's figure of a place, where it prints one."""
        return {figure.place: figure for figure in self.figures}

    def margin(self, claim: PrintedValue | Same) -> float:
        """Half of what the essay's figures of two arms, or their slopes, differ by where a claim is about; over all
        facts where they do not differ in a domain. 0 where the essay prints no difference."""
        cell, compared = claim.plus[0], claim.effect or self.effect
        for domain in (cell.domain, "all") if compared else ():
            one, other = (cell.model_copy(update={"arm": arm, "domain": domain}) for arm in compared or ())
            found = published(claim.model_copy(update={"plus": [one], "minus": [other]}), self)
            if found and found.value:
                return abs(found.value) / 2
        return 0.0

    def figures_by_domain(self, cell: ArmCell) -> list[EssayFigure]:
        """The essay's figures of the single domains of a cell."""
        mine = (cell.arm, cell.sessions, cell.probe)
        return [f for f in self.figures if f.domain != "all" and (f.arm, f.sessions, f.probe) == mine]


def read(path: Path = SOURCE) -> Ledger:
    """Read the ledger. Raises AtlasError that names the file and the key that is wrong."""
    try:
        return Ledger.model_validate(strict_yaml.load(path))
    except ValidationError as error:
        raise AtlasError(f"{path}: {explain(error)}") from None


def value_claim(figure: EssayFigure) -> PrintedValue:
    """The claim that a printed figure makes."""
    if figure.domain != "all":
        topic, kind, what = "domains", figure.domain, f"of the {figure.domain} facts"
        label = f"{figure.arm}: {figure.domain}"
    else:
        kind = "rephrase" if figure.probe == "rephrase" else "retention"
        topic = "rephrasing" if figure.probe == "rephrase" else "retention"
        what = "of the facts when asked in other words" if figure.probe == "rephrase" else "of the facts"
        label = f"{figure.arm}, {figure.sessions} sessions"
    return PrintedValue.model_validate(
        {
            "id": f"{kind}_{figure.arm}_{figure.sessions}",
            "topic": "confound" if figure.arm.endswith("random_base") else topic,
            "label": label,
            "statement": f"{figure.arm} retains {figure.printed}% {what} after {figure.sessions} sessions.",
            "plus": [figure.model_dump(include={"arm", "sessions", "probe", "domain"})],
            "effect": figure.effect,
        }
    )


@dataclass(frozen=True)
class Measure:
    """A value with its 95% interval; ends are NaN where there is none."""

    value: float
    low: float = float("nan")
    high: float = float("nan")


def share(figure: EssayFigure) -> Measure:
    """A printed figure as a share of its facts, with Wilson's interval."""
    value = figure.hits / figure.of
    return Measure(value, *intervals.wilson(value, figure.of))


def weighted_sum(weights: Sequence[float], parts: Sequence[Measure]) -> Measure:
    """The sum of weight times part, with the interval that follows from those of independent parts (MOVER)."""
    total = sum(weight * part.value for weight, part in zip(weights, parts, strict=True))
    below = above = 0.0
    for weight, part in zip(weights, parts, strict=True):
        down, up = sorted((weight * (part.low - part.value), weight * (part.high - part.value)))
        below, above = below + down**2, above + up**2
    return Measure(total, total - below**0.5, total + above**0.5)


def slope_weights(sizes: Sequence[float]) -> Floats:
    """Weights of the domains in the slope of retention over the decimal logarithm of domain size.

    The least-squares line through the facts: a domain counts as often as it has facts. ``sizes`` and the result have
    shape (domains,); NaN where all domains are of one size.
    """
    facts = np.asarray(sizes, np.float64)
    centred = np.log10(facts) - np.average(np.log10(facts), weights=facts)
    variation = float(facts @ centred**2)
    return np.asarray(facts * centred / variation) if variation > 1e-9 else np.full(len(facts), np.nan)


def published(claim: Combined, ledger: Ledger) -> Measure | None:
    """What the essay's own figures say of a claim; None where it does not print all of them."""
    weights: list[float] = []
    parts: list[Measure] = []
    for sign, cell in claim.signed:
        one = ledger.figure_of.get(cell.place)
        figures = ledger.figures_by_domain(cell) if claim.by_size else [one] if one else []
        if not figures:
            return None
        slopes = slope_weights([figure.of for figure in figures]) if claim.by_size else np.ones(1)
        weights += list(sign * slopes)
        parts += [share(figure) for figure in figures]
    return weighted_sum(weights, parts)


def retention_figures() -> pd.DataFrame:
    """The essay's figures as shares of 1: arm, sessions, probe, domain, value."""
    rows = [(*figure.place, float(figure.printed) / 100) for figure in read().figures]
    return pd.DataFrame(rows, columns=["arm", "sessions", "probe", "domain", "value"])
