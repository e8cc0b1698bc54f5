"""What README and docs say of results, as Markdown between marks, written by ``atlas readme``: nothing is typed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from atlas.charts.findings import AMONG_TAUGHT, FEW_SEEDS, amount, familiar, familiarity, left_out
from atlas.charts.knowledge import ASKED, sample
from atlas.charts.knowledge import headline as headline_of
from atlas.charts.study_tables import Tables
from atlas.errors import AtlasError
from atlas.metrics import OF_FACTS, REGISTRY
from atlas.page import prose, tried
from atlas.page.parts import each_checkpoint
from atlas.page.templates import markdown
from atlas.tables.knowledge import UNKNOWN
from atlas.workflow import files

REPHRASED = "rephrased"  # stands among the kinds of facts
REAL, FOUND, IDEAS, TOOLS = "real", "found", "ideas", "tools"
"""Blocks of their own results: a model from outside, two searches, the guard beside other tools."""
BLOCKS = ("headline", "retention", REAL, FOUND, IDEAS, TOOLS)
COLUMNS = {
    **{REGISTRY[metric].label: ("taught", metric) for metric in OF_FACTS},
    "Familiarity": ("placebo", AMONG_TAUGHT),
    "Recognition, placebo": ("placebo", "recognition"),
    "Recall, rephrased": ("rephrase", "recall"),
    "Recognition, rephrased": ("rephrase", "recognition"),
}
"""Heading of a column to the probe and metric that it shows; the placebo of association is told as familiarity."""

HEADLINE = (
    "retention_qv_100",
    "retention_ffn_100",
    "attention_ahead_30",
    "attention_ahead_100",
    "gap_widens",
    "both_worse_100",
    "rephrase_first_100",
    "rare_fail_ffn",
    "even_under_qv",
    "random_base_turns_order",
    "fix_lowers_ffn",
    "schedule_keeps_100",
    "middle_ahead_100",
    "recipe_over_placement",
)
"""The claims that the essay's argument rests on, chosen before the study was run; results/charts/claims.md has all."""


def marks(name: str) -> tuple[str, str]:
    """The lines that a block of the README stands between."""
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def filled(text: str, blocks: Mapping[str, str], origin: str) -> str:
    """``text`` with what is between the marks of each block replaced. AtlasError where marks are not as expected."""
    for name, block in blocks.items():
        begin, end = marks(name)
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise AtlasError(f"{origin}: expected {begin} once and, after it, {end} once; put the two lines back")
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{block}\n{end}{rest.split(end)[1]}"
    return text


def render(results: Path) -> dict[str, str]:
    """Markdown of a study's blocks, from its results. Raises AtlasError where a table is missing or damaged."""
    return {"headline": headline(Tables(results / "tables").claims), "retention": retention(results)}


def publish_picture(results: Path, to: Path) -> None:
    """Copy the headline chart to where the README shows it. AtlasError where the study has none."""
    chart = results / "charts" / "retention.png"
    if not chart.is_file():
        raise AtlasError(f"{chart}: no such file; make it by running `snakemake charts`")
    with files.whole(to) as scratch:
        scratch.write_bytes(chart.read_bytes())


def headline(claims: pd.DataFrame) -> str:
    """The ledger in a few sentences, and the claims that matter most with their figures, a row for each preset."""
    return markdown(
        "headline",
        summary=prose.summary(claims),
        throughout=prose.throughout(claims),
        heading=["The essay claims", *(REGISTRY[metric].label for metric in OF_FACTS)],
        lines=[line for name in HEADLINE for line in _judged(claims[claims["claim_id"] == name])],
    )


def _judged(claim: pd.DataFrame) -> Iterator[list[str]]:
    """A claim with what was measured under each metric and the verdict, a line for each preset."""
    for at, (preset, rows) in enumerate(claim.groupby("preset", sort=False)):
        by_metric = {row["metric"]: row for row in rows.to_dict("records")}
        first = by_metric[OF_FACTS[0]]
        label = f"The same with preset `{preset}`" if at else first["statement"]
        if not at and (essay := prose.printed(first)):
            label += f" *{essay}*"
        if not at and first["rule"]:
            label += f" Reproduced if {first['rule']}."
        yield [label, *(_cell(by_metric[metric]) for metric in OF_FACTS)]


