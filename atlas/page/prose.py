"""What a study found, in sentences made from its tables: the ledger, the answer on top of the page, what was compared.

As a step it writes the ledger as Markdown: what holds, what does not, what cannot be told yet.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from atlas.charts.findings import after, amount, counts, listed, percent, presets, span, with_preset
from atlas.charts.placing import placed, shifted
from atlas.charts.study_tables import Tables
from atlas.metrics import OF_FACTS
from atlas.page.templates import markdown
from atlas.phrases import plural
from atlas.pool.facts import NEIGHBOUR
from atlas.tables.knowledge import UNTOUCHED
from atlas.tables.verdicts import CONTRADICTED, NOT_TESTABLE, REPRODUCED, RULES, UNRESOLVED
from atlas.workflow import files
from atlas.workflow.progress import say
from atlas.workflow.steps import parser, run_step

OUTCOMES = {
    "What holds": "Reproduced under at least one metric and contradicted under none.",
    "What depends on the metric": "Reproduced under one metric, contradicted under another, with the same preset.",
    "What depends on the recipe": "Reproduced with one preset of the recipe, contradicted with another.",
    "What does not hold": "Contradicted under at least one metric and reproduced under none.",
    "What cannot be told yet": "No verdict under any metric; it takes more seeds.",
    "What this study cannot test": "It lacks what is needed, the essay's figure is too vague, or no study could tell.",
}
"""What can become of a claim, and what that means."""
CENTRAL = "attention_ahead_100"
"""The claim that the essay is named for."""
MORE_OR_LESS = {"a > b": "more", "b > a": "less"}

Row = Mapping[Any, Any]


def ledger(claims: pd.DataFrame) -> str:
    """The whole ledger as Markdown, rules and all."""
    found = by_outcome(claims)
    return markdown(
        "ledger",
        summary=summary(claims),
        outcomes={outcome: found[outcome] for outcome in OUTCOMES if outcome in found},
        meanings=OUTCOMES,
        rules=RULES,
    )


def answer(claims: pd.DataFrame) -> tuple[str, str]:
    """The ledger in a few sentences: what became of the essay's central claim, and of all of them."""
    rows = claims[(claims["claim_id"] == CENTRAL) & claims["metric"].isin(OF_FACTS)]
    tested = rows[rows["verdict"] != NOT_TESTABLE]
    became = "cannot be tested at the size of this study" if tested.empty else f"is {_became(tested)}"
    statement, rule = rows["statement"].iloc[0].removesuffix("."), rows["rule"].iloc[0]
    asked = f" (reproduced if {rule})" if rule else ""
    tallies = " ".join(_tally(claims, preset) for preset in presets(claims))
    return f'The essay\'s central claim, "{statement}"{asked}, {became}.', tallies


def _became(rows: pd.DataFrame) -> str:
    """Verdicts with their figures; of a further preset, too, where its verdicts are others than those of the first."""
    by_preset = {str(preset): part for preset, part in rows.groupby("preset", sort=False)}
    verdicts_of = {preset: list(part["verdict"]) for preset, part in by_preset.items()}
    said = {
        preset: "; ".join(f"{row['verdict']} under {row['metric']}, {measured(row)}" for row in part.to_dict("records"))
        for preset, part in by_preset.items()
    }
    first, *others = by_preset
    parts = [said[first] + (f", with preset {first}" if others else "")]
    for preset in others:
        same = verdicts_of[preset] == verdicts_of[first]
        parts.append(f"with preset {preset} {'the verdicts are the same' if same else said[preset]}")
    return "; ".join(parts)


