"""Ctrl-C is one line, whenever it comes, and programs that import Atlas keep what they had."""

import os
import signal
import subprocess
import sys

import pytest

import atlas
from atlas.workflow import interrupts
from tests.real.checkout import REPOSITORY

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
LINE = f"atlas: error: {interrupts.SAID}\n"


@pytest.mark.parametrize(
    ("argv", "original", "own"),
    [
        (["-m"], ["python", "-m", "atlas.ttt.run"], True),
        (["-m", "--out", "x"], ["python", "-X", "importtime", "-m", "atlas.ttt.run", "--out", "x"], True),
        (["/venv/bin/atlas", "show"], ["/venv/bin/python", "/venv/bin/atlas", "show"], True),
        (["-m"], ["python", "-m", "mine.that_imports_atlas"], False),
        (["-m"], ["python", "-m", "atlas_of_mine"], False),
        (["/venv/bin/snakemake"], ["python", "/venv/bin/snakemake"], False),
        (["notebook.py"], ["python", "notebook.py"], False),
        (["-c"], ["python", "-c", "import atlas"], False),
        ([""], ["python"], False),
        ([], [], False),
    ],
)
def test_only_steps_and_the_command_take_part(argv, original, own):
    assert atlas._is_own(argv, original) is own


@pytest.mark.parametrize("moment", ["atlas", "pydantic.main", "torch._C", "atlas.ttt.course"])
def test_a_step_that_is_interrupted_during_its_imports_ends_with_one_line(moment):
    """Python says on stderr which module it has just imported."""
    command = [sys.executable, "-X", "importtime", "-m", "atlas.ttt.run", "--help"]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as step:
        assert step.stderr is not None
        assert any(line.rstrip().endswith(f" {moment}") for line in step.stderr)
        step.send_signal(signal.SIGINT)
        said = [line for line in step.stderr if not line.startswith("import time:")]
    assert said == [LINE]
    assert step.returncode == interrupts.INTERRUPTED


def ended(body, *, own=True):
    """How a process ended whose step has this main, and what it said."""
    script = (
        "import os, signal, sys\nfrom atlas.workflow import interrupts, steps\n"
        + ("interrupts.end_at_once()\n" if own else "")
        + f"def main():\n    exec({body!r})\nsteps.run_step(main)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_a_step_in_which_the_interrupt_gets_lost_ends_all_the_same():
    lost = (
        "steps.interrupts.raise_once(1)\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept BaseException: pass\n"
        "import time; time.sleep(60)"
    )
    assert ended(lost) == (interrupts.INTERRUPTED, LINE)


CTRL_C = "os.kill(os.getpid(), signal.SIGINT)"


@pytest.mark.parametrize(
    "body",
    [
        CTRL_C,
        f"try: {CTRL_C}\nexcept KeyboardInterrupt: raise ImportError('numpy: no such thing')",
        f"try: {CTRL_C}\nexcept KeyboardInterrupt: {CTRL_C}",
    ],
    ids=["in a step", "taken for another error", "twice"],
)
def test_a_step_that_is_interrupted_at_its_work_ends_with_one_line(body):
    assert ended(body) == (interrupts.INTERRUPTED, LINE)


def test_a_step_clears_up_when_it_is_interrupted(tmp_path):
    body = f"from atlas.workflow import files\nwith files.whole({str(tmp_path / 'x')!r}): {CTRL_C}"
    assert ended(body) == (interrupts.INTERRUPTED, LINE)
    assert list(tmp_path.iterdir()) == []


def test_other_programs_keep_their_own_way():
    code, said = ended("raise ValueError(signal.getsignal(signal.SIGINT))", own=False)
    assert code == 1
    assert "default_int_handler" in said
    ignored = f"signal.signal(signal.SIGINT, signal.SIG_IGN); interrupts.end_at_once(); {CTRL_C}"
    assert ended(ignored, own=False) == (0, "")
