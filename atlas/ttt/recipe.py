"""A recipe at work: one session of test-time training, phase by phase, for all lanes at once.

Every phase trains a copy of the adapter and blends it in; which facts, how long and how is said by
``atlas.study.recipes.Phase``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from atlas.errors import AtlasError
from atlas.study.recipes import Phase, Recipe, Until
from atlas.ttt.engine.descent import Descent, Memory
from atlas.ttt.engine.lines import Line
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.engine.loss import Loss, loss
from atlas.ttt.engine.scoring import LineScores, Scores
from atlas.ttt.engine.text import Windows
from atlas.ttt.lesson import Items, Lesson
from atlas.ttt.teacher import Learner, Trace


class Ends:
    """When the lanes of a phase end: once so many items in a row were known, which is all that count.

    ``running``, bool (lanes,), has the lanes that go on.
    """

    def __init__(self, until: Until | None, items: Items, lanes: int) -> None:
        self.until, self.items = until, items
        self.running = np.ones(lanes, bool)
        self._known = np.zeros(lanes, np.int64)

    def note(self, lane: int, trained: np.ndarray, recalled: np.ndarray, answer_nll: np.ndarray) -> None:
        """Take in what a step found of the items ``trained`` by a lane, before it."""
        if self.until is None:
            return
        counts = np.ones(len(trained), bool) if self.until.facts == "all" else self.items.are_new(trained)
        known = ~counts
        known |= (recalled | (not self.until.recalled)) & (answer_nll <= (self.until.loss or np.inf))
        self._known[lane] = self._known[lane] + counts.sum() if known.all() else 0
        self.running[lane] &= bool(self._known[lane] < self.items.needed(self.until.facts))


class Trainer:
    """Trains the adapters of a model by a recipe.

    Args:
        text: the base's own training text, for phases that train it, too.
    """

    def __init__(self, adapters: Adapters, recipe: Recipe, device: torch.device, text: Windows | None = None) -> None:
        self.adapters, self.recipe, self.device, self.text = adapters, recipe, device, text
        self.phases = {name: phase.lr for name, phase in recipe.active.items()}

    def teaches(self, facts: int) -> bool:  # noqa: ARG002
        """Every session is taught."""
        return True

    def learner(self, theta: np.ndarray) -> Learner:
        """A learner that starts from adapters ``theta``, float32 (lanes, parameters)."""
        keep = sum(phase.optimiser.memory == "run" for phase in self.recipe.active.values())
        importance = np.zeros((len(theta), theta.shape[1] if self._weighs else 0), np.float32)
        memories = [Memory.none(*theta.shape) for _ in range(keep)]
        return Learner(theta, memories, importance, np.zeros((len(theta), 0, 0, 0), np.float32))

    @property
    def _weighs(self) -> float | None:
        """What a session keeps of the importance of parameters; None where no phase goes by it."""
        anchors = [phase.anchor for phase in self.recipe.active.values() if phase.anchor]
        return next((anchor.memory for anchor in anchors if anchor.by == "importance"), None)

    def session(self, learner: Learner, lesson: Lesson) -> tuple[Learner, list[Trace], list[np.ndarray]]:
        """Teach one session; ``learner`` is not changed.

        Returns:
            The learner after it; a trace for each phase; and of each lane the stored items that were trained without
            noting what is known of them since.
        """
        theta, importance = (torch.from_numpy(part).to(self.device) for part in (learner.theta, learner.importance))
        memories, kept, traces = list(learner.memories), [], []
        trained: list[list[np.ndarray]] = [[np.arange(0)] for _ in range(lesson.lanes)]
        for name, phase in self.recipe.active.items():
            remembers = phase.optimiser.memory == "run"
            memory = memories.pop(0) if remembers else Memory.none(*theta.shape)
            descent = Descent(self.adapters, theta, phase, self.recipe.clip, memory, importance)
            items = Items(phase, name, lesson)
            traces.append(self._phase(name, phase, items, descent, lesson))
            theta = descent.blended()
            kept += [descent.memory()] if remembers else []
            for lane, stored in enumerate([] if _chooses_anew(phase) else items.rehearsed):
                trained[lane].append(stored)
        if self._weighs is not None:
            importance = self._weighed(theta, importance, lesson)
        after = Learner(theta.cpu().numpy(), kept, importance.cpu().numpy(), learner.written)
        return after, traces, [np.unique(np.concatenate(some)) for some in trained]

    def _phase(self, name: str, phase: Phase, items: Items, descent: Descent, lesson: Lesson) -> Trace:
        """All steps of a phase; a lane whose end has come takes no further ones."""
        ends = Ends(phase.until, items, lesson.lanes)
        draws = [lesson.draw(lane, f"{name} text") for lane in range(lesson.lanes)]
        losses, characters = [], np.zeros(lesson.lanes, np.int64)
        for step, chosen in enumerate(items.steps()):
            running = ends.running.copy()
            trained = [some if on else some[:0] for some, on in zip(chosen, running, strict=True)]
            found = self._loss(_lines(lesson, trained), self._text(phase, draws, running), phase)
            losses.append(torch.where(torch.from_numpy(running).to(self.device), found.facts, torch.nan))
            characters += found.characters
            if phase.until or _chooses_anew(phase):
                self._note(found, trained, lesson, ends)
            descent.step(found.total, running, step / items.most_steps)
            if not ends.running.any():
                break
        taken = torch.stack(losses).cpu().numpy()
        return Trace(taken, np.isfinite(taken).sum(axis=0), characters)

    def _loss(self, facts: Sequence[Sequence[Line]], text: Sequence[Sequence[Line]], phase: Phase) -> Loss:
        weight, even = phase.text.weight if phase.text else 0.0, self.device.type == "cuda"
        return loss(self.adapters, facts, text, self.recipe.loss, weight, even, self.device)

    def _text(self, phase: Phase, draws: Sequence[np.random.Generator], running: np.ndarray) -> list[list[Line]]:
        """Windows of the base's text for each lane that is running."""
        rules = phase.text
        if rules is None:
            return [[] for _ in draws]
        if self.text is None:
            raise AtlasError("recipe: a phase trains the base's text, but there is none; give the corpus")
        cut = self.text.draw
        return [
            cut(rules.windows, rules.characters, draw) if on else [] for draw, on in zip(draws, running, strict=True)
        ]

    def _note(self, found: Loss, trained: Sequence[np.ndarray], lesson: Lesson, ends: Ends) -> None:
        """What a step found of its items, for the choice of the next ones and for the end of the phase."""
        scores = found.scores()
        losses = weakness(self.recipe, scores)
        cuts = np.cumsum([len(some) for some in trained])[:-1]
        parts = (np.split(part, cuts) for part in (losses, scores.recalled, scores.answer_nll))
        for lane, (some, known, recalled, answer_nll) in enumerate(zip(trained, *parts, strict=True)):
            lesson.estimates.note(lane, some, known)
            if len(some):
                ends.note(lane, some, recalled, answer_nll)

    def _weighed(self, theta: Tensor, importance: Tensor, lesson: Lesson) -> Tensor:
        """The importance of each parameter with that for the session's facts added: the diagonal of the empirical
        Fisher information, summed over facts (Kirkpatrick et al. 2017, arXiv 1612.00796; kept from session to session
        as in Schwarz et al. 2018, arXiv 1805.06370, section 3)."""
        assert self._weighs is not None
        squares, grad = importance * self._weighs, torch.zeros_like(theta)
        for item in range(lesson.stored, lesson.stored + lesson.new):
            self.adapters.train(theta, grad.zero_())
            lines = _lines(lesson, [np.array([item])] * lesson.lanes)
            even = self.device.type == "cuda"
            found = loss(self.adapters, lines, [[] for _ in lines], self.recipe.loss, 0.0, even, self.device)
            torch.autograd.backward(found.total.sum())
            squares += grad.square()
        return squares


def weakness(recipe: Recipe, scores: Scores | LineScores) -> np.ndarray:
    """What stored facts are chosen by, the weakest first: shaped as the scores."""
    if recipe.weakness == "worst":
        return scores.worst
    return scores.answer_nll if recipe.loss == "answer" else scores.nll


def _chooses_anew(phase: Phase) -> bool:
    return phase.rehearsal is not None and phase.rehearsal.every is not None


def _lines(lesson: Lesson, chosen: Sequence[np.ndarray]) -> list[list[Line]]:
    return [[lane[i] for i in some] for lane, some in zip(lesson.lines, chosen, strict=True)]
