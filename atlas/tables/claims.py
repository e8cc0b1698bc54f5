"""The ledger of claims: what the essay says, what the study measured, and a verdict by the rules of verdicts.py."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from atlas.metrics import NET_OF, OF_FACTS
from atlas.phrases import listed, plural
from atlas.tables import inference, knockouts, ledger, level, table_step, verdicts
from atlas.tables.columns import CLAIMS
from atlas.tables.intervals import BySeed
from atlas.tables.knockouts import Knockouts
from atlas.tables.ledger import (
    OF_BASELINES,
    Claim,
    Combined,
    Exact,
    Ledger,
    Measure,
    Needed,
    Order,
    PrintedValue,
    Same,
    Spared,
    Spread,
    Untestable,
)
from atlas.tables.quantities import NotMeasuredError, Quantities, Under, arms_named, under_each
from atlas.tables.runs import Runs, read
from atlas.workflow import files
from atlas.workflow.steps import run_step

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
    exact: BySeed = field(default_factory=dict)  # what the study's figure is the mean of
    margin: float = NAN  # in the unit of the figures, for this metric; not of claims that have none
    placebo: float = NAN  # recognition of facts never taught, for a figure read as recognition
    p_value: float = NAN
    p_adjusted: float = NAN
    verdict: str = verdicts.NOT_TESTABLE
    at_half: str = ""  # the verdict at half the margin; empty where a claim has none
    at_twice: str = ""
    chance: float = (
        NAN  # of association, and how often a taught answer comes first on prompts never taught, for a share
    )
    familiarity: float = NAN
    left_out: int = 0  # facts of all seeds in its cells that have no score of the metric
    notes: tuple[str, ...] = ()

    def noted(self, *notes: str | None) -> Judged:
        """The same with more notes; those that are empty or None are left out."""
        return replace(self, notes=(*self.notes, *filter(None, notes)))

    @property
    def n_seeds(self) -> int:
        return len(self.exact)


def judge(book: Ledger, runs: Runs, presets: Sequence[Under] = (), located: Knockouts | None = None) -> list[Judged]:
    """Judge every claim under every preset and metric that it is read under, in the order of the ledger.

    Claims on where facts sit are judged by the knock-outs of the arms that are ``located``.

    Under the first preset all claims are there, testable or not, but for those on baselines that the study does not
    have; under a further one those alone that it can test.
    """
    asked = [one for one in book.all_claims if one.topic not in OF_BASELINES or {*arms_named(one)} <= {*runs.arms}]
    judged: list[Judged] = []
    for under in presets or under_each(book, runs):
        study = Quantities(under.runs, book.facts_per_session)
        found = _in_families([one for claim in asked for one in _each(claim, book, study, under, runs, located)])
        first = not judged
        judged += [one for one in found if first or (one.preset != ANY and one.verdict != verdicts.NOT_TESTABLE)]
    return judged


def _each(
    claim: Claim, book: Ledger, study: Quantities, under: Under, runs: Runs, located: Knockouts | None
) -> Iterator[Judged]:
    if isinstance(claim, Untestable):
        yield Judged(claim, ANY, NO_METRIC).noted(claim.why)
    elif isinstance(claim, Exact):
        yield _on_parameters(claim, book, runs).noted(claim.remark)
    elif isinstance(claim, Spared | Needed):
        for metric in OF_FACTS:
            one = Judged(claim, under.preset, metric)
            try:
                yield _on_knockouts(one, claim, study, under, located).noted(claim.remark)
            except NotMeasuredError as lack:
                yield one.noted(str(lack))
    else:
        said = (ledger.published(claim, book) if isinstance(claim, Combined) else None) or NOTHING
        arms = tuple(under.named(arm) for arm in arms_named(claim))
        for metric in OF_FACTS:
            one = Judged(claim, under.preset, metric, arms, said)
            try:
                found = _on_facts(one, claim, book, study)
                yield found.noted(*resized(claim, under), claim.remark, _rests_on(arms, runs))
            except NotMeasuredError as lack:
                yield one.noted(str(lack))


def _rests_on(arms: Sequence[str], runs: Runs) -> str | None:
    """On how many bases and draws a claim rests that is about a base left at random; None of other claims."""
    draws = [runs.draws(arm, runs.seeds) for arm in arms if runs.first(arm).reinit]
    if not draws:
        return None
    return f"on {plural(runs.bases(runs.seeds), 'base')}, {plural(max(draws), 'draw')} of the re-initialisation"


def resized(claim: Claim, under: Under) -> list[str]:
    """What is to be said of the sizes of the arms that stand for those of a claim. Raises NotMeasuredError where the
    claim is a figure of an adapter of the essay's size."""
    notes = [under.resized[arm] for arm in arms_named(claim) if arm in under.resized]
    if notes and isinstance(claim, PrintedValue):
        raise NotMeasuredError(notes[0])
    return notes


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


