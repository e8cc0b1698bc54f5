"""Locate by causal tracing where the base keeps what it knows, and write the effects as a table.

A model from outside is traced on the facts of the pool that it knows. A base that never saw the pool knows none, so it
is traced on words that its corpus puts behind certain others: pairs such as KING and RICHARD, of which the second word,
once its first letter is there, follows from the first. The corpus decides which pairs are associated, and the model
which of these it knows: where greedy decoding gives the rest of the word, likely enough.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import scipy
import torch
from pydantic import Field
from torch import nn

from atlas.base.language import LanguageModel
from atlas.base.text import NEWLINE, encode
from atlas.draws import rng
from atlas.study.jobs import Tracing
from atlas.ttt.ask_base import known_facts
from atlas.ttt.editors.certified import CertifiedBase
from atlas.ttt.editors.trace_columns import KINDS, POSITIONS, TRACE
from atlas.ttt.editors.tracer import Case, Traced, Tracer, fact_case
from atlas.ttt.engine.lines import Line, batch
from atlas.workflow import files, progress
from atlas.workflow.steps import add_spec, environment, parser, run_step

SUBJECT, ANSWER = 3, 4  # letters that the words of a pair have at least
PAIR = re.compile(rf"(?<![A-Za-z'])([A-Za-z]{{{SUBJECT},}}) (?=([A-Za-z]{{{ANSWER},}})(?![A-Za-z']))")
WORD = re.compile(rf"(?<![A-Za-z'])[A-Za-z]{{{ANSWER},}}(?![A-Za-z'])")
TRIED = 8  # places of a pair


class TraceSpec(Tracing):
    """What decides the table besides the base, and its corpus or the facts that it knows."""

    seed: int = Field(0, description="draws noises and the places of pairs")
    times: int = Field(20, gt=0, description="times that the corpus has a pair of words, at least")
    share: float = Field(0.5, gt=0, le=1, description="of the words behind the first one with the same first letter")
    elsewhere: float = Field(0.2, gt=0, le=1, description="most that the second word is of all with its first letter")
    probability: float = Field(0.3, ge=0, lt=1, description="of the answer, for the base to know it")
    context: int = Field(40, ge=0, description="characters of the corpus before a pair")
    noise: float = Field(3.0, gt=0, description="standard deviations of the embeddings of the subjects' tokens")


def main(arguments: Sequence[str] | None = None) -> None:
    """Trace by the command line; see ``python -m atlas.ttt.editors.trace --help``."""
    options = parser(__doc__)
    add_spec(options, TraceSpec)
    CertifiedBase.add_options(options, "trace.parquet")
    options.add_argument("--known", type=Path, help="ttt/pool.parquet, for facts that the base knows; else the corpus")
    args = options.parse_args(arguments)
    spec: TraceSpec = args.spec
    base = CertifiedBase.read(args)
    if args.known:
        facts = [fact for fact in known_facts(args.known) if fact.subject is not None]
        progress.say(f"trace: the base knows {len(facts)} facts of the pool")
        order = rng(spec.seed, "trace", "facts").permutation(len(facts))
        cases = [fact_case(facts[at], str(args.known), base.model.text) for at in order]
    else:
        pairs = word_pairs(base.training, spec.times, spec.share, spec.elsewhere)
        context = min(spec.context, base.model.config.context // 2)
        cases = list(known_cases(base.model, base.training, pairs, context, spec.probability, spec.seed))
        progress.say(f"trace: the base knows {len(cases)} of {len(pairs)} associations of its corpus")
    cases = cases[: spec.cases]
    provenance = {
        "step": "atlas.ttt.editors.trace",
        "spec": spec.model_dump(),
        "base_fingerprint": base.manifest.fingerprint,
        "cases": [case.name for case in cases],
        **environment("torch", "numpy"),
    }
    files.write_parquet(args.out, trace_table(trace_all(base.model, cases, spec)), provenance)
    progress.say(f"trace: {len(cases)} cases, see {args.out}")


@dataclass(frozen=True)
class WordPair:
    """Two words that follow each other, and where in the text the first one begins each time."""

    subject: str
    answer: str
    places: list[int] = field(repr=False)


def word_pairs(text: str, times: int, share: float, elsewhere: float) -> list[WordPair]:
    """The associated pairs of a text, the most frequent first.

    Args:
        text: the corpus.
        times: how often a pair stands there at least.
        share: of the words behind the first one that begin with the same letter, at least so many are the second.
        elsewhere: of all words that begin with this letter, at most so many are: what the letter alone would say.
    """
    places: dict[tuple[str, str], list[int]] = {}
    for match in PAIR.finditer(text):
        places.setdefault((match[1], match[2]), []).append(match.start())
    behind, words = Counter[tuple[str, str]](), Counter(WORD.findall(text))
    letters = Counter(word[0] for word in words.elements())
    for (subject, answer), found in places.items():
        behind[subject, answer[0]] += len(found)
    chosen = [
        WordPair(subject, answer, found)
        for (subject, answer), found in places.items()
        if len(found) >= times
        and len(found) >= share * behind[subject, answer[0]]
        and words[answer] <= elsewhere * letters[answer[0]]
    ]
    return sorted(chosen, key=lambda pair: (-len(pair.places), pair.subject, pair.answer))


def case_at(text: str, pair: WordPair, place: int, context: int) -> Case:
    """The pair where it stands: text, the first word, the second one's first letter; the rest of that is the answer."""
    before = encode(text[max(0, place - context) : place])
    asked, rest = encode(f"{pair.subject} {pair.answer[0]}"), encode(pair.answer[1:])
    tokens = np.concatenate([np.array([NEWLINE], np.uint8), before, asked, rest])
    first = 1 + len(before)
    item = Line(tokens, answer=first + len(asked))
    return Case(f"{pair.subject} {pair.answer}/{place}", item, first, first + len(pair.subject) - 1)