def _tally(everything: pd.DataFrame, preset: str) -> str:
    """How many claims each metric reproduces and contradicts with one preset, and what recognition is worth there."""
    claims = everything[everything["preset"] == preset]
    tested = claims[claims["metric"].isin(OF_FACTS) & (claims["verdict"] != NOT_TESTABLE)]
    if tested.empty:
        return "None of its claims can be tested at the size of this study."
    said = listed(
        f"{metric} reproduces {(rows['verdict'] == REPRODUCED).sum()} "
        f"and contradicts {(rows['verdict'] == CONTRADICTED).sum()}"
        for metric in OF_FACTS
        if len(rows := tested[tested["metric"] == metric])
    )
    share = _placebo(claims)
    worth = f"; but facts never taught pass recognition in {share} of cases" if share else ""
    testable = plural(tested["claim_id"].nunique(), "claim that can be tested", "claims that can be tested")
    return f"Of its {testable}{with_preset(preset, everything)}, {said}{worth}."


def _placebo(claims: pd.DataFrame) -> str:
    """From what to what share of facts never taught pass recognition; empty where none were asked."""
    placebo = claims.query("topic == 'retention'")["placebo"].dropna()
    return span(placebo.min(), placebo.max()) if len(placebo) else ""


def summary(claims: pd.DataFrame) -> str:
    """How many claims each metric reproduces with each preset, and what recognition is worth."""
    sentences = []
    for at, preset in enumerate(presets(claims)):
        rows = claims[claims["preset"] == preset]
        if at:
            tested = claims[claims["metric"].isin(OF_FACTS) & (claims["verdict"] != NOT_TESTABLE)]
            of = plural(tested["claim_id"].nunique(), "claim")
            reach = f"for {tested.loc[tested['preset'] == preset, 'claim_id'].nunique()} of the {of} on facts"
            sentences.append(f"The study has arms of preset {preset} {reach}.")
        sentences += [
            f"{metric.capitalize()}{with_preset(preset, claims)}: {counts(rows[rows['metric'] == metric])}."
            for metric in OF_FACTS
        ]
    if len(sizes := claims[claims["metric"] == "params"]):
        sentences.append(f"Sizes of the adapters: {counts(sizes)}.")
    if share := _placebo(claims):
        sentences.append(f"Recognition is to be read beside facts never taught, which pass it in {share} of cases.")
    return " ".join(sentences)


def throughout(claims: pd.DataFrame) -> str:
    """Which comparisons hold, or fail, under all metrics, by preset."""
    sentences = []
    for preset in presets(claims):
        rows = claims[
            (claims["preset"] == preset) & claims["kind"].isin(["order", "same", "spread", "spared", "needed"])
        ]
        alike = [
            (part["label"].iloc[0], part["verdict"].iloc[0])
            for _, part in rows.groupby("claim_id", sort=False)
            if part["verdict"].nunique() == 1
        ]
        for name, verdict in (("hold", REPRODUCED), ("fail", CONTRADICTED)):
            labels = [label for label, always in alike if always == verdict]
            under = f"under every metric{with_preset(preset, claims)}"
            sentences.append(f"Comparisons that {name} {under}: {listed(labels) if labels else 'none'}.")
    return " ".join(sentences)


def by_outcome(claims: pd.DataFrame) -> dict[str, list[str]]:
    """Outcome to the entries of its claims, in the order of the ledger."""
    found: dict[str, list[str]] = {}
    for _, rows in claims.groupby("claim_id", sort=False):
        found.setdefault(outcome(rows), []).append(entry(rows.to_dict("records")))
    return found


def outcome(rows: pd.DataFrame) -> str:
    """What became of a claim, from its verdicts under all presets and metrics."""
    holds, on_metric, on_recipe, fails, open_, untested = OUTCOMES
    said = set(rows["verdict"])
    if {REPRODUCED, CONTRADICTED} <= said:
        by_preset = [set(part["verdict"]) for _, part in rows.groupby("preset")]
        return on_metric if any({REPRODUCED, CONTRADICTED} <= one for one in by_preset) else on_recipe
    if REPRODUCED in said:
        return holds
    if CONTRADICTED in said:
        return fails
    return open_ if UNRESOLVED in said else untested


