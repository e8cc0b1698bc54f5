"""Passes of many adapters that differ from a known one from some place in the model on: what comes before runs once.

Adapters run side by side as lanes, their weights merged. A layer, a layer's attention, or a linear layer whose input
and weights are those of a pass that was recorded does not run: it gives what it gave then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from atlas.base.attention import Kept, Recorded, bucket, pack
from atlas.base.language import LanguageModel
from atlas.study.settings import Role
from atlas.ttt.alternatives import Alternatives, associated
from atlas.ttt.engine.lanes import LaneModel, sites
from atlas.ttt.engine.lines import Batch, Line, batch
from atlas.ttt.engine.scoring import LOGITS_PER_PASS, Pass, Scores
from atlas.ttt.engine.sharing import NO_TOKEN, shared
from atlas.ttt.locate_changes import ATTENTION

Place = tuple[int, Role]
"""A linear layer: its layer and its role."""

STAGE: Mapping[Role, int] = {"q": 0, "k": 0, "v": 0, "o": 1, "up": 2, "gate": 2, "down": 3}
"""When a layer comes to each role; none waits for another of its stage."""
AFTER_ATTENTION = 2

TOKENS = {"cpu": (1536, 6144), "cuda": (1 << 16, 1 << 18)}
"""Tokens of a sheet, and of a pass, where every lane has one: what a processor's caches hold, and a GPU wants."""
RECORDED = 1 << 29  # bytes; of so much at the most, and a sheet, the recorded passes are held in memory


@dataclass(frozen=True)
class Question:
    """A line that is asked, and the alternatives to its answer; None where nobody asks for its association."""

    line: Line
    alternatives: Alternatives | None = None


@dataclass(frozen=True)
class Answers:
    """What variants of an adapter make of questions, every array (variants, questions).

    Attributes:
        recalled, associated: as ``atlas.ttt.probes.ProbeScores`` has them.
        nll: nats per token of the answer, line end included.
    """

    recalled: np.ndarray
    associated: np.ndarray
    nll: np.ndarray


@dataclass(frozen=True)
class Variant:
    """An adapter to be asked.

    Attributes:
        theta: (parameters,).
        parent: the place of another variant, which has no parent.
        changed: the linear layers to which it adds another update than its parent.
    """

    theta: Tensor
    parent: int | None = None
    changed: frozenset[Place] = frozenset()

    @property
    def begins(self) -> tuple[int, frozenset[Role]]:
        """The first layer that differs from the parent's, and what differs in it."""
        layer = min(layer for layer, _ in self.changed)
        return layer, frozenset(role for at, role in self.changed if at == layer)


