"""Causal tracing: which states carry what a model knows of a subject to the place where it gives the answer.

Meng et al. 2022 (arXiv 2202.05262), section 2.1. Noise on the subject's embeddings makes the answer unlikely; then one
state of the clean pass is put back, and how far that raises the answer's probability is the state's indirect effect.
States are a layer's whole output at one token, or what its feed-forward or attention adds there; the latter are put
back in a window of layers. The probability is that of the whole answer, token by token with the true ones before it:
where a token is a character, the first one alone says little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from atlas.base.language import LanguageModel
from atlas.base.text import CHARACTERS, Text, gap
from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.pool.facts import Fact
from atlas.ttt.editors.passes import changed, layer_of, watched
from atlas.ttt.editors.trace_columns import KINDS, POSITIONS
from atlas.ttt.engine.lanes import sites
from atlas.ttt.engine.lines import IGNORED, Line, batch

TOKENS_PER_PASS = 4096
ROLE_OF = {"mlp": "down", "attention": "o"}  # whose output is what the kind adds to the residual stream


@dataclass(frozen=True)
class Case:
    """Something a model knows: a text, its subject from token ``first`` to ``last``, and the answer at its end."""

    name: str
    line: Line
    first: int
    last: int

    def places(self) -> dict[str, np.ndarray]:
        """The tokens of each of ``POSITIONS`` that the text has; of two that fit a token the later one counts."""
        end = self.line.answer - 1
        spans = {
            "subject_first": range(self.first, self.first + 1),
            "subject_middle": range(self.first + 1, self.last),
            "subject_last": range(self.last, self.last + 1),
            "subject_after": range(self.last + 1, min(self.last + 2, end)),
            "further": range(self.last + 2, end),
            "prompt_last": range(end, end + 1),
        }
        position_of = {place: name for name in POSITIONS for place in spans[name]}
        found = {name: [place for place in spans[name] if position_of[place] == name] for name in POSITIONS}
        return {name: np.array(places) for name, places in found.items() if places}


def fact_case(fact: Fact, origin: str, text: Text = CHARACTERS) -> Case:
    """The case of a fact that a model knows; what it puts behind the answer does not count.

    Raises AtlasError where the pool does not say what the fact's subject is.
    """
    if fact.subject_start is None or fact.subject_end is None:
        raise AtlasError(
            f"{origin}: fact {fact.fact_id} has no subject to corrupt; add the column 'subject' to the pool"
        )
    named = f"{origin}: fact {fact.fact_id}"
    answer = text.sentence(fact.prompt, fact.answer, named).answer
    tokens = text.encode(f"{fact.prompt}{gap(fact.prompt)}{fact.answer}", named)  # without a line end
    first, last = text.span(fact.prompt, fact.subject_start, fact.subject_end)
    return Case(fact.fact_id, Line(np.append(np.array([text.start], text.dtype), tokens), answer), first, last)


@dataclass(frozen=True)
class Traced:
    """What a case gave.

    Attributes:
        clean: the answer's probability.
        corrupted: the same with the subject corrupted, mean over noises.
        effects: float64, (kinds, layers, positions): by how much more likely the answer is with states put back, mean
            over noises and over the tokens of a position; nan where the text has none.
    """

    clean: float
    corrupted: float
    effects: np.ndarray


class _Restoration(NamedTuple):
    """One line of a pass: a noise and, unless ``kind`` is None, one state that is put back."""

    sample: int
    place: int = 0
    layer: int = 0
    kind: str | None = None
    position: str = ""


class Tracer:
    """Traces cases through a model: the base, or one with adapters bound for a single lane.

    Args:
        model: its forward takes packed tokens; weights are frozen.
        samples: noises to average over.
        noise: standard deviation of the noise on every number of an embedding.
        window: layers put back together for kinds other than hidden, around the one that is named.
        seed: draws the noise; a case's depends on this and its name alone.
    """

    def __init__(self, model: LanguageModel, samples: int, noise: float, window: int, seed: int) -> None:
        self.model, self.samples, self.noise, self.window, self.seed = model, samples, noise, window, seed
        self.embedding = model.embedding
        found = sites(model)
        self.layers = 1 + max(site.layer for site in found)
        self.modules = {("hidden", layer): layer_of(model, layer) for layer in range(self.layers)}
        for kind, role in ROLE_OF.items():
            self.modules |= {(kind, site.layer): model.get_submodule(site.path) for site in found if site.role == role}
        self.device = next(model.parameters()).device

    @torch.inference_mode()
    def trace(self, case: Case) -> Traced:
        """Every effect of a case."""
        with watched(self.modules) as seen:
            (clean,) = self._answers([case.line])
        states = {key: one.out for key, one in seen.items()}
        restored = [
            _Restoration(sample, place, layer, kind, position)
            for kind, layer in self.modules
            for position, places in case.places().items()
            for place in places.tolist()
            for sample in range(self.samples)
        ]
        runs = [*(_Restoration(sample) for sample in range(self.samples)), *restored]
        size = max(1, TOKENS_PER_PASS // case.line.predicted)
        parts = [self._pass(case, runs[start : start + size], states) for start in range(0, len(runs), size)]
        likely = np.concatenate(parts)
        corrupted = float(likely[: self.samples].mean())
        where = tuple(
            np.array([(KINDS.index(one.kind or ""), one.layer, POSITIONS.index(one.position)) for one in restored]).T
        )
        sums, counts = np.zeros((2, len(KINDS), self.layers, len(POSITIONS)))
        np.add.at(sums, where, likely[self.samples :])
        np.add.at(counts, where, 1)
        means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
        return Traced(float(clean), corrupted, means - corrupted)

    def _pass(self, case: Case, runs: Sequence[_Restoration], states: Mapping[tuple[str, int], Tensor]) -> np.ndarray:
        """The answer's probability in each run, (runs,). ``states`` are every module's, (tokens, width)."""
        time = case.line.predicted
        shape = case.last + 1 - case.first, self.embedding.weight.shape[1]
        draws = [rng(self.seed, "trace", case.name, one.sample).normal(scale=self.noise, size=shape) for one in runs]
        noise = torch.from_numpy(np.stack(draws).astype(np.float32)).to(self.device)  # (runs, subject, width)

        def corrupt(out: Tensor) -> Tensor:
            noisy = out.reshape(len(runs), time, -1).clone()
            noisy[:, case.first : case.last + 1] += noise
            return noisy.view_as(out)

        with ExitStack() as stack:
            stack.enter_context(changed(self.embedding, corrupt))
            for (kind, layer), module in self.modules.items():
                window = 1 if kind == "hidden" else self.window
                covered = [
                    (i, one.place)
                    for i, one in enumerate(runs)
                    if one.kind == kind and -(window // 2) <= layer - one.layer < window - window // 2
                ]
                if covered:
                    lines, places = torch.tensor(covered, device=self.device).T
                    put = partial(_put_back, lines * time + places, states[kind, layer][places])
                    stack.enter_context(changed(module, put))
            return self._answers([case.line] * len(runs))

    def _answers(self, lines: Sequence[Line]) -> np.ndarray:
        """The probability of each line's answer, (lines,)."""
        packed = batch([lines], self.device)
        logits = self.model(packed.tokens, packed.positions, packed.packed)
        nll = F.cross_entropy(logits, packed.targets, ignore_index=IGNORED, reduction="none")
        return packed.line_sums(nll * packed.answers).neg().exp().double().cpu().numpy()


def _put_back(rows: Tensor, state: Tensor, out: Tensor) -> Tensor:
    return out.flatten(end_dim=-2).index_copy(0, rows, state).view_as(out)