def _on_facts(one: Judged, claim: PrintedValue | Order | Same | Spread, book: Ledger, study: Quantities) -> Judged:
    """The same claim, judged by what a study measured. Raises NotMeasuredError."""
    measured = study.spread(claim, one.metric) if isinstance(claim, Spread) else study.combined(claim, one.metric)
    one = replace(one, found=measured.measure, exact=measured.exact).noted(measured.detail)
    if isinstance(claim, Combined):
        one = replace(one, left_out=study.left_out([cell for _, cell in claim.signed], one.metric))
    if one.metric in NET_OF and isinstance(claim, Combined):
        one = _beside_placebo(one, claim, study)
    if one.metric == "association" and isinstance(claim, PrintedValue):
        one = _beside_chance(one, claim, study)
    if isinstance(claim, PrintedValue):
        return _within(one, book.margin(claim))
    if isinstance(claim, Same):
        whole = study.share(claim.beside, one.metric).value
        margin = whole * _relative(claim, book)
        return _within(one, margin).noted(f"{claim.beside.arm} retains {whole:.1%}, so {100 * margin:.2g} points")
    open_ = "the essay's own figures leave it open" if one.said.low < 0 < one.said.high else None
    # the verdict follows when the family is complete
    return replace(one, p_value=inference.sign_flip(one.exact), verdict=verdicts.UNRESOLVED).noted(open_)


def _on_knockouts(
    one: Judged, claim: Spared | Needed, study: Quantities, under: Under, located: Knockouts | None
) -> Judged:
    """The same claim, judged by knock-outs of the first of its arms that is located. Raises NotMeasuredError."""
    known = located.arms if located else []
    arms = [arm for name in claim.arms if name in under.runs.arms and (arm := under.named(name)) in known]
    if located is None or not arms:
        raise NotMeasuredError(f"the study locates no arm over all places ({listed(claim.arms)})")
    measured = study.knocked_out(claim, arms[0], located, one.metric)
    one = replace(one, arms=(arms[0],), found=measured.measure, exact=measured.exact).noted(measured.detail)
    if isinstance(claim, Needed):
        return replace(one, p_value=inference.sign_flip(one.exact), verdict=verdicts.UNRESOLVED)
    whole = located.intact(arms[0], one.metric)
    margin = claim.at_most * whole
    return _within(one, margin).noted(f"{arms[0]} retains {whole:.1%}, so {100 * margin:.2g} points")


def _relative(claim: Same, book: Ledger) -> float:
    """The margin as a share of what the arm that a claim is measured by retains."""
    figure = book.figure_of.get(claim.beside.place)
    return book.margin(claim) / (ledger.share(figure).value if figure else 1)


def _within(one: Judged, margin: float) -> Judged:
    """Judge by how far the study's figure is from the essay's, or from nothing, at the margin, half of it and twice."""
    value = isinstance(one.claim, PrintedValue)
    gap = Measure(*(end - (one.said.value if value else 0) for end in (one.found.value, one.found.low, one.found.high)))

    def verdict(at: float) -> str:
        if value and verdicts.vague(one.said, at):
            return verdicts.NOT_TESTABLE
        one_sided = isinstance(one.claim, Spared) or (isinstance(one.claim, Same) and one.claim.one_sided)
        return verdicts.near(gap, at, one_sided) if one.n_seeds > 1 else verdicts.UNRESOLVED

    at_half, at_margin, at_twice = (verdict(times * margin) for times in (verdicts.HALF, 1, verdicts.TWICE))
    ends = f"{100 * one.said.low:.1f} to {100 * one.said.high:.1f}%"
    return replace(one, margin=margin, verdict=at_margin, at_half=at_half, at_twice=at_twice).noted(
        "one seed cannot tell" if one.n_seeds < 2 else None,
        f"too vague: the essay's own interval is {ends}" if at_margin == verdicts.NOT_TESTABLE else None,
    )


