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
from atlas.ttt.engine.lanes import LaneModel
from atlas.ttt.engine.lines import Line, line
from atlas.ttt.engine.scoring import Scores, passes, score_base
from atlas.ttt.ranking import Question, Ranking, question

Kind = Literal["taught", "rephrase", "placebo"]


@dataclass(frozen=True)
class Probe:
    """One phrasing of a fact, ready to be scored and ranked: ``form`` 0 is its sentence, then its paraphrases."""

    kind: Kind
    form: int
    fact: Fact
    line: Line
    question: Question


@dataclass(frozen=True)
class ProbeScores:
    """What all lanes' probes gave: ``base`` without adapters, ``adapted`` with them; ``ranked`` (lanes, probes)."""

    base: Scores
    adapted: Scores
    ranked: np.ndarray


@dataclass
class Prober:
    """Builds what is taught and what is asked.

    Args:
        alternatives: every fact's alternatives by fact_id.
        origin: of the facts, for messages.
        paraphrases: paraphrases that are taught beside each sentence; the others are asked.
        mixed: whether the taught paraphrases rotate from fact to fact, so that each is held out for some facts.
        text: how the model reads.
    """

    alternatives: dict[str, list[str]]
    origin: str
    paraphrases: int = 0
    mixed: bool = False
    text: Text = CHARACTERS
    _made: dict[tuple[str, int], tuple[Line, Question]] = field(default_factory=dict, init=False)

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
        return [self._phrasing(fact, form)[0] for fact in facts for form in (0, *self._taught(fact))]

    def probes(self, taught: Sequence[Fact], placebo: Sequence[Fact]) -> list[Probe]:
        """Taught sentences, then those paraphrases of theirs that were not taught, then placebo."""
        asked: list[tuple[Kind, int, Fact]] = [("taught", 0, fact) for fact in taught]
        for fact in taught:
            held_out = sorted({*range(1, len(fact.prompts))} - {*self._taught(fact)})
            asked += [("rephrase", form, fact) for form in held_out]
        asked += [("placebo", 0, fact) for fact in placebo]
        return [Probe(kind, form, fact, *self._phrasing(fact, form)) for kind, form, fact in asked]

    def _taught(self, fact: Fact) -> list[int]:
        """The paraphrases of a fact that are taught: the first ones, or where mixed those from a drawn one on.

        Those that are held out come last and are never among them, whatever the recipe.
        """
        count = fact.teachable
        first = int(rng(fact.fact_id, "forms").integers(count)) if self.mixed and self.paraphrases else 0
        return sorted((first + at) % count + 1 for at in range(self.paraphrases))

    def _phrasing(self, fact: Fact, form: int) -> tuple[Line, Question]:
        """A phrasing as a line and as a question, made once: the base scores a line that lanes share once."""
        key = fact.fact_id, form
        if key not in self._made:
            prompt, origin = fact.prompts[form], f"{self.origin}: fact {fact.fact_id}"
            alternatives = self.alternatives[fact.fact_id]
            self._made[key] = (
                line(prompt, fact.answer, origin, self.text),
                question(prompt, fact.answer, alternatives, origin, self.text),
            )
        return self._made[key]


@torch.inference_mode()
def measure(
    model: LaneModel, theta: Tensor | None, lanes: Sequence[Sequence[Probe]], device: torch.device
) -> ProbeScores:
    """Score every lane's probes under the base and with ``theta``, and rank the answers with it.

    Without ``theta`` all lanes are the base, and what it scored is theirs, too.
    """
    lines = [[probe.line for probe in lane] for lane in lanes]
    base = score_base(model, lines, device)
    model.bind(theta)
    adapted = base if theta is None else Scores.empty(len(lanes), len(lanes[0]))
    ranking = Ranking([[probe.question for probe in lane] for lane in lanes])
    for forward in passes(model, lines, device):
        if theta is not None:
            forward.fill(adapted)
        ranking.bound(forward)
    return ProbeScores(base, adapted, ranking.settle(model, device))