@torch.inference_mode()
def known_cases(
    model: nn.Module, text: str, pairs: Sequence[WordPair], context: int, least: float, seed: int
) -> Iterator[Case]:
    """One case of each pair that the model knows: decoded right, with a probability of ``least`` or more.

    Of each pair a few places are tried in an order drawn with ``seed``; the first that the model knows is taken.
    """
    device = next(model.parameters()).device
    for pair in pairs:
        order = rng(seed, "known", pair.subject, pair.answer).permutation(len(pair.places))[:TRIED]
        cases = [case_at(text, pair, pair.places[i], context) for i in order]
        packed = batch([[case.line for case in cases]], device)
        likelihoods = model(packed.tokens, packed.positions, packed.packed).log_softmax(-1)
        wrong = (likelihoods.argmax(-1) != packed.targets) & packed.answers
        answers = likelihoods.gather(1, packed.targets[:, None])[:, 0] * packed.answers
        known = ((packed.line_sums(wrong) == 0) & (packed.line_sums(answers).exp() >= least)).cpu().numpy()
        if known.any():
            yield cases[int(known.argmax())]


def trace_all(model: LanguageModel, cases: Sequence[Case], spec: TraceSpec) -> list[Traced]:
    """Trace cases; the noise is in units of the spread of the embeddings of all their subjects."""
    if not cases:
        return []
    subjects = np.concatenate([case.line.tokens[case.first : case.last + 1] for case in cases])
    embeddings = model.embedding(torch.from_numpy(subjects.astype(np.int64)))
    tracer = Tracer(model, spec.samples, spec.noise * float(embeddings.std()), spec.window or 1, spec.seed)
    traced = []
    with progress.tracker("trace", len(cases)) as tracker:
        for case in cases:
            traced.append(tracer.trace(case))
            tracker.advance()
    return traced


def trace_table(traced: Sequence[Traced]) -> pa.Table:
    """The table of ``TRACE``: means over cases with Student's 95% intervals; no rows without cases."""
    rows = []
    layers = traced[0].effects.shape[1] if traced else 0
    for (k, kind), layer, (p, position) in itertools.product(enumerate(KINDS), range(layers), enumerate(POSITIONS)):
        having = [one for one in traced if not np.isnan(one.effects[k, layer, p])]
        if not having:
            continue
        effects = np.array([one.effects[k, layer, p] for one in having])
        n, mean, low, high = len(having), float(effects.mean()), None, None
        if n > 1:
            half = float(scipy.special.stdtrit(n - 1, 0.975) * effects.std(ddof=1) / math.sqrt(n))
            low, high = mean - half, mean + half
        rows.append(
            {
                "kind": kind,
                "layer": layer,
                "position": position,
                "effect": mean,
                "ci_low": low,
                "ci_high": high,
                "n": n,
                "probability": float(np.mean([one.clean for one in having])),
                "corrupted": float(np.mean([one.corrupted for one in having])),
            }
        )
    return pa.Table.from_pylist(rows, schema=TRACE)


if __name__ == "__main__":
    run_step(main)
