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
from atlas.ttt.engine.scoring import Scores, passes, score_base

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
        base: without adapters.
        adapted: with them.
        associated: bool, (lanes, probes); True where a probe has no alternative.
        decoded: int64, (lanes, probes, longest): tokens behind the prompt up to a line end, then END.
    """

    base: Scores
    adapted: Scores
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
    """

    origin: str
    paraphrases: int = 0
    mixed: bool = False
    text: Text = CHARACTERS
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
        return [self._phrasing(fact, form) for fact in facts for form in (0, *self._taught(fact))]

    def probes(self, taught: Sequence[Fact], placebo: Sequence[Fact]) -> list[Probe]:
        """Taught sentences, then those paraphrases of theirs that no recipe teaches, then placebo. Their alternatives
        are the other answers of those taught."""
        asked: list[tuple[Kind, int, Fact]] = [("taught", 0, fact) for fact in taught]
        asked += [("rephrase", form, fact) for fact in taught for form in fact.held_out]
        asked += [("placebo", 0, fact) for fact in placebo]
        known = Taught(taught, self.text, self.origin)
        besides = {fact.fact_id: known.besides(fact) for fact in (*taught, *placebo)}
        return [
            Probe(kind, form, fact, self._phrasing(fact, form), besides[fact.fact_id]) for kind, form, fact in asked
        ]

    def _taught(self, fact: Fact) -> list[int]:
        """The paraphrases of a fact that are taught: the first ones, or where mixed those from a drawn one on.

        Those that are held out come last and are never among them, whatever the recipe.
        """
        count = fact.teachable
        first = int(rng(fact.fact_id, "forms").integers(count)) if self.mixed and self.paraphrases else 0
        return sorted((first + at) % count + 1 for at in range(self.paraphrases))

    def _phrasing(self, fact: Fact, form: int) -> Line:
        """A phrasing as a line, made once: the base scores a line that lanes share once."""
        key = fact.fact_id, form
        if key not in self._made:
            origin = f"{self.origin}: fact {fact.fact_id}"
            self._made[key] = line(fact.prompts[form], fact.answer, origin, self.text, fact.aliases)
        return self._made[key]


@torch.inference_mode()
def measure(
    model: LaneModel, theta: Tensor | None, lanes: Sequence[Sequence[Probe]], device: torch.device
) -> ProbeScores:
    """Score every lane's probes under the base and with ``theta``; decode, and compare with alternatives, with it.

    Without ``theta`` all lanes are the base, and what it scored is theirs, too.
    """
    lines = [[probe.line for probe in lane] for lane in lanes]
    base = score_base(model, lines, device)
    model.bind(theta)
    shape = len(lanes), len(lanes[0])
    adapted = base if theta is None else Scores.empty(*shape)
    won, decoded = np.ones(shape, bool), np.full((*shape, max(item.decoded for lane in lines for item in lane)), END)
    for forward in passes(model, lines, device):
        places = [*zip(forward.lane, forward.column, strict=True)]
        won[forward.lane, forward.column] = associated(forward, [lanes[i][j].alternatives for i, j in places])
        said = forward.decoded(forward.parted)
        if theta is not None:
            forward.fill(adapted, said)
        for at, (place, item) in enumerate(zip(places, forward.items, strict=True)):
            tokens = said.get(at, item.tokens[item.answer :])
            decoded[place][: len(tokens)] = tokens
    return ProbeScores(base, adapted, won, decoded)