def entry(rows: Sequence[Row]) -> str:
    """A claim with all its figures, as Markdown."""
    essay = printed(rows[0])
    shared = [note for note in _notes(rows[0]) if all(note in _notes(row) for row in rows)]
    parts = [f"**{rows[0]['statement']}**", f"Essay: {essay}." if essay else ""]
    if rows[0]["rule"]:
        parts.append(f"Reproduced if {rows[0]['rule']}.")
    if all(math.isnan(row["measured"]) for row in rows):
        parts.append(f"Not tested: {'; '.join(shared)}.")
    else:
        several = len({row["preset"] for row in rows}) > 1
        for preset, of_preset in itertools.groupby(rows, key=lambda row: row["preset"]):
            parts.append(f"*Preset {preset}.*" if several else "")
            parts += [_reading(row, [note for note in _notes(row) if note not in shared]) for row in of_preset]
        parts.append(f"Note: {'; '.join(shared)}." if shared else "")
    return " ".join(filter(None, parts))


def _notes(row: Row) -> list[str]:
    return str(row["note"]).split("; ") if row["note"] else []


def _reading(row: Row, notes: list[str]) -> str:
    name = "measured" if row["metric"] == "params" else row["metric"]
    remarks = [*changes(row), *notes]
    said = f" ({'; '.join(remarks)})" if remarks else ""
    return f"{name.capitalize()}: {measured(row) or 'not measured'}, {row['verdict']}{said}."


def changes(row: Row) -> list[str]:
    """What another margin makes of a verdict: ``unresolved at half the margin``; nothing where it makes the same."""
    others = {"half": row["verdict_half"], "twice": row["verdict_twice"]}
    return [f"{said} at {times} the margin" for times, said in others.items() if said and said != row["verdict"]]


def measured(row: Row) -> str:
    """What a claim's row measured, with its interval; empty where nothing was."""
    return amount(row["measured"], row["ci_low"], row["ci_high"], row["unit"])


def printed(row: Row) -> str:
    """The essay's figure of a claim, with its interval; empty where it prints none."""
    return amount(row["essay_value"], row["essay_ci_low"], row["essay_ci_high"], row["unit"])


def comparisons(tables: Tables) -> list[tuple[str, list[str]]]:
    """The planned comparisons of a study on a model from outside, after its last session, as sentences below headings.

    By recall of the facts taught, as taught and by a paraphrase, then by what is left of known facts that were never
    touched, and of known neighbours of those taught; none where the study plans none.
    """
    if not tables.has("contrasts"):
        return []
    recalled = tables.contrasts.query("metric == 'recall' and domain == 'all'")
    known = tables.knowledge_contrasts.query("metric == 'answered'")
    found = {
        "Which place wins here": _compared(recalled[recalled["probe"] == "taught"], "recalls"),
        "And by a paraphrase": _compared(recalled[recalled["probe"] == "rephrase"], "recalls"),
        "Which place leaves more of what the model knew": _compared(known[known["kind"] == UNTOUCHED], "leaves"),
        "And more of the neighbours that it knew": _compared(known[known["kind"] == NEIGHBOUR], "leaves"),
    }
    return [(heading, list(sentences)) for heading, sentences in found.items() if sentences]


def _compared(rows: pd.DataFrame, verb: str) -> list[str]:
    """Comparisons in words, a sentence each, with what the sample cannot tell."""
    sentences = []
    for row in rows[rows["sessions"] == rows["sessions"].max()].to_dict("records"):
        ends = f" (95% interval {100 * row['ci_low']:+.1f} to {100 * row['ci_high']:+.1f})"
        difference = (
            f"{percent(row['value_a'])} against {percent(row['value_b'])}, a difference of {100 * row['diff']:+.1f} "
            f"points{'' if pd.isna(row['ci_low']) else ends}; "
            f"{after(row['sessions'])}, {plural(row['n_seeds'], 'seed')}."
        )
        if row["verdict"] in MORE_OR_LESS:
            sentences.append(f"{row['arm_a']} {verb} {MORE_OR_LESS[row['verdict']]} than {row['arm_b']}: {difference}")
        else:
            sentences.append(f"{row['arm_a']} and {row['arm_b']}: unresolved ({row['reason']}). {difference}")
    return sentences


