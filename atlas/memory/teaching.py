"""Teaching a memory: sessions of a few facts each, by the engine and the recipes of a study, as one lane of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from pydantic import ValidationError

from atlas.errors import AtlasError
from atlas.memory import foundation, intake, store
from atlas.memory.foundation import Foundation, LoadedBase, TrainingText
from atlas.memory.store import KeptFact, Manner, MemoryRecord, PastSession, State
from atlas.phrases import plural
from atlas.pool.facts import Fact
from atlas.study.arm import Arm, check_arm
from atlas.study.jobs import Device
from atlas.study.recipes import PRESETS, Recipe
from atlas.study.settings import BETWEEN, mistakes
from atlas.study.tuning import at_rate, rate_of
from atlas.ttt.engine.lanes import chosen
from atlas.ttt.engine.lines import ItemTable
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.engine.scoring import score
from atlas.ttt.inputs import PACKAGES, computed_on
from atlas.ttt.probes import Prober
from atlas.ttt.recipe import Trainer, most_steps
from atlas.ttt.session import Estimates, Session, drawn_for
from atlas.workflow import locks, progress
from atlas.workflow.digest import code_digest
from atlas.workflow.steps import environment, now

TARGETS = ["q", "k", "v", "o", "up", "down"]
RANKS = 7  # at all six roles, of the study's places the one that keeps most for its size
ALPHA = 32.0
SEED = 1


@dataclass(frozen=True)
class Wishes:
    """What a user asks of a memory; None: as it was begun, or as by default where it is new."""

    model: Path | None = None
    corpus: Path | None = None
    preset: str | None = None
    targets: list[str] | None = None
    ranks: list[int] | None = None
    lr: float | None = None
    seed: int | None = None
    facts_per_session: int = 3
    again: bool = False
    device: Device = "cpu"
    threads: int = 1


def manner(wishes: Wishes, base: LoadedBase) -> Manner:
    """How a new memory is taught. AtlasError that names every option that does not fit."""
    name = wishes.preset or "recall"
    if name not in PRESETS:
        raise AtlasError(f"--preset {name}: no such recipe; there are {', '.join(PRESETS)}")
    recipe, has = Recipe.model_validate({"preset": name}), base.model.roles.roles
    ranks = wishes.ranks or [RANKS]
    try:
        arm = Arm.model_validate(
            {
                "targets": wishes.targets or [role for role in TARGETS if role in has],
                "ranks": ranks[0] if len(ranks) == 1 else ranks,
            }
        )
        problems = [line.removeprefix(".") for line in check_arm("", arm, base.model.config)]
    except ValidationError as error:
        problems = mistakes(error)
    if wishes.lr is not None and not 0 < wishes.lr < 1:
        problems.append(f"lr {wishes.lr:g}: expected a rate above 0 and below 1")
    if problems:
        raise AtlasError(BETWEEN.join(f"--{problem}" for problem in problems))
    chosen(base.model, arm.targets)  # raises where there are none
    return Manner(
        targets=arm.targets,
        ranks=arm.ranks_in(base.model.config),
        alpha=ALPHA,
        recipe=at_rate(recipe, wishes.lr),
        seed=SEED if wishes.seed is None else wishes.seed,
        base_seed=base.settings.seed,
    )


def must_agree(wishes: Wishes, record: MemoryRecord, folder: Path) -> None:
    """Raise AtlasError, naming every option, where a memory was begun in another manner than is asked for now."""
    begun = record.manner
    ranks = wishes.ranks * len(begun.ranks) if wishes.ranks and len(wishes.ranks) == 1 else wishes.ranks
    asked = {
        "preset": (wishes.preset, begun.recipe.preset),
        "targets": (wishes.targets and sorted(wishes.targets), sorted(begun.targets)),
        "ranks": (ranks, begun.ranks),
        "lr": (wishes.lr, rate_of(begun.recipe)),
        "seed": (wishes.seed, begun.seed),
    }
    odd = [f"--{key} {now}, begun with {then}" for key, (now, then) in asked.items() if now not in (None, then)]
    if odd:
        raise AtlasError(f"{folder}: {BETWEEN.join(odd)}; leave it out, or begin another memory")


@dataclass
class Workshop:
    """A memory's base with its adapters on it: what teaches, and asks, facts that are read by ``prober``."""

    base: LoadedBase
    manner: Manner
    device: torch.device
    adapters: Adapters = field(init=False)
    prober: Prober = field(init=False)

    def __post_init__(self) -> None:
        self.base.model.to(self.device)
        self.adapters = Adapters.attach(self.base.model, self.manner.targets, self.manner.ranks, self.manner.alpha)
        recipe = self.manner.recipe
        model = self.base.model
        self.prober = Prober("memory", recipe.paraphrases, recipe.mixed, model.text, model.config.context)

    @property
    def phrasings(self) -> int:
        """Items of a fact: its sentence and the paraphrases that are taught."""
        return self.manner.recipe.paraphrases + 1

    def begin(self, trainer: Trainer) -> State:
        """The state of a memory that was taught nothing."""
        theta = self.adapters.initial(self.manner.base_seed, [self.manner.seed]).to(self.device)
        none = theta.new_zeros(1, 0)
        return State(trainer.learner(theta), Estimates(none, none.long()))

    def recalled(self, state: State, facts: Sequence[Fact]) -> list[bool]:
        """Whether each fact is recalled now."""
        self.adapters.bind(state.learner.theta)
        found = score(self.adapters, [[self.prober.phrasing(fact, 0) for fact in facts]], self.device)
        return [bool(one) for one in found.recalled[0]]


