"""The course of a run: all sessions of one arm for a block of seeds, trained together as lanes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from atlas import progress
from atlas.config import RunSpec
from atlas.draws import rng
from atlas.pool.facts import Fact
from atlas.ttt.lines import Line
from atlas.ttt.lora import Adapters
from atlas.ttt.probes import Dated, Measured, Probe, Prober, measure
from atlas.ttt.recipe import Trace, Trainer, rehearse
from atlas.ttt.scoring import LanguageModel, Scores, score


@dataclass(frozen=True)
class Taught:
    """One session as it went. Arrays have a leading lane axis.

    ``scores`` covers every fact taught by then, ``ahead`` the facts of the next session, not taught yet.
    """

    session: int
    fast: Trace
    slow: Trace
    norms: np.ndarray
    scores: Scores
    ahead: Scores
    seconds_train: float
    seconds_score: float


@dataclass(frozen=True)
class Checkpoint:
    """What was measured after ``sessions`` sessions: every lane's probes, and the adapters they met."""

    sessions: int
    probes: list[list[Probe]]
    measured: Measured
    theta: Tensor


@dataclass
class Course:
    """Teaches and measures. ``streams`` holds the facts of each lane in the order of teaching."""

    spec: RunSpec
    model: LanguageModel
    adapters: Adapters
    prober: Prober
    streams: Sequence[Sequence[Fact]]
    placebo: Sequence[Fact]
    device: torch.device
    sessions: list[Taught] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.trainer = Trainer(self.model, self.adapters, self.spec.recipe, self.device)
        self.lines = [[self.prober.taught_line(fact) for fact in lane] for lane in self.streams]
        self.adapters.bind(None)
        self.base = score(self.model, self.lines, self.device)  # (lanes, facts), the base without adapters

    def run(self, label: str) -> Tensor:
        """Teach all sessions, measure at the checkpoints, and return the adapters, (lanes, parameters)."""
        theta = self.adapters.initial(self.spec.base_seed, self.spec.seeds).to(self.device)
        with progress.tracker(label, self.spec.sessions) as tracker:
            for session in range(1, self.spec.sessions + 1):
                theta = self._teach(theta, session)
                if session in self.spec.checkpoints:
                    self.checkpoints.append(self._measure(theta, session))
                tracker.advance(f"recall {self.sessions[-1].scores.recalled.mean():.1%}")
        return theta

    def _teach(self, theta: Tensor, session: int) -> Tensor:
        started = time.perf_counter()
        size = self.spec.facts_per_session
        stored, known = (session - 1) * size, session * size
        theta, fast, slow = self.trainer.session(
            theta,
            new=[lane[stored:known] for lane in self.lines],
            rehearsed=self._rehearsed(session),
            orders=[self._draw(seed, session, "order") for seed in self.spec.seeds],
        )
        trained = time.perf_counter()
        self.adapters.bind(theta)
        scores = score(self.model, [lane[: known + size] for lane in self.lines], self.device)
        norms = theta.norm(dim=1).cpu().numpy()
        spent = trained - started, time.perf_counter() - trained
        now, ahead = scores.lines(slice(known)), scores.lines(slice(known, None))
        self.sessions.append(Taught(session, fast, slow, norms, now, ahead, *spent))
        return theta

    @property
    def before(self) -> Scores:
        """Every fact of the sessions so far just before it was taught, (lanes, facts); the first ones by the base."""
        first = self.base.lines(slice(self.spec.facts_per_session))
        return reduce(Scores.followed_by, (taught.ahead for taught in self.sessions[:-1]), first)

    def _rehearsed(self, session: int) -> list[list[Line]]:
        if session == 1:
            return [[] for _ in self.lines]
        last = self.sessions[-1].scores
        losses = last.answer_nll if self.spec.recipe.loss == "answer" else last.nll
        picks = [
            rehearse(self.spec.recipe.rehearsal, lane, self._draw(seed, session, "rehearsal"))
            for seed, lane in zip(self.spec.seeds, losses, strict=True)
        ]
        return [[lane[i] for i in pick] for lane, pick in zip(self.lines, picks, strict=True)]

    def _draw(self, seed: int, session: int, purpose: str) -> np.random.Generator:
        return rng(self.spec.base_seed, seed, session, purpose)

    def _measure(self, theta: Tensor, sessions: int) -> Checkpoint:
        known = sessions * self.spec.facts_per_session
        placebo = [Dated(fact, None) for fact in self.placebo]
        probes = [self.prober.probes(self.dated(lane)[:known], placebo) for lane in self.streams]
        measured = measure(self.model, self.adapters, theta, probes, self.device)
        return Checkpoint(sessions, probes, measured, theta.clone())

    def dated(self, lane: Sequence[Fact]) -> list[Dated]:
        """The facts of a lane with the sessions that teach them."""
        return [Dated(fact, i // self.spec.facts_per_session + 1) for i, fact in enumerate(lane)]