@dataclass(frozen=True)
class Sheet:
    """Questions that run together, and their places among all."""

    places: np.ndarray
    questions: Sequence[Question]
    _made: dict[int, tuple[Batch, Batch]] = field(default_factory=dict, compare=False, repr=False)

    def batches(self, lanes: int, device: torch.device) -> tuple[Batch, Batch]:
        """The lines once for each lane: as a batch of whole lines, which nobody runs, and as one in which those that
        begin alike share that, and only answers are asked for."""
        if lanes not in self._made:
            items = [question.line for question in self.questions]
            whole = batch([items] * lanes, device)
            lengths = np.array([item.predicted for item in items] * lanes)
            counts = np.array([len(item.tokens) - item.answer for item in items] * lanes)
            asked = (int(counts.sum()) // lanes,) * lanes
            tokens = np.full((len(items), lengths.max()), NO_TOKEN)
            for row, item in zip(tokens, items, strict=True):
                row[: item.predicted] = item.tokens[:-1]
            answers = replace(
                whole,
                targets=whole.targets[whole.answers],
                outputs=torch.arange(sum(asked), device=device),
                answers=whole.answers[whole.answers],
                lengths=torch.from_numpy(counts).to(device),
                asked=asked,
                predicted=asked,
                packed=pack(lengths, device, asked=counts),
            )
            owner = np.repeat(np.arange(lanes), len(items))
            self._made[lanes] = whole, shared(answers, np.tile(tokens, (lanes, 1)), owner)
        return self._made[lanes]


@dataclass
class Record:
    """What modules gave in a pass of one lane, and the keys and values of every layer.

    A ReLU in place may have gone over an output by the time that it is given again; over it a second time, it changes
    nothing.
    """

    outputs: dict[nn.Module, Any] = field(default_factory=dict)
    kept: list[Kept] = field(default_factory=list)

    def note(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        """A forward hook."""
        self.outputs[module] = output

    @property
    def bytes(self) -> int:
        tensors = [tensor for some in (*self.outputs.values(), *self.kept) for tensor in _tensors(some)]
        return sum(tensor.nbytes for tensor in tensors)


@torch.inference_mode()
def ask(model: LaneModel, variants: Sequence[Variant], questions: Sequence[Question], device: torch.device) -> Answers:
    """Ask variants of an adapter. Those that have a parent follow all that have none."""
    shape = len(variants), len(questions)
    found = Answers(np.empty(shape, bool), np.ones(shape, bool), np.empty(shape, np.float32))
    parents = [at for at, variant in enumerate(variants) if variant.parent is None]
    passes = Passes(model, {variant.begins[0] for variant in variants if variant.parent is not None}, device)
    alike: dict[tuple[Any, ...], list[int]] = {}
    for at, variant in enumerate(variants):
        if variant.parent is not None:
            alike.setdefault((variant.parent, *variant.begins), []).append(at)
    symbols = model.model.text.symbols
    most, at_once = (min(tokens, max(1, LOGITS_PER_PASS // symbols)) for tokens in TOKENS[device.type])
    held: list[tuple[Sheet, dict[int, Record]]] = []
    sheets = [*sheets_of(questions, most)]
    for sheet in sheets:
        records: dict[int, Record] = {}
        for at in parents:
            model.bind(variants[at].theta[None])
            with passes.recorded() as records[at]:
                forward = passes.run(sheet, 1, records[at].kept)
            _note(forward, sheet, [at], found)
        held.append((sheet, records))
        if sheet is not sheets[-1] and sum(record.bytes for _, some in held for record in some.values()) < RECORDED:
            continue
        lanes = max(1, at_once // max(sheet.batches(1, device)[1].lanes[0] for sheet, _ in held))
        for (parent, layer, roles), every in alike.items():
            for first in range(0, len(every), lanes):
                some = every[first : first + lanes]
                model.bind(torch.stack([variants[at].theta for at in some]))
                for sheet, records in held:
                    forward = passes.rerun(sheet, len(some), records[parent], layer, roles)
                    _note(forward, sheet, some, found)
        held.clear()
    return found


def sheets_of(questions: Sequence[Question], most: int) -> Iterator[Sheet]:
    """Cut questions into sheets of so many tokens: those by themselves behind which passes go on, and all so that lines
    of like length come together, and of these the ones that begin alike."""

    def kind(at: int) -> tuple[bool, bool]:
        return questions[at].alternatives is None, not questions[at].line.others

    def key(at: int) -> tuple[object, ...]:
        line = questions[at].line
        return *kind(at), bucket(line.predicted), line.tokens.tolist()

    order = sorted(range(len(questions)), key=key)
    part: list[int] = []
    room = 0
    for at in order:
        size = questions[at].line.predicted
        if part and (room + size > most or kind(at) != kind(part[-1])):
            yield Sheet(np.array(part), [questions[one] for one in part])
            part, room = [], 0
        part.append(at)
        room += size
    if part:
        yield Sheet(np.array(part), [questions[one] for one in part])


def _note(forward: Pass, sheet: Sheet, rows: Sequence[int], found: Answers) -> None:
    """Write what a pass over a sheet found of some variants."""
    scores = Scores.empty(len(rows), len(sheet.places))
    forward.fill(scores, forward.decoded(forward.undecided))
    into = np.ix_(np.array(rows), sheet.places)
    found.recalled[into], found.nll[into] = scores.recalled, scores.answer_nll
    judged = [at for at, question in enumerate(sheet.questions) if question.alternatives is not None]
    if judged:
        lines = (np.arange(len(rows))[:, None] * len(sheet.places) + judged).flatten()
        others = [sheet.questions[at].alternatives for at in judged] * len(rows)
        won = associated(forward, lines, [one for one in others if one is not None])
        found.associated[np.ix_(np.array(rows), sheet.places[judged])] = won.reshape(len(rows), -1)


class Passes:
    """Runs sheets through a model, from its beginning or from where what is bound differs from what was recorded.

    Args:
        model: what is to run is bound to it.
        layers: in which anything may begin to differ.
    """

    def __init__(self, model: LaneModel, layers: Collection[int], device: torch.device) -> None:
        self.model, self.device = model, device
        inside: LanguageModel = model.model
        self.layers = list(inside.get_submodule(inside.roles.layers).children())
        self.linears = {(site.layer, site.role): inside.get_submodule(site.path) for site in sites(inside)}
        self.attention = {
            site.layer: inside.get_submodule(site.path.rpartition(".")[0]) for site in sites(inside) if site.role == "o"
        }
        self.watched = [
            *(self.layers[layer - 1] for layer in layers if layer),
            *(self.attention[layer] for layer in layers),
            *(module for (layer, _), module in self.linears.items() if layer in layers),
        ]

    @contextmanager
    def recorded(self) -> Iterator[Record]:
        """Record the pass of one lane in this block."""
        record = Record()
        handles = [module.register_forward_hook(record.note) for module in self.watched]
        try:
            yield record
        finally:
            for handle in handles:
                handle.remove()

    def run(self, sheet: Sheet, lanes: int, kept: list[Kept]) -> Pass:
        """Run a sheet, once a lane; ``kept`` has the keys and values of layers whose attention does not run, and those
        of all others are added to it."""
        whole, answers = sheet.batches(lanes, self.device)
        packed = Recorded(answers.packed.all, answers.packed.asked, kept)
        nll, logits = self.model.nll(replace(answers, packed=packed))
        of_all = (rows.new_zeros(len(whole.targets), *rows.shape[1:]) for rows in (nll, logits))
        every = [
            rows.index_copy_(0, whole.answers.nonzero()[:, 0], some)
            for rows, some in zip(of_all, (nll, logits), strict=True)
        ]
        lane, column = np.divmod(np.arange(lanes * len(sheet.places)), len(sheet.places))
        items = [question.line for question in sheet.questions] * lanes
        return Pass(self.model, lane, column, items, replace(whole, packed=packed), *every)

    def rerun(self, sheet: Sheet, lanes: int, record: Record, layer: int, roles: frozenset[Role]) -> Pass:
        """Run a sheet from where it differs from what was recorded of it: in some roles of a layer, and behind them."""
        known = partial(_tiled, lanes=lanes)
        begins = min(STAGE[role] for role in roles)
        attended = begins >= AFTER_ATTENTION
        modules = [self.attention[layer]] if attended else []
        modules += [
            module
            for (at, role), module in self.linears.items()
            if at == layer and role not in roles and STAGE[role] <= begins and not (attended and role in ATTENTION)
        ]
        given = {module: known(record.outputs[module]) for module in modules}
        if layer:
            given |= dict.fromkeys(self.layers[:layer], known(record.outputs[self.layers[layer - 1]]))
        with _given(given):
            return self.run(sheet, lanes, [known(some) for some in record.kept[: layer + attended]])


@contextmanager
def _given(outputs: Mapping[nn.Module, Any]) -> Iterator[None]:
    """Let modules give these outputs in this block instead of running."""
    for module, output in outputs.items():
        module.forward = partial(_ignoring, output)
    try:
        yield
    finally:
        for module in outputs:
            del module.forward


def _ignoring(output: Any, *_: Any, **__: Any) -> Any:
    return output


def _tiled(output: Any, lanes: int) -> Any:
    """What a module gave for the tokens of one lane, for as many lanes, (..., tokens, width) each; also of tuples."""
    if isinstance(output, tuple):
        return tuple(_tiled(part, lanes) for part in output)
    return torch.cat([output] * lanes, dim=-2) if isinstance(output, Tensor) else output


def _tensors(output: Any) -> Iterable[Tensor]:
    return (part for part in (output if isinstance(output, tuple) else (output,)) if isinstance(part, Tensor))
