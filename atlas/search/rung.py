"""One rung or closing round of the search for one arm, or a part of it: try the candidates that are due.

For an arm that trains, that is: ``atlas.search.edit_rung`` is the same for those that edit.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
import torch

from atlas.metrics import OF_FACTS, REGISTRY
from atlas.search.halving import TRIALS, neighbours, ranked, read, untried
from atlas.study.jobs import RungSpec
from atlas.ttt.inputs import Given, Inputs
from atlas.ttt.plugged import code_behind
from atlas.ttt.records import base_losses, facts_table
from atlas.ttt.resume import Saved
from atlas.ttt.run import prepare, trainer
from atlas.ttt.session import Teacher
from atlas.workflow import files, progress
from atlas.workflow.allocator import keep_freed_memory
from atlas.workflow.steps import add_spec, environment, parser, run_step


def main(arguments: Sequence[str] | None = None) -> None:
    """Try a rung's candidates by the command line; see ``python -m atlas.search.rung --help``."""
    carry_out("atlas.search.rung", __doc__, trainer, arguments)


@dataclass(frozen=True)
class Trial:
    """What one seed of a candidate gave, as in ``TRIALS``; ``place`` is the candidate's among those of the job."""

    place: int
    seed: int
    n_facts: int
    recall: float
    association: float
    recognition: float
    recognition_placebo: float
    recall_rephrase: float
    val_loss_base: float
    val_loss: float
    characters: int
    core_seconds: float


@dataclass
class Done:
    """The trials of this rung that are finished."""

    trials: list[Trial] = field(default_factory=list)


def carry_out(
    step: str, doc: str | None, teacher: Callable[[Given], Teacher], arguments: Sequence[str] | None = None
) -> None:
    """Try a rung's candidates, whatever teaches: the ``main`` of the module ``step``, whose docstring is ``doc``."""
    options = parser(doc)
    add_spec(options, RungSpec)
    Inputs.add_options(options)
    options.add_argument("--previous", type=Path, nargs="*", default=[], help="trials of all rungs before, all parts")
    options.add_argument("--part", type=int, default=0, help="which of the rung's jobs this is, from 0")
    options.add_argument("--out", type=Path, required=True, help="trials.parquet, to be written")
    args = options.parse_args(arguments)
    spec: RungSpec = args.spec
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    mine = due(spec, args.previous)[args.part :: spec.jobs]
    inputs, scratch = Inputs.of(args), args.out.with_name(f".{args.out.stem}")
    identity = json.dumps([inputs.identity(spec, step, spec.run.method), mine])
    saved = Saved(scratch, identity)
    done = saved.load(Done())
    label = f"round {spec.round}" if spec.round else f"rung {len(spec.rungs) - 1}"
    with progress.tracker(f"search {spec.run.arm} {label}", len(mine)) as tracker:
        for place, (settings, rate) in enumerate(mine):
            if place not in {trial.place for trial in done.trials}:
                one = Saved(scratch / str(place), identity)
                done.trials += attempt(spec, (settings, rate), inputs, teacher, place, one)
                saved.offer(done)
            best = max(trial.recall for trial in done.trials)
            tracker.advance(f"best recall of a seed so far {best:.1%}")
    provenance = {"step": step, "code_digest": code_behind(step, spec.run.method), **environment("torch", "numpy")}
    files.write_parquet(args.out, trials_table(spec, mine, done.trials), provenance)
    if scratch.exists():  # a part may be left without any candidate
        shutil.rmtree(scratch)


def due(spec: RungSpec, previous: Sequence[Path]) -> list[tuple[str, float | None]]:
    """The candidates of this rung, settings and rates: all, or the best of the rung before; of a closing round, what is
    untried beside the best of all rungs and rounds before."""
    if len(spec.rungs) == 1:
        return spec.candidates
    trials = read(previous)
    if spec.round:
        return [*untried(trials)]
    best = ranked(trials[trials["rung"] == len(spec.rungs) - 2]).head(spec.counts[-1])
    return [(settings, None if lr != lr else lr) for settings, lr in zip(best["settings"], best["lr"], strict=True)]


def attempt(
    rung: RungSpec,
    candidate: tuple[str, float | None],
    inputs: Inputs,
    teacher: Callable[[Given], Teacher],
    place: int,
    saved: Saved,
) -> list[Trial]:
    """Teach a candidate and measure it; one trial a seed. ``saved`` keeps its state while it is under way."""
    spec = rung.trial(*candidate)
    ready = prepare(spec, inputs, teacher)
    course = ready.course
    course.run(f"search {spec.arm} {rung.named(*candidate)}", saved)
    losses = {loss.seed: loss for loss in base_losses(course, ready.validation)}
    ready.watch.close()
    saved.discard()
    facts = facts_table(course).to_pandas()
    scores = facts.assign(**{name: score(facts) for name in OF_FACTS if (score := REGISTRY[name].score)})
    # a pool may have no paraphrases, and a template a single answer: what nobody was asked is not a number
    probes = ("taught", "rephrase", "placebo")
    asked = pd.MultiIndex.from_product([spec.seeds, probes])
    shares = scores.groupby(["seed", "probe"])[[*OF_FACTS]].mean().reindex(asked)
    seconds = sum(taught.seconds_train for taught in course.state.sessions)
    trials = []
    for lane, seed in enumerate(spec.seeds):
        taught, rephrased, placebo = (shares.loc[(seed, probe)] for probe in probes)
        trials.append(
            Trial(
                place=place,
                seed=seed,
                n_facts=spec.sessions * spec.facts_per_session,
                recall=float(taught["recall"]),
                association=float(taught["association"]),
                recognition=float(taught["recognition"]),
                recognition_placebo=float(placebo["recognition"]),
                recall_rephrase=float(rephrased["recall"]),
                val_loss_base=losses[seed].base,
                val_loss=losses[seed].adapted,
                characters=sum(int(trace.tokens[lane]) for one in course.state.sessions for trace in one.traces),
                core_seconds=seconds / len(spec.seeds),
            )
        )
    return trials


def trials_table(spec: RungSpec, tried: Sequence[tuple[str, float | None]], trials: Sequence[Trial]) -> pa.Table:
    """The trials of a rung, one row each."""
    where = {"arm": spec.run.arm, "rung": len(spec.rungs) - 1, "round": spec.round, "sessions": spec.rungs[-1]}
    rows = []
    for trial in trials:
        settings, lr = tried[trial.place]
        rates = spec.settings[settings].rates
        below, above = neighbours(rates, lr) if rates and lr else (None, None)
        which = {"candidate": spec.named(settings, lr), "settings": settings}
        found = {key: None if value != value else value for key, value in asdict(trial).items()}  # null for NaN
        run = spec.trial(settings, lr)
        recipe = {"recipe": (run.plugged or run.editing or run.recipe).model_dump_json()}
        rows.append(found | where | which | {"lr": lr, "lr_below": below, "lr_above": above} | recipe)
    return pa.Table.from_pylist(rows, schema=TRIALS)


if __name__ == "__main__":
    run_step(main)
