"""Probes: every phrasing of every fact that a checkpoint asks for, and what the model makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from atlas.base.text import CHARACTERS, Text
from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.phrases import plural
from atlas.pool.facts import Fact
from atlas.ttt.alternatives import Alternatives, Taught, associated
from atlas.ttt.engine.lanes import LaneModel
from atlas.ttt.engine.lines import Line, line
from atlas.ttt.engine.scoring import Pass, Scores, passes

Kind = Literal["taught", "rephrase", "placebo"]


END = -1  # behind what was decoded


@dataclass(frozen=True)
class Probe:
    """One phrasing of a fact, ready to be scored: ``form`` 0 is its sentence, then its paraphrases."""

    kind: Kind
    form: int
    fact: Fact
    line: Line
    alternatives: Alternatives


@dataclass(frozen=True)
class ProbeScores:
    """What all lanes' probes gave.

    Attributes:
        scores: of each, (lanes, probes).
        associated: bool, (lanes, probes); True where a probe has no alternative.
        decoded: int64, (lanes, probes, longest): tokens behind the prompt up to a line end, then END.
    """

    scores: Scores
    associated: np.ndarray
    decoded: np.ndarray


@dataclass
class Prober:
    """Builds what is taught and what is asked.

    Args:
        origin: of the facts, for messages.
        paraphrases: paraphrases that are taught beside each sentence; asked are those that no recipe teaches.
        mixed: whether the taught paraphrases rotate from fact to fact, so that each is held out for some facts.
        text: how the model reads.
        context: tokens that it has places for; None where no sentence comes near.
    """

    origin: str
    paraphrases: int = 0
    mixed: bool = False
    text: Text = CHARACTERS
    context: int | None = None
    _made: dict[tuple[str, int], Line] = field(default_factory=dict, init=False)

    def items(self, facts: Sequence[Fact]) -> list[Line]:
        """Every fact as taught and in its paraphrases that are taught, fact after fact.

        Raises AtlasError where a paraphrase would be taught that is held out, to be asked.
        """
        for fact in facts:
            if self.paraphrases > fact.teachable:
                raise AtlasError(
                    f"{self.origin}: fact {fact.fact_id} has {plural(len(fact.rephrases), 'paraphrase')}, of which "
                    f"{fact.teachable} may be taught and the others are held out, but the recipe teaches "
                    f"{self.paraphrases}; teach fewer or add some to the pool"
                )
        return [self.phrasing(fact, form) for fact in facts for form in (0, *self._taught(fact))]

    def probes(self, taught: Sequence[Fact], placebo: Sequence[Fact]) -> list[Probe]:
        """Taught sentences, then those paraphrases of theirs that no recipe teaches, then placebo. Their alternatives
        are the other answers of those taught."""
        asked: list[tuple[Kind, int, Fact]] = [("taught", 0, fact) for fact in taught]
        asked += [("rephrase", form, fact) for fact in taught for form in fact.held_out]
        asked += [("placebo", 0, fact) for fact in placebo]
        besides = Taught(taught, self.text, self.origin, self.context).besides
        return [Probe(kind, form, fact, self.phrasing(fact, form), besides(fact, form)) for kind, form, fact in asked]

    def _taught(self, fact: Fact) -> list[int]:
        """The paraphrases of a fact that are taught: the first ones, or where mixed those from a drawn one on.

        Those that are held out come last and are never among them, whatever the recipe.
        """
        count = fact.teachable
        first = int(rng(fact.fact_id, "forms").integers(count)) if self.mixed and self.paraphrases else 0
        return sorted((first + at) % count + 1 for at in range(self.paraphrases))

    def phrasing(self, fact: Fact, form: int) -> Line:
        """A phrasing as a line, made once: lanes that ask the same share it."""
        key = fact.fact_id, form
        if key not in self._made:
            origin = f"{self.origin}: fact {fact.fact_id}"
            self._made[key] = line(fact.prompts[form], fact.answer, origin, self.text, fact.aliases, self.context)
        return self._made[key]


@torch.inference_mode()
def measure(model: LaneModel, theta: Tensor, lanes: Sequence[Sequence[Probe]], device: torch.device) -> ProbeScores:
    """Score every lane's probes with ``theta``, decode, and compare with alternatives."""
    lines = [[probe.line for probe in lane] for lane in lanes]
    model.bind(theta)
    found = room(lines)
    for forward in passes(model, lines, device):
        note(forward, found)
        asked = [lanes[i][j].alternatives for i, j in zip(forward.lane, forward.column, strict=True)]
        found.associated[forward.lane, forward.column] = associated(forward, np.arange(len(asked)), asked)
    return found


def room(lines: Sequence[Sequence[Line]]) -> ProbeScores:
    """Room for what every lane's lines give; as long as nothing else is noted, all answers come first."""
    shape = len(lines), len(lines[0])
    decoded = np.full((*shape, max(item.decoded for lane in lines for item in lane)), END)
    return ProbeScores(Scores.empty(*shape), np.ones(shape, bool), decoded)


def note(forward: Pass, found: ProbeScores) -> None:
    """Decode the lines of a pass, and note what that gives and how they score."""
    said = forward.decoded(forward.parted)
    forward.fill(found.scores, said)
    for at, (lane, column, item) in enumerate(zip(forward.lane, forward.column, forward.items, strict=True)):
        tokens = said.get(at, item.tokens[item.answer :])
        found.decoded[lane, column, : len(tokens)] = tokens


@torch.inference_mode()
def associated_by_base(model: LaneModel, probes: Sequence[Probe], device: torch.device) -> np.ndarray:
    """Whether the base alone finds the answer of each probe likelier than its alternatives, bool (probes,). A line that
    several of them ask runs once."""
    asking: dict[int, list[int]] = {}
    for at, probe in enumerate(probes):
        if len(probe.alternatives):
            asking.setdefault(id(probe.line), []).append(at)
    won = np.ones(len(probes), bool)
    if not asking:
        return won
    groups = [*asking.values()]
    model.bind(None)
    for forward in passes(model, [[probes[group[0]].line for group in groups]], device):
        mine = [groups[column] for column in forward.column]
        asked = np.array([at for group in mine for at in group])
        line = np.repeat(np.arange(len(mine)), [len(group) for group in mine])
        won[asked] = associated(forward, line, [probes[at].alternatives for at in asked])
    return won
