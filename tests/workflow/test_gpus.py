"""How many GPUs a process would see, by what stands in its environment and what nvidia-smi lists."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from atlas.workflow import gpus


def nvidia_smi(root: Path, cards: int) -> Path:
    """A folder with a program of that name that lists some cards."""
    program = root / "bin" / "nvidia-smi"
    program.parent.mkdir()
    lines = [f"echo 'GPU {card}: NVIDIA A100 (UUID: GPU-{card})'; echo '  MIG 1g.5gb'" for card in range(cards)]
    program.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    program.chmod(0o755)
    return program.parent


@pytest.mark.parametrize(
    ("shown", "seen"),
    [(None, 2), ("", 0), ("0", 1), ("1, 0", 2), ("-1", 0), ("0,-1,1", 1), ("GPU-1", 1), ("0,1,2,3", 2)],
)
def test_cuda_visible_devices_chooses_of_what_nvidia_smi_lists(tmp_path, monkeypatch, shown, seen):
    monkeypatch.setenv("PATH", str(nvidia_smi(tmp_path, 2)), prepend=os.pathsep)
    assert gpus.count({} if shown is None else {"CUDA_VISIBLE_DEVICES": shown}) == seen


def test_without_nvidia_smi_what_is_named_is_believed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.count({}) == 0
    assert gpus.count({"CUDA_VISIBLE_DEVICES": "0,1"}) == 2


def test_jobs_take_cards_that_no_other_job_has(tmp_path):
    cards = ["GPU-1", "GPU-2"]
    script = f"from atlas.workflow import gpus; print(gpus.take({cards}, {str(tmp_path)!r}), flush=True); input()"
    command = [sys.executable, "-c", script]
    taken = []
    jobs = []
    for _ in range(3):
        jobs.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert jobs[-1].stdout
        taken.append(int(jobs[-1].stdout.readline()))
    assert taken == [0, 1, 0]  # more jobs than cards: the first one is shared
    jobs[1].communicate("\n")
    assert gpus.take(cards, str(tmp_path)) == 1
    for job in (jobs[0], jobs[2]):
        job.communicate("\n")
