"""One trial: a recipe, or an editor's settings, tried for some sessions on the tuning seeds, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from atlas.study.jobs import RunSpec
from atlas.ttt.inputs import Given, Inputs, prepare
from atlas.ttt.records import facts_table
from atlas.ttt.resume import Saved
from atlas.ttt.schema import PROBES
from atlas.ttt.teacher import Teacher


@dataclass(frozen=True)
class Trial:
    """What one seed of a candidate gave, in the order of ``atlas.search.schema.TRIALS``; ``candidate`` is its place."""

    candidate: int
    seed: int
    recall: float
    ranked: float
    recognition: float
    recognition_placebo: float
    recall_rephrase: float
    val_loss_base: float
    val_loss: float
    characters: int
    core_seconds: float


def attempt(
    spec: RunSpec, inputs: Inputs, teacher: Callable[[Given], Teacher], place: int, saved: Saved
) -> list[Trial]:
    """Teach a candidate and measure it; one trial a seed. ``saved`` keeps its state while it is under way."""
    setting = prepare(spec, inputs, teacher)
    course = setting.course
    course.run(f"search {spec.arm} candidate {place}", saved)
    base_loss = {loss.seed: loss for loss in setting.base_loss()}
    setting.watch.close()
    saved.discard()
    facts = facts_table(course).to_pandas()
    shares = facts.groupby(["seed", "probe"])[["recalled", "ranked", "recognised"]].mean()
    seconds = sum(taught.seconds_train + taught.seconds_score for taught in course.state.sessions)
    trials = []
    for lane, seed in enumerate(spec.seeds):
        taught, rephrased, placebo = (shares.loc[(seed, probe)] for probe in PROBES)
        trials.append(
            Trial(
                candidate=place,
                seed=seed,
                recall=float(taught["recalled"]),
                ranked=float(taught["ranked"]),
                recognition=float(taught["recognised"]),
                recognition_placebo=float(placebo["recognised"]),
                recall_rephrase=float(rephrased["recalled"]),
                val_loss_base=base_loss[seed].base,
                val_loss=base_loss[seed].adapted,
                characters=sum(int(trace.characters[lane]) for one in course.state.sessions for trace in one.traces),
                core_seconds=seconds / len(spec.seeds),
            )
        )
    return trials
