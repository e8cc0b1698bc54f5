"""A recipe at work: one session of test-time training, phase by phase, for all lanes at once.

Every phase trains a copy of what the lanes added and blends it in; which facts, how long and how is said by
``atlas.study.recipes.Phase``. Behind the last one the recipe looks at what it trained and at some other facts, so that
the next session can choose the weakest. Nothing else that is measured of a run has a part in this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from atlas.errors import AtlasError
from atlas.study.recipes import Phase, Recipe, Rehearsal, Until
from atlas.ttt.engine.descent import Descent, Loss, OptimiserState, loss
from atlas.ttt.engine.lanes import LaneModel
from atlas.ttt.engine.lines import Line, windows
from atlas.ttt.engine.scoring import Scores, score
from atlas.ttt.session import Learner, Session, Trace


class Trainer:
    """Trains what the lanes of a model add by a recipe: the teacher of arms that do not edit.

    Args:
        adapters: LoRA adapters, or whole matrices.
        text: token ids of the base's own training text, unsigned (tokens,), for phases that train it, too.
    """

    def __init__(
        self, adapters: LaneModel, recipe: Recipe, device: torch.device, text: np.ndarray | None = None
    ) -> None:
        self.adapters, self.recipe, self.device, self.text = adapters, recipe, device, text
        self.phases = {name: phase.lr for name, phase in recipe.active.items()}

    def teaches(self, facts: int) -> bool:  # noqa: ARG002
        """Every session is taught."""
        return True

    def learner(self, theta: np.ndarray) -> Learner:
        """A learner that starts from ``theta``, float32 (lanes, parameters)."""
        keep = sum(phase.optimiser.memory == "run" for phase in self.recipe.active.values())
        importance = np.zeros((len(theta), theta.shape[1] if self._weighs else 0), np.float32)
        optimisers = [OptimiserState.none(*theta.shape) for _ in range(keep)]
        return Learner(theta, optimisers, importance, np.zeros((len(theta), 0, 0, 0), np.float32))

    @property
    def _weighs(self) -> float | None:
        """What a session keeps of the importance of parameters; None where no phase goes by it."""
        anchors = [phase.anchor for phase in self.recipe.active.values() if phase.anchor]
        return next((anchor.memory for anchor in anchors if anchor.by == "importance"), None)

    def session(self, learner: Learner, session: Session) -> tuple[Learner, list[Trace]]:
        """Teach one session; ``learner`` is not changed. See ``atlas.ttt.session.Teacher``."""
        after, traces, trained = self.train(learner, session)
        if self.recipe.chooses_by_losses:
            self._measure(after, session, trained)
        return after, traces

    def train(self, learner: Learner, session: Session) -> tuple[Learner, list[Trace], list[np.ndarray]]:
        """All phases of a session, and of each lane the items that they trained without noting their losses since."""
        theta, importance = (torch.from_numpy(part).to(self.device) for part in (learner.theta, learner.importance))
        optimisers, kept, traces = list(learner.optimisers), [], []
        trained: list[list[np.ndarray]] = [[np.arange(0)] for _ in range(session.lanes)]
        for name, phase in self.recipe.active.items():
            remembers = phase.optimiser.memory == "run"
            state = optimisers.pop(0) if remembers else OptimiserState.none(*theta.shape)
            descent = Descent(self.adapters, theta, phase, self.recipe.clip, state, importance)
            items = Items(phase, name, session)
            traces.append(self._phase(name, phase, items, descent))
            theta = descent.blended()
            kept += [descent.state()] if remembers else []
            if not items.chooses_anew:  # otherwise what was trained has been noted step by step
                for lane, chosen in enumerate(items.chosen):
                    trained[lane].append(chosen)
        if self._weighs is not None:
            importance = self._weighed(theta, importance * self._weighs, session)
        after = Learner(theta.cpu().numpy(), kept, importance.cpu().numpy(), learner.written)
        return after, traces, [np.unique(np.concatenate(some)) for some in trained]

    def _phase(self, name: str, phase: Phase, items: Items, descent: Descent) -> Trace:
        """All steps of a phase; a lane whose end has come takes no further ones."""
        session, end = items.session, PhaseEnd(phase.until, items)
        draws = [session.draw(lane, f"{name} text") for lane in range(session.lanes)]
        losses, tokens = [], np.zeros(session.lanes, np.int64)
        text: list[list[Line]] = [[] for _ in draws]
        for step, chosen in enumerate(items.steps()):
            running = end.running.copy()
            trained = [some if on else some[:0] for some, on in zip(chosen, running, strict=True)]
            if (rules := phase.text) is not None:
                if self.text is None:
                    raise AtlasError("recipe: a phase trains the base's text, but there is none; give the corpus")
                text = [
                    windows(self.text, rules.windows, rules.characters, draw) if on else []
                    for draw, on in zip(draws, running, strict=True)
                ]
            found = self._loss(session, trained, text, phase)
            losses.append(torch.where(torch.from_numpy(running).to(self.device), found.facts, torch.nan))
            tokens += found.tokens
            if phase.until or items.chooses_anew:
                self._note(found, trained, session, end)
            descent.step(found.total, running, step / items.most_steps)
            if not end.running.any():
                break
        taken = torch.stack(losses).cpu().numpy()
        return Trace(taken, np.isfinite(taken).sum(axis=0), tokens)

    def _loss(
        self, session: Session, items: Sequence[np.ndarray], text: Sequence[Sequence[Line]], phase: Phase | None = None
    ) -> Loss:
        """The loss of each lane's ``items`` and, by its weight in the phase, of its text."""
        facts = [[lane[i] for i in some] for lane, some in zip(session.lines, items, strict=True)]
        weight, even = phase.text.weight if phase and phase.text else 0.0, self.device.type == "cuda"
        return loss(self.adapters, facts, text, self.recipe.loss, weight, self.device, even)

    def _note(self, found: Loss, trained: Sequence[np.ndarray], session: Session, end: PhaseEnd) -> None:
        """What a step found of its items, for the choice of the next ones and for the end of the phase."""
        scores, ends = found.scores(), np.cumsum([0, *map(len, trained)])
        for lane, (some, (first, last)) in enumerate(zip(trained, pairwise(ends), strict=True)):
            ours = scores.lines(slice(first, last))
            session.estimates.note(lane, some, weakness(self.recipe, ours))
            if len(some):
                end.note(lane, some, ours.recalled, ours.answer_nll)

    def _measure(self, learner: Learner, session: Session, trained: Sequence[np.ndarray]) -> None:
        """Note the losses of what was ``trained``, and of as many other items as the budget allows.

        A pass of its own, since which lines run together decides how their losses are rounded.
        """
        known = session.stored + session.new
        asked = session.estimates.to_measure(known, trained, self.recipe.budget)
        if not asked.size:
            return
        self.adapters.bind(torch.tensor(learner.theta, device=self.device))
        lines = [[lane[i] for i in some] for lane, some in zip(session.lines, asked, strict=True)]
        losses = weakness(self.recipe, score(self.adapters, lines, self.device))
        for lane, (some, found) in enumerate(zip(asked, losses, strict=True)):
            session.estimates.note(lane, some, found)

    def _weighed(self, theta: Tensor, squares: Tensor, session: Session) -> Tensor:
        """The importance of each parameter, (lanes, parameters), with that for the session's facts added to it.

        It is the diagonal of the empirical Fisher information, summed over facts (Kirkpatrick et al. 2017, arXiv
        1612.00796; kept from session to session as in Schwarz et al. 2018, arXiv 1805.06370, section 3).
        """
        grad = torch.zeros_like(theta)
        for item in range(session.stored, session.stored + session.new):
            self.adapters.train(theta, grad.zero_())
            found = self._loss(session, [np.array([item])] * session.lanes, [[]] * session.lanes)
            torch.autograd.backward(found.total.sum())
            squares += grad.square()
        return squares