def rule(claim: Claim, book: Ledger) -> str:
    """What a claim is reproduced by, in words that fit behind "reproduced if"."""
    if isinstance(claim, Exact):
        if claim.over == "model":
            return f"less than {100 * claim.within:g} point from {claim.essay:.0%}"
        return f"less than {claim.within:,g} from {claim.essay:,g}"
    if isinstance(claim, PrintedValue):
        (cell,) = claim.plus
        return f"within {100 * book.margin(claim):.1f} points of {book.figure_of[cell.place].printed}%"
    if isinstance(claim, Same):
        most = f"at most {_relative(claim, book):.1%} of what {claim.beside.arm} retains"
        if claim.one_sided:
            return f"short by {most}"
        return f"{most} to either side of 0{', per tenfold of facts' if claim.by_size else ''}"
    if isinstance(claim, Spared):
        return f"at most {claim.at_most:.0%} of what the adapter retains is lost without {claim.without.words}"
    if isinstance(claim, Needed):
        return f"more is lost without {claim.without.words} than without {claim.beside.words}, p < {level.LEVEL}"
    return "" if isinstance(claim, Untestable) else f"above 0, p < {level.LEVEL}"


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


def _beside_chance(one: Judged, claim: PrintedValue, study: Quantities) -> Judged:
    """Note what chance is, and how often a taught answer comes first on prompts never taught (familiarity)."""
    ((_, cell),) = claim.signed
    one = replace(one, chance=study.chance(cell, one.metric)).noted(f"chance {study.chance(cell, one.metric):.1%}")
    placebo = study.placebo(cell, one.metric)
    if placebo is None:
        return one
    return replace(one, familiarity=1 - placebo).noted(f"familiarity {1 - placebo:.1%}")


def _in_families(judged: Sequence[Judged]) -> list[Judged]:
    """Give claims of order and spread their verdict, corrected for those on one topic under one metric."""
    families: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, one in enumerate(judged):
        if not math.isnan(one.p_value):
            families[one.claim.topic, one.metric].append(i)
    result = list(judged)
    for members in families.values():
        adjusted = inference.step_down([judged[i].exact for i in members])
        for i, p_adjusted in zip(members, adjusted, strict=True):
            one = judged[i]
            verdict, why = verdicts.above(one.found, p_adjusted, level.attainable(one.n_seeds))
            result[i] = replace(one, verdict=verdict, p_adjusted=p_adjusted).noted(why)
    return result


def table(runs: Runs, located: Knockouts | None = None) -> pa.Table:
    """One row per preset, claim and metric, in the order of the ledger."""
    book = ledger.read()
    return rows_of(judge(book, runs, located=located), book, runs)


def rows_of(judged: Sequence[Judged], book: Ledger, runs: Runs) -> pa.Table:
    """Claims that were judged as a table."""
    rows = [
        {
            "claim_id": one.claim.id,
            "topic": one.claim.topic,
            "kind": one.claim.rule,
            "label": one.claim.label,
            "statement": one.claim.statement,
            "rule": rule(one.claim, book),
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
            "chance": one.chance,
            "familiarity": one.familiarity,
            "left_out": one.left_out,
            "n_seeds": one.n_seeds,
            "bases": runs.bases(one.exact),
            "p_value": one.p_value,
            "p_adjusted": one.p_adjusted,
            "margin": one.margin,
            "verdict": one.verdict,
            "verdict_half": one.at_half,
            "verdict_twice": one.at_twice,
            "note": "; ".join(one.notes),
        }
        for one in judged
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
    return "slope" if isinstance(claim, Combined) and claim.by_size else "difference"


def main() -> None:
    """Write claims.parquet for the runs given, judged with the knock-outs of those that are located."""
    arguments = table_step.options(__doc__)
    arguments.add_argument("--located", type=Path, nargs="+", help="runs that have knockouts.parquet, as of --runs")
    args = arguments.parse_args()
    runs = table_step.runs_of(args)
    located = knockouts.read(read(files.listed(args.located))) if args.located else None
    table_step.write("atlas.tables.claims", args.out, table(runs, located), runs)


if __name__ == "__main__":
    run_step(main)
