"""Chart of knock-outs by age: recall lost without a slot, by when the facts were taught, one panel an arm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import altair as alt
import pandas as pd

from atlas.charts import picture
from atlas.charts.adapter_parts import PANEL, squares
from atlas.charts.findings import seeds
from atlas.charts.frame import ARM, BASIS, Block, Chart, Panel, cells, measured, said, told
from atlas.charts.placing import placed, shifted, slots_of
from atlas.charts.study_tables import Tables
from atlas.phrases import plural

ACROSS = 2  # panels beside each other
CELL_WIDTH, CELL_HEIGHT = 20, 19


def charts(tables: Tables) -> Iterator[Chart]:
    """Slots from top to bottom, from the oldest facts to the newest to the right."""
    table = placed(tables.locate_by_age)
    slots = table[table["part"] == "slot"]
    lost, shifts = slots[slots["measure"] == "lost"], slots[slots["measure"] == "shift"]
    rows = lost[["arm", "sessions", "metric", "place", "taught_from", "taught_to", "value", "ci_low", "ci_high"]]
    rows = rows.assign(n_seeds=lost["n_seeds"], n_facts=lost["n_facts"], tenth=tenths(lost))
    rows = rows.astype({"taught_from": int, "taught_to": int, "n_facts": int})
    arms = list(dict.fromkeys(rows["arm"]))
    yield Chart(
        name="locate_by_age",
        rows=rows,
        marks=lambda panel: by_age(panel, slots_of(slots)),
        blocks=[Block([(arm, rows[rows["arm"] == arm]) for arm in arms], across=ACROSS)],
        title=finding(arms, shifts),
        subtitle=rests_on(rows),
        said=said(cells(rows), lambda _: finding(arms, shifts), rests_on),
        columns=ARM
        | told("text", place="Slot")
        | told("count", taught_from="Taught from session", taught_to="to session")
        | measured("Recall lost")
        | BASIS,
        width=alt.Step(CELL_WIDTH),
        height=alt.Step(CELL_HEIGHT),
        gap=20,
        titles={"fontSize": 12.5, "offset": 6},
        repeat=True,
        least=PANEL,
    )


def tenths(rows: pd.DataFrame) -> pd.Series:
    """The place of a row's facts among those of its arm, from 1, the oldest."""
    return rows.groupby("arm")["taught_from"].rank(method="dense").astype(int)


def by_age(panel: Panel, places: Sequence[str]) -> alt.LayerChart:
    """A cell is a slot and a tenth of the sessions; ``places`` are all slots in their order."""
    x = alt.X("tenth:O", axis=alt.Axis(title="tenth of the sessions, oldest facts first", labelAngle=0))
    y = alt.Y("place:N", sort=list(places), axis=alt.Axis(title=None))
    return squares(panel, x, y)


def finding(arms: Iterable[str], shifts: pd.DataFrame) -> list[str]:
    """Which slots older facts need more, or newer ones, arm by arm."""
    return [f"{arm}: {shifted(shifts[shifts['arm'] == arm])}" for arm in arms]


def rests_on(rows: pd.DataFrame) -> list[str]:
    """How to read a cell, and what the title compares."""
    return [
        "Percent of the facts of a tenth of the sessions that are lost without a slot (a role in a layer). In the "
        "title the oldest third of the sessions is held against the newest, by the share of what is recalled that is "
        "lost, compared with other slots; p < 0.05, corrected for the slots of an arm.",
        f"{seeds(rows)} of {plural(int(rows['n_facts'].max()), 'fact')} a tenth; when pointed at: 95% interval over "
        "seeds and facts.",
    ]


if __name__ == "__main__":
    picture.step(__doc__, charts)
