"""Ask the base what it knows of the pool before any teaching, and contradict what it knows.

A fact counts as known where the base, asked in the words that would be taught, gives the answer first by greedy
decoding. What it does not know is taught as it is. What it knows already is taught with another answer of the same
template, so that there is something to learn: the counterfactuals of Meng et al. 2022 (arXiv 2202.05262, section 3.4).
A fact whose file says what its answer contradicts is such a counterfactual already: it is asked for that, and keeps its
answer. Placebo facts are left as they are: those known show what teaching does to knowledge that it never touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from pydantic import Field

from atlas.base.checkpoint import load_certified, read_manifest
from atlas.base.language import LanguageModel
from atlas.base.text import CHARACTERS, Text
from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.phrases import plural
from atlas.pool.facts import NEIGHBOUR, TAUGHT, TRUE_FORM, Fact, pool_table, read_pool
from atlas.study.settings import Settings
from atlas.ttt.engine.lanes import LaneModel
from atlas.ttt.engine.lines import line
from atlas.ttt.engine.scoring import score
from atlas.ttt.probes import Prober
from atlas.workflow import files, progress
from atlas.workflow.steps import add_certified, add_spec, environment, parser, run_step


class AskSpec(Settings):
    """What decides the answers that are taught, besides pool and base."""

    seed: int = Field(0, description="draws the answers that contradict what is known")


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask a base by the command line; see ``python -m atlas.ttt.ask_base --help``."""
    options = parser(__doc__)
    add_spec(options, AskSpec)
    options.add_argument("--pool", type=Path, required=True, help="pool.parquet")
    add_certified(options)
    options.add_argument("--out", type=Path, required=True, help="the pool as it is taught, to be written")
    args = options.parse_args(arguments)
    torch.set_num_threads(args.threads)
    model = load_certified(args.checkpoint, args.manifest, args.certificate)
    facts = read_pool(args.pool)
    known = knows(model, facts, str(args.pool))
    provenance = {
        "step": "atlas.ttt.ask_base",
        "spec": args.spec.model_dump(),
        "base_fingerprint": read_manifest(args.manifest).fingerprint,
        **environment("torch", "numpy"),
    }
    taught_so = contradicted(facts, known, args.spec.seed, model.text, model.config.context)
    files.write_parquet(args.out, pool_table(taught_so), provenance)
    taught = sum(known[fact.fact_id] for fact in facts if fact.role == TAUGHT)
    progress.say(
        f"knowledge: the base knows {sum(known.values())} of {len(facts)} facts, {taught} of them are to be taught "
        f"with another answer; see {args.out}"
    )


def knows(model: LanguageModel, facts: Sequence[Fact], origin: str) -> dict[str, bool]:
    """Whether a model gives what was true before, the answer itself where a fact says nothing else, by fact_id;
    ``origin`` is for messages."""
    prober = Prober(origin, text=model.text, context=model.config.context)
    lines = [prober.phrasing(fact, 0 if fact.true_answer is None else TRUE_FORM) for fact in facts]
    answered = score(LaneModel(model), [lines], next(model.parameters()).device).answered[0]
    return {fact.fact_id: bool(given) for fact, given in zip(facts, answered, strict=True)}


def known_facts(path: Path) -> list[Fact]:
    """The facts of a pool as it is taught that the base knows, with the answers that it gives.

    Raises AtlasError where the pool is damaged, or no base was asked for it.
    """
    facts = read_pool(path)
    if any(fact.known is None for fact in facts):
        raise AtlasError(f"{path}: no column 'known', which says what a base knows; make it with atlas.ttt.ask_base")
    return [replace(fact, answer=fact.true_answer or fact.answer) for fact in facts if fact.known]


def contradicted(
    facts: Sequence[Fact],
    known: Mapping[str, bool],
    seed: int,
    text: Text = CHARACTERS,
    context: int | None = None,
) -> list[Fact]:
    """The facts as they are taught: those known and to be taught with another answer of their template, the drawn one
    or the next that a model that reads so can be taught behind all prompts of the fact, and without the questions that
    follow from the one they had. What the base does not give is no ``true_answer``.

    Raises AtlasError where a template has no other answer for one of them.
    """

    def teachable(fact: Fact, answer: str) -> bool:
        try:
            return all(line(prompt, answer, fact.fact_id, text, context=context) for prompt in fact.prompts)
        except AtlasError:
            return False

    answers: dict[str, set[str]] = {}
    for fact in facts:
        answers.setdefault(fact.template, set()).add(fact.answer)
    taught, alone = [], []
    for given in facts:
        fact = replace(given, known=known[given.fact_id])
        if fact.true_answer is not None:
            taught.append(fact if fact.known else replace(fact, true_answer=None))
            continue
        if fact.role != TAUGHT or not fact.known:
            taught.append(fact)
            continue
        others = sorted(answers[fact.template] - {*fact.answers})
        drawn = int(rng(seed, "counterfactual", fact.fact_id).integers(len(others))) if others else 0
        other = next((some for some in (*others[drawn:], *others[:drawn]) if teachable(fact, some)), None)
        if other is None:
            alone.append(f"{fact.fact_id} ({fact.template})")
            continue
        beside = tuple(further for further in fact.further if further.probe == NEIGHBOUR)
        taught.append(replace(fact, answer=other, aliases=(), true_answer=fact.answer, further=beside))
    if alone:
        raise AtlasError(
            f"pool: the base knows {plural(len(alone), 'fact')} to be taught whose template has no other answer, which "
            f"would contradict it: {', '.join(alone)}; add facts with other answers to these templates, or give these "
            "the role placebo"
        )
    return taught


if __name__ == "__main__":
    run_step(main)
