"""What a GPU was found to do: a table for programs, and tables for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from atlas.workflow import files
from benchmarks.report import Goal, goals_table

Row = Mapping[str, Any]

TOP = 15  # kernels, operations and lines of code of a profile
ABOUT = """# What a GPU makes of the engine

Written by `benchmarks/gpu.sh`, which measures the engine on any machine with a CUDA card in at most 8 minutes: whether
the card computes what the processor does, how fast it trains beside PEFT on the same card, where the time of a session
goes. Weights are random and of the right shapes, which decides speed as trained ones do. PEFT trains one lane after
another, so its row with one lane is its speed for any number of seeds. Shares of peak are of a large square product in
the same precision on the same card. Training is chaotic in rounding: after a session in float32 a card and a processor
agree in aggregates, not bit by bit, as two kinds of processor do.
"""
CORE = "atlas, one core"
GOALS = (("small", CORE, None, 100.0), ("small", "peft", 8, 5.0), ("SmolLM2-135M", "peft", 8, 5.0))
"""Model, what it is held against, lanes (None: the best of all), how many times as fast it is to be."""
HEADS = {
    "equality": "Compared with the processor, or with PEFT|Relative difference|Besides",
    "steps": "Model|Engine|Precision|Lanes x facts|Facts/s|Times PEFT|Tokens/s|Share of peak|Peak MiB|Note",
    "profile": "Session|Steps|Seconds|Seconds on the card|Kernels and copies|Launches|Waits|Copies|Note",
    "sessions": "Recipe|Lanes x facts|Facts taught/s|Seconds a session|Note",
}
FORMATS = {
    "value": ".1e",
    "facts_per_second": ",.0f",
    "tokens_per_second": ",.0f",
    "share": ".2%",
    "mib": ",.0f",
    "seconds": ".3f",
    "device_seconds": ".3f",
}


def write(out: Path, rows: Sequence[Row], profiles: Sequence[str], about: Mapping[str, Any]) -> None:
    """Write ``gpu.parquet`` and ``gpu.md``."""
    table = pa.Table.from_pandas(pd.DataFrame(rows), preserve_index=False)
    files.write_parquet(out / "gpu.parquet", table, about)
    files.write_text(out / "gpu.md", markdown(rows, profiles, about))


def markdown(rows: Sequence[Row], profiles: Sequence[str], about: Mapping[str, Any]) -> str:
    """Card, versions and date; a table for each section; the profiles."""
    versions = ", ".join(f"{name} {about['versions'][name]}" for name in ("torch", "transformers", "peft"))
    peaks = ", ".join(f"{name} {value / 1e12:.1f}" for name, value in about["peaks"].items())
    head = f"{about['card']}; {versions}; {about['started']} to {about['finished']}.\n"
    parts = [
        ABOUT,
        head,
        _best(rows),
        goals_table(goals(rows)),
        f"TFLOP/s of a large square product: {peaks or 'not measured'}.\n",
    ]
    baselines = {
        (row["model"], row["precision"], row["facts"]): row.get("facts_per_second")
        for row in rows
        if row.get("engine") == "peft"
    }

    def times_peft(row: Row) -> str:
        theirs, ours = baselines.get((row["model"], row["precision"], row["facts"])), row.get("facts_per_second")
        return f"{ours / theirs:.1f}" if ours and theirs else "-"

    cells: dict[str, Callable[[Row], list[str]]] = {
        "equality": lambda row: _shown(row, "what", "value", "note"),
        "steps": lambda row: [
            *_shown(row, "model", "engine", "precision"),
            f"{row['lanes']} x {row['facts']}",
            *_shown(row, "facts_per_second"),
            times_peft(row),
            *_shown(row, "tokens_per_second", "share", "mib", "note"),
        ],
        "profile": lambda row: _shown(
            row, "what", "steps", "seconds", "device_seconds", "kernels", "launches", "waits", "copies", "note"
        ),
        "sessions": lambda row: [
            row["what"],
            f"{row['lanes']} x {row['facts']}",
            *_shown(row, "facts_per_second", "seconds", "note"),
        ],
    }
    for section, columns in HEADS.items():
        if lines := [cells[section](row) for row in rows if row["section"] == section]:
            parts.append(_table(columns.split("|"), lines))
    return "\n".join([*parts, *profiles])


def goals(rows: Sequence[Row]) -> list[Goal]:
    """What a card is to reach; against PEFT in the same precision and at the same facts, the least of all sizes."""
    steps = [row for row in rows if row["section"] == "steps" and row.get("facts_per_second")]
    found = []
    for model, other, lanes, goal in GOALS:
        ratios = [
            (ours["facts_per_second"] / theirs["facts_per_second"], f"{ours['precision']}, {ours['lanes']} x {facts}")
            for ours in steps
            for theirs in steps
            if (ours["engine"], ours["model"], theirs["engine"], theirs["model"]) == ("atlas", model, other, model)
            if (facts := ours["facts"]) == theirs["facts"] and lanes in (None, ours["lanes"])
            if other == CORE or ours["precision"] == theirs["precision"]
        ]
        ratio, source = (max if lanes is None else min)(ratios, default=(None, "not measured"))
        what = f"{model}: facts a second" + (f" of {lanes} lanes" if lanes else "")
        found.append(Goal(what, f"times {other}", goal, True, () if ratio is None else (ratio,), source))
    return found


def _best(rows: Sequence[Row]) -> str:
    """The finding: the most facts a second of each model in each precision, beside one core where that was measured."""
    steps = [row for row in rows if row["section"] == "steps" and row.get("facts_per_second")]
    cores = {(row["model"], row["facts"]): row["facts_per_second"] for row in steps if "core" in row["engine"]}
    best: dict[tuple[str, str], Row] = {}
    for row in sorted(steps, key=lambda row: row["facts_per_second"]):
        if row["engine"] == "atlas":
            best[row["model"], row["precision"]] = row
    lines = []
    for (model, precision), row in best.items():
        said = f"{row['facts_per_second']:,.0f} facts a second with {row['lanes']} lanes x {row['facts']} facts"
        if core := cores.get((model, row["facts"])):
            said += f", {row['facts_per_second'] / core:.0f} times one core of that machine's processor"
        lines.append(f"- {model}, {precision}: at most {said}\n")
    return "".join(lines)


def _shown(row: Row, *keys: str) -> list[str]:
    """Cells of a row; a dash where nothing was found."""
    return ["-" if row.get(key) is None else format(row[key], FORMATS.get(key, "")) for key in keys]


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *lines))


def profile(what: str, kernels: Sequence[Any], calls: Sequence[Any], waits: Counter[str]) -> str:
    """The costliest kernels and operations, and the lines of code at which the processor waits for the card."""

    def costliest(title: str, events: Sequence[Any], cost: str) -> str:
        ordered = sorted(events, key=lambda event: -getattr(event, cost))[:TOP]
        lines = [[f"`{e.key[:90]}`", f"{e.count:,}", f"{getattr(e, cost) / 1e3:.2f}"] for e in ordered]
        return _table([f"{title}: {what}", "Calls", "ms"], lines)

    parts = [
        costliest("On the card", kernels, "self_device_time_total"),
        costliest("On the processor", calls, "self_cpu_time_total"),
        _table([f"Waits at: {what}", "Times"], [[f"`{at}`", str(count)] for at, count in waits.most_common(TOP)]),
    ]
    return "\n".join(parts)
