"""How many GPUs a process would see, by what stands in its environment and what nvidia-smi lists."""

from __future__ import annotations

import os
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
