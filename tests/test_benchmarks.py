"""The benchmarks run through: with tiny sizes, on a processor."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from atlas.errors import AtlasError
from atlas.study.config import study as validated
from benchmarks import report, runs
from benchmarks.engine import agree
from benchmarks.gpu_report import goals as gpu_goals
from benchmarks.gpu_tasks import TINY
from benchmarks.report import Goal
from benchmarks.tasks import Setting
from tests.synthetic import Design, SyntheticArm, record_of

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_gpu_benchmark_fills_every_section(tmp_path):
    done = subprocess.run(
        [ROOT / "benchmarks/gpu.sh", "--tiny", "--out", tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(tmp_path / "gpu.parquet").to_pylist()
    assert {row["section"] for row in rows} == {"equality", "peak", "steps", "profile", "sessions"}
    for row in rows:
        refused = "has no instructions for it" in (row["note"] or "")  # of bfloat16, on an old processor
        assert refused or "failed" not in (row["note"] or ""), row
    assert all(row["value"] < 1e-6 for row in rows if row["section"] == "equality")
    said = (tmp_path / "gpu.md").read_text()
    assert "no card: the processor" in said
    assert "| small: facts a second of 8 lanes | - | at least 5 times peft | - | not measured |" in said
    assert all(f"| {engine} | {name} |" in said for engine in ("atlas", "peft") for name in ("fp32", "tf32", "bf16"))


def test_without_a_card_the_gpu_benchmark_says_what_runs(tmp_path):
    done = subprocess.run(
        [ROOT / "benchmarks/gpu.sh", "--out", tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "atlas: error: torch sees no CUDA card here; --tiny runs through on the processor"
    )


ABOUT = {"versions": dict.fromkeys(("torch", "transformers", "peft"), "1"), "started": "then", "finished": "now"}


def test_goals_are_written_with_spreads_and_what_is_not_measured_says_why(tmp_path):
    goals = [
        Goal("steps", "times PEFT", 1.5, True, (1.0, 2.0, 3.0), "pairs"),
        Goal("state", "core-seconds", 1.0, False, (2.0,), "files"),
        Goal("reduced", "times PEFT", 2.2, True, (), "not measured: no instructions"),
    ]
    report.write(tmp_path, goals, ABOUT)
    rows = pq.read_table(tmp_path / "goals.parquet").to_pylist()
    assert [row["reached"] for row in rows] == [True, False, None]
    assert [rows[0][name] for name in ("q1", "measured", "q3")] == [1.5, 2.0, 2.5]
    said = (tmp_path / "engine.md").read_text()
    assert "| steps | 2 (1.5 to 2.5) | at least 1.5 times PEFT | yes | pairs |" in said
    assert "| reduced | - | at least 2.2 times PEFT | - | not measured: no instructions |" in said
    assert "1 of 3 goals of the engine are reached" in (tmp_path / "goals.json").read_text()


def test_the_cost_of_short_runs_is_measured():
    made, seconds = runs.taught("essay", 2, TINY)
    (share,) = runs.checkpoints("essay", made, seconds).samples
    assert 0 < share < 1
    assert len(runs.saved(made.state, 30).samples) == runs.REPEATS


def test_what_a_study_takes_says_which_runs_it_knows_by_their_records_and_since_when():
    made = validated({"arms": {"qv": {"targets": ["q", "v"]}}, "seeds": [1, 2], "checkpoints": [1]}, origin="a test")
    done = {("qv", block): record_of("qv", SyntheticArm(), [int(block)], Design()) for block in made.blocks}
    (two, _) = runs.whole(made, done, {})
    assert two.samples == (100 / 60,)
    assert two.source == "2 of 2 runs by their records (found in results, finished 2025-01-01 to 2025-01-01)"
    (two, _) = runs.whole(made, {}, {})
    assert two.source == "not measured: 2 runs are not finished in results, and there is no short run to go by"


def test_jobs_go_to_the_core_that_is_free_first():
    assert runs.makespan([3, 3, 2, 2, 2], 2) == 7
    assert runs.makespan([5], 8) == 5


def test_engines_that_compute_different_things_are_not_compared():
    with pytest.raises(AtlasError, match=r"Atlas has 1\.0+ at \(1,\), PEFT 1\.1"):
        agree(Setting("step", "qv", 1, 3), np.array([1.0, 1.0]), np.array([1.0, 1.1]), 0.01)


def test_a_card_is_held_against_peft_and_cores():
    step = {"section": "steps", "model": "small", "facts": 3, "precision": "fp32"}
    rows = [
        {**step, "engine": "peft", "lanes": 1, "facts_per_second": 10.0},
        {**step, "engine": "atlas, one core", "lanes": 8, "facts_per_second": 1.0},
        {**step, "engine": "atlas", "lanes": 8, "facts_per_second": 40.0},
        {**step, "engine": "atlas", "lanes": 64, "facts_per_second": 200.0},
    ]
    assert [goal.row["reached"] for goal in gpu_goals(rows)] == [True, False, None]
