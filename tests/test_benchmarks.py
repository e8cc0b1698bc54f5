"""The benchmarks run through: with tiny sizes, on a processor."""

import os
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

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
        failed = row["note"] is not None and "failed" in row["note"]
        assert failed == (row["engine"] == "atlas" and row["precision"] == "bf16"), row
    assert all(row["value"] < 1e-6 for row in rows if row["section"] == "equality")
    said = (tmp_path / "gpu.md").read_text()
    assert "no card: the processor" in said
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
