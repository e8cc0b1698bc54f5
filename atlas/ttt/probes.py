"""Probes: every form of every fact that a checkpoint asks for, and what the model makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from atlas.base.text import CHARACTERS, Text
from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.pool.facts import Fact
from atlas.ttt.engine.lines import Line, line
from atlas.ttt.engine.scoring import LaneModel, Scores, passes, score_base
from atlas.ttt.ranking import Question, Ranking, question

Kind = Literal["taught", "rephrase", "placebo"]


@dataclass(frozen=True)
class Dated:
    """A fact and the session that teaches it; None for a fact that is never taught."""

    fact: Fact
    session: int | None


@dataclass(frozen=True)
class Probe:
    """One form of a fact, ready to be scored and ranked."""

    kind: Kind
    form: int
    dated: Dated
    line: Line
    question: Question

    @property
    def alternatives(self) -> int:
        """Candidates that the answer has to beat."""
        return len(self.question.alternatives)


@dataclass(frozen=True)
class Measured:
    """What all lanes' probes gave: ``base`` without adapters, ``adapted`` with them; ``ranked`` (lanes, probes)."""

    base: Scores
    adapted: Scores
    ranked: np.ndarray


class Prober:
    """Builds what is taught and what is asked.

    Args:
        alternatives: every fact's alternatives by fact_id.
        origin: of the facts, for messages.
        paraphrases: paraphrases that are taught beside each sentence; the others are asked.
        mixed: whether they are other ones from fact to fact, so that what is asked of one was taught of others.
        text: how the model reads.
    """

    def __init__(
        self,
        alternatives: dict[str, list[str]],
        origin: str,
        paraphrases: int = 0,
        mixed: bool = False,
        text: Text = CHARACTERS,
    ) -> None:
        self.text = text
        self.alternatives, self.origin, self.paraphrases, self.mixed = alternatives, origin, paraphrases, mixed
        self._made: dict[tuple[str, int], tuple[Line, Question]] = {}

    def items(self, facts: Sequence[Fact]) -> list[Line]:
        """Every fact as taught and in its paraphrases that are taught, fact after fact.

        Raises AtlasError where a fact would have no form left that was not taught, to be asked in.
        """
        for fact in facts:
            if self.paraphrases >= len(fact.rephrases):
                raise AtlasError(
                    f"{self.origin}: fact {fact.fact_id} has {len(fact.rephrases)} paraphrases, but the recipe "
                    f"teaches {self.paraphrases}, so none is left to ask; teach fewer or add some to the pool"
                )
        return [self._form(fact, form)[0] for fact in facts for form in (0, *self._taught(fact))]

    def probes(self, taught: Sequence[Dated], placebo: Sequence[Dated]) -> list[Probe]:
        """Taught sentences, then those paraphrases of theirs that were not taught, then placebo."""
        return [
            *(self._probe("taught", 0, dated) for dated in taught),
            *(self._probe("rephrase", form, dated) for dated in taught for form in self._asked(dated.fact)),
            *(self._probe("placebo", 0, dated) for dated in placebo),
        ]

    def _taught(self, fact: Fact) -> list[int]:
        """The paraphrases of a fact that are taught: the first ones, or where mixed those from a drawn one on."""
        count = len(fact.rephrases)
        first = int(rng(fact.fact_id, "forms").integers(count)) if self.mixed else 0
        return sorted((first + at) % count + 1 for at in range(self.paraphrases))

    def _asked(self, fact: Fact) -> list[int]:
        taught = self._taught(fact)
        return [form for form in range(1, len(fact.prompts)) if form not in taught]

    def _probe(self, kind: Kind, form: int, dated: Dated) -> Probe:
        return Probe(kind, form, dated, *self._form(dated.fact, form))

    def _form(self, fact: Fact, form: int) -> tuple[Line, Question]:
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
def measure(adapters: LaneModel, theta: Tensor, lanes: Sequence[Sequence[Probe]], device: torch.device) -> Measured:
    """Score every lane's probes without and with the adapters, and rank the answers with them."""
    lines = [[probe.line for probe in lane] for lane in lanes]
    base = score_base(adapters, lines, device)
    adapters.bind(theta)
    adapted = Scores.empty(len(lanes), len(lanes[0]))
    ranking = Ranking([[probe.question for probe in lane] for lane in lanes])
    for forward in passes(adapters, lines, device):
        forward.fill(adapted)
        ranking.bound(forward)
    return Measured(base, adapted, ranking.settle(adapters, device))
