"""Every step, from run folders to a Parquet file."""

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from atlas.errors import AtlasError
from atlas.tables import ablations, arms, base_loss, columns, curve, matrix, table_step
from atlas.tables.runs import read
from atlas.ttt.run_files import FACTS
from atlas.workflow import files
from tests.synthetic import (
    Design,
    SyntheticArm,
    ablations_like_the_study,
    arms_like_the_study,
    write_frame,
    write_study,
)
from tests.tables.by_hand import only, runs_with

SMALL = Design(seeds=(1, 2), checkpoints=(2, 4))
STEPS = ("arms", "retention", "curve", "matrix", "base_loss", "continual", "ablations")
ARMS = {name: arm for name, arm in arms_like_the_study().items() if name not in ("qv_edge", "qv_random_base")}
OPTIONS = {
    "ablations": ["--references", "qv", "ffn"],
    "contrasts": ["--spec", '{"contrasts": {"one": [["good", "poor"]]}}'],
}
RECIPES = ("single_phase", "no_rehearsal", "random_rehearsal")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> list[Path]:
    return write_study(tmp_path_factory.mktemp("runs"), ARMS, SMALL)


@pytest.fixture(scope="module")
def cut(tmp_path_factory) -> list[Path]:
    """The same study with a run a seed."""
    return write_study(tmp_path_factory.mktemp("cut"), ARMS, SMALL, blocks=[[1], [2]])


@pytest.fixture(scope="module")
def ablated(tmp_path_factory) -> list[Path]:
    both = {name: ARMS[name] for name in ("qv", "ffn")}
    return write_study(tmp_path_factory.mktemp("ablations"), both | ablations_like_the_study(), SMALL)


