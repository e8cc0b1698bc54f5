"""What a metric is, those of plugins among them. A module of a plugin that declares one imports no more of Atlas."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from atlas.errors import AtlasError
from atlas.plugins.loading import METRICS, installed, load

if TYPE_CHECKING:
    import pandas as pd

    Scorer = Callable[[pd.DataFrame], pd.Series]  # rows of a table to a score of each, from 0 to 1
    Level = Callable[[pd.DataFrame], pd.Series | float]  # the same, or one for all rows

Direction = Literal["higher is better", "lower is better", "neither is better"]


def _nothing(_: pd.DataFrame) -> float:
    return 0.0


@dataclass(frozen=True)
class OfMatrix:
    """How the rows of matrix.parquet, with ``recalled_base``, are scored: from 0 to 1, (rows,)."""

    after: Scorer  # the session
    before: Scorer  # the session that taught the fact
    base: Level = _nothing  # under the base without adapter


@dataclass(frozen=True)
class Metric:
    """One declared metric.

    A metric of single facts has ``score``, which takes rows of facts.parquet to scores from 0 to 1, (rows,), and
    ``level``, the same for what an adapter that knows nothing scores. Both are NaN in rows that the metric leaves out.
    """

    name: str
    protocol: str  # what the model is given, and when
    scorer: str  # what makes a score of its answer, in words
    contract: str  # figures of one contract are comparable with each other and with no others
    range: str
    direction: Direction
    source: str
    chance: str = "none is known"
    label: str = ""  # as headings and choices have it
    meaning: str = ""  # one clause behind the label
    score: Scorer | None = None
    level: Level = _nothing
    exact: bool = False  # an adapter that stays zero scores exactly the level, row by row, and not only on average
    nearest: str = ""  # the metric that a chart or a table shows where it lacks this one
    net_of: str = ""  # this is the metric of that name less its score of facts never taught
    of_matrix: OfMatrix | None = None
    in_every_study: bool = True  # False: where the base knows facts already
    by_kind: bool = True  # where the base knows facts already, those are told from others by this metric, too

    @property
    def title(self) -> str:
        """``Recall: greedy decoding gives exactly the answer``."""
        return f"{self.label}: {self.meaning}" if self.meaning else self.label


def metrics_of_plugins(taken: Collection[str]) -> Iterator[Metric]:
    """The metrics that entry points bring, by name; ``taken`` has the names of others.

    Raises AtlasError where one is no metric of single facts, or has the name of another.
    """
    for name, reference in installed(METRICS).items():
        found, where = load(reference), f"entry point {name} of {METRICS}"
        if not isinstance(found, Metric) or found.score is None:
            raise AtlasError(
                f"{where}: found {found!r:.60} in {reference}, expected an atlas.plugins.metric.Metric with a `score`"
            )
        if not re.fullmatch("[a-z][a-z0-9_]*", found.name) or found.name != name:
            raise AtlasError(
                f"{where}: the metric calls itself {found.name!r}, expected the name of its entry point, in lower-case "
                "letters, digits and underscores"
            )
        if name in taken:
            raise AtlasError(f"{where}: Atlas has a metric of this name; give yours another")
        yield replace(found, label=found.label or name, score=_checked(reference, found.score))


def _checked(reference: str, score: Scorer) -> Scorer:
    """A score of a plugin, with AtlasError where it fails, or gives anything but numbers from 0 to 1, one a row."""

    def checked(facts: pd.DataFrame) -> pd.Series:
        try:
            found = score(facts).astype(float)
        except Exception as error:  # whatever another's code raises
            raise AtlasError(
                f"{reference}: its score fails ({type(error).__name__}: {' '.join(str(error).split())}); mend it"
            ) from error
        if len(found) != len(facts) or not found.dropna().between(0, 1).all():
            raise AtlasError(
                f"{reference}: its score gives {len(found)} numbers from {found.min():g} to {found.max():g} for "
                f"{len(facts)} facts, expected one from 0 to 1 for each, NaN for those it leaves out; mend it"
            )
        return found

    return checked
