"""The ledger of claims: what the essay says, what the study measured, and a verdict by the rules of verdicts.py."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from atlas.metrics import NET_OF, OF_FACTS
from atlas.tables import inference, ledger, table_step, verdicts
from atlas.tables.columns import CLAIMS
from atlas.tables.intervals import Floats
from atlas.tables.ledger import Claim, Combined, Exact, Ledger, Measure, Order, PrintedValue, Same, Spread, Untestable
from atlas.tables.quantities import NotMeasuredError, Quantities, Under, arms_named, under_each
from atlas.tables.runs import Runs

PARAMS, NO_METRIC = "params", "none"  # what stands for a metric where no facts are counted
ANY = "any"  # what stands for a preset where a claim is not about how facts are taught
NAN = float("nan")
NOTHING = Measure(NAN)


@dataclass(frozen=True)
class Judged:
    """One claim under one preset and metric."""

    claim: Claim
    preset: str
    metric: str
    arms: tuple[str, ...] = ()  # of the study, that it was judged on
    said: Measure = NOTHING  # by the essay
    found: Measure = NOTHING  # by the study
    by_seed: Floats | None = None
    placebo: float = NAN  # recognition of facts never taught, for a figure read as recognition
    p_value: float = NAN
    p_adjusted: float = NAN
    verdict: str = verdicts.NOT_TESTABLE
    notes: tuple[str, ...] = ()

    def noted(self, *notes: str | None) -> Judged:
        """The same with more notes; those that are empty or None are left out."""
        return replace(self, notes=(*self.notes, *filter(None, notes)))

    @property
    def n_seeds(self) -> int:
        return 0 if self.by_seed is None else len(self.by_seed)


def judge(book: Ledger, runs: Runs) -> list[Judged]:
    """Judge every claim under every preset and metric that it is read under, in the order of the ledger.

    Under the first preset all claims are there, testable or not; under a further one those alone that it can test.
    """
    judged: list[Judged] = []
    for under in under_each(book, runs):
        study = Quantities(under.runs, book.facts_per_session)
        found = _in_families([one for claim in book.all_claims for one in _each(claim, book, study, under, runs)])
        first = not judged
        judged += [one for one in found if first or (one.preset != ANY and one.verdict != verdicts.NOT_TESTABLE)]
    return judged


def _each(claim: Claim, book: Ledger, study: Quantities, under: Under, runs: Runs) -> Iterator[Judged]:
    if isinstance(claim, Untestable):
        yield Judged(claim, ANY, NO_METRIC).noted(claim.why)
    elif isinstance(claim, Exact):
        yield _on_parameters(claim, book, runs).noted(claim.remark)
    else:
        said = (ledger.published(claim, book) if isinstance(claim, Combined) else None) or NOTHING
        arms = tuple(under.named(arm) for arm in arms_named(claim))
        for metric in OF_FACTS:
            one = Judged(claim, under.preset, metric, arms, said)
            try:
                yield _on_facts(one, claim, study).noted(claim.remark)
            except NotMeasuredError as lack:
                yield one.noted(str(lack))


def _on_parameters(claim: Exact, book: Ledger, runs: Runs) -> Judged:
    """Parameters of an arm, alone, as a share of the adapted model, or as a multiple of another arm's."""
    one = Judged(claim, ANY, PARAMS, tuple(arms_named(claim)), Measure(claim.essay))
    for arm in (claim.arm, claim.over):
        if arm not in (None, "model", *runs.arms):
            return one.noted(f"the study has no arm {arm!r}")
    record = runs.of(claim.arm)[0]
    if record.base_params != book.base_params:
        return one.noted(f"the base of the study has {record.base_params:,} parameters, not {book.base_params:,}")
    measured = float(record.trainable_params)
    if claim.over == "model":
        measured /= record.base_params + record.trainable_params
    elif claim.over:
        measured /= runs.of(claim.over)[0].trainable_params
    return replace(one, found=Measure(measured), verdict=verdicts.exact(measured, claim.essay, claim.within))


