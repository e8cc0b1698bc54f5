"""What whole runs cost: their checkpoints, their state on disk, and a study of them."""

from __future__ import annotations

import heapq
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from torch import Tensor

from atlas.study.config import Study
from atlas.ttt.course import Course
from atlas.ttt.records import base_losses
from atlas.ttt.resume import Saved
from atlas.ttt.run_files import RunRecord, read_record
from benchmarks.gpu_tasks import ARMS, NEW, TINY, Sizes, course, random_text
from benchmarks.report import Goal
from benchmarks.tasks import CPU

LANES = 4
CHECKPOINTS = "checkpoints: probes and base loss, share of a run"
VALIDATION = 16_384  # tokens whose loss a checkpoint measures
PLACEBO = 380  # as the default study asks
SHARE = 0.08  # of a run, for its checkpoints
STUDY = "runs of the study on {} cores"
STATE_FACTS, STATE_SECONDS = 10_000, 1.0
STUDY_MINUTES = {2: 45.0, 8: 15.0}  # by cores
REPEATS = 3  # of saving and loading


class Unsaved(Saved):
    """Keeps nothing: saving is measured apart."""

    def offer(self, state: object) -> None:
        """Nothing."""


def goals(study: Study, sessions: int, facts: Sequence[int], weights: Mapping[str, Tensor] | None) -> list[Goal]:
    """All goals of whole runs; without sessions, those that take a run of full size are not measured."""
    state = taught("essay", 2, TINY)[0].state
    states = [saved(state, count) for count in facts]
    done = finished(study)
    if not sessions:
        why = "not measured: --sessions 0"
        return [Goal(CHECKPOINTS, "share", SHARE, False, (), why), *states, *whole(study, done, {})]
    short = {arm: taught(arm, sessions, Sizes(study.base.own), weights) for arm in ARMS}
    return [*(checkpoints(arm, *run) for arm, run in short.items()), *states, *whole(study, done, short)]


def finished(study: Study) -> dict[tuple[str, str], RunRecord]:
    """The records of the study's finished runs, by arm and block."""
    paths = {
        (arm, block): Path(study.results, "ttt", arm, block, "run.json")
        for arm in (*study.arms, *study.ablations)
        for block in study.blocks
    }
    return {key: read_record(path) for key, path in paths.items() if path.is_file()}


def taught(arm: str, sessions: int, sizes: Sizes, weights: Mapping[str, Tensor] | None = None) -> tuple[Course, float]:
    """A run of some sessions, with a checkpoint after the last, and its core-seconds."""
    made = course(sizes, CPU, arm, LANES, [sessions], PLACEBO, weights)
    began = time.process_time()
    made.run(f"{arm}, {LANES} lanes", Unsaved(Path(), ""))
    base_losses(made, random_text()[:VALIDATION])
    return made, time.process_time() - began


def checkpoints(arm: str, made: Course, seconds: float) -> Goal:
    """The share of a run that is neither teaching nor the scoring of sessions."""
    sessions = made.state.sessions
    took = sum(each.seconds_train + each.seconds_score for each in sessions)
    source = f"core-seconds of {len(sessions)} sessions of {arm} in {LANES} lanes with a checkpoint at the end"
    return Goal(f"{CHECKPOINTS} ({arm})", "share", SHARE, False, (1 - took / seconds,), source)


def saved(state: Any, facts: int) -> Goal:
    """Core-seconds of saving and loading the state of a run of so many facts."""
    long = replace(state, sessions=list(islice(cycle(state.sessions), -(-facts // NEW))))
    samples = []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            began = time.process_time()
            kept = Saved(Path(folder), "")
            kept.offer(long)
            kept.load(state)
            samples.append(time.process_time() - began)
    what, goal = f"state: save and load at {facts:,} facts", STATE_SECONDS * facts / STATE_FACTS
    return Goal(what, "core-seconds", goal, False, tuple(samples), "sessions of a short run, over and over")


def whole(study: Study, done: dict[tuple[str, str], RunRecord], short: dict[str, tuple[Course, float]]) -> list[Goal]:
    """Minutes of all runs of the study on some cores: the longest job first, each on the core that is free first."""
    jobs, missing = [], 0
    for arm in (*study.arms, *study.ablations):
        for block in study.blocks:
            spec = study.run_spec(arm, block)
            if record := done.get((arm, block)):
                jobs.append(record.seconds * record.threads)
                continue
            missing += 1
            if not spec.recipe.active:
                continue  # the base's own scores are measured once
            if not short:
                continue
            made, seconds = short["recall" if "all" in spec.recipe.active else "essay"]
            jobs.append(seconds / made.spec.sessions * spec.sessions * len(spec.seeds) / LANES)
    if missing and not short:
        why = f"not measured: {missing} runs are not finished in {study.results}, and there is no short run to go by"
        return [Goal(STUDY.format(cores), "minutes", goal, False, (), why) for cores, goal in STUDY_MINUTES.items()]
    total = len(done) + missing
    days = sorted(record.finished.partition("T")[0] for record in done.values())
    found = f"found in {study.results}, finished {days[0]} to {days[-1]}" if days else f"none in {study.results}"
    source = f"{len(done)} of {total} runs by their records ({found})"
    source += ", the others by short runs" if missing else ""
    if missing:
        source = f"estimated: {source} of the same recipe, sessions as long at the end as at first"
    return [
        Goal(STUDY.format(cores), "minutes", goal, False, (makespan(jobs, cores) / 60,), source)
        for cores, goal in STUDY_MINUTES.items()
    ]


def makespan(jobs: Sequence[float], cores: int) -> float:
    """Seconds until all jobs are done."""
    free = [0.0] * cores
    for job in sorted(jobs, reverse=True):
        heapq.heapreplace(free, free[0] + job)
    return max(free)