def opened(folder: Path, record: MemoryRecord, model: Path | None, device: Device, threads: int) -> Workshop:
    """The base of a memory, checked, with adapters of its manner on it."""
    torch.set_num_threads(threads)
    base = foundation.of_a_memory(record.foundation, model, folder)
    return Workshop(base, record.manner, computed_on(device, "float32"))


def teach(folder: Path, given: intake.Intake, wishes: Wishes) -> None:
    """Teach facts to the memory in a folder, which is begun where there is none, and say how it went.

    Every session is published when it ends. Whoever calls again, after a kill, goes on behind the last one, to the same
    adapter. AtlasError, with nothing changed, where a fact, an option, the base or the memory is not fit.
    """
    record = store.read(folder) if (folder / store.RECORD).is_file() else None
    device = computed_on(wishes.device, "float32")
    if not record and not wishes.model and not foundation.small():  # before one is made, which takes minutes
        planned = foundation.planned()
        intake.check(given, planned.model)
        manner(wishes, planned)
    if record:
        must_agree(wishes, record, folder)
        base = foundation.of_a_memory(record.foundation, wishes.model, folder)
    else:
        base = foundation.for_a_new(wishes.model)
    torch.set_num_threads(wishes.threads)
    intake.check(given, base.model)
    begun = record.manner if record else manner(wishes, base)
    trained = max((phase.text.characters for phase in begun.recipe.active.values() if phase.text), default=0)
    if trained > (most := base.model.config.context):
        raise AtlasError(
            f"--preset {begun.recipe.preset}: trains {trained} tokens of the base's text at a time, but {base.place} "
            f"reads {most}; choose another recipe, or a model that reads more"
        )
    kept = record.foundation if record else None
    text = foundation.training_text(base, kept, wishes.corpus) if trained else None
    workshop = Workshop(base, begun, device)
    with locks.alone(folder, "teaching this memory"):
        _Teaching(folder, workshop, text, wishes).run([one.fact for one in given.facts])


