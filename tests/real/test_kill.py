"""Kill Snakemake, a job, or both: the same command goes on, and in the end everything is as if nothing had happened."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest

from atlas.workflow import interrupts, locks
from tests.real.checkout import STUDY, make
from tests.real.torture import Tormentor, differences, problems

TARGETS = ["results/tables/retention.parquet"]


@pytest.mark.slow
def test_three_kills_at_random_moments_change_nothing(finished, tmp_path):
    tormentor = Tormentor(seed=5, longest=12)
    for fresh in tormentor.rounds(3, lambda number: make(tmp_path / f"round-{number}", STUDY), *TARGETS):
        asked_for = {path.relative_to(fresh.file(".")).as_posix() for path in fresh.file(".").rglob("*.*")}
        assert {f"results/{name}" for name in asked_for} >= set(TARGETS)
        assert asked_for & set(differences(fresh, finished)) == set()
        assert problems(fresh, fresh, *TARGETS) == []
    assert [kill.teaching for kill in tormentor.kills].count(True) >= 1
    assert len(tormentor.kills) == 3


SLOW_BASE = {**STUDY["base"], "training": {"steps": 100_000, "batch": 8}}
TARGET = "results/base/1/base.safetensors"
SAID = "said.log"  # by Snakemake and its job


@contextmanager
def training(checkout):
    """A Snakemake that trains a base for hours, by the time that the training has begun."""
    checkout.configure({**STUDY, "base": SLOW_BASE})
    with checkout.begun(SAID, TARGET) as running:
        try:
            until = time.monotonic() + 180
            while not checkout.file("logs/base/1/pretrain.log").exists():
                assert time.monotonic() < until
                time.sleep(0.1)
            yield running
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)


def test_a_second_snakemake_is_refused_while_the_first_lives_and_goes_on_once_it_is_dead(fresh):
    with training(fresh):
        refused = fresh.snakemake(TARGET)
        assert refused.returncode != 0
        assert "Directory cannot be locked" in refused.stdout
        assert list((fresh.root / ".snakemake" / "locks").glob("*.lock"))
    fresh.configure(STUDY)
    assert list((fresh.root / ".snakemake" / "locks").glob("*.lock"))
    fresh.done(TARGET)
    assert fresh.file("base/1/base.safetensors").exists()


def test_ctrl_c_while_the_plan_is_made_is_one_line(fresh):
    with subprocess.Popen(
        fresh.command("--dry-run"),
        cwd=fresh.root,
        env=fresh.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as planning:
        assert planning.stdout is not None
        assert any("Building DAG" in line for line in planning.stdout)
        planning.send_signal(signal.SIGINT)
        assert planning.stdout.read() == f"atlas: error: {interrupts.SAID}\n"
    assert planning.returncode == interrupts.INTERRUPTED


def test_on_a_full_disk_snakemake_ends_with_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "NEEDED", 2**62)
    with pytest.raises(SystemExit, match=r"the disk is full: .* make space and run the same command to go on"):
        locks.hold(tmp_path / ".snakemake")


def held_by_another(folder, how):
    """A process that holds the lock of the living."""
    folder.mkdir()
    script = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, int(sys.argv[2])); print(1, flush=True)"
    return subprocess.Popen(
        [sys.executable, "-c", script + "; sys.stdin.read()", str(folder / locks.ALIVE), str(how)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def test_locks_of_the_dead_are_removed_and_those_of_the_living_are_not(tmp_path):
    folder = tmp_path / ".snakemake"
    with held_by_another(folder, fcntl.LOCK_SH) as other:
        assert other.stdout is not None
        other.stdout.readline()
        (folder / locks.LOCKS).mkdir()
        lock = folder / locks.LOCKS / "0.output.lock"
        lock.write_text("results/index.html")
        assert locks.hold(folder) == []
        assert lock.exists()
        other.kill()
    for held in locks._held:  # as when the process that held them ends
        os.close(held)
    locks._held.clear()
    assert locks.hold(folder) == [lock]
    assert not lock.exists()
