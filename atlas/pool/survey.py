"""What a file of facts holds, for `atlas pool`: how many facts could be taught, and what breaks a rule."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pydantic import ValidationError

from atlas.errors import AtlasError
from atlas.phrases import plural
from atlas.pool.build import draw
from atlas.pool.facts import PLACEBO, TAUGHT, UNDRAWN, Fact
from atlas.pool.groups import groups
from atlas.pool.rules import Demands
from atlas.pool.sift import Sifted, sift
from atlas.study.pool_settings import Pool
from atlas.study.settings import explain


def sifted(path: Path, model: Path | None = None) -> Sifted:
    """Apply the rules to a file, with a model from outside or else one that is pretrained here as the reader.

    Raises AtlasError where the file cannot be read, or a study could not name it.
    """
    try:
        spec = Pool(source=str(path))
    except ValidationError as error:
        raise AtlasError(f"{path}: {explain(error)}") from None
    return sift(spec, Demands.by(model))


def report(path: Path, found: Sifted) -> str:
    """What the file holds, in lines, and the table of reasons where there are any."""
    lines = [f"{path}: {plural(found.rows, 'fact')}, {found.broken} of them unfit"]
    if facts := found.facts:
        lines += [f"  {line}" for line in (_kinds(facts), _paraphrases(facts), _lacking(facts)) if line]
    return "\n".join(lines + ([found.table] if found.unfit or found.parts else []))


def roles(path: Path, found: Sifted) -> str:
    """How many facts could be taught, and serve as placebo. AtlasError where there is none for one of the two."""
    drawn = Counter(fact.role for fact in draw(Pool(source=str(path)), found.facts))
    how = "drawn, since the file names no roles" if found.facts[0].role == UNDRAWN else "as the file says"
    return f"{drawn[TAUGHT]} could be taught, {drawn[PLACEBO]} placebo ({how})"


def _kinds(facts: list[Fact]) -> str:
    domains, templates = ({getattr(fact, kind) for fact in facts} for kind in ("domain", "template"))
    said = f"{plural(len(domains), 'domain')}, {plural(len(templates), 'template')}"
    together = sum(count for count in Counter(groups(facts)).values() if count > 1)
    return said + (f"; {together} facts say the same as others, or are of one subject and template" if together else "")


def _paraphrases(facts: list[Fact]) -> str:
    counts = [len(fact.rephrases) for fact in facts]
    if not any(counts):
        return "no paraphrases, so none is asked"
    some = sum(map(bool, counts))
    return f"paraphrases: {min(counts)} to {max(counts)} a fact, {some} of {plural(len(facts), 'fact')} have some"


def _lacking(facts: list[Fact]) -> str:
    answers: dict[str, set[str]] = {}
    for fact in facts:
        answers.setdefault(fact.template, set()).add(fact.answer)
    alone = sum(answers[fact.template] <= {*fact.answers} for fact in facts)
    without = sum(fact.subject is None for fact in facts)
    said = [f"{without} without a subject, which editors at the subject need"] if without else []
    said += [f"{alone} without another answer in their template, so without association"] if alone else []
    return "; ".join(said)