def _cell(row: Mapping[Any, Any]) -> str:
    measured = prose.measured(row)
    changes = "".join(f", {change}" for change in prose.changes(row))
    return f"{measured}: **{row['verdict']}**{changes}" if measured else str(row["verdict"])


def retention(results: Path) -> str:
    """The tables of all arms."""
    tables = Tables(results / "tables")
    rows, arms = tables.retention.query("domain == 'all'"), tables.arms
    taught = files.provenance_of(results / "tables" / "retention.parquet")["base_fingerprints"]
    loss = {(row["arm"], row["sessions"]): row for row in tables.base_loss.to_dict("records")}
    checkpoints = []
    for sessions, here in each_checkpoint(rows):
        cells = {(row["arm"], row["probe"], row["metric"]): row for row in here.to_dict("records")}
        lines = []
        for name, params, share in zip(arms["arm"], arms["trainable_params"], arms["share"], strict=True):
            shares = [_share(cells.get((name, *key))) for key in COLUMNS.values()]
            lines.append([f"`{name}`", f"{params:,} ({share:.0%})", *shares, _lost(loss.get((name, sessions)))])
        facts = here.loc[here["probe"] == "taught", "n_facts"].max()
        checkpoints.append((sessions, facts, familiar(here[here["metric"] == AMONG_TAUGHT]), left_out(here), lines))
    return markdown(
        "retention",
        seeds=rows["n_seeds"].max(),
        bases={replica: files.read_json(results / "base" / replica / "base.json") for replica in taught},
        hours=_hours(results),
        heading=["Arm", "Parameters", *COLUMNS, "Loss on Shakespeare"],
        checkpoints=checkpoints,
    )


def _hours(results: Path) -> float:
    """What all runs of a study took; 0 where none are there."""
    return float(sum(files.read_json(run)["seconds"] for run in results.glob("ttt/*/*/run.json"))) / 3600


def _share(row: Mapping[Any, Any] | None) -> str:
    if not row:
        return ""
    if pd.notna(row.get("familiarity")):
        row = {**row, **familiarity(row)}
    few = f", {FEW_SEEDS}" if row["few_seeds"] else ""
    return amount(row["value"], row["ci_low"], row["ci_high"], "share") + few


def _lost(row: Mapping[Any, Any] | None) -> str:
    """What teaching cost the base: its loss on Shakespeare before and after, nats per character."""
    return f"{row['val_loss_base']:.2f} → {row['val_loss']:.2f}" if row else ""


def real_model(results: Path) -> str:
    """By kind of fact what a study on a model from outside measured, and its planned comparisons in words."""
    tables = Tables(results / "tables")
    rows = headline_of(tables.knowledge)
    rephrased = tables.knowledge.query("probe == 'rephrase' and metric == 'recall'")
    both = pd.concat([rows, rephrased[rephrased["kind"] == UNKNOWN].assign(kind=REPHRASED)])
    said = {kind: words[0].upper() + words[1:] for kind, (_, words) in ASKED.items()}
    said[REPHRASED] = "Unknown before, by a paraphrase: recall"
    checkpoints = []
    for sessions, here in each_checkpoint(both):
        kinds = [kind for kind in said if kind in set(here["kind"])]
        cells = {(row["arm"], row["kind"]): row for row in here.to_dict("records")}
        lines = [
            [f"`{arm}`", f"{params:,}", *(_share(cells.get((arm, kind))) for kind in kinds)]
            for arm, params in zip(tables.arms["arm"], tables.arms["trainable_params"], strict=True)
        ]
        checkpoints.append((sessions, ["Arm", "Parameters", *(said[kind] for kind in kinds)], lines))
    return markdown(
        "real",
        sample=sample(rows),
        hours=_hours(results),
        checkpoints=checkpoints,
        comparisons=prose.comparisons(tables),
    )


OF_OTHER_STUDIES: Mapping[str, tuple[Path, Callable[[Path], str]]] = {
    REAL: (Path("README.md"), real_model),
    FOUND: (Path("docs/recipes.md"), tried.found),
    IDEAS: (Path("docs/recipes.md"), tried.ideas),
    TOOLS: (Path("docs/guard.md"), tried.tools),
}
"""Blocks that are made of the results of a study of their own: the file they stand in, and what makes them."""
