"""What the page shows beside its charts: tables of continual learning, the untrained control."""

from typing import Any

import pandas as pd

from atlas.page import parts
from atlas.page.templates import html


def measure(name: str, value: float | None, **values: Any) -> dict[str, Any]:
    row = {"arm": "qv", "metric": "recall", "measure": name, "age_from": None, "unit": "share", "value": value}
    return row | {"ci_low": None, "ci_high": None, "censored": False} | values


ROWS = pd.DataFrame(
    [
        measure("average", 0.25, ci_low=0.2, ci_high=0.31),
        measure("retention", 0.571, age_from=0),
        measure("backward_transfer", -0.5),
        measure("half_life", 3.0, unit="sessions"),
        measure("half_life", None, unit="sessions", censored=True, arm="ffn"),
        measure("half_life", None, unit="sessions", arm="untrained"),
        measure("average", 0.99, metric="recognition"),
    ]
)


def test_a_figure_that_few_seeds_carry_says_so():
    row = {"value": 0.0, "ci_low": 0.0, "ci_high": 0.02}
    assert parts.figure(row | {"few_seeds": True}).small == "0% to 2%, few seeds"
    assert parts.figure(row | {"few_seeds": False}).small == parts.figure(row).small == "0% to 2%"


def recall_as_memory() -> str:
    return html("tables", tables=[parts.continual_table(ROWS, "recall")], folded="")


def test_an_arm_is_a_row_and_a_measure_a_column():
    text = recall_as_memory()
    head = '<th class="text" scope="col">Arm</th>' + "".join(
        f'<th scope="col">{name}</th>' for name in ("Average", "When just taught", "Backward transfer", "Half-life")
    )
    assert head in text  # no column without any figure
    assert (
        '<td class="text">qv</td><td>25.0%<small>20% to 31%</small></td><td>57.1%</td><td>-50.0%</td><td>3</td>' in text
    )
    assert "99.0%" not in text  # another metric


def test_a_half_life_beyond_the_run_is_said_and_one_of_nothing_is_empty():
    text = recall_as_memory()
    assert '<td class="text">ffn</td><td></td><td></td><td></td><td>beyond the run</td>' in text
    assert '<td class="text">untrained</td><td></td><td></td><td></td><td></td>' in text


def test_controls_off_chance_come_first():
    controls = pd.DataFrame({"verdict": ["at chance", "above chance"], "finding": ["fine", "odd & wrong"]})
    text = parts.untrained_in_words(controls)
    assert "1 of 2 scores of an adapter that was never trained are at chance" in text
    assert text.index("odd &amp; wrong") < text.index("fine")
    assert parts.untrained_in_words(controls.head(0)) == ""


def test_measures_of_a_metric_stand_for_those_whose_nearest_it_is():
    assert 'data-metric="recall association"' in recall_as_memory()
    assert 'data-metric="recognition recognition_net"' in html(
        "tables", tables=[parts.continual_table(ROWS, "recognition")], folded=""
    )