def located(tables: Tables) -> dict[str, list[str]]:
    """Arm to what knock-outs say of where its facts sit, in sentences, with intervals over seeds."""
    rows = placed(tables.locate)
    shifts = placed(tables.locate_by_age).query("measure == 'shift' and part == 'slot'")
    return {
        str(arm): [*_of_located(part), f"Old and new: {shifted(shifts[shifts['arm'] == arm])}."]
        for arm, part in rows.groupby("arm", sort=False)
    }


def _of_located(rows: pd.DataFrame) -> Iterator[str]:
    """What is lost and left of the recall of one arm."""
    recall = rows[rows["metric"] == "recall"]
    taught = recall[recall["probe"] == "taught"]
    intact = taught[taught["change"] == "intact"].iloc[0]
    lost, left = (taught[taught["measure"] == measure] for measure in ("lost", "left"))
    without = lost[lost["change"] == "without"]
    yield (
        f"Intact, it recalls {amount(intact['value'], intact['ci_low'], intact['ci_high'], 'share')} "
        f"{after(intact['sessions'])}, {plural(intact['n_seeds'], 'seed')} of {plural(int(intact['n_facts']), 'fact')}."
    )
    halves = [
        f"{_points(row)} without its {row['half'].replace('_', '-')} half"
        for row in without[without["part"] == "half"].to_dict("records")
    ]
    if halves:
        yield f"It loses {listed(halves)}."
    for part, words in (("slot", "a single slot (a role in a layer)"), ("layer", "a layer"), ("role", "a role")):
        of_kind = without[without["part"] == part].sort_values("value", kind="stable").to_dict("records")
        if len(of_kind) > 1:
            yield f"Without {words} it loses from {_points(of_kind[0])} to {_points(of_kind[-1])}."
    alone = left[(left["change"] == "only") & (left["part"] != "half")]
    if len(alone):
        best = alone.sort_values("value", kind="stable").iloc[-1]
        share = amount(best["value"], best["ci_low"], best["ci_high"], "share")
        yield f"Most that a slot, layer or role keeps by itself: {share}{f', {best.place}' if best.value else ''}."
    means = 100 * lost[lost["part"] == "slot"].groupby("change")["value"].mean()
    if {"without", "halved", "rotated"} <= {*means.index}:
        yield (
            f"On average over its slots, recall falls by {means['without']:.1f} points where a slot is taken away, by "
            f"{means['rotated']:.1f} where its update is turned at random at the same norm, by {means['halved']:.1f} "
            "where it is halved."
        )
    placebo = recall[(recall["probe"] == "placebo") & (recall["measure"] == "lost")]
    if len(placebo):
        most = float(placebo["value"].abs().max())
        yield f"Of facts never taught, no knock-out moves recall by more than {percent(most)}."


def _points(row: Row) -> str:
    """A loss with its interval, and of which part it is."""
    ends: str = "" if pd.isna(row["ci_low"]) else f"{100 * row['ci_low']:.0f} to {100 * row['ci_high']:.0f}"
    about = "; ".join(filter(None, (ends, row["place"])))
    return f"{100 * row['value']:.1f} points{f' ({about})' if about else ''}"


def main() -> None:
    """Write the ledger from the tables given."""
    options = parser(__doc__)
    options.add_argument("--tables", type=Path, required=True, help="folder of the tables, results/tables")
    options.add_argument("--out", type=Path, required=True, help="Markdown to write, results/charts/claims.md")
    args = options.parse_args()
    files.publish_text(args.out, ledger(Tables(args.tables).claims) + "\n")
    say(f"charts prose: see {args.out}")


if __name__ == "__main__":
    run_step(main)
