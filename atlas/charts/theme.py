"""How all charts look: one font, one grid, one colour per arm, safe for colour-blind readers, print and the dark."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence

import altair as alt

from atlas.charts.fonts import FAMILY

INK, SOFT, GRID, PLACEBO = "#1a1a1a", "#595959", "#e6e6e6", "#808080"
PAPER, AXIS, RULE, BAND, SHADE = "#ffffff", "#b3b3b3", "#8c8c8c", "#c9c9c9", "#e3e3e3"
FONT = f"{FAMILY}, Liberation Sans, Arial, Helvetica, sans-serif"  # the others are as wide, letter by letter
WIDTH = 600  # of what is drawn, in pixels: fits a column of print, and is still legible on a phone

# Okabe and Ito's colours that stand out on white (jfly.uni-koeln.de/color), then darker ones for further arms
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#56b4e9", "#cc79a7", "#e69f00", "#7a3b00", "#4d4d4d", "#5d3a9b", "#8a8a00")
BLUE, RED, BLACK = PALETTE[0], PALETTE[1], PALETTE[7]  # for verdicts: this way, that way, neither

IN_THE_DARK = {
    INK: "#ececec",
    SOFT: "#b8bcc2",
    GRID: "#2e333b",
    PLACEBO: "#9da3ab",
    PAPER: "#15181d",
    AXIS: "#5a616b",
    RULE: "#7d8590",
    BAND: "#4a515b",
    SHADE: "#2a2f37",
    "#0072b2": "#4da6e0",
    "#d55e00": "#f28544",
    "#009e73": "#33c79b",
    "#56b4e9": "#93d2f6",
    "#cc79a7": "#e59fc6",
    "#e69f00": "#f3b93a",
    "#7a3b00": "#c48a57",
    "#4d4d4d": "#b3b3b3",
    "#5d3a9b": "#ac8fe3",
    "#8a8a00": "#cbcb50",
}
"""Every colour of a chart to what it becomes on a dark page, as far from the ground and from its neighbours."""


@alt.theme.register("atlas", enable=True)  # type: ignore[untyped-decorator]
def _theme() -> alt.theme.ThemeConfig:
    text = {"font": FONT, "labelFont": FONT, "titleFont": FONT}
    return {
        "config": {
            "background": PAPER,
            "font": FONT,
            "padding": 12,
            "view": {"stroke": None},
            "title": {
                "anchor": "start",
                "frame": "bounds",
                "color": INK,
                "fontSize": 15,
                "fontWeight": 600,
                "lineHeight": 19,
                "subtitleColor": SOFT,
                "subtitleFontSize": 12,
                "subtitleLineHeight": 16,
                "subtitlePadding": 6,
                "offset": 14,
            },
            "axis": {
                **text,
                "labelColor": INK,
                "labelFontSize": 12,
                "titleColor": SOFT,
                "titleFontSize": 12,
                "titleFontWeight": "normal",
                "gridColor": GRID,
                "domainColor": AXIS,
                "tickColor": AXIS,
                "labelLimit": 220,
            },
            "axisBand": {"domain": False, "ticks": False, "labelPadding": 8},
            "header": {"labelFontSize": 12, "labelColor": INK, "labelFontWeight": 600, "title": None},
            "legend": {
                "labelFontSize": 12,
                "labelColor": INK,
                "titleFontSize": 12,
                "titleFontWeight": "normal",
                "titleColor": SOFT,
                "labelLimit": 260,
                "columnPadding": 22,
            },
        }
    }


def colours(arms: Sequence[str]) -> dict[str, str]:
    """Arm to colour, by the order of the study: a new arm at its end changes no other. Ten arms, then again."""
    return {arm: PALETTE[index % len(PALETTE)] for index, arm in enumerate(arms)}


def hue(palette: Mapping[str, str], column: str = "arm") -> alt.Color:
    """The colour of each arm, without a legend: arms are named where they are drawn."""
    return alt.Color(f"{column}:N", scale=alt.Scale(domain=list(palette), range=list(palette.values())), legend=None)


def variables() -> str:
    """CSS declarations of all colours, each light or dark with the page's colour scheme."""
    return " ".join(f"{variable(light)}: light-dark({light}, {dark});" for light, dark in IN_THE_DARK.items())


def adaptive(text: str) -> str:
    """An SVG or a specification whose colours are CSS variables of the page, so that they follow its scheme."""
    return re.sub(
        r'"(#[0-9a-f]{6})"',
        lambda found: f'"var({variable(found[1])})"' if found[1] in IN_THE_DARK else found[0],
        text,
    )


def variable(colour: str) -> str:
    """The name of the CSS variable that has a colour in the page's scheme."""
    return f"--c{colour[1:]}"


def title(found: Sequence[str], how: Sequence[str]) -> alt.TitleParams:
    """A title that says what was found, over subtitles that say on how much it rests.

    Vega does not break lines by itself, so sentences are broken here, early enough for a viewer whose sans-serif
    is a wide one.
    """
    text, subtitle = (
        [line for sentence in sentences for line in textwrap.wrap(sentence, characters)]
        for sentences, characters in ((found, 70), (how, 100))
    )
    return alt.TitleParams(text, subtitle=subtitle)