class _Teaching:
    """Teaches facts to a memory whose folder no other process writes to."""

    def __init__(self, folder: Path, workshop: Workshop, text: TrainingText | None, wishes: Wishes) -> None:
        self.folder, self.workshop, self.wishes = folder, workshop, wishes
        self.trainer = Trainer(
            workshop.adapters,
            workshop.manner.recipe,
            workshop.device,
            text.tokens if text else None,
            self._step,
        )
        base = workshop.base
        kept = Foundation(
            place=str(base.place),
            fingerprint=base.fingerprint,
            corpus=str(text.path) if text else None,
            corpus_sha256=text.sha256 if text else None,
        )
        if (folder / store.RECORD).is_file():  # perhaps of a process that was waited for
            self.record, self.state = store.read_state(folder, workshop.device)
            if (self.record.foundation.fingerprint, self.record.manner) != (base.fingerprint, workshop.manner):
                raise AtlasError(f"{folder}: begun meanwhile by another process, otherwise; run the same command again")
        else:
            self.record = MemoryRecord(foundation=kept, manner=workshop.manner)
            self.state = workshop.begin(self.trainer)
        self.record = self.record.model_copy(update={"foundation": kept})

    def run(self, given: Sequence[Fact]) -> None:
        record, size = self.record, self.wishes.facts_per_session
        found = intake.sort(given, record.kept, [one.fact.fact_id for one in record.facts], self.wishes.again)
        self._report(found)
        if not found.new:
            return
        self.workshop.prober.items(found.new)  # that all paraphrases are there which the recipe teaches is said now
        sessions = [found.new[at : at + size] for at in range(0, len(found.new), size)]
        ahead = [*self._steps_ahead(found, sessions)]
        with progress.tracker(f"teaching {plural(len(found.new), 'fact')}", sum(ahead)) as self.tracker:
            for facts, self.left in zip(sessions, ahead, strict=True):
                past = self._session(facts, [one for fact in facts for one in found.replaced[fact.fact_id]])
                note = f"session {len(self.record.sessions)}: {past.recalled} of {past.known} recalled"
                self.tracker.advance(note, self.left)
        self._summary([fact.fact_id for fact in found.new], record)

    def _step(self) -> None:
        """Show a step, but for the last one of a session: that comes with what the session found."""
        if self.left > 1:
            self.left -= 1
            self.tracker.advance()

    def _steps_ahead(self, found: intake.Sorted, sessions: Sequence[Sequence[Fact]]) -> Iterator[int]:
        """The most steps that each session may take."""
        known, phrasings = len(self.record.kept), self.workshop.phrasings
        for facts in sessions:
            known -= sum(len(found.replaced[fact.fact_id]) for fact in facts)
            phases = self.workshop.manner.recipe.active.values()
            yield sum(most_steps(phase, len(facts) * phrasings, known * phrasings) for phase in phases)
            known += len(facts)

    def _session(self, facts: Sequence[Fact], replaced: Sequence[KeptFact]) -> PastSession:
        """Teach one session and publish the memory."""
        began, workshop, number = time.perf_counter(), self.workshop, len(self.record.sessions) + 1
        record, state = store.without(self.record, self.state, replaced, "replaced", workshop.phrasings)
        stored, known = len(record.kept), [*(one.fact for one in record.kept), *facts]
        table = ItemTable.of([workshop.prober.items(known)], workshop.device)
        fresh, old = Estimates.none(table), stored * workshop.phrasings
        estimates = Estimates(
            torch.cat([state.estimates.losses, fresh.losses[:, old:]], dim=1),
            torch.cat([state.estimates.measured, fresh.measured[:, old:]], dim=1),
        )
        draw = drawn_for(workshop.manner.base_seed, [workshop.manner.seed], number)
        session = Session(table, old, len(facts) * workshop.phrasings, estimates, draw)
        learner, traces = self.trainer.session(state.learner, session)
        self.state = State(learner, estimates)
        recalled = workshop.recalled(self.state, known)
        left = dict(zip([fact.fact_id for fact in known], recalled, strict=True))
        every = [*record.facts, *(KeptFact(fact=fact, session=number) for fact in facts)]
        marked = [one if one.gone else one.after(number, left[one.fact.fact_id]) for one in every]
        past = PastSession(
            finished=now(),
            seconds=round(time.perf_counter() - began, 2),
            fact_ids=[fact.fact_id for fact in facts],
            steps=sum(int(trace.steps[0]) for trace in traces),
            recalled=sum(recalled),
            known=len(known),
            code=code_digest("atlas.memory.teaching"),
            versions=environment(*PACKAGES)["versions"],
        )
        changed = {"facts": marked, "sessions": [*record.sessions, past]}
        self.record = store.write(self.folder, record.model_copy(update=changed), self.state)
        return past

    def _report(self, found: intake.Sorted) -> None:
        """Say what is replaced, and what is known already."""
        for fact in found.new:
            for old in found.replaced[fact.fact_id]:
                what = f"answer {fact.answer!r} in the place of {old.fact.answer!r}"
                what = what if old.fact.answer != fact.answer else f"answer {fact.answer!r} taught anew"
                print(f"{fact.prompt!r}: {what}, which session {old.session} taught")
        if found.known:
            known = plural(len(found.known), "fact is known as it is", "facts are known as they are")
            print(f"{known}, so nothing is taught of that; --again teaches it anew")

    def _summary(self, taught: Sequence[str], before: MemoryRecord) -> None:
        """Say how the sessions went: what is recalled of the new facts and of the old ones, and what is not."""
        sessions, kept = self.record.sessions[len(before.sessions) :], self.record.kept
        new = [one for one in kept if one.fact.fact_id in taught]
        old = [one for one in kept if one.fact.fact_id not in taught]
        known = [f"{sum(one.recalled for one in new)} of {plural(len(new), 'new fact')}"]
        known += [f"{sum(one.recalled for one in old)} of {len(old)} taught before"] if old else []
        first, last = len(before.sessions) + 1, len(self.record.sessions)
        names = f"session {first}" if first == last else f"sessions {first} to {last}"
        print(f"{names} took {sum(one.seconds for one in sessions):.0f} s; recalled: {', '.join(known)}")
        for one in kept:
            if not one.recalled and (one in new or (one.lost_since or 0) > len(before.sessions)):
                print(f"{'not recalled' if one in new else 'lost'}: {one.fact.prompt!r} {one.fact.answer!r}")
