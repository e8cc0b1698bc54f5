"""The course of a run: all sessions of one arm for a block of seeds, taught together as lanes.

After each session the teacher goes on from what it knows itself. What a course measures is for the reader alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from atlas.pool.facts import Fact
from atlas.study.jobs import RunSpec
from atlas.ttt.engine.lines import ItemTable
from atlas.ttt.engine.scoring import Scores, score
from atlas.ttt.measured import Measured
from atlas.ttt.probes import Probe, Prober, ProbeScores, associated_by_base, measure
from atlas.ttt.resume import Saved
from atlas.ttt.session import Estimates, Learner, Session, Teacher, Trace, drawn_for
from atlas.workflow import progress


@dataclass(frozen=True)
class TaughtSession:
    """One session as it went. Arrays of scores have a leading lane axis.

    ``traces`` has one for each phase of the teacher, in order, none where it did nothing. ``columns`` are the facts
    that the retention matrix has after this session, int64 (measured,), ``scores`` theirs; ``ahead`` the scores of the
    next session's facts, not taught yet. Seconds are those of all cores on a processor, of the clock on a GPU: of the
    teacher, with all that it measures for its own choices, and of what is measured to be shown.
    """

    session: int
    traces: list[Trace]
    norms: np.ndarray
    columns: np.ndarray
    scores: Scores
    ahead: Scores
    seconds_train: float
    seconds_score: float


@dataclass(frozen=True)
class Checkpoint:
    """What all lanes' probes gave after ``sessions`` sessions, and what they met, (lanes, parameters)."""

    sessions: int
    probed: ProbeScores
    theta: np.ndarray


@dataclass
class RunState:
    """All that a run knows between two sessions: what it goes on from, and what it will report."""

    learner: Learner
    estimates: Estimates
    sessions: list[TaughtSession] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    seconds_before: float = 0.0  # spent by earlier processes that did not come to the end
    resumed_after: list[int] = field(default_factory=list)  # sessions after which the next process went on