def _on_facts(one: Judged, claim: PrintedValue | Order | Same | Spread, study: Quantities) -> Judged:
    """The same claim, judged by what a study measured. Raises NotMeasuredError."""
    measured = study.spread(claim, one.metric) if isinstance(claim, Spread) else study.combined(claim, one.metric)
    one = replace(one, found=measured.measure, by_seed=measured.by_seed).noted(measured.detail)
    if one.metric in NET_OF and isinstance(claim, Combined):
        one = _beside_placebo(one, claim, study)
    if isinstance(claim, PrintedValue | Same) and one.n_seeds < 2:
        return replace(one, verdict=verdicts.UNRESOLVED).noted("one seed cannot tell")
    if isinstance(claim, PrintedValue):
        difference = ledger.weighted_sum([1, -1], [one.found, one.said])
        vague = one.said.high - one.said.low >= 2 * verdicts.MARGIN  # the interval of a difference is no narrower
        few = "the essay's figure rests on too few facts to be reproduced" if vague else None
        return replace(one, verdict=verdicts.near(difference)).noted(few)
    if isinstance(claim, Same):
        whole = study.share(claim.beside, one.metric).value
        margin = verdicts.MARGIN * whole
        said = f"{claim.beside.arm} retains {whole:.1%}, so the margin is {100 * margin:.2g} points"
        return replace(one, verdict=verdicts.near(one.found, margin, claim.one_sided)).noted(said)
    open_ = "the essay's own figures leave it open" if one.said.low < 0 < one.said.high else None
    # the verdict follows when the family is complete
    return replace(one, p_value=inference.sign_flip(measured.by_seed), verdict=verdicts.UNRESOLVED).noted(open_)


def _beside_placebo(one: Judged, claim: Combined, study: Quantities) -> Judged:
    """Note how often facts never taught pass for recognised under the arms of the claim."""
    cells = {(cell.arm, cell.sessions): cell for _, cell in claim.signed}
    placebo = {place: share for place, cell in cells.items() if (share := study.placebo(cell, one.metric)) is not None}
    if not placebo:
        return one
    if isinstance(claim, PrintedValue):
        (share,) = placebo.values()
        return replace(one, placebo=share).noted(f"facts never taught: {share:.1%}")
    checkpoints = {sessions for _, sessions in placebo}
    name = "{arm}" if len(checkpoints) == 1 else "{arm} after {sessions}"
    said = [f"{name.format(arm=arm, sessions=n)} {share:.1%}" for (arm, n), share in placebo.items()]
    return one.noted(f"facts never taught: {', '.join(said)}")


def _in_families(judged: Sequence[Judged]) -> list[Judged]:
    """Give claims of order and spread their verdict: Holm's correction over those on one topic under one metric."""
    families: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, one in enumerate(judged):
        if not math.isnan(one.p_value):
            families[one.claim.topic, one.metric].append(i)
    result = list(judged)
    for members in families.values():
        adjusted = inference.holm([judged[i].p_value for i in members])
        for i, p_adjusted in zip(members, adjusted, strict=True):
            one = judged[i]
            verdict, why = verdicts.above(one.found, p_adjusted, inference.attainable(one.n_seeds, len(members)))
            result[i] = replace(one, verdict=verdict, p_adjusted=p_adjusted).noted(why)
    return result


def table(runs: Runs) -> pa.Table:
    """One row per preset, claim and metric, in the order of the ledger."""
    rows = [
        {
            "claim_id": one.claim.id,
            "topic": one.claim.topic,
            "kind": one.claim.rule,
            "label": one.claim.label,
            "statement": one.claim.statement,
            "preset": one.preset,
            "arms": ",".join(one.arms),
            "metric": one.metric,
            "unit": unit(one),
            "essay_value": one.said.value,
            "essay_ci_low": one.said.low,
            "essay_ci_high": one.said.high,
            "measured": one.found.value,
            "ci_low": one.found.low,
            "ci_high": one.found.high,
            "placebo": one.placebo,
            "n_seeds": one.n_seeds,
            "p_value": one.p_value,
            "p_adjusted": one.p_adjusted,
            "verdict": one.verdict,
            "note": "; ".join(one.notes),
        }
        for one in judge(ledger.read(), runs)
    ]
    return table_step.as_table(rows, CLAIMS)


def unit(one: Judged) -> str:
    """What a claim's numbers are: those of facts are fractions of 1, whatever they are called."""
    claim = one.claim
    if isinstance(claim, Untestable):
        return "none"
    if isinstance(claim, Exact):
        return {None: "parameters", "model": "share"}.get(claim.over, "multiple")
    if isinstance(claim, PrintedValue):
        return "share"
    if isinstance(claim, Spread):
        return "spread"
    return "slope" if claim.by_size else "difference"


if __name__ == "__main__":
    table_step.step("atlas.tables.claims", __doc__, table)
