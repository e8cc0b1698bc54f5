"""A recipe at work: one session of test-time training, phase by phase, for all lanes at once.

Every phase trains a copy of what the lanes added and blends it in; which facts, how long and how is said by
``atlas.study.recipes.Phase``. Behind the last one the recipe looks at what it trained and at some other facts, so that
the next session can choose the weakest. Nothing else that is measured of a run has a part in this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from atlas.errors import AtlasError
from atlas.study.recipes import Phase, Recipe, Rehearsal
from atlas.ttt.engine.descent import Descent, Loss, OptimiserState, descend, look
from atlas.ttt.engine.lanes import LaneModel
from atlas.ttt.engine.layouts import layout_on
from atlas.ttt.engine.lines import Padded, windows
from atlas.ttt.session import Learner, Session, Trace, later


class Trainer:
    """Trains what the lanes of a model add by a recipe: the teacher of arms that do not edit.

    Args:
        adapters: LoRA adapters, or whole matrices.
        text: token ids of the base's own training text, unsigned (tokens,), for phases that train it, too.
        tell: called after each step.
    """

    left_alone = None

    def __init__(
        self,
        adapters: LaneModel,
        recipe: Recipe,
        device: torch.device,
        text: np.ndarray | None = None,
        tell: Callable[[], None] = lambda: None,
    ) -> None:
        self.adapters, self.recipe, self.layout, self.tell = adapters, recipe, layout_on(device), tell
        self.text = None if text is None else torch.from_numpy(text.astype(np.int32)).to(device)
        self.phases = {name: phase.lr for name, phase in recipe.active.items()}

    def teaches(self, facts: int) -> bool:  # noqa: ARG002
        """Every session is taught."""
        return True

    def learner(self, theta: Tensor) -> Learner:
        """A learner that starts from ``theta``, float32 (lanes, parameters)."""
        keep = sum(phase.optimiser.memory == "run" for phase in self.recipe.active.values())
        importance = torch.zeros_like(theta) if self._weighs is not None else theta.new_zeros(len(theta), 0)
        written = theta.new_zeros(len(theta), 0, 0, 0)
        return Learner(theta, [OptimiserState.none(theta) for _ in range(keep)], importance, written)

    @property
    def _weighs(self) -> float | None:
        """What a session keeps of the importance of parameters; None where no phase goes by it."""
        anchors = [phase.anchor for phase in self.recipe.active.values() if phase.anchor]
        return next((anchor.memory for anchor in anchors if anchor.by == "importance"), None)

    def session(self, learner: Learner, session: Session) -> tuple[Learner, list[Trace]]:
        """Teach one session; ``learner`` is not changed. See ``atlas.ttt.session.Teacher``."""
        after, traces, unnoted = self.train(learner, session)
        if self.recipe.chooses_by_losses:
            self._measure(after, session, unnoted)
        return after, traces

    def train(self, learner: Learner, session: Session) -> tuple[Learner, list[Trace], list[Items]]:
        """All phases of a session, and the items of those that trained them without noting their losses since."""
        phases = [Items(phase, name, session, self.text) for name, phase in self.recipe.active.items()]
        theta, importance, optimisers = learner.theta, learner.importance, list(learner.optimisers)
        kept, traces, unnoted = [], [], []
        for items in phases:
            remembers = items.phase.optimiser.memory == "run"
            state = optimisers.pop(0) if remembers else OptimiserState.none(theta)
            descent = Descent(self.adapters, theta, items.phase, self.recipe.clip, state, importance)
            traces.append(self._phase(items, descent))
            theta = descent.blended()
            kept += [descent.state] if remembers else []
            unnoted += [] if items.chooses_anew else [items]
        if self._weighs is not None:
            importance = self._weighed(theta, importance * self._weighs, session)
        return Learner(theta, kept, importance, learner.written), traces, unnoted

    def _phase(self, items: Items, descent: Descent) -> Trace:
        """All steps of a phase; a lane whose end has come takes no further ones."""
        phase, session, end = items.phase, items.session, PhaseEnd(items)
        steps, losses = torch.zeros_like(session.items.lines[:, 0]), []
        tokens = torch.zeros_like(steps)
        for step, chosen in enumerate(items.steps()):
            running = end.running
            lines = items.lines(chosen)
            keep = running[:, None].expand(lines.predicted.shape)
            found = descend(self.adapters, self.layout, lines, chosen.shape[1], keep, self.recipe.loss, phase.text)
            losses.append(torch.where(running, found.facts, torch.nan))
            steps, tokens = steps + running, tokens + found.tokens * running
            if phase.until or items.chooses_anew:
                session.estimates.note(chosen, weakness(self.recipe, found), running[:, None])
            if phase.until:
                end.note(chosen, found.recalled(), found.answer())
            descent.step(running, step / items.most_steps)
            self.tell()
            if self.layout.ended(end.running):
                break
        none = steps.new_zeros(session.lanes, 0, dtype=torch.bool)
        return Trace(torch.stack(losses) if losses else descent.theta.new_zeros(0, session.lanes), steps, tokens, none)

    @torch.no_grad()
    def _measure(self, learner: Learner, session: Session, unnoted: list[Items]) -> None:
        """Note the losses of what was trained without noting them, and of as many other items as the budget allows.

        A pass of its own, since which lines run together decides how their losses are rounded.
        """
        trained = torch.zeros_like(session.estimates.losses[:, : session.known], dtype=torch.bool)
        for items in unnoted:
            trained.scatter_(1, items.chosen, value=True)
        most = max((items.new for items in unnoted), default=0) + sum(items.stored for items in unnoted)
        asked, keep = session.estimates.to_measure(trained, most, self.recipe.budget)
        if not asked.shape[1]:
            return
        self.adapters.bind(learner.theta)
        lines, losses = session.items.padded(asked, slice(session.known)), torch.zeros_like(keep, dtype=torch.float32)
        for part, some in self.layout.passes(lines, keep, self.adapters.model.text.symbols):
            found = look(self.adapters, self.layout, lines.columns(part), some, self.recipe.loss)
            losses[:, part] = torch.where(some, weakness(self.recipe, found), losses[:, part])
        session.estimates.note(asked, losses, keep)

    def _weighed(self, theta: Tensor, squares: Tensor, session: Session) -> Tensor:
        """The importance of each parameter, (lanes, parameters), with that for the session's facts added to it.

        It is the diagonal of the empirical Fisher information, summed over facts (Kirkpatrick et al. 2017, arXiv
        1612.00796; kept from session to session as in Schwarz et al. 2018, arXiv 1805.06370, section 3).
        """
        grad = torch.zeros_like(theta)
        for item in range(session.stored, session.known):
            self.adapters.train(theta, grad.zero_())
            chosen = torch.full_like(session.items.lines[:, :1], item)
            lines = session.items.padded(chosen, slice(session.stored, session.known))
            keep = torch.ones_like(chosen, dtype=torch.bool)
            descend(self.adapters, self.layout, lines, 1, keep, self.recipe.loss)
            squares += grad.square()
        return squares


class Items:
    """The items that a phase trains, step by step. All that is drawn is drawn before the first one.

    Args:
        phase: which facts, how many a step, and when stored ones are chosen anew.
        name: of the phase; part of the key of its draws.
        text: the base's own, integers (tokens,), on the device. AtlasError where the phase trains it and there is none.

    Attributes:
        chosen: int64, (lanes, count): the items that the phase trains now, the ``new`` ones first; none before it.
        most_steps: that the phase has.
    """

    def __init__(self, phase: Phase, name: str, session: Session, text: Tensor | None = None) -> None:
        self.phase, self.session = phase, session
        self.new = session.new if phase.new else 0
        self.stored = min(phase.rehearsal.facts, session.stored) if phase.rehearsal else 0
        self.count = self.new + self.stored
        self.size = min(phase.batch or self.count, self.count)
        self.steps_a_pass = -(-self.count // max(1, self.size))
        self.most_steps = most_steps(phase, session.new, session.stored)
        every = (phase.rehearsal.every if phase.rehearsal else None) or max(1, self.most_steps)
        self._choices = [min(every, self.most_steps - at) for at in range(0, self.most_steps, every)]  # steps of each
        passes = sum(-(-steps // self.steps_a_pass) for steps in self._choices) if self.size < self.count else 0
        choices = len(self._choices) if phase.rehearsal and phase.rehearsal.choice == "random" else 0
        drawn = session.drawn
        self._windows: Iterator[Padded] = iter(())
        self._rehearsals = drawn(f"{name} rehearsal", choices, lambda of: of.permutation(session.stored)[: self.stored])
        self._orders = drawn(f"{name} order", passes, lambda of: of.permutation(self.count))
        if (rules := phase.text) is not None:
            if text is None:
                raise AtlasError("recipe: a phase trains the base's text, but there is none; give the corpus")
            last = len(text) - rules.characters
            starts = drawn(f"{name} text", self.most_steps, lambda of: of.integers(0, last, rules.windows))
            self._windows = (windows(text, some, rules.characters) for some in starts)
        self.chosen = session.items.lines[:, :0]

    @property
    def chooses_anew(self) -> bool:
        """Whether stored items are chosen again within the phase, by what training showed of them."""
        return self.phase.rehearsal is not None and self.phase.rehearsal.every is not None

    def steps(self) -> Iterator[Tensor]:
        """The items of a step, int64 (lanes, items), for every step; what was noted before it decides its choice."""
        for steps in self._choices:
            shuffled = self.chosen = self._choose()
            for step in range(steps):
                if (at := step % self.steps_a_pass * self.size) == 0 and self.size < self.count:
                    shuffled = self.chosen.gather(1, next(self._orders))
                yield shuffled[:, at : at + self.size]

    def lines(self, chosen: Tensor) -> Padded:
        """The lines of a step: those of its items, then the windows of the base's text that were drawn for it."""
        session = self.session
        among = slice(session.stored if self.phase.rehearsal is None else 0, session.stored + self.new)
        facts = session.items.padded(chosen, among)
        return facts.beside(next(self._windows)) if self.phase.text else facts

    def _choose(self) -> Tensor:
        """Of each lane, the session's new items where the phase trains them, then the stored ones that it rehearses."""
        session, known, stored = self.session, self.session.estimates, slice(self.session.stored)
        new = torch.arange(session.stored, session.stored + self.new, device=known.losses.device)
        new = new.expand(session.lanes, -1)
        if not self.stored:
            return new
        assert self.phase.rehearsal is not None
        order = next(self._rehearsals, None)
        return torch.cat(
            [new, rehearse(self.phase.rehearsal, known.losses[:, stored], known.measured[:, stored], order)], dim=1
        )