@dataclass
class Course:
    """Has a teacher teach, and measures.

    ``measured`` is what the base makes of all that is asked, ``streams`` holds the facts of each lane in the order of
    teaching, ``start`` what all lanes begin with, float32 (1, parameters); None for a fresh adapter a lane.
    """

    spec: RunSpec
    teacher: Teacher
    prober: Prober
    measured: Measured
    streams: Sequence[Sequence[Fact]]
    placebo: Sequence[Fact]
    device: torch.device
    start: Tensor | None = None

    def __post_init__(self) -> None:
        seeds = self.spec.seeds
        self.adapters = self.teacher.adapters  # what teaching changes of the model
        self.phrasings = self.spec.recipe.paraphrases + 1  # in which a fact is taught: its sentence, and paraphrases
        self.items = [self.prober.items(lane) for lane in self.streams]  # facts x phrasings
        self.lines = [lane[:: self.phrasings] for lane in self.items]  # facts as taught
        self.base = self.measured.scores.at(
            self.measured.places([[(fact.fact_id, 0) for fact in lane] for lane in self.streams])
        )  # (lanes, facts)
        fresh = self.adapters.initial(self.spec.base_seed, seeds) if self.start is None else self.start
        theta = fresh.expand(len(seeds), -1).contiguous().to(self.device)
        self.table = ItemTable.of(self.items, self.device)
        self.state = RunState(self.teacher.learner(theta), Estimates.none(self.table))

    @property
    def is_base(self) -> bool:
        """Whether the lanes stay the base: nothing is taught, and nothing was before."""
        return self.start is None and not (self.spec.edits or self.spec.recipe.active)

    @property
    def just_before(self) -> Scores:
        """Every fact just before it was taught, (lanes, facts); those of the first session by the base."""
        first = self.base.lines(slice(self.spec.facts_per_session))
        return Scores.joined([first, *(taught.ahead for taught in self.state.sessions[:-1])])

    @property
    def _theta(self) -> Tensor | None:
        """What the lanes have added by now; None where they are the base."""
        return None if self.is_base else self.state.learner.theta

    def run(self, label: str, saved: Saved) -> None:
        """Teach all sessions that are left and measure at the checkpoints; ``saved`` keeps the state now and then."""
        began = time.perf_counter()
        self.state = saved.load(self.state, self.device)
        before = self.state.seconds_before
        done = len(self.state.sessions)
        if done:
            self.state.resumed_after.append(done)
            progress.say(f"{label}: goes on after session {done}, from {saved.path}")
        with progress.tracker(label, self.spec.sessions, done) as tracker:
            for session in range(done + 1, self.spec.sessions + 1):
                self._teach(session)
                self.state.seconds_before = before + time.perf_counter() - began
                saved.offer(self.state)
                new = self.state.sessions[-1].scores.recalled[:, -self.spec.facts_per_session :]
                tracker.advance(f"recall of new facts {new.mean():.1%}" if new.size else "nothing taught yet")
        if self.is_base:
            self.state.checkpoints = self._untaught()
        self.state.seconds_before = before

    def _teach(self, number: int) -> None:
        """Teach one session, and measure it: all probes at a checkpoint, and the facts of the retention matrix."""
        began = self._clock()
        new = self.spec.facts_per_session
        size, known = new * self.phrasings, new * number
        draw = drawn_for(self.spec.base_seed, self.spec.seeds, number)
        session = Session(self.table, (number - 1) * size, size, self.state.estimates, draw)
        self.state.learner, traces = self.teacher.session(self.state.learner, session)
        seconds = self._clock() - began
        probed, theta = None, self._theta
        if theta is not None and number in self.spec.checkpoints:
            probed = measure(self.adapters, theta, self.probes(number), self.device)
            self.state.checkpoints.append(Checkpoint(number, probed, theta.cpu().numpy()))
        began = self._clock()
        columns, later = np.arange(0), np.arange(known, len(self.lines[0]))[:new]
        if self.teacher.teaches(known):
            every = self.spec.probes.matrix == "all" or number in self.spec.checkpoints or on_schedule(number)
            columns = np.arange(0 if every else known - new, known)
        if probed and len(columns):  # the facts taught so far are the first probes
            shown, ahead = probed.scores.lines(columns), self._score(later, theta)
        else:
            scores = self._score(np.concatenate([columns, later]), theta)
            shown, ahead = (scores.lines(part) for part in (slice(len(columns)), slice(len(columns), None)))
        norms = self.state.learner.theta.norm(dim=1).cpu().numpy()
        spent = seconds, self._clock() - began
        self.state.sessions.append(TaughtSession(number, traces, norms, columns, shown, ahead, *spent))

    def _clock(self) -> float:
        """Core-seconds, which a busy machine does not lengthen; seconds on a GPU, which works beside the processor."""
        if self.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _untaught(self) -> list[Checkpoint]:
        """What probes give at the checkpoints where the lanes stay the base: all at once, since lanes and checkpoints
        ask the same."""
        asked = [self.probes(sessions) for sessions in self.spec.checkpoints]
        every = [probe for lanes in asked for lane in lanes for probe in lane]
        won = iter(associated_by_base(self.adapters, every, self.device))
        found = []
        for sessions, lanes in zip(self.spec.checkpoints, asked, strict=True):
            places = self.measured.of(lanes)
            first = np.ones(places.shape, bool)
            for row, lane in zip(first, lanes, strict=True):
                row[: len(lane)] = [next(won) for _ in lane]
            probed = ProbeScores(self.measured.scores.at(places), first, self.measured.decoded[places])
            found.append(Checkpoint(sessions, probed, self.state.learner.theta.cpu().numpy()))
        return found

    def _score(self, facts: np.ndarray, theta: Tensor | None) -> Scores:
        """Scores of some facts of every lane, by their places in its stream; without ``theta`` those of the base."""
        if theta is None or not len(facts):
            return self.base.lines(facts)
        self.adapters.bind(theta)
        return score(self.adapters, [[lines[i] for i in facts] for lines in self.lines], self.device)

    def probes(self, sessions: int) -> list[list[Probe]]:
        """Every lane's probes after so many sessions."""
        known = sessions * self.spec.facts_per_session
        taught = [lane[:known] for lane in self.streams]
        return [self.prober.probes(facts, self.placebo) + self.prober.beside(facts) for facts in taught]

    def taught_in(self, lane: int) -> dict[str, int]:
        """The session that teaches each fact of a lane, by fact_id."""
        return {fact.fact_id: at // self.spec.facts_per_session + 1 for at, fact in enumerate(self.streams[lane])}


def on_schedule(session: int) -> bool:
    """Whether all taught facts are measured after a session: four an octave, 1 to 8, then 10, 12, 14, 16, 20, 24, ...

    A pass over n facts then stands for n / 4 sessions or more, so what it costs a session does not grow.
    """
    return session % (1 << max(0, session.bit_length() - 3)) == 0
