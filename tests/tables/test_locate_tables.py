"""The tables of knock-outs: figures by hand, planted facts found, files that do not fit refused."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from atlas.errors import AtlasError
from atlas.tables import columns, knockouts, locate, locate_by_age, locate_shares, table_step
from atlas.tables.runs import Runs, read
from atlas.ttt.locate_columns import KNOCKOUTS, SLOTS
from atlas.workflow import files
from tests.made_located import EVERYWHERE, RISE, planted, write_located
from tests.synthetic import Design, SyntheticArm, write_frame, write_run, write_study
from tests.tables.by_hand import only

SEEDS = tuple(range(1, 9))
HOME, OLD = (0, 0, "up"), (2, 2, "v")
NULLS = {"first_layer": "Int32", "last_layer": "Int32", "session_taught": "Int32"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    """Facts of the first four sessions sit in one slot, those of the other eight in another."""
    design = Design(SEEDS, (4, 12), replicas=2)
    folders = write_study(tmp_path_factory.mktemp("runs"), {"all_places": EVERYWHERE}, design, [SEEDS[:4], SEEDS[4:]])
    return read([write_located(folder, planted(HOME, OLD, until=4)) for folder in folders])


@pytest.fixture(scope="module")
def located(runs) -> pd.DataFrame:
    frame: pd.DataFrame = locate.table(runs).to_pandas()
    return frame


def slot(frame: pd.DataFrame, place: tuple[int, int, str], **where: Any) -> pd.Series:
    first, last, role = place
    return only(frame, first_layer=first, last_layer=last, role=role, **where)


RECALL_LOST = {"change": "without", "part": "slot", "probe": "taught", "metric": "recall", "measure": "lost"}


def test_planted_facts_are_found_in_their_slot_and_nowhere_else(located):
    intact = only(located, change="intact", probe="taught", metric="recall")
    lost = {place: slot(located, place, **RECALL_LOST) for place in (HOME, OLD)}
    assert lost[HOME]["value"] + lost[OLD]["value"] == pytest.approx(intact["value"])
    others = located.query("change == 'without' and part == 'slot' and metric == 'recall' and measure == 'lost'")
    others = others[(others["probe"] == "taught") & ~others.index.isin([one.name for one in lost.values()])]
    assert len(others) == 14
    assert (others["value"] == 0).all()
    assert (others["ci_low"] < 0).all()  # that no seed lost any does not say that none would
    assert slot(located, HOME, **RECALL_LOST | {"change": "only", "measure": "left"})["value"] == lost[HOME]["value"]
    layer = only(located, **RECALL_LOST | {"part": "layer", "first_layer": 0})
    half = only(located, **RECALL_LOST | {"part": "half", "half": "attention"})
    assert (layer["value"], half["value"]) == (lost[HOME]["value"], lost[OLD]["value"])


def test_content_and_size_are_told_apart(located):
    by_change = {
        change: slot(located, HOME, **RECALL_LOST | {"change": change})["value"]
        for change in ("without", "rotated", "halved")
    }
    assert by_change["rotated"] == by_change["without"]
    assert by_change["halved"] == pytest.approx(by_change["without"] / 2, abs=0.08)


def test_facts_never_taught_and_the_base_stand_beside(located):
    placebo = located.query("probe == 'placebo' and metric == 'recall'")
    assert set(placebo.loc[placebo["measure"] == "lost", "value"]) == {0}
    assert set(placebo.loc[placebo["measure"] == "left", "n_facts"]) == {76}
    whole = only(located, change="without", part="all", metric="rise", measure="lost")
    assert whole["value"] == pytest.approx(RISE)
    one = slot(located, HOME, change="without", metric="rise", measure="left")
    assert (one["value"], one["ci_low"]) == pytest.approx((RISE * 15 / 16, RISE * 15 / 16))
    assert one["contract"] == "loss of the base"


def test_association_is_of_the_facts_that_were_judged(located):
    row = only(located, change="intact", probe="taught", metric="association")
    assert (row["n_tests"], row["left_out"]) == (8 * (12 * 3 - 4), 8 * 4)
    assert (row["n_seeds"], row["bases"]) == (8, 2)


def by_hand(folder: Path, seeds: dict[int, dict[str, list[int]]], arm: str = "mine") -> Runs:
    """Two slots in two sessions of four facts; by change and seed how many are recalled."""
    design = Design(tuple(seeds), (2,))
    run = write_run(
        folder / arm / "block", arm, replace(EVERYWHERE, targets=("q",), ranks=(7, 7)), tuple(seeds), design
    )
    places = {"intact": ("all", None), "first": ("slot", 0), "second": ("slot", 1)}
    rows = [
        {
            "arm": arm,
            "seed": seed,
            "sessions": 2,
            "change": "intact" if name == "intact" else "without",
            "unit": places[name][0],
            "first_layer": places[name][1],
            "last_layer": places[name][1],
            "role": None if name == "intact" else "q",
            "half": None,
            "probe": "taught",
            "session_taught": session,
            "facts": 4,
            "recalled": recalled,
            "judged": 0,
            "associated": 0,
            "base_loss_rise": 0.1 * seed,
        }
        for seed, by_change in seeds.items()
        for name, of_sessions in by_change.items()
        for session, recalled in enumerate(of_sessions, start=1)
    ]
    write_frame(run / "knockouts.parquet", pd.DataFrame(rows).astype(NULLS), KNOCKOUTS)
    slots = [
        {"arm": arm, "seed": seed, "sessions": 2, "first_layer": layer, "last_layer": layer, "role": "q"}
        | {"parameters": 100, "norm": 1.0 + 2 * layer, "gradient_energy": 3.0 - 2 * layer}
        for seed in seeds
        for layer in (0, 1)
    ]
    write_frame(run / "slots.parquet", pd.DataFrame(slots), SLOTS)
    return read([run])


TWO = {
    1: {"intact": [4, 4], "first": [1, 3], "second": [4, 4]},
    2: {"intact": [4, 2], "first": [2, 2], "second": [3, 1]},
}


def test_figures_by_hand(tmp_path):
    frame = locate.table(by_hand(tmp_path, TWO)).to_pandas()
    recall = frame[frame["metric"] == "recall"]
    intact = only(recall, change="intact")
    assert intact["value"] == pytest.approx((8 / 8 + 6 / 8) / 2)
    first = only(recall, first_layer=0, measure="lost")
    assert first["value"] == pytest.approx((4 / 8 + 2 / 8) / 2)
    half = stats.t.ppf(0.975, 1) * (2 / 8 / 2)  # of two seeds that differ by a quarter
    assert first["ci_high"] - first["value"] == pytest.approx(min(half, 1 - first["value"]))
    assert only(recall, first_layer=1, measure="lost")["value"] == pytest.approx((0 / 8 + 2 / 8) / 2)
    assert only(recall, first_layer=1, measure="left")["value"] == pytest.approx((8 / 8 + 4 / 8) / 2)
    assert "association" not in set(frame["metric"])  # no fact was judged
    rise = only(frame, change="intact", metric="rise")
    assert rise["value"] == pytest.approx(0.15)
    assert rise["ci_high"] - rise["value"] == pytest.approx(stats.t.ppf(0.975, 1) * 0.05)


def test_shares_by_hand(tmp_path):
    frame = locate_shares.table(by_hand(tmp_path, TWO)).to_pandas()
    shares = frame[frame["measure"] == "share"].set_index(["source", "first_layer"])["value"]
    assert shares.to_dict() == pytest.approx(
        {
            ("parameters", 0): 1 / 2,
            ("parameters", 1): 1 / 2,
            ("norm", 0): 1 / 10,  # of squares
            ("norm", 1): 9 / 10,
            ("gradient", 0): 3 / 4,
            ("gradient", 1): 1 / 4,
            ("recall", 0): (1 + 1 / 2) / 2,  # seed 2 loses two facts without either
            ("recall", 1): (0 + 1 / 2) / 2,
        }
    )
    alike = frame[frame["measure"] == "rank_correlation"].set_index(["source", "against"])
    signs = {("norm", "gradient"): -1, ("norm", "recall"): -1, ("gradient", "recall"): 1}
    assert alike["value"].to_dict() == pytest.approx(signs)
    assert alike["n_seeds"].to_dict() == {("norm", "gradient"): 2, ("norm", "recall"): 1, ("gradient", "recall"): 1}
    assert alike.loc[("norm", "recall"), ["ci_low", "ci_high"]].isna().all()


def test_shares_sum_to_one_and_gains_count_as_nothing(runs, tmp_path):
    gains = {1: {"intact": [1, 1], "first": [2, 2], "second": [1, 0]}}
    for some in (runs, by_hand(tmp_path, gains)):
        frame = locate_shares.table(some).to_pandas()
        sums = frame[frame["measure"] == "share"].groupby(["arm", "source"])["value"].sum()
        assert sums.tolist() == pytest.approx([1] * 4)
    lost = frame.query("source == 'recall' and measure == 'share'").set_index("first_layer")["value"]
    assert lost.to_dict() == {0: 0, 1: 1}


def test_an_adapter_that_loses_nothing_has_no_shares_of_a_loss(tmp_path):
    nothing = by_hand(tmp_path, {seed: {name: [0, 0] for name in ("intact", "first", "second")} for seed in (1, 2)})
    frame = locate_shares.table(nothing).to_pandas()
    assert set(frame["source"]) == {"parameters", "norm", "gradient"}
    assert locate_by_age.table(nothing).to_pandas().query("measure == 'shift'").empty
    lost = locate.table(nothing).to_pandas().query("metric == 'recall' and measure == 'lost'")
    assert (lost["value"] == 0).all()


def test_where_old_facts_sit_apart_the_shift_says_where(runs):
    frame = locate_by_age.table(runs).to_pandas()
    shifts = frame[(frame["measure"] == "shift") & (frame["part"] == "slot")]
    assert (slot(shifts, OLD)["value"], slot(shifts, OLD)["verdict"]) == (1, "older facts")
    assert (slot(shifts, HOME)["value"], slot(shifts, HOME)["verdict"]) == (-1, "newer facts")
    assert shifts["verdict"].value_counts().to_dict() == {"unresolved": 14, "older facts": 1, "newer facts": 1}
    assert (shifts["p_adjusted"] >= shifts["p_value"]).all()
    lost = frame[(frame["measure"] == "lost") & (frame["part"] == "slot")]
    by_tenth = lost[(lost["first_layer"] == 2) & (lost["role"] == "v")].sort_values("taught_from")
    assert list(zip(by_tenth["taught_from"], by_tenth["taught_to"], strict=True))[:4] == [
        (1, 2),
        (3, 4),
        (5, 5),
        (6, 6),
    ]
    assert (by_tenth["value"] > 0.7).tolist() == [True] * 2 + [False] * 8


def test_old_facts_that_are_fewer_or_more_fragile_are_no_shift(tmp_path):
    """Of old facts half are recalled at all, and each slot takes away as large a share of them as of new ones."""
    seeds = {seed: {"intact": [2, 4], "first": [1, 2], "second": [0, 0]} for seed in SEEDS}
    frame = locate_by_age.table(by_hand(tmp_path / "fewer", seeds)).to_pandas().query("measure == 'shift'")
    assert frame["value"].tolist() == [0] * len(frame)
    fragile = {seed: {"intact": [4, 4], "first": [0, 2], "second": [0, 2]} for seed in SEEDS}
    frame = locate_by_age.table(by_hand(tmp_path / "fragile", fragile)).to_pandas().query("measure == 'shift'")
    assert set(frame["verdict"]) == {"unresolved"}
    assert frame["value"].tolist() == [0] * len(frame)


def test_a_run_of_one_session_has_no_old_facts(tmp_path):
    folders = write_study(tmp_path, {"one": EVERYWHERE}, Design((1, 2), (1,)))
    frame = locate_by_age.table(read([write_located(folders[0], planted(HOME))])).to_pandas()
    assert set(frame["measure"]) == {"lost"}


@pytest.mark.parametrize("module", [locate, locate_by_age, locate_shares])
def test_a_step_writes_its_table_with_provenance_and_the_same_bytes_each_time(module, tmp_path):
    runs = by_hand(tmp_path / "ttt", TWO)
    name = module.__name__.rpartition(".")[2]
    made = []
    for out in (tmp_path / "a" / f"{name}.parquet", tmp_path / "b" / f"{name}.parquet"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [name, "--runs", *map(str, runs.folders), "--out", str(out)])
            table_step.make(module.__name__, module.__doc__, module.table)
        made.append(out)
    assert made[0].read_bytes() == made[1].read_bytes()
    assert files.read_parquet(made[0], getattr(columns, name.upper())).num_rows
    assert files.provenance_of(made[0])["seeds"] == list(TWO)


def change(
    name: str, how: Callable[[pd.DataFrame], pd.DataFrame]
) -> tuple[str, Callable[[pd.DataFrame], pd.DataFrame]]:
    return f"{name}.parquet", how


def of_intact(rows: pd.DataFrame) -> pd.Series:
    result: pd.Series = rows["change"] == "intact"
    return result


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            change("knockouts", lambda rows: rows.assign(sessions=3)),
            "located after 3 sessions, but run.json ends after 2",
        ),
        (change("knockouts", lambda rows: rows.assign(change="cut")), "change 'cut' is not known"),
        (change("knockouts", lambda rows: rows[~of_intact(rows)]), "no rows of the intact adapter"),
        (change("knockouts", lambda rows: rows.iloc[:-1]), "a knock-out is not asked the facts"),
        (
            change("knockouts", lambda rows: rows.assign(facts=rows["facts"] + of_intact(rows))),
            "a knock-out is not asked the facts",
        ),
        (change("knockouts", lambda rows: rows.assign(recalled=9)), "recalled is not between 0 and facts"),
        (change("knockouts", lambda rows: rows.assign(associated=1)), "associated is not between 0 and judged"),
        (
            change("knockouts", lambda rows: rows.assign(base_loss_rise=range(len(rows)))),
            "base_loss_rise differs within one knock-out",
        ),
        (
            change("knockouts", lambda rows: rows[(rows["seed"] == 1) | of_intact(rows) | (rows["first_layer"] == 0)]),
            "seed 2: 2 knock-outs, but seed 1 has 3",
        ),
        (change("knockouts", lambda rows: rows.assign(seed=rows["seed"] + 1)), "holds seeds [2, 3]"),
        (change("knockouts", lambda rows: pd.concat([rows, rows])), "several rows for one"),
        (change("slots", lambda rows: rows[rows["first_layer"] == 0]), "lacks role 'q' in layers 1 to 1 of seed 1"),
        (change("slots", lambda rows: rows.assign(arm="other")), "holds ['other']"),
    ],
)
def test_files_that_do_not_fit_are_refused_in_one_line(tmp_path, damage, said):
    found = by_hand(tmp_path, TWO)
    name, how = damage
    path = found.folders[0] / name
    schema = KNOCKOUTS if name.startswith("knock") else SLOTS
    rows = files.read_parquet(path, schema).to_pandas()
    write_frame(path, how(rows.astype({key: kind for key, kind in NULLS.items() if key in rows})), schema)
    with pytest.raises(AtlasError) as caught:
        locate_shares.table(found)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_that_was_not_located_is_named(tmp_path):
    folders = write_study(tmp_path, {"qv": SyntheticArm()}, Design((1,), (2,)))
    with pytest.raises(AtlasError, match=r"knockouts\.parquet: no such file"):
        knockouts.read(read(folders))