def most_steps(phase: Phase, new: int, stored: int) -> int:
    """Steps that a phase has, at most, in a session of so many new items behind so many stored ones."""
    count = (new if phase.new else 0) + (min(phase.rehearsal.facts, stored) if phase.rehearsal else 0)
    if not (count or phase.text):
        return 0
    steps = phase.steps or (phase.epochs or 0) * -(-count // max(1, min(phase.batch or count, count)))
    if phase.early:
        enough = -(-phase.early.shown // max(1, new + stored))
        steps = max(steps, min(phase.early.steps, enough))
    return steps


def rehearse(choice: Rehearsal, losses: Tensor, measured: Tensor, drawn: Tensor | None = None) -> Tensor:
    """Which stored items of each lane are trained again.

    Args:
        choice: how many (fewer where fewer are stored), and which: weakest, due or random, and a share of the unseen.
        losses: (lanes, stored), as last known; the greatest are the weakest items.
        measured: (lanes, stored), when each was measured last.
        drawn: for the random choice, the items in a random order, or the first ``choice.facts`` of it.

    Returns:
        int64, (lanes, chosen): indices into ``losses``, at most ``choice.facts`` of each lane.
    """
    count = min(choice.facts, losses.shape[1])
    if choice.choice == "due":  # what was just measured has an age of 1
        losses = losses * (measured.amax(1, keepdim=True) + 1 - measured)
    unseen = measured.argsort(dim=1, stable=True)[:, : round(choice.unseen * count)]
    order = losses.neg().argsort(dim=1, stable=True) if drawn is None else drawn
    taken = torch.zeros_like(losses, dtype=torch.bool).scatter(1, unseen, value=True)
    return torch.cat([later(order, taken)[:, : count - unseen.shape[1]], unseen], dim=1)


class PhaseEnd:
    """When the lanes of a phase end: once so many items in a row were known, which is all that count.

    ``running``, bool (lanes,), has the lanes that go on.
    """

    def __init__(self, items: Items) -> None:
        self.until, self.items = items.phase.until, items
        self._known = torch.zeros_like(items.session.items.lines[:, 0])
        self.running = torch.ones_like(self._known, dtype=torch.bool)

    def note(self, trained: Tensor, recalled: Tensor, answer_nll: Tensor) -> None:
        """Take in what a step found of the items that each lane ``trained``, before it; (lanes, items) each."""
        assert self.until is not None
        only_new = self.until.facts == "new"
        counts = trained >= (self.items.session.stored if only_new else 0)
        known = (recalled | (not self.until.recalled)) & (answer_nll <= (self.until.loss or torch.inf))
        self._known = torch.where((known | ~counts).all(1), self._known + counts.sum(1), 0)
        self.running = self.running & (self._known < (self.items.new if only_new else self.items.count))


def weakness(recipe: Recipe, found: Loss) -> Tensor:
    """What stored facts are chosen by, the weakest first, (lanes, facts)."""
    if recipe.weakness == "worst":
        return found.worst()
    return found.answer() if recipe.loss == "answer" else found.sentence()
