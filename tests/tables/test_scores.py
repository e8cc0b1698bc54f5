"""Scores of single facts."""

import pandas as pd

from atlas.tables.scores import matrix_scores


def test_what_only_rounding_makes_likelier_is_not_recognised():
    base = 2.0
    matrix = pd.DataFrame({"nll": [base - 7e-7, base, base - 1e-3, base + 1e-3], "nll_base": base, "recalled": False})
    scores = matrix_scores(matrix.assign(arm="untrained", session=1, session_taught=1, seed=1))
    assert list(scores["recognition"]) == [0, 0, 1, 0]
