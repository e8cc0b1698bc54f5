"""The ledger, typed: what the essay claims, with its figures, as ``claims.yaml`` lists it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, get_args

import yaml
from pydantic import Field, ValidationError, model_validator

from atlas.errors import AtlasError
from atlas.study.settings import Name, Positive, Settings, explain
from atlas.workflow import files

SOURCE = Path(__file__).with_name("claims.yaml")

Topic = Literal[
    "size", "retention", "rephrasing", "placement", "domains", "confound", "layers", "recipe", "editing", "mechanism"
]


class Cell(Settings):
    """Facts of one kind, tested under one arm after so many sessions."""

    arm: Name
    sessions: Positive
    probe: Literal["taught", "rephrase"] = "taught"
    domain: str = "all"

    @property
    def place(self) -> tuple[str, int, str, str]:
        """What tells a cell from others: arm, sessions, probe, domain."""
        return self.arm, self.sessions, self.probe, self.domain


class Figure(Cell):
    """A percentage that the essay prints, and the number of facts behind it."""

    printed: str = Field(pattern=r"^\d+(\.\d+)?$", description="percent, as it stands in the essay")
    of: Positive = Field(description="facts behind the figure")

    @model_validator(mode="after")
    def _is_a_share_of_whole_facts(self) -> Figure:
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

    plus: list[Cell] = Field(min_length=1)
    minus: list[Cell] = Field([], description="none where a figure stands for itself")
    by_size: bool = Field(False, description="the slope over the size of domains, in place of the mean")

    @property
    def signed(self) -> list[tuple[float, Cell]]:
        """Cells with the sign that they enter with."""
        return [(1.0, cell) for cell in self.plus] + [(-1.0, cell) for cell in self.minus]


class Value(Combined):
    """One printed figure."""

    rule: Literal["value"] = "value"


class Order(Combined):
    """A difference or a slope that is above zero."""

    rule: Literal["order"]


class Same(Combined):
    """A difference or a slope that is next to nothing, beside what the cell ``beside`` retains."""

    rule: Literal["same"]
    one_sided: bool = Field(False, description="more is no contradiction")
    beside: Cell


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


class Untestable(_Claim):
    """A claim that no study of this kind can judge."""

    rule: Literal["not testable"]
    why: str


Claim = Exact | Value | Order | Same | Spread | Untestable


class Ledger(Settings):
    """All that the essay claims."""

    base_params: Positive = Field(description="parameters of the base that the essay's shares follow from")
    facts_per_session: Positive = Field(description="that the essay teaches")
    figures: list[Figure] = Field(min_length=1)
    claims: list[Annotated[Exact | Order | Same | Spread | Untestable, Field(discriminator="rule")]]

    @model_validator(mode="after")
    def _each_once(self) -> Ledger:
        ids = [claim.id for claim in self.all_claims]  # of figures, too: they are made of the place
        if twice := sorted({name for name in ids if ids.count(name) > 1}):
            raise ValueError(f"claim {twice[0]} is there twice; remove or rename one")
        return self

    @property
    def all_claims(self) -> list[Claim]:
        """Every claim, by topic in the order of the essay's argument: a figure of its own is one, too."""
        order = TOPICS.index
        return sorted([*map(value_claim, self.figures), *self.claims], key=lambda claim: order(claim.topic))

    @cached_property
    def figure_of(self) -> dict[tuple[str, int, str, str], Figure]:
        """The essay's figure of a place, where it prints one."""
        return {figure.place: figure for figure in self.figures}

    def figures_by_domain(self, cell: Cell) -> list[Figure]:
        """The essay's figures of the single domains of a cell."""
        mine = (cell.arm, cell.sessions, cell.probe)
        return [f for f in self.figures if f.domain != "all" and (f.arm, f.sessions, f.probe) == mine]


TOPICS: tuple[str, ...] = get_args(Topic)


def read(path: Path = SOURCE) -> Ledger:
    """Read the ledger. Raises AtlasError that names the file and the key that is wrong."""
    try:
        return Ledger.model_validate(yaml.safe_load(files.read_text(path)))
    except yaml.YAMLError as error:
        raise AtlasError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    except ValidationError as error:
        raise AtlasError(f"{path}: {explain(error)}") from None


def value_claim(figure: Figure) -> Value:
    """The claim that a printed figure makes."""
    what = {"taught": "of the facts", "rephrase": "of the facts when asked in other words"}[figure.probe]
    topic, kind = ("rephrasing", "rephrase") if figure.probe == "rephrase" else ("retention", "retention")
    label = f"{figure.arm}, {figure.sessions} sessions"
    if figure.domain != "all":
        topic, kind, what, label = (
            "domains",
            figure.domain,
            f"of the {figure.domain} facts",
            f"{figure.arm}: {figure.domain}",
        )
    if figure.arm.endswith("random_base"):
        topic = "confound"
    return Value.model_validate(
        {
            "id": f"{kind}_{figure.arm}_{figure.sessions}",
            "topic": topic,
            "label": label,
            "statement": f"{figure.arm} retains {figure.printed}% {what} after {figure.sessions} sessions.",
            "plus": [{"arm": figure.arm, "sessions": figure.sessions, "probe": figure.probe, "domain": figure.domain}],
        }
    )
