"""What the page shows beside its charts: figures in tables, sentences in lists. The script hides what is not chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from atlas.charts.findings import AMONG_TAUGHT, FEW_SEEDS, after, extremes, familiarity, last, percent
from atlas.charts.knowledge import ASKED, headline
from atlas.charts.study_tables import Tables
from atlas.metrics import CHOICES, OF_FACTS, REGISTRY
from atlas.page import prose
from atlas.page.templates import html, rendered
from atlas.phrases import listed, plural
from atlas.study.jobs import SOURCES
from atlas.tables.scores import ALL

COLUMNS = {
    **{REGISTRY[metric].label: ("taught", metric) for metric in OF_FACTS},
    "Familiarity": ("placebo", AMONG_TAUGHT),
    "Recognition, never taught": ("placebo", "recognition"),
    **{REGISTRY[metric].label: ("taught", metric) for metric in CHOICES if metric not in OF_FACTS},
    "Recall, rephrased": ("rephrase", "recall"),
    "Recall, neighbours": ("neighbour", "recall"),
    "Recall, what follows": ("hop", "recall"),
    "Recall, reversed": ("reversed", "recall"),
}
"""Heading of a column to the probe and metric that it shows, where a study has the probe; the placebo of association is
told as familiarity."""
BASELINES = {
    "Efficacy": ("efficacy", ".1%"),
    "Paraphrase": ("paraphrase", ".1%"),
    "Specificity": ("specificity", ".1%"),
    "Score": ("edit_score", ".1%"),
    "Rise of the base's loss": ("rise", "+.3f"),
    "Update, in lengths of the base": ("update_size", ".3f"),
    "Growth of the norm": ("norm_growth", "+.1%"),
    "Edits without effect": ("without_effect", ".1%"),
    "Edits that worsened": ("worsened", ".1%"),
    "Edits left out": ("unwritten", ".1%"),
    "Core-seconds a fact": ("edit_seconds", ".2f"),
}
"""Heading of a column to the metric that it shows, and how its figures are written."""
PLACES = {
    "Recall": (("recall", "taught"), ".1%"),
    "Recall, rephrased": (("recall", "rephrase"), ".1%"),
    "Association": (("association", "taught"), ".1%"),
    "Rise of the base's loss": (("rise", ""), "+.3f"),
}
"""Heading of a column of the map to the metric and the probe that it shows, and how its figures are written."""
EFFORT = {
    "Facts a session": ("session_facts", ",.0f"),
    "Tokens a session": ("session_tokens", ",.0f"),
    "Core-seconds a session": ("session_seconds", ",.2f"),
}
"""Heading of a column to what teaching takes, and how its figures are written."""
CONTINUAL = {
    "Average": ("average", None),
    "When just taught": ("retention", 0),
    "1 to 4 sessions old": ("retention", 1),
    "30 to 99 sessions old": ("retention", 30),
    "Backward transfer": ("backward_transfer", None),
    "Forgetting": ("forgetting", None),
    "Forward transfer": ("forward_transfer", None),
    "Half-life": ("half_life", None),
}
"""Heading of a column to its measure and, for retention, the age from which on."""


class Written(NamedTuple):
    """A cell: words or a figure, and in small print below it the interval."""

    text: str
    small: str = ""


@dataclass(frozen=True)
class ArmTable:
    """A table with a row for each arm; ``columns`` are those behind its name, the first ``texts`` of which hold words.

    One with a heading is shown where the choice that it ``follows``, of "sessions" or of a "metric", is of its
    ``value``; several metrics have spaces between them.
    """

    columns: Iterable[str]
    rows: Mapping[str, Sequence[Written]]
    texts: int = 0
    heading: str = ""
    follows: str = "sessions"
    value: int | str = ""
    of: str = "Arm"  # what a row is of; only those of arms are shown where their arm is chosen


def figure(row: Mapping[Any, Any] | None, form: str = "") -> Written:
    """A figure with its interval, written by a format, or as a share; empty where there is none."""
    if row is None or pd.isna(row["value"]):
        return Written("")
    by_chance = f", chance {percent(row['chance'])}" if pd.notna(row.get("alternatives")) else ""
    if pd.notna(row.get("familiarity")):
        row, by_chance = {**row, **familiarity(row)}, ""
    low, high = row["ci_low"], row["ci_high"]
    ends = f"{low:{form}} to {high:{form}}" if form else f"{percent(low)} to {percent(high)}"
    ends += f", {FEW_SEEDS}" if row.get("few_seeds") else ""
    return Written(f"{row['value']:{form or '.1%'}}", "" if pd.isna(low) else ends + by_chance)


def each_checkpoint(rows: pd.DataFrame) -> list[tuple[int, pd.DataFrame]]:
    """The rows of each checkpoint, in their order."""
    return [(int(sessions), rows[rows["sessions"] == sessions]) for sessions in sorted(set(rows["sessions"]))]


def arms_table(tables: Tables) -> Markup:
    """Every arm: its place, its parameters, what a session takes, and how the learning rate was chosen."""
    rows = {}
    for arm in tables.arms.to_dict("records"):
        targets, ranks, reinit = (arm[name].replace(",", ", ") for name in ("targets", "ranks", "reinit"))
        size = (f"{arm['trainable_params']:,}", f"{arm['share']:.1%}")
        taken = [f"{arm[name]:{form}}" for name, form in EFFORT.values()]
        words = (arm["method"], targets, ranks, reinit or "none", arm["recipe"], arm["tuning"])
        rows[arm["arm"]] = [*map(Written, (*words, *size, *taken))]
    words = ("Method", "Targets", "Ranks", "Base left at random", "Recipe", "Learning rate, and how it was chosen")
    columns = (*words, "Parameters", "Share", *EFFORT)
    return html("tables", tables=[ArmTable(columns, rows, texts=len(words))], folded="")


def retention_tables(tables: Tables) -> Markup:
    """The figures of every checkpoint, to be opened."""
    made, whole = [], tables.retention.query("domain == 'all'")
    columns = {heading: key for heading, key in COLUMNS.items() if key[0] in set(whole["probe"])}
    for sessions, rows in each_checkpoint(whole):
        cells = {(row["arm"], row["probe"], row["metric"]): row for row in rows.to_dict("records")}
        lines = {}
        for arm in tables.arms.to_dict("records"):
            size = Written(f"{arm['trainable_params']:,}", f"{arm['share']:.1%}")
            lines[arm["arm"]] = [size, *(figure(cells.get((arm["arm"], *key))) for key in columns.values())]
        facts = rows.loc[rows["probe"] == "taught", "n_facts"].max()
        heading = f"After {plural(sessions, 'session')}, {plural(facts, 'fact')}"
        made.append(ArmTable(["Parameters", *columns], lines, heading=heading, value=sessions))
    return html("tables", tables=made, folded="All metrics as figures")


def baselines_tables(tables: Tables) -> Markup:
    """The metrics of the literature on editing, arm by arm, at every checkpoint."""
    rows, made = tables.baselines, []
    shown = {heading: key for heading, key in BASELINES.items() if key[0] in set(rows["metric"])}
    checkpoints = rows.loc[rows["metric"] != "efficacy", "sessions"]  # which is measured after other sessions, too
    for sessions, here in each_checkpoint(rows[rows["sessions"].isin(checkpoints)]):
        cells = {(row["arm"], row["metric"]): row for row in here.to_dict("records")}
        lines = {
            arm: [Written(method), *(figure(cells.get((arm, metric)), form) for metric, form in shown.values())]
            for arm, method in zip(here["arm"], here["method"], strict=True)
        }
        heading = f"After {plural(here['edits'].iloc[0], 'fact')}, {plural(sessions, 'session')}"
        made.append(ArmTable(["Method", *shown], lines, texts=1, heading=heading, value=sessions))
    keys = tables.arms.dropna(subset=["key_tokens"]).drop_duplicates(["key_tokens", "key_source"])
    said = [
        f"{int(tokens):,} tokens of {SOURCES[source]}"
        for tokens, source in zip(keys["key_tokens"], keys["key_source"], strict=True)
    ]
    intro = f"What editors leave alone was measured on {listed(said)}." if said else ""
    return html("lists", intro=intro, lists=[], folded=False) + html("tables", tables=made, folded="")


def continual_tables(tables: Tables) -> Markup:
    """The measures of continual learning, a table for each metric that has them."""
    rows = tables.continual
    made = [continual_table(rows, metric) for metric in CHOICES if metric in set(rows["metric"])]
    return html("continual", tables=made, folded="")


def continual_table(continual: pd.DataFrame, metric: str) -> ArmTable:
    """The measures of one metric, an arm a row, a measure a column; those that no arm has are left out.

    These measures need a score after every session: the table also stands for the metrics that lack it.
    """
    rows = continual[continual["metric"] == metric]
    ages = [None if pd.isna(age) else int(age) for age in rows["age_from"]]
    keys = zip(rows["arm"], rows["measure"], ages, strict=True)
    cells = dict(zip(keys, rows.to_dict("records"), strict=True))
    arms = list(dict.fromkeys(rows["arm"]))
    shown = {name: key for name, key in CONTINUAL.items() if any((arm, *key) in cells for arm in arms)}

    def written(row: Mapping[Any, Any] | None) -> Written:
        if row is None or row["unit"] != "sessions":
            return figure(row)
        return Written("beyond the run" if row["censored"] else "" if pd.isna(row["value"]) else f"{row['value']:.0f}")

    return ArmTable(
        shown,
        {arm: [written(cells.get((arm, *key))) for key in shown.values()] for arm in arms},
        heading=f"{REGISTRY[metric].label} as memory",
        follows="metric",
        value=" ".join(name for name in CHOICES if metric in (name, REGISTRY[name].nearest)),
    )


def map_tables(tables: Tables) -> Markup:
    """Every place of the map with its figures, a table for each checkpoint and budget."""
    made, figures = [], tables.map.fillna({"probe": ""})
    shown = {heading: key for heading, key in PLACES.items() if key[0][1] in set(figures["probe"])}
    for sessions, budget, rows in (
        (sessions, *part) for sessions, here in each_checkpoint(figures) for part in here.groupby("budget")
    ):
        cells = {(row["arm"], row["metric"], row["probe"]): row for row in rows.to_dict("records")}
        lines = {}
        for arm in dict.fromkeys(rows["arm"]):
            recall = cells[arm, "recall", "taught"]
            found = [figure(cells.get((arm, *key)), form) for key, form in shown.values()]
            spent = Written("not applicable", f"at most {recall['most_params']:,}")
            if recall["applicable"]:
                spent = Written(f"{recall['trainable_params']:,.0f}")
            thousands = recall["trainable_params"] / 1000
            each = {name: recall[name] / thousands for name in ("value", "ci_low", "ci_high")}
            lines[arm] = [spent, *found, figure(each, ".1%")]
        heading = f"About {budget:,} parameters, {after(sessions)}"
        columns = ["Parameters", *shown, "Recall for each thousand parameters"]
        made.append(ArmTable(columns, lines, heading=heading, value=sessions, of="Place"))
    return html("tables", tables=made, folded="The map as figures")


def knowledge_tables(tables: Tables) -> Markup:
    """Known and unknown facts, arm by arm, at every checkpoint."""
    made = []
    for sessions, rows in each_checkpoint(headline(tables.knowledge)):
        cells = {(row["arm"], row["kind"]): row for row in rows.to_dict("records")}
        kinds = [kind for kind in ASKED if kind in set(rows["kind"])]
        lines = {arm: [figure(cells.get((arm, kind))) for kind in kinds] for arm in tables.names}
        columns = [ASKED[kind][1].capitalize() for kind in kinds]
        made.append(ArmTable(columns, lines, heading=after(sessions).capitalize(), value=sessions))
    return html("tables", tables=made, folded="")


def located(tables: Tables) -> Markup:
    """What knock-outs say of where facts sit, arm by arm, in words."""
    lists = [(arm, "", sentences) for arm, sentences in prose.located(tables).items()]
    return html("lists", intro="", lists=lists, folded=False)


def spelling(tables: Tables) -> Markup:
    """What can be told by spelling alone, template by template, beside the arms' association; the clearest first."""
    rows = last(tables.association) if tables.has("association") else pd.DataFrame()
    if rows.empty:
        return Markup()
    rows = rows.assign(lead=rows["spelling"] - rows["chance"]).sort_values("lead", ascending=False, kind="stable")
    by_template = {str(name): part for name, part in rows.groupby("template", sort=False)}
    whole = by_template.pop(ALL)
    said = [
        f"{name}: spelling {percent(part['spelling'].iloc[0])}, chance {percent(part['chance'].iloc[0])}, "
        f"{extremes(part, 'association')}, {plural(int(part['n_tests'].max()), 'fact')} of all seeds"
        for name, part in by_template.items()
    ]
    intro = (
        f"Association {after(rows['sessions'].iloc[0])} has a baseline that was taught nothing: among the same answers "
        "it takes the one that is spelled most like the subject, and is right in "
        f"{percent(whole['spelling'].iloc[0])} of cases, where chance is {percent(whole['chance'].iloc[0])}."
    )
    heading = f"What spelling alone can tell, by template: {plural(len(said), 'template')}"
    return html("lists", intro=intro, lists=[(heading, "", said)], folded=True)


