"""How all charts look: one font, one grid, one colour per arm, safe for colour-blind readers and for print."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import altair as alt

INK, SOFT, GRID, PLACEBO = "#1a1a1a", "#595959", "#e6e6e6", "#808080"
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
WIDTH = 600  # of what is drawn, in pixels: fits a column of print, and is still legible on a phone

# Okabe and Ito's colours that stand out on white (jfly.uni-koeln.de/color), then darker ones for further arms
PALETTE = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#56b4e9",
    "#cc79a7",
    "#e69f00",
    "#7a3b00",
    "#4d4d4d",
    "#5d3a9b",
    "#8a8a00",
)


@alt.theme.register("atlas", enable=True)  # type: ignore[untyped-decorator]
def _theme() -> alt.theme.ThemeConfig:
    text = {"font": FONT, "labelFont": FONT, "titleFont": FONT}
    return {
        "config": {
            "background": "white",
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
                "domainColor": "#b3b3b3",
                "tickColor": "#b3b3b3",
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


def title(finding: str | Sequence[str], how: Sequence[str]) -> alt.TitleParams:
    """A title that says what was found, over subtitles that say on how much it rests.

    Vega does not break lines by itself, so sentences are broken here, early enough for a viewer whose sans-serif
    is a wide one.
    """
    findings = [finding] if isinstance(finding, str) else finding
    return alt.TitleParams(_broken(findings, 70), subtitle=_broken(how, 100))


def _broken(sentences: Sequence[str], characters: int) -> list[str]:
    return [line for sentence in sentences for line in textwrap.wrap(sentence, characters)]
