"""Measure the engine against its goals: steps beside PEFT's, checkpoints, the state of a run, a whole study."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.guard.formats import read_tensors
from atlas.pool.build import build
from atlas.study.config import Study, load
from atlas.study.jobs import Precision
from atlas.ttt.engine.products import require
from atlas.workflow import progress
from atlas.workflow.allocator import keep_freed_memory
from atlas.workflow.steps import environment, now, parser, run_step
from benchmarks import report, runs
from benchmarks.baseline import Peft, fastest
from benchmarks.engines import Atlas, Engine
from benchmarks.report import Goal
from benchmarks.tasks import Setting, Task, task

LANES = 4
STEP_GOALS: Mapping[Precision, Mapping[int, float]] = {"float32": {3: 1.75, 32: 1.5}, "bfloat16": {3: 2.2, 32: 1.8}}
"""Facts of a batch, a lane: how many times PEFT's facts per second."""
TOLERANCE = 1e-5  # nats per character
ROUNDED = 2e-2  # the same with products in bfloat16, of the first step
CHECKED_STEPS = 4
EXACT = "sdpa"  # the kernel of transformers that computes in float64 what is asked in float64


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark by the command line; see ``python -m benchmarks.engine --help``."""
    args = _parse(arguments)
    torch.set_num_threads(1)
    keep_freed_memory()  # as every run does
    study, started = load(args.config), now()
    if unknown := [arm for arm in args.arms if arm not in study.arms]:
        raise AtlasError(f"--arms: {unknown[0]!r} is not an arm of {args.config}; it has {', '.join(study.arms)}")
    weights = read_tensors(args.checkpoint) if args.checkpoint else None
    goals = steps(study, weights, args.arms, args.rounds)
    goals += runs.goals(study, args.sessions, args.facts, weights)
    about = {"base": str(args.checkpoint), "started": started, "finished": now()}
    report.write(args.out, goals, {**about, **environment("torch", "transformers", "peft", "numpy")})


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--config", type=Path, default=Path("config.yaml"), help="study with the arms")
    options.add_argument("--arms", nargs="+", default=["qv", "ffn"], help="arms whose steps are timed")
    options.add_argument("--rounds", type=int, default=15, help="pairs of samples of each step")
    options.add_argument("--sessions", type=int, default=30, help="of the runs that are timed; 0: none")
    options.add_argument("--facts", type=int, nargs="+", default=[1000, 10000], help="of the states saved and loaded")
    options.add_argument("--checkpoint", type=Path, help="base.safetensors; without it a fresh initialisation")
    options.add_argument("--quick", action="store_true", help="fewer of all, in about a minute")
    options.add_argument("--out", type=Path, default=Path("results/bench"), help="folder for table and chart")
    args = options.parse_args(arguments)
    if args.quick:
        args.rounds, args.sessions, args.facts = min(args.rounds, 3), 0, args.facts[:1]
    return args


def steps(study: Study, weights: dict[str, Tensor] | None, arms: Sequence[str], rounds: int) -> list[Goal]:
    """Training steps, in each precision, beside PEFT's in float32.

    Raises AtlasError where losses differ: engines that compute different things are not compared.
    """
    facts, found = build(study.pool), []
    for precision, by_facts in STEP_GOALS.items():
        for count, goal in by_facts.items():
            for arm in arms:
                what = f"step of {arm} in {precision}, {LANES} x {count} facts"
                try:
                    require(precision, gpu=False)
                except AtlasError as error:
                    found.append(Goal(what, "times PEFT", goal, True, (), f"not measured: {error}"))
                    continue
                plain = task(Setting("step", arm, LANES, count), study, facts, weights)
                samples, kernel = _compared(plain, precision, rounds)
                source = f"CPU time of pairs in turns; PEFT in float32, attention {kernel}"
                found.append(Goal(what, "times PEFT", goal, True, samples, source))
                progress.say(str(found[-1]))
    return found


def _compared(plain: Task, precision: Precision, rounds: int) -> tuple[tuple[float, ...], str]:
    """How many times PEFT's facts per second Atlas does, round by round; the kernel of PEFT's attention."""
    setting = plain.setting
    ours = plain.in_precision(precision)
    exact = plain.exact()
    agree(setting, Atlas(exact).steps(CHECKED_STEPS), Peft(exact, EXACT).steps(CHECKED_STEPS), TOLERANCE)
    kernel, baseline = fastest(plain)
    engines: dict[str, Engine] = {"atlas": Atlas(ours), "peft": baseline}
    agree(setting, engines["atlas"].steps(1), baseline.steps(1), TOLERANCE if precision == "float32" else ROUNDED)
    works = {name: partial(made.steps, setting.steps) for name, made in engines.items()}
    draw = rng("benchmarks", "rounds")
    timed = [in_turns(works, draw) for _ in range(rounds)]
    return tuple(seconds["peft"] / seconds["atlas"] for seconds in timed), kernel


def in_turns(works: Mapping[str, Callable[[], object]], draw: np.random.Generator) -> dict[str, float]:
    """Do everything once, in random order; core-seconds of each, which a busy machine does not lengthen."""
    names, seconds = list(works), {}
    for i in draw.permutation(len(names)):
        began = time.process_time()
        works[names[i]]()
        seconds[names[i]] = time.process_time() - began
    return seconds


def agree(setting: Setting, ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> None:
    """AtlasError where two engines' losses differ by more than the tolerance, or are not numbers."""
    if ours.shape != theirs.shape:
        raise AtlasError(f"{setting}: losses of shapes {ours.shape} and {theirs.shape}; nothing was timed")
    near = np.abs(ours.astype(np.float64) - theirs) <= tolerance
    if not near.all():
        at = tuple(int(i) for i in np.argwhere(~near)[0])
        raise AtlasError(
            f"{setting}: Atlas has {ours[at]:.7f} at {at}, PEFT {theirs[at]:.7f}, expected the same to {tolerance:g} "
            "nats per character; nothing was timed"
        )


if __name__ == "__main__":
    run_step(main)
