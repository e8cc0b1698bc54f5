"""Runs that are killed: they go on from the last saved session and end with the bytes of an undisturbed one."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from atlas.ttt import resume
from atlas.ttt.course import Course, RunState, TaughtSession
from atlas.ttt.engine.scoring import Scores
from atlas.ttt.inputs import Inputs
from atlas.ttt.resume import NAME, Saved, packed, unpacked
from atlas.ttt.run_files import read_record
from atlas.ttt.session import Estimates, Learner, Trace
from tests.counting import calls_in
from tests.ttt.tiny_run import arguments, spec, teach

SAME = ("facts.parquet", "matrix.parquet", "adapters.safetensors")


class Killed(BaseException):
    """As a signal is, no exception that anything may handle."""


@contextmanager
def dying_after(monkeypatch, session: int):
    """What teaches inside dies after a session, behind its save."""
    teach_one = Course._teach

    def until(self, at):
        if at > session:
            raise Killed
        teach_one(self, at)

    with monkeypatch.context() as patch:
        patch.setattr(resume, "SHARE", 1e9)  # save after every session
        patch.setattr(Course, "_teach", until)
        with pytest.raises(Killed):
            yield


def killed_after(monkeypatch, inputs, out, session: int, run=None):
    """Teach and die after a session."""
    with dying_after(monkeypatch, session):
        teach(inputs, out, run)


@pytest.mark.parametrize("session", [1, 2, 3])  # before, at and after the first checkpoint
def test_a_killed_run_ends_with_the_same_bytes(run, inputs, tmp_path, monkeypatch, session):
    out = tmp_path / "1-2"
    killed_after(monkeypatch, inputs, out, session)
    assert [path.name for path in out.glob("*.*")] == [NAME]
    teach(inputs, out)
    for name in SAME:
        assert (out / name).read_bytes() == (run / name).read_bytes(), name
    assert read_record(out / "run.json").resumed_after == [session]
    assert read_record(run / "run.json").resumed_after == []
    assert not (out / NAME).exists()


def test_a_run_may_be_killed_twice(run, inputs, tmp_path, monkeypatch):
    out = tmp_path / "1-2"
    killed_after(monkeypatch, inputs, out, 1)
    killed_after(monkeypatch, inputs, out, 3)
    record = read_record(teach(inputs, out) / "run.json")
    assert record.resumed_after == [1, 3]
    assert all((out / name).read_bytes() == (run / name).read_bytes() for name in SAME)


def test_sigkill_at_any_moment_loses_at_most_a_session(inputs, tmp_path):
    """Real processes, killed when a state lies on disk; the last one ends as if alone."""
    long = spec(checkpoints=[2, 4])
    command = [sys.executable, "-m", "atlas.ttt.run", *arguments(inputs, tmp_path / "1-2", long)]
    process = subprocess.Popen(command, env={**os.environ, "ATLAS_PROGRESS": "lines"}, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (tmp_path / "1-2" / NAME).exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    after = teach(inputs, tmp_path / "1-2", long)
    alone = teach(inputs, tmp_path / "alone" / "1-2", long)
    assert all((after / name).read_bytes() == (alone / name).read_bytes() for name in SAME)


@pytest.mark.parametrize("damage", ["truncated", "a byte", "other run", "other kind", "no arrays"])
def test_a_state_that_does_not_fit_is_not_used(run, inputs, tmp_path, monkeypatch, capsys, damage):
    out = tmp_path / "1-2"
    killed_after(monkeypatch, inputs, out, 2)
    state = out / NAME
    if damage == "truncated":
        state.write_bytes(state.read_bytes()[:-50])
    elif damage == "a byte":
        data = bytearray(state.read_bytes())
        data[-9] ^= 1
        state.write_bytes(data)
    elif damage == "other run":
        monkeypatch.setattr(Inputs, "identity", lambda *_: "something else")
    elif damage == "other kind":
        state.write_text("not a state")
    else:
        save_file({}, state)
    teach(inputs, out)
    assert "the run starts from the beginning" in capsys.readouterr().err
    assert all((out / name).read_bytes() == (run / name).read_bytes() for name in SAME)


def test_a_state_of_other_code_is_not_used(inputs, tmp_path, monkeypatch, capsys):
    out = tmp_path / "1-2"
    killed_after(monkeypatch, inputs, out, 2)
    monkeypatch.setattr("atlas.ttt.inputs.code_behind", lambda *_: "edited")
    teach(inputs, out)
    assert "of other code, inputs or settings" in capsys.readouterr().err


@dataclass
class Inner:
    values: np.ndarray
    count: int


@dataclass
class Outer:
    name: float
    inner: list[Inner]
    numbers: list[int]
    tensor: torch.Tensor


@pytest.mark.parametrize("count", [0, 1, 12])
def test_a_tree_of_dataclasses_survives(count):
    tree = Outer(0.1, [Inner(np.arange(i), i) for i in range(count)], list(range(count)), torch.arange(count))
    again = unpacked(Outer, packed(tree))
    assert (again.name, again.numbers) == (0.1, tree.numbers)
    assert [one.count for one in again.inner] == tree.numbers
    torch.testing.assert_close(again.tensor, tree.tensor)
    assert unpacked(Outer, packed(tree), device=torch.device("meta")).tensor.is_meta
    assert all((one.values == np.arange(one.count)).all() for one in again.inner)


def long_state(sessions: int) -> RunState:
    """The state of a run of so many sessions of 3 facts, of 2 lanes."""
    lanes, facts, draw = 2, 3, np.random.default_rng(sessions)

    def scores(count: int) -> Scores:
        return Scores(*(draw.random((lanes, count)).astype(kind) for kind in ("f4", "f4", "?", "?", "f4")))

    taught = [
        TaughtSession(
            at,
            [
                Trace(
                    torch.rand(5, lanes),
                    torch.full([lanes], 5),
                    torch.full([lanes], 60),
                    torch.zeros(lanes, 2, dtype=torch.bool),
                )
                for _ in range(2)
            ],
            draw.random(lanes),
            np.arange(at % 7),
            scores(at % 7),
            scores(facts),
            0.5,
            0.25,
        )
        for at in range(1, sessions + 1)
    ]
    learner = Learner(torch.rand(lanes, 50), [], torch.empty(lanes, 0), torch.empty(lanes, 0, 0, 0))
    known = Estimates(torch.rand(lanes, sessions * facts), torch.zeros(lanes, sessions * facts, dtype=torch.int64))
    return RunState(learner, known, taught)


def test_saving_and_loading_take_as_much_longer_as_a_run_is_and_not_its_square(tmp_path):
    def there_and_back(state: RunState) -> RunState:
        saved = Saved(tmp_path, "id")
        saved.offer(state)
        return saved.load(RunState(state.learner, state.estimates))

    short, long = long_state(50), long_state(400)
    few, many = (calls_in(partial(there_and_back, state)) for state in (short, long))
    assert many < 8 * few
    again = there_and_back(long)
    assert packed(again).keys() == packed(long).keys() == packed(short).keys()
    assert all(np.array_equal(values, packed(long)[name]) for name, values in packed(again).items())
    assert [one.session for one in again.sessions] == list(range(1, 401))


def test_arrays_that_do_not_belong_together_are_refused():
    with pytest.raises(TypeError, match=r"inner\.items\.values: arrays of unlike types"):
        packed(Outer(0.1, [Inner(np.arange(2), 1), Inner(np.ones(2), 1)], [], torch.ones(1)))


def test_saving_takes_its_share_of_the_time_and_no_more(tmp_path, monkeypatch):
    """With a clock of its own: saves cost 1 s, sessions 10 s, so that at 2% one session in five is saved."""
    clock, saves = [0.0], []

    def slow_save(_, path, **__):
        clock[0] += 1
        saves.append(clock[0])
        path.touch()

    monkeypatch.setattr("atlas.ttt.resume.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(resume, "save_file", slow_save)
    saved = Saved(tmp_path, "id")
    for _ in range(100):
        clock[0] += 10
        saved.offer(Inner(np.arange(3), 3))
    assert len(saves) / clock[0] <= 0.02
    assert len(saves) >= 18
