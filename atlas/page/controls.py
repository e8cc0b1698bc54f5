"""The controls of the page: plain radio buttons, boxes and a list, so that keyboards and screen readers know them."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

from atlas.charts.study_tables import Tables
from atlas.charts.theme import colours, variable
from atlas.metrics import CHOICES, REGISTRY


def choices(tables: Tables) -> str:
    """The controls: one metric, one checkpoint, any arms, and light or dark."""
    sessions = sorted(set(tables.retention["sessions"]))
    chosen = [REGISTRY[name] for name in CHOICES]
    metrics = [(metric.name, metric.label.removesuffix(" of placebo"), metric.title) for metric in chosen]
    palette = colours(tables.names)
    arms = "\n".join(
        f'<label><input type="checkbox" name="arms" value="{arm}" checked> '
        f'<span class="swatch" style="background: var({variable(colour)})"></span> {arm}</label>'
        for arm, colour in palette.items()
    )
    return "\n".join(
        [
            _radios("Metric", "metric", metrics),
            _radios("After", "sessions", [(n, f"{n} sessions", "") for n in sessions], last=True),
            f'<details><summary>Arms: <span id="counted">{len(palette)} of {len(palette)}</span></summary>'
            '<fieldset class="arms"><legend class="note">Arms shown</legend>'
            '<button type="button" data-all="yes">All</button><button type="button" data-all="no">None</button>'
            f"<div>{arms}</div></fieldset></details>",
            '<label>Colours <select name="scheme"><option value="">as the system</option>'
            '<option value="light">light</option><option value="dark">dark</option></select></label>',
            '<p id="status" role="status"></p>',
        ]
    )


def _radios(legend: str, name: str, options: Iterable[tuple[Any, str, str]], last: bool = False) -> str:
    options = list(options)
    checked = options[-1 if last else 0][0]
    inputs = "\n".join(
        f'<label title="{html.escape(why)}"><input type="radio" name="{name}" value="{value}"'
        f"{' checked' if value == checked else ''}>{text}</label>"
        for value, text, why in options
    ).replace(' title=""', "")
    return f"<fieldset><legend>{legend}</legend>\n{inputs}</fieldset>"
