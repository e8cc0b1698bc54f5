"""The measures of continual learning on three sessions of three facts, worked out by hand, with their signs."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from atlas.tables import continual
from atlas.tables.columns import CONTINUAL
from tests.tables.by_hand import answers, only, runs_with
from tests.tables.test_table_steps import matrix_row

# Right answers, of three facts a session: R[t, j] by session t (down) and session taught j (across).
#        j = 1  2  3
#  t = 1    3
#  t = 2    2  1
#  t = 3    1  2  3
RIGHT = {(1, 1): 3, (2, 1): 2, (2, 2): 1, (3, 1): 1, (3, 2): 2, (3, 3): 3}
BEFORE = {1: 0, 2: 1, 3: 2}  # right just before they were taught
BASE = {1: 1, 2: 0, 3: 1}  # right under the base


def scores(right: dict[tuple[int, int], int] | None = None, seed: int = 1) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "seed": seed,
                "session": session,
                "session_taught": taught,
                "fact_id": f"{taught}-{fact}",
                "score": float(fact < count),
                "before": float(fact < BEFORE[taught]),
                "base": float(fact < BASE[taught]),
            }
            for (session, taught), count in (right or RIGHT).items()
            for fact in range(3)
        ]
    )


def mean(units: pd.DataFrame) -> float:
    return float(units["score"].mean())


def test_average_accuracy():
    assert mean(continual.average(scores())) == pytest.approx((1 + 2 + 3) / 9)


def test_backward_transfer():
    assert mean(continual.backward_transfer(scores())) == pytest.approx(((1 - 3) + (2 - 1)) / 6)


def test_forgetting_is_from_the_best_before_the_last_session():
    assert mean(continual.forgetting(scores())) == pytest.approx(((3 - 1) / 3 + (1 - 2) / 3) / 2)


def test_forward_transfer_is_what_is_known_before_it_is_taught_less_what_the_base_knows():
    assert mean(continual.forward_transfer(scores())) == pytest.approx(((1 - 0) + (2 - 1)) / 6)


def test_retention_by_age():
    assert mean(continual.retention(scores(), 0, 0)) == pytest.approx((3 + 1 + 3) / 9)
    assert mean(continual.retention(scores(), 2, None)) == pytest.approx(1 / 3)
    # ages 1 and 2: facts of session 1 were asked twice, those of session 2 once; each fact counts once
    assert mean(continual.retention(scores(), 1, 4)) == pytest.approx(((1 + 0.5 + 0) + (1 + 1 + 0)) / 6)
    assert continual.retention(scores(), 5, 9).empty


def test_who_forgets_everything_has_the_worst_sign_of_each():
    lost = {(1, 1): 3, (2, 1): 0, (2, 2): 3, (3, 1): 0, (3, 2): 0, (3, 3): 3}
    assert mean(continual.backward_transfer(scores(lost))) == -1
    assert mean(continual.forgetting(scores(lost))) == 1


def test_who_learns_later_what_was_taught_earlier_has_the_best():
    gained = {(1, 1): 0, (2, 1): 0, (2, 2): 0, (3, 1): 3, (3, 2): 3, (3, 3): 3}
    assert mean(continual.backward_transfer(scores(gained))) == 1
    assert mean(continual.forgetting(scores(gained))) == -1


def curve(shares: list[float], facts: int = 12) -> pd.DataFrame:
    """One session of facts, of which so many are right at each age."""
    return pd.DataFrame(
        [
            {
                "seed": seed,
                "session": age + 1,
                "session_taught": 1,
                "fact_id": str(fact),
                "score": float(fact < n * facts),
            }
            for seed in (1, 2)
            for age, n in enumerate(shares)
            for fact in range(facts)
        ]
    )


@pytest.mark.parametrize(
    ("shares", "sessions"),
    [
        ([1, 0.75, 0.5, 0.25], 2),  # half of what it was at age 0
        ([0.5, 0.5, 0.25], 2),
        ([1, 0.5, 1, 0.5], 3),  # falls and rises: made to fall it is 1, 3/4, 3/4, 1/2
        ([1, 0.9, 0.8], np.inf),
        ([0, 0, 0], np.nan),
    ],
)
def test_the_half_life(shares, sessions):
    value, low, high = continual.half_life(curve(shares))
    assert value == pytest.approx(sessions, nan_ok=True)
    assert (low, high) == pytest.approx((sessions, sessions), nan_ok=True)  # both seeds are the same


def test_the_half_life_of_seeds_that_differ_has_an_interval():
    slow, fast = curve([1, 1, 1, 0.5]), curve([1, 0.25, 0, 0])
    both = pd.concat([slow[slow["seed"] == 1], fast[fast["seed"] == 2]])
    value, low, high = continual.half_life(both)
    assert (low, high) == (1, 3)  # both draws may be of one seed
    assert value == 2  # 1, 5/8, 1/2, 1/4
    assert np.isnan(continual.half_life(slow[slow["seed"] == 1])[1:]).all()


# The table


def matrix(seed: int) -> list[dict[str, Any]]:
    return [
        matrix_row(session, taught, recalled=fact < count, seed=seed, fact=fact)
        | {"nll": 1.0 if fact < count else 2.0, "recalled_before": fact < BEFORE[taught]}
        | {"nll_before": 1.4 if fact < BEFORE[taught] else 1.6}
        for (session, taught), count in RIGHT.items()
        for fact in range(3)
    ]


@pytest.fixture
def frame(tmp_path) -> pd.DataFrame:
    asked = [
        row | {"session_taught": taught, "fact_id": f"{taught}-{fact}", "recalled_base": fact < BASE[taught]}
        for seed in (1, 2)
        for taught in (1, 2, 3)
        for fact, row in enumerate(answers("taught", seed, "codes", [0, 0, 0]))
    ]
    runs_with(tmp_path, [1, 2], "facts", asked)
    kept = (tmp_path / "qv" / "block" / "facts.parquet").read_bytes()
    runs = runs_with(tmp_path, [1, 2], "matrix", [row for seed in (1, 2) for row in matrix(seed)])
    (tmp_path / "qv" / "block" / "facts.parquet").write_bytes(kept)
    table = continual.table(runs)
    assert table.schema == CONTINUAL
    result: pd.DataFrame = table.to_pandas()
    return result


def test_the_table_holds_the_figures_worked_out_above(frame):
    plain = frame[frame["age_from"].isna()].set_index(["metric", "measure"])["value"]
    assert plain["recall"].to_dict() == pytest.approx(
        {
            "average": 6 / 9,
            "backward_transfer": -1 / 6,
            "forgetting": 1 / 6,
            "forward_transfer": 2 / 6,
            "half_life": 2,  # ages 0, 1, 2: 7/9, 4/6, 1/3
        }
    )
    assert plain["recognition"]["forward_transfer"] == pytest.approx((1 + 2) / 6)  # the base recognises nothing
    ages = frame[(frame["metric"] == "recall") & (frame["measure"] == "retention")]
    assert ages["value"].tolist() == pytest.approx([7 / 9, 7 / 12])
    assert ages["age_to"].tolist() == [0, 4]


def test_a_half_life_beyond_the_run_is_censored(tmp_path):
    kept = [matrix_row(session, taught, recalled=1) for session in (1, 2, 3) for taught in range(1, session + 1)]
    rows = continual.table(runs_with(tmp_path, [1], "matrix", kept)).to_pandas()
    half = only(rows, metric="recall", measure="half_life")
    assert half["censored"]
    assert pd.isna(half["value"])


def test_every_figure_has_a_contract_and_an_interval(frame):
    assert frame["contract"].str.contains("; matrix: ").all()
    shares = frame[frame["unit"] == "share"]
    assert (shares["ci_low"] <= shares["value"]).all()
    assert (shares["value"] <= shares["ci_high"]).all()
    assert set(frame["n_seeds"]) == {2}
