"""Figures in findings."""

import pandas as pd
import pytest

from atlas.charts import findings


@pytest.mark.parametrize(
    ("share", "said"), [(0.0, "0%"), (0.004, "0.4%"), (0.126, "13%"), (1.0, "100%"), (-0.004, "-0.4%")]
)
def test_percent(share, said):
    assert findings.percent(share) == said


def test_a_span_of_one_figure_is_that_figure():
    assert findings.span(0.72, 0.94) == "72 to 94%"
    assert findings.span(0.501, 0.504) == "50%"


@pytest.mark.parametrize(("items", "said"), [(["a"], "a"), (["a", "b"], "a and b"), ([1, 2, 3], "1, 2 and 3")])
def test_lists(items, said):
    assert findings.listed(items) == said


def arms(*values: float) -> pd.DataFrame:
    return pd.DataFrame({"arm": [f"arm{i}" for i in range(len(values))], "value": values})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((0.2,), "Recall: 20% (arm0)"),
        ((0.2, 0.1, 0.3), "Recall: from 10% (arm1) to 30% (arm2)"),
        ((0.201, 0.202), "Recall: 20% in every arm"),
    ],
)
def test_extremes_name_the_arms(values, said):
    assert findings.extremes(arms(*values), "Recall") == said


def test_only_a_high_placebo_is_called_a_warning():
    assert "proves little: facts never taught score 72 to 94%" in findings.placebo_warning(arms(0.72, 0.94))
    assert findings.placebo_warning(arms(0.1, 0.94)) == "Facts never taught are recognised in 10 to 94% of cases"


def test_one_seed_is_said_to_be_one_seed():
    rows = pd.DataFrame({"n_seeds": [1], "n_facts": [90]})
    assert findings.basis(rows).startswith("1 seed of 90 facts; ")
    assert "one seed cannot show" in findings.basis(rows)
    assert "over seeds and facts" in findings.basis(rows.assign(n_seeds=4))
