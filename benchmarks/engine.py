"""Compare Atlas's engine with transformers and PEFT: the same batches, the same losses, then time and memory."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.guard.formats import read_tensors
from atlas.pool.build import build
from atlas.study.config import Study, load
from atlas.workflow import progress
from atlas.workflow.steps import environment, now, parser, run_step
from benchmarks import flops, measure, report
from benchmarks.baseline import Peft, fastest
from benchmarks.engines import Atlas, Engine, sample
from benchmarks.tasks import Setting, Task, task

TOLERANCE = 1e-5  # nats per character
CHECKED_STEPS = 4  # of the work `step`; a session has some thirty
EXACT = "sdpa"  # the kernel of transformers that computes in float64 what is asked in float64


@dataclass(frozen=True)
class Contest:
    """One setting, ready to be timed: both engines, what they need at most in MiB, and what is necessary."""

    task: Task
    engines: dict[str, Engine]
    memory: dict[str, float | None]
    kernel: str
    difference: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark by the command line; see ``python -m benchmarks.engine --help``."""
    args = _parse(arguments)
    torch.set_num_threads(args.threads)
    study = load(args.config)
    started, weights = now(), read_tensors(args.checkpoint) if args.checkpoint else None
    contests = [prepared(each) for each in tasks(args, study, weights)]
    product = measure.fastest_sgemm()
    samples = timed(contests, product, args.rounds)
    about = {"threads": args.threads, "base": str(args.checkpoint), "started": started, "finished": now()}
    report.write(args.out, samples, {**about, **environment("torch", "transformers", "peft", "numpy")})


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--config", type=Path, default=Path("config.yaml"), help="study with the arms")
    options.add_argument("--arms", nargs="+", default=["qv", "ffn", "qv_ffn"], help="arms of the study")
    options.add_argument("--lanes", type=int, nargs="+", default=[1, 4, 16], help="seeds trained together")
    options.add_argument("--facts", type=int, nargs="+", default=[3, 12, 32], help="facts of a batch, a lane")
    options.add_argument("--session-lanes", type=int, nargs="*", default=[4], help="lanes of sessions and scoring")
    options.add_argument("--scored", type=int, default=96, help="facts of a scoring pass, a lane")
    options.add_argument("--rounds", type=int, default=5, help="samples of each engine and setting")
    options.add_argument("--threads", type=int, default=1, help="processor threads, the same for both")
    options.add_argument("--checkpoint", type=Path, help="base.safetensors; without it a fresh initialisation")
    options.add_argument("--quick", action="store_true", help="a few settings, in about a minute")
    options.add_argument("--out", type=Path, default=Path("results/bench"), help="folder for tables and chart")
    args = options.parse_args(arguments)
    if args.quick:
        args.arms, args.lanes, args.facts, args.rounds = args.arms[:2], [4], [3, 32], 3
    return args


def tasks(args: argparse.Namespace, study: Study, weights: dict[str, Tensor] | None) -> Iterator[Task]:
    """All comparisons that are asked for. AtlasError where an arm is not in the study."""
    if unknown := [arm for arm in args.arms if arm not in study.arms]:
        raise AtlasError(f"--arms: {unknown[0]!r} is not an arm of {args.config}; it has {', '.join(study.arms)}")
    facts = build(study.pool)
    for arm in args.arms:
        for lanes in args.lanes:
            for count in args.facts:
                yield task(Setting("step", arm, lanes, count), study, facts, weights)
        session = study.facts_per_session + rehearsed(study, arm)
        for lanes in args.session_lanes:
            yield task(Setting("session", arm, lanes, session), study, facts, weights)
            yield task(Setting("score", arm, lanes, args.scored), study, facts, weights)


def rehearsed(study: Study, arm: str) -> int:
    """Stored facts of a session, the most of any phase."""
    phases = study.recipe_of(arm).active.values()
    return max((phase.rehearsal.facts for phase in phases if phase.rehearsal), default=0)


def prepared(each: Task) -> Contest:
    """Build both engines and hold their results against each other.

    Raises AtlasError where a loss differs by more than the tolerance: engines that compute different things are not
    compared.
    """
    kernel, baseline = fastest(each)
    exact = each.exact()
    difference = agree(
        each.setting, *(sample(engine, exact, CHECKED_STEPS) for engine in (Atlas(exact), Peft(exact, EXACT)))
    )
    engines: dict[str, Engine] = {"atlas": Atlas(each), "peft": baseline}
    runs = {name: measure.with_peak(partial(sample, engine, each, CHECKED_STEPS)) for name, engine in engines.items()}
    firsts = (found[:1] if each.setting.work != "score" else found for found, _ in runs.values())
    difference = max(difference, agree(each.setting, *firsts))
    progress.say(f"{each.setting}: losses agree to {difference:.1e} nats")
    return Contest(each, engines, {name: mib for name, (_, mib) in runs.items()}, kernel, difference)


def agree(setting: Setting, ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference of two engines' results. AtlasError where it is beyond the tolerance or not a number."""
    if ours.shape != theirs.shape:
        raise AtlasError(f"{setting}: results of shapes {ours.shape} and {theirs.shape}; nothing was timed")
    differences = np.abs(ours.astype(np.float64) - theirs)
    if not (differences <= TOLERANCE).all():
        at = tuple(int(i) for i in np.argwhere(~(differences <= TOLERANCE))[0])
        raise AtlasError(
            f"{setting}: Atlas has {ours[at]:.7f} at {at}, PEFT {theirs[at]:.7f}, expected the same to {TOLERANCE:g} "
            "nats per character; nothing was timed"
        )
    return float(differences.max())


def timed(contests: Sequence[Contest], product: measure.Sgemm, rounds: int) -> pd.DataFrame:
    """Samples of all contests, an engine a row; each round goes through all of them in an order of its own."""
    draw, rows = rng("benchmarks", "rounds"), []
    with progress.tracker("benchmark", rounds * len(contests)) as tracker:
        for number in range(rounds):
            for i in draw.permutation(len(contests)):
                rows += _round(contests[i], product, number, draw)
                tracker.advance(str(contests[i].task.setting))
    return pd.DataFrame(rows)


def _round(contest: Contest, product: measure.Sgemm, number: int, draw: np.random.Generator) -> list[dict[str, object]]:
    each, setting = contest.task, contest.task.setting
    works = {name: partial(sample, engine, each) for name, engine in contest.engines.items()}
    seconds = measure.in_turns({**works, "sgemm": product}, draw)
    shared = {
        "work": setting.work,
        "arm": setting.arm,
        "lanes": setting.lanes,
        "facts": setting.facts,
        "round": number,
        "tokens": each.tokens,
        "flops": flops.of_task(each),
        "sgemm": product.flops / seconds["sgemm"],
        "kernel": contest.kernel,
        "difference": contest.difference,
    }
    return [{**shared, "engine": name, "seconds": seconds[name], "mib": contest.memory[name]} for name in works]


if __name__ == "__main__":
    run_step(main)
