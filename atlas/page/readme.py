"""What the README says of results, as Markdown between marks, written by ``atlas readme``: nothing is typed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from atlas.charts.claims import METRICS
from atlas.charts.knowledge import ASKED, sample
from atlas.charts.knowledge import headline as headline_of
from atlas.charts.tables import Tables
from atlas.charts.words import plural
from atlas.errors import AtlasError
from atlas.page import prose
from atlas.page.real import comparisons
from atlas.tables.columns import ARMS, BASE_LOSS, RETENTION
from atlas.tables.knowledge import UNKNOWN
from atlas.workflow import files

REPHRASED = "rephrased"  # stands among the kinds of facts
REAL = "real"  # the block on a model from outside, of a study of its own
BLOCKS = ("headline", "retention", REAL)
COMMAND, COMMAND_REAL = "make reproduce && atlas readme", "make smollm2 && atlas readme --real results-smollm2"
COLUMNS = {
    "Recall": ("taught", "recall"),
    "Ranked": ("taught", "ranked"),
    "Recognition": ("taught", "recognition"),
    "Recognition, placebo": ("placebo", "recognition"),
    "Recall, rephrased": ("rephrase", "recall"),
    "Recognition, rephrased": ("rephrase", "recognition"),
}
"""Heading of a column to the probe and metric that it shows."""
LOSS = "Loss on Shakespeare"

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

Row = Mapping[Any, Any]


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
    lines = [
        [label, *(_judged(rows[rows["metric"] == metric]) for metric in METRICS)] for label, rows in _chosen(claims)
    ]
    heading = ["The essay claims", *(metric.capitalize() for metric in METRICS)]
    legend = "Measured, with the 95% interval, and the verdict by rules written down before the study was run."
    return "\n\n".join([prose.summary(claims), prose.throughout(claims), _markdown(heading, lines), legend])


def _chosen(claims: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for name in HEADLINE:
        first, *others = (part for _, part in claims[claims["claim_id"] == name].groupby("preset", sort=False))
        row = first.iloc[0]
        essay = prose.amount(row["essay_value"], row["essay_ci_low"], row["essay_ci_high"], row["unit"])
        yield f"{row['statement']}{f' *{essay}*' if essay else ''}", first
        yield from ((f"The same with preset `{part['preset'].iloc[0]}`", part) for part in others)


def _judged(rows: pd.DataFrame) -> str:
    row = rows.iloc[0]
    measured = prose.amount(row["measured"], row["ci_low"], row["ci_high"], row["unit"])
    return f"{measured}: **{row['verdict']}**" if measured else str(row["verdict"])


def retention(results: Path) -> str:
    """The tables of all arms."""
    tables = results / "tables"
    arms = {row["arm"]: row for row in files.read_parquet(tables / "arms.parquet", ARMS).to_pylist()}
    rows = files.read_parquet(tables / "retention.parquet", RETENTION).to_pylist()
    base_loss = {
        (row["arm"], row["sessions"]): row
        for row in files.read_parquet(tables / "base_loss.parquet", BASE_LOSS).to_pylist()
    }
    overall = [row for row in rows if row["domain"] == "all"]
    parts = [_origin(results, overall)]
    for sessions in sorted({row["sessions"] for row in overall}):
        lost = {arm: row for (arm, after), row in base_loss.items() if after == sessions}
        parts.append(_retention([row for row in overall if row["sessions"] == sessions], arms, lost, sessions))
    return "\n\n".join(parts)


def _origin(results: Path, rows: Sequence[Row]) -> str:
    manifest = files.read_json(results / "base" / "base.json")
    seeds = max(row["n_seeds"] for row in rows)
    return (
        f"Made by `{COMMAND}`. Means over {seeds} seeds, in brackets the 95% interval over seeds and facts. "
        f"Validation loss of the base: {manifest['val_loss']:.3f} nats per character, "
        f"after {manifest['steps']:,} steps in {manifest['seconds'] / 60:.1f} minutes.{_hours(results)}"
    )


def _hours(results: Path) -> str:
    """What all runs of a study took; nothing where none are there."""
    hours = sum(files.read_json(run)["seconds"] for run in results.glob("ttt/*/*/run.json")) / 3600
    return f" All runs took {hours:.1f} hours of one core." if hours else ""


def _retention(rows: Sequence[Row], arms: Mapping[str, Row], base_loss: Mapping[str, Row], sessions: int) -> str:
    cells = {(row["arm"], row["probe"], row["metric"]): row for row in rows}
    facts = max(row["n_facts"] for row in rows if row["probe"] == "taught")
    lines = [
        [
            f"`{arm}`",
            f"{about['trainable_params']:,} ({about['share']:.0%})",
            *(_percent(cells.get((arm, *cell))) for cell in COLUMNS.values()),
            _cost(base_loss.get(arm)),
        ]
        for arm, about in arms.items()
    ]
    heading = ["Arm", "Parameters", *COLUMNS, LOSS]
    return f"**After {sessions} sessions ({facts} facts)**\n\n" + _markdown(heading, lines)


def real_model(results: Path) -> str:
    """By kind of fact what a study on a model from outside measured, and its planned comparisons in words."""
    tables = Tables(results / "tables")
    rows = headline_of(tables.knowledge)
    rephrased = tables.knowledge.query("probe == 'rephrase' and metric == 'recall'")
    both = pd.concat([rows, rephrased[rephrased["kind"] == UNKNOWN].assign(kind=REPHRASED)])
    parts = [
        f"Made by `{COMMAND_REAL}`. Means over {sample(rows)}, in brackets the 95% interval over seeds and facts."
        f"{_hours(results)}"
    ]
    for sessions in sorted(set(rows["sessions"])):
        table = _by_kind(both[both["sessions"] == sessions], tables.arms)
        parts.append(f"**After {plural(int(sessions), 'session')}**\n\n{table}")
    for heading, sentences in comparisons(tables):
        parts.append(f"**{heading}**\n\n" + "\n".join(f"- {sentence}" for sentence in sentences))
    return "\n\n".join(parts)


def _by_kind(rows: pd.DataFrame, arms: pd.DataFrame) -> str:
    """One checkpoint: a row an arm, a column a kind of fact."""
    found = {(row["arm"], row["kind"]): row for row in rows.to_dict("records")}
    said = {kind: words[0].upper() + words[1:] for kind, (_, words) in ASKED.items()}
    said[REPHRASED] = "Unknown before, asked in other words: recall"
    heading = {kind: words for kind, words in said.items() if kind in set(rows["kind"])}
    lines = [
        [
            f"`{arm['arm']}`",
            f"{arm['trainable_params']:,}",
            *(_percent(found.get((arm["arm"], kind))) for kind in heading),
        ]
        for arm in arms.to_dict("records")
    ]
    return _markdown(["Arm", "Parameters", *heading.values()], lines)


def _percent(row: Row | None) -> str:
    if row is None:
        return ""
    if row["ci_low"] is None or math.isnan(row["ci_low"]):
        return f"{row['value']:.1%}"
    return f"{row['value']:.1%} ({100 * row['ci_low']:.0f} to {100 * row['ci_high']:.0f})"


def _cost(row: Row | None) -> str:
    """What teaching cost the base: its loss on Shakespeare before and after, nats per character."""
    return f"{row['val_loss_base']:.2f} → {row['val_loss']:.2f}" if row else ""


def _markdown(heading: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table, first column to the left and figures to the right."""
    rule = ["---", *["---:"] * (len(heading) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (heading, rule, *lines))