def run_step(step: str, folders: list[Path], out: Path) -> Path:
    """Run a step by its command line, in this process: starting Python a dozen times would take longest."""
    options = OPTIONS.get(step, [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [step, "--runs", *map(str, folders), *options, "--out", str(out)])
        module = importlib.import_module(f"atlas.tables.{step}")
        if step == "ablations":
            module.main()
        else:
            table_step.make(module.__name__, module.__doc__, module.table, getattr(module, "Contrasts", None))
    return out


@pytest.mark.parametrize("step", STEPS)
def test_a_step_writes_its_table_with_provenance_and_the_same_bytes_each_time(step, study, ablated, tmp_path):
    runs = ablated if step == "ablations" else study
    first, second = (run_step(step, runs, tmp_path / again / f"{step}.parquet") for again in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    table = files.read_parquet(first, getattr(columns, step.upper()))
    assert table.num_rows
    assert set(table["arm"].to_pylist()) == set(read(runs).arms)
    footer = files.provenance_of(first)
    assert footer["step"] == f"atlas.tables.{step}"
    assert footer["base_fingerprints"] == {"1": "f" * 64}
    assert footer["precision"] == "float32"
    assert footer["run_code_digests"]["qv"] == "c" * 64
    assert footer["seeds"] == [1, 2]


def test_a_step_says_a_mistake_in_one_line(study, tmp_path):
    command = [
        sys.executable,
        "-m",
        "atlas.tables.matrix",
        "--runs",
        str(study[0]),
        str(study[0]),
        "--out",
        "x.parquet",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("atlas: error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "x.parquet").exists()


def test_arms_have_the_essays_parameters(study):
    frame = arms.table(read(study)).to_pandas().set_index("arm")
    assert frame.loc[["qv", "ffn", "qv_ffn"], "trainable_params"].tolist() == [65_536, 163_840, 229_376]
    shares = (100 * frame.loc[["qv", "ffn", "qv_ffn"], "share"]).round(2).tolist()
    assert shares == [7.25, 16.34, 21.48]
    assert frame.loc["qv_mid", "trainable_params"] == 36_864
    assert frame.loc[["qv", "qv_mid"], "ranks"].tolist() == ["32", "4,32,32,4"]
    assert frame.loc[["ffn", "ffn_random_base"], "reinit"].tolist() == ["", "up,down"]
    assert frame.loc["qv_ffn", "targets"] == "q,v,up,down"
    assert list(frame.index) == list(ARMS)


def matrix_row(
    session: int, taught: int, recalled: int, nll: float = 1.0, seed: int = 1, fact: int = 0
) -> dict[str, Any]:
    return {
        "seed": seed,
        "session": session,
        "fact_id": f"{taught}-{fact}",
        "session_taught": taught,
        "recalled": recalled,
        "nll": nll,
        "nll_base": 1.5,
    }


THREE_SESSIONS = [
    matrix_row(1, 1, recalled=1),
    matrix_row(2, 1, recalled=1),
    matrix_row(2, 2, recalled=0, nll=2.0),
    matrix_row(3, 1, recalled=0, nll=1.5),  # as likely as under the base: not recognised
    matrix_row(3, 2, recalled=0),
    matrix_row(3, 3, recalled=1),
]


def test_the_curve_is_over_all_facts_taught_so_far(tmp_path):
    frame = curve.table(runs_with(tmp_path, [1], "matrix", THREE_SESSIONS)).to_pandas()
    values = frame.pivot(index="session", columns="metric", values="value")
    assert values["recall"].tolist() == pytest.approx([1, 1 / 2, 1 / 3])
    assert values["recognition"].tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert frame.loc[frame["metric"] == "recall", "n_facts"].tolist() == [1, 2, 3]


def test_the_curve_leaves_out_sessions_with_new_facts_alone(tmp_path):
    rows = [row for row in THREE_SESSIONS if (row["session"], row["session_taught"]) != (2, 1)]
    frame = curve.table(runs_with(tmp_path, [1], "matrix", rows)).to_pandas()
    assert set(frame["session"]) == {1, 3}


def test_the_matrix_is_by_session_and_session_taught(tmp_path):
    frame = matrix.table(runs_with(tmp_path, [1], "matrix", THREE_SESSIONS)).to_pandas()
    recall = frame[frame["metric"] == "recall"].set_index(["session", "session_taught"])["value"]
    assert recall.to_dict() == {(1, 1): 1, (2, 1): 1, (2, 2): 0, (3, 1): 0, (3, 2): 0, (3, 3): 1}
    recognition = frame[frame["metric"] == "recognition"].set_index(["session", "session_taught"])["value"]
    assert recognition.to_dict() == {(1, 1): 1, (2, 1): 1, (2, 2): 0, (3, 1): 0, (3, 2): 1, (3, 3): 1}


def test_a_cell_of_the_matrix_is_the_mean_over_seeds_and_facts(tmp_path):
    rows = [
        matrix_row(1, 1, recalled=recalled, seed=seed, fact=fact)
        for seed, fact, recalled in [(1, 0, 1), (1, 1, 0), (2, 0, 0), (2, 1, 0)]
    ]
    cell = only(matrix.table(runs_with(tmp_path, [1, 2], "matrix", rows)).to_pandas(), metric="recall")
    assert (cell["value"], cell["n"]) == (1 / 4, 4)


def test_base_loss_is_the_rise_of_the_validation_loss(tmp_path):
    frame = base_loss.table(read(write_study(tmp_path, {"qv": SyntheticArm(rise=0.2)}, SMALL))).to_pandas()
    row = only(frame, arm="qv", sessions=4)  # losses 1.5 + 0.2 + 0.01 and 1.5 + 0.2 + 0.02
    assert (row["val_loss_base"], row["val_loss"]) == pytest.approx((1.5, 1.715))
    half = 12.7062 * 0.005  # Student's quantile with one degree of freedom, times the standard error
    assert (row["rise"], row["ci_low"], row["ci_high"]) == pytest.approx((0.215, 0.215 - half, 0.215 + half), abs=1e-6)
    assert row["n_seeds"] == 2


def test_base_loss_with_one_seed_has_no_interval(tmp_path):
    runs = read(write_study(tmp_path, {"qv": SyntheticArm()}, Design(seeds=(1,), checkpoints=(2,))))
    assert base_loss.table(runs)["ci_low"].null_count == 1


@pytest.mark.parametrize("step", ["arms", "retention", "curve", "matrix", "base_loss", "continual", "controls"])
def test_how_seeds_are_cut_into_blocks_changes_nothing(step, study, cut):
    make = importlib.import_module(f"atlas.tables.{step}").table
    one, other = (
        make(read(runs)).to_pandas().drop(columns="session_seconds", errors="ignore") for runs in (cut, study)
    )
    pd.testing.assert_frame_equal(one, other)  # but for the clock, which seeds that are trained together share


def test_ablations_name_what_they_vary(ablated):
    frame = ablations.table(read(ablated), ["qv", "ffn"]).to_pandas()
    named = frame.drop_duplicates("arm").set_index("arm")[["reference", "variant"]]
    assert named.loc["qv"].tolist() == ["qv", "essay"]
    for place in ("qv", "ffn"):
        for recipe in RECIPES:
            assert named.loc[f"{place}_{recipe}"].tolist() == [place, recipe]


def test_ablations_that_stop_early_are_compared_where_they_stop(tmp_path):
    both = {"qv": ARMS["qv"], "qv_single_phase": ablations_like_the_study()["qv_single_phase"]}
    folders = write_study(tmp_path, both, SMALL)
    path = folders[1] / "facts.parquet"
    write_frame(path, files.read_parquet(path).to_pandas().query("sessions == 2"), FACTS)
    frame = ablations.table(read(folders), ["qv"]).to_pandas()
    assert set(frame["sessions"]) == {2}
    assert set(frame["arm"]) == set(both)


def test_an_ablation_without_its_reference_is_refused(ablated):
    with pytest.raises(AtlasError, match=r"'ffn' .*add that arm") as caught:
        ablations.table(read(ablated), ["qv"])
    assert "\n" not in str(caught.value)


def test_an_own_table_keeps_order_types_and_nulls():
    rows = [dict.fromkeys(columns.BASE_LOSS.names, 1) | {"arm": "qv", "ci_low": float("nan")}]
    table = table_step.as_table(rows, columns.BASE_LOSS)
    assert table.schema == columns.BASE_LOSS
    assert table["ci_low"].null_count == 1


def test_no_path_host_or_time_enters_a_table(study, tmp_path):
    out = run_step("arms", study, tmp_path / "arms.parquet")
    footer = str(pq.read_schema(out).metadata)
    assert str(study[0].parent) not in footer
    assert "2025-01-01" not in footer


def test_the_commit_is_known_in_a_repository_and_not_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(table_step, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert table_step.commit() is None
    for command in (["init"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--allow-empty", "-m", "one"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True, capture_output=True)
    assert re.fullmatch("[0-9a-f]{40}", table_step.commit() or "")
