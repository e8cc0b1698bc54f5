"""Asking a memory: one prompt, with how sure the answer is and what it resembles; or all that was taught."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
import torch

from atlas.base.text import PARTIAL
from atlas.errors import AtlasError
from atlas.memory import likeness
from atlas.memory.store import KeptFact, MemoryRecord, State
from atlas.memory.teaching import Workshop
from atlas.ttt.engine.lines import Line
from atlas.ttt.engine.scoring import Pass, passes
from atlas.ttt.probes import END, measure, note, room

BEAMS = 8  # beginnings of answers that are followed side by side


@dataclass(frozen=True)
class Answer:
    """What a memory says.

    Attributes:
        text: what greedy decoding gives before its line end, or as far as it goes.
        ended: whether there was a line end: a model that was not taught a prompt seldom comes to one.
        probability: of the answer with its line end.
        next_text: the likeliest other answer that was found; None where none was.
        next_probability: of that one.
    """

    text: str
    ended: bool
    probability: float
    next_text: str | None
    next_probability: float

    @property
    def margin(self) -> float:
        """By how much it is more probable than the next one; below 0 where greedy decoding missed a likelier one."""
        return self.probability - self.next_probability


@dataclass(frozen=True)
class Near:
    """The taught fact whose prompts are nearest to a prompt.

    Attributes:
        prompt: the one of its prompts that is.
        degree: of the likeness, 1 for the same words.
        resembles: whether that is near enough to say so.
    """

    fact: KeptFact
    prompt: str
    degree: float
    resembles: bool

    def exact(self, prompt: str) -> bool:
        """Whether the prompt was taught, but for its case: as a fact's sentence, or as one of its paraphrases."""
        return self.prompt.lower() == prompt.strip().lower()

    def differs(self, prompt: str) -> tuple[list[str], list[str]]:
        """Words of the prompt that are not in the taught one, and the other way round."""
        return likeness.differing(prompt, self.prompt)


@dataclass(frozen=True)
class Tested:
    """What is left of one fact now.

    Attributes:
        decoded: what the memory says.
        rephrased: of its paraphrases that are never taught, how many are recalled, and how many there are.
    """

    fact: KeptFact
    recalled: bool
    decoded: str
    rephrased: tuple[int, int]


def nearest(prompt: str, record: MemoryRecord) -> Near | None:
    """The fact, among those that are kept, whose prompts are nearest; None where there is none."""
    asked = [(one, text) for one in record.kept for text in one.fact.prompts]
    found = likeness.nearest(prompt, [text for _, text in asked])
    if found.place is None:
        return None
    fact, text = asked[found.place]
    return Near(fact, text, found.degree, found.resembles)


@torch.inference_mode()
def ask(workshop: Workshop, state: State, prompt: str) -> Answer:
    """What the memory says behind a prompt. AtlasError where the model cannot read it, or it is too long."""
    prompt = prompt.strip()
    model, device, text = workshop.adapters, workshop.device, workshop.base.model.text
    opening, most = text.opening(prompt, "the prompt"), model.model.config.context
    end = np.flatnonzero(text.line_ends)[:1].astype(opening.dtype)  # a line has to have one more token
    asked = Line(np.concatenate([opening, end]), len(opening))
    if not prompt or asked.answer > most:
        raise AtlasError(f"the prompt has {asked.answer} tokens with the start of a line; expected 2 to {most}")
    model.bind(state.learner.theta)
    found = room([[asked]])
    (forward,) = passes(model, [[asked]], device)
    note(forward, found)
    tokens = found.decoded[0, 0][found.decoded[0, 0] != END]
    said = text.decode(tokens).partition("\n")[0]
    answers = likeliest(forward, asked)
    whole = replace(asked, tokens=np.concatenate([opening, tokens.astype(opening.dtype)]))
    (again,) = passes(model, [[whole]], device)
    probability = answers.pop(said, None) or float(again.nll[asked.answer - 1 :].double().sum().neg().exp())
    other = max(answers, key=answers.__getitem__, default=None)
    return Answer(said, bool(text.line_ends[tokens[-1]]), probability, other, answers[other] if other else 0.0)


def likeliest(forward: Pass, asked: Line) -> dict[str, float]:
    """Answers behind a prompt that a beam search comes to, with their probabilities, line ends included.

    Args:
        forward: has the one line ``asked``, a prompt without an answer.
    """
    text = forward.model.model.text
    seen, most = asked.answer, min(asked.decoded, forward.model.model.config.context - asked.answer + 1)
    lines = forward.behind(np.zeros(1, np.int64), seen, most)
    symbols, ends = text.symbols, torch.from_numpy(text.line_ends).to(forward.logits.device)
    scores = forward.logits[seen - 1].double().log_softmax(-1)[None]  # (beams, symbols), of what was said and one more
    said, found = torch.zeros(1, 0, dtype=torch.long, device=scores.device), defaultdict[str, float](float)
    for step in range(most):
        best, places = scores.flatten().topk(min(BEAMS, scores.numel()))
        parents, tokens = places // symbols, places % symbols
        said = torch.cat([said[parents], tokens[:, None]], dim=1)
        for ended in torch.nonzero(ends[tokens]).flatten().tolist():
            answer = text.decode(said[ended].cpu().numpy()).partition("\n")[0]
            if PARTIAL not in answer:  # bytes of a character that is cut off are no answer
                found[answer] += float(best[ended].exp())
        going = torch.nonzero(~ends[tokens]).flatten()
        second = sorted(found.values())[-2] if len(found) > 1 else 0.0
        if step + 1 == most or not len(going) or float(best[going].max().exp()) < second:
            break
        said, best = said[going], best[going]
        lines = lines.only(parents[going].cpu().numpy())
        counts = np.ones(len(going), np.int64)
        positions = torch.full_like(tokens[going], seen + step)
        nothing = scores.new_zeros(len(going), 1, lines.time + 1, dtype=torch.float32)
        logits = lines.run(tokens[going], positions, counts, nothing)
        lines = replace(lines, time=lines.time + 1)
        scores = best[:, None] + logits.double().log_softmax(-1)
    return dict(found)


def test_all(workshop: Workshop, record: MemoryRecord, state: State) -> list[Tested]:
    """Ask every fact that is kept, in the words that it was taught and in its paraphrases that no recipe teaches."""
    kept = {one.fact.fact_id: one for one in record.kept}
    if not kept:
        return []
    probes = workshop.prober.probes([one.fact for one in kept.values()], [])
    found = measure(workshop.adapters, state.learner.theta, [probes], workshop.device)
    recalled, text = found.scores.recalled[0], workshop.base.model.text
    others = defaultdict[str, list[bool]](list)
    for probe, right in zip(probes, recalled, strict=True):
        if probe.kind == "rephrase":
            others[probe.fact.fact_id].append(bool(right))
    return [
        Tested(
            fact=kept[probe.fact.fact_id],
            recalled=bool(recalled[at]),
            decoded=text.decode(found.decoded[0, at][found.decoded[0, at] != END]).partition("\n")[0],
            rephrased=(sum(others[probe.fact.fact_id]), len(others[probe.fact.fact_id])),
        )
        for at, probe in enumerate(probes)
        if probe.kind == "taught"
    ]