class Items:
    """The items that a phase trains, step by step.

    Args:
        phase: which facts, how many a step, and when stored ones are chosen anew.
        name: of the phase; part of the key of its draws.
    """

    def __init__(self, phase: Phase, name: str, session: Session) -> None:
        self.phase, self.session = phase, session
        self.orders = [session.draw(lane, f"{name} order") for lane in range(session.lanes)]
        self.draws = [session.draw(lane, f"{name} rehearsal") for lane in range(session.lanes)]
        self.chosen = self._choose()

    @property
    def count(self) -> int:
        """Items of the phase, of a lane: the same for all lanes."""
        return len(self.chosen[0])

    @property
    def chooses_anew(self) -> bool:
        """Whether stored items are chosen again within the phase, by what training showed of them."""
        return self.phase.rehearsal is not None and self.phase.rehearsal.every is not None

    @property
    def most_steps(self) -> int:
        """Steps that the phase has at most."""
        if self.phase.steps is not None:
            return self.phase.steps
        assert self.phase.epochs is not None
        return self.phase.epochs * -(-self.count // (self.phase.batch or max(1, self.count)))

    def steps(self) -> Iterator[list[np.ndarray]]:
        """Of each lane the items of a step, for every step; what training noted before a step decides its choice."""
        every = self.phase.rehearsal.every if self.phase.rehearsal else None
        left: list[list[np.ndarray]] = []  # of one pass over the chosen items, in an order of its own
        for step in range(self.most_steps):
            if step and every and step % every == 0:
                self.chosen, left = self._choose(), []
            size = self.phase.batch or self.count
            if not left and size >= self.count:
                left = [self.chosen]
            elif not left:
                orders = [order.permutation(self.count) for order in self.orders]
                shuffled = [items[order] for items, order in zip(self.chosen, orders, strict=True)]
                left = [[items[at : at + size] for items in shuffled] for at in range(0, self.count, size)]
            yield left.pop(0)

    def _choose(self) -> list[np.ndarray]:
        """Of each lane, the session's new items where the phase trains them, then the stored ones that it rehearses."""
        session, known = self.session, self.session.estimates
        new = np.arange(session.stored, session.stored + session.new if self.phase.new else session.stored)
        if self.phase.rehearsal is None:
            return [new] * session.lanes
        stored = slice(session.stored)
        return [
            np.concatenate([new, rehearse(self.phase.rehearsal, losses[stored], measured[stored], draw)])
            for losses, measured, draw in zip(known.losses, known.measured, self.draws, strict=True)
        ]


def rehearse(choice: Rehearsal, losses: np.ndarray, measured: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Which stored items of one lane are trained again.

    Args:
        choice: how many (fewer where fewer are stored), and which: weakest or random, and a share of the unseen.
        losses: (stored,), as last known; the greatest are the weakest items.
        measured: (stored,), when each was measured last.
        draw: used for the random choice only.

    Returns:
        Indices into ``losses``, at most ``choice.facts`` of them.
    """
    unseen = np.argsort(measured, kind="stable")[: round(choice.unseen * min(choice.facts, len(losses)))]
    order = draw.permutation(len(losses)) if choice.choice == "random" else np.argsort(-losses, kind="stable")
    others = order[~np.isin(order, unseen)]
    return np.concatenate([others[: choice.facts - len(unseen)], unseen])


class PhaseEnd:
    """When the lanes of a phase end: once so many items in a row were known, which is all that count.

    ``running``, bool (lanes,), has the lanes that go on.
    """

    def __init__(self, until: Until | None, items: Items) -> None:
        self.until, self.items = until, items
        self.running = np.ones(items.session.lanes, bool)
        self._known = np.zeros(items.session.lanes, np.int64)

    def note(self, lane: int, trained: np.ndarray, recalled: np.ndarray, answer_nll: np.ndarray) -> None:
        """Take in what a step found of the items ``trained`` by a lane, before it."""
        if self.until is None:
            return
        counts, needed = np.ones(len(trained), bool), self.items.count
        if self.until.facts == "new":
            counts = trained >= self.items.session.stored
            needed = int((self.items.chosen[0] >= self.items.session.stored).sum())
        known = ~counts
        known |= (recalled | (not self.until.recalled)) & (answer_nll <= (self.until.loss or np.inf))
        self._known[lane] = self._known[lane] + counts.sum() if known.all() else 0
        self.running[lane] &= bool(self._known[lane] < needed)


def weakness(recipe: Recipe, scores: Scores) -> np.ndarray:
    """What stored facts are chosen by, the weakest first: shaped as the scores."""
    if recipe.weakness == "worst":
        return scores.worst
    return scores.answer_nll if recipe.loss == "answer" else scores.nll