def wrong_answers(tables: Tables) -> Markup:
    """Some wrong answers of each arm, word by word; empty where there are none."""
    rows = tables.wrong_answers if tables.has("wrong_answers") else pd.DataFrame()
    said = [
        f"{row['arm']}, seed {row['seed']}: {row['prompt']} \N{LEFT DOUBLE QUOTATION MARK}{row['decoded']}"
        f"\N{RIGHT DOUBLE QUOTATION MARK}, taught was {' or '.join(filter(None, (row['answer'], row['aliases'])))}"
        for row in rows.to_dict("records")
    ]
    note = (
        "Drawn from all that were wrong after the last checkpoint. All answers of an arm: atlas show answers --arm ARM."
    )
    return html(
        "lists", intro="", lists=[("Some wrong answers, word by word", note, said)] if said else [], folded=True
    )


def untrained(tables: Tables) -> Markup:
    """Whether an untrained adapter scores chance, in words; empty where the study has no such arm."""
    return untrained_in_words(tables.controls) if tables.has("controls") else Markup()


def untrained_in_words(controls: pd.DataFrame) -> Markup:
    """What the table of controls says, first of all where it is off chance."""
    at_chance = controls["verdict"] == "at chance"
    scores = "of an adapter that was never trained"
    of_all = plural(len(controls), f"score {scores} is at chance", f"scores {scores} are at chance")
    said = [*controls.loc[~at_chance, "finding"], *controls.loc[at_chance, "finding"]]
    return html("lists", intro="", lists=[(f"{at_chance.sum()} of {of_all}", "", said)] if said else [], folded=True)


def claims_in_words(tables: Tables) -> Markup:
    """The essay's ledger in words, after what became of its central claim."""
    return ledger_in_words(tables.claims, " ".join(prose.answer(tables.claims)))


def baseline_claims(tables: Tables) -> Markup:
    """The ledger of the baselines in words; empty where the study has not the arms of any claim."""
    claims = tables.baseline_claims
    return ledger_in_words(claims, prose.summary(claims)) if len(claims) else Markup()


def ledger_in_words(claims: pd.DataFrame, intro: str) -> Markup:
    """A ledger in words, one part to open for each outcome."""
    found = prose.by_outcome(claims)
    lists = [
        (
            f"{outcome}: {plural(len(found[outcome]), 'claim')}",
            meaning,
            [rendered(entry) for entry in found[outcome]],
        )
        for outcome, meaning in prose.OUTCOMES.items()
        if outcome in found
    ]
    return html("lists", intro=intro, lists=lists, folded=True)


def comparisons(tables: Tables) -> Markup:
    """The planned comparisons of a study on a model from outside, a sentence each; empty where it plans none."""
    lists = [(heading, "", sentences) for heading, sentences in prose.comparisons(tables)]
    return html("lists", intro="", lists=lists, folded=False)
