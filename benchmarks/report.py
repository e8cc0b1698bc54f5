"""What a benchmark found: samples and medians as Parquet, a table for people, a chart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pyarrow as pa

from atlas.charts.picture import save
from atlas.charts.theme import PALETTE, SOFT, title
from atlas.phrases import plural
from atlas.workflow import files, progress

SETTING = ["work", "arm", "lanes", "facts"]
NAMES = {"atlas": "Atlas", "peft": "transformers with PEFT"}
WORKS = {"step": "Training steps", "session": "Whole sessions", "score": "Scoring passes"}


def write(out: Path, samples: pd.DataFrame, about: Mapping[str, Any]) -> None:
    """Write ``samples.parquet``, ``summary.parquet``, ``engine.md`` and the chart ``engine``; say the table."""
    found = summary(samples)
    for name, table in (("samples", samples), ("summary", found)):
        files.write_parquet(out / f"{name}.parquet", pa.Table.from_pandas(table, preserve_index=False), about)
    files.write_text(out / "engine.md", markdown(found, about))
    save(chart(found, about), out / "engine")
    progress.say(markdown(found, about) + f"\nsee {out}/engine.html, {out}/summary.parquet")


def summary(samples: pd.DataFrame) -> pd.DataFrame:
    """One row a setting: medians and quartiles over rounds.

    ``us`` is microseconds per necessary token, ``share`` the necessary FLOPs per second as a share of the product
    timed in the same round, ``ratio`` how many times the facts per second of PEFT Atlas does, round by round.
    """
    samples = samples.assign(us=samples["seconds"] / samples["tokens"] * 1e6)
    samples["share"] = samples["flops"] / samples["seconds"] / samples["sgemm"]
    rows = [_row(dict(zip(SETTING, key, strict=True)), part) for key, part in samples.groupby(SETTING, sort=False)]
    order = {work: i for i, work in enumerate(WORKS)}
    return pd.DataFrame(rows).sort_values("work", key=lambda column: column.map(order), kind="stable")


def _row(setting: dict[str, Any], part: pd.DataFrame) -> dict[str, Any]:
    by_round = part.pivot(index="round", columns="engine", values=["seconds", "us", "share", "mib"])
    row: dict[str, Any] = {**setting, "rounds": len(by_round)}
    for engine in NAMES:
        row |= _quartiles(f"us_{engine}", by_round["us"][engine])
        row |= {f"share_{engine}": by_round["share"][engine].median(), f"mib_{engine}": by_round["mib"][engine].iloc[0]}
    row |= _quartiles("ratio", by_round["seconds"]["peft"] / by_round["seconds"]["atlas"])
    row |= {"gflops_sgemm": part["sgemm"].median() / 1e9, "kernel": part["kernel"].iloc[0]}
    return row | {
        "difference": part["difference"].max(),
        "mflops_token": part["flops"].iloc[0] / part["tokens"].iloc[0] / 1e6,
    }


def _quartiles(name: str, values: pd.Series[float]) -> dict[str, float]:
    low, middle, high = np.quantile(values.astype(float), [0.25, 0.5, 0.75])
    return {name: middle, f"{name}_q1": low, f"{name}_q3": high}


def markdown(found: pd.DataFrame, about: Mapping[str, Any]) -> str:
    """The table: medians, in brackets the quartiles."""
    versions = about["versions"]
    head = (
        f"{plural(about['threads'], 'thread')}, torch {versions['torch']}, transformers {versions['transformers']}, "
        f"peft {versions['peft']}; medians of {plural(found['rounds'].min(), 'round')}, quartiles in brackets; "
        f"sgemm {found['gflops_sgemm'].median():.0f} GFLOP/s.\n\n"
        "| Work | Arm | Lanes x facts | Atlas, µs a token | PEFT, µs a token | Facts per second, times PEFT's "
        "| Share of sgemm: Atlas, PEFT | Peak MiB: Atlas, PEFT | Losses differ by |\n"
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    )
    return head + "".join(_line(row) for row in found.to_dict("records"))


def _line(row: Mapping[Any, Any]) -> str:
    cells = [
        row["work"],
        row["arm"],
        f"{row['lanes']} x {row['facts']}",
        *(f"{row[f'us_{e}']:.1f} ({row[f'us_{e}_q1']:.1f} to {row[f'us_{e}_q3']:.1f})" for e in NAMES),
        f"{row['ratio']:.2f} ({row['ratio_q1']:.2f} to {row['ratio_q3']:.2f})",
        f"{row['share_atlas']:.0%}, {row['share_peft']:.0%}",
        ", ".join("unknown" if pd.isna(row[f"mib_{e}"]) else f"{row[f'mib_{e}']:.0f}" for e in NAMES),
        f"{row['difference']:.0e}",
    ]
    return f"| {' | '.join(cells)} |\n"


def chart(found: pd.DataFrame, about: Mapping[str, Any]) -> alt.TopLevelMixin:
    """Microseconds per necessary token of both engines, arm by arm; lines from quartile to quartile."""
    steps = found[found["work"] == "step"] if (found["work"] == "step").any() else found
    low, high = steps["ratio"].min(), steps["ratio"].max()
    arms = list(dict.fromkeys(steps["arm"]))
    base = alt.Chart(_long(steps)).encode(
        x=alt.X("batch:N", sort=None, title="Lanes x facts of a batch", axis=alt.Axis(labelAngle=-40)),
        color=alt.Color("engine:N", title=None, scale=_scale(), legend=alt.Legend(orient="top", symbolOpacity=1)),
    )
    rules = base.mark_rule(strokeWidth=2).encode(y=alt.Y("q1:Q", title="µs per necessary token"), y2="q3:Q")
    points = base.mark_point(filled=True, size=70, opacity=1).encode(
        y=alt.Y("us:Q", scale=alt.Scale(zero=True)), shape=alt.Shape("engine:N", title=None)
    )
    how = [
        "Training steps of both on the same batches, losses equal to 0.00001; "
        f"{plural(about['threads'], 'thread')} each.",
        f"Medians of {plural(steps['rounds'].min(), 'round')}, lines from quartile to quartile; padding is no work.",
    ]
    return (
        alt.layer(rules, points)
        .properties(width=600 // max(2, len(arms)), height=240)
        .facet(alt.Column("arm:N", sort=arms, title=None), spacing=24)
        .properties(title=title([f"Atlas does {low:.1f} to {high:.1f} times the facts per second of PEFT"], how))
        .configure_axis(labelColor=SOFT)
    )


def _scale() -> alt.Scale:
    return alt.Scale(domain=list(NAMES.values()), range=[PALETTE[0], PALETTE[1]])


def _long(found: pd.DataFrame) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {
                "arm": found["arm"],
                "batch": [f"{lanes} x {facts}" for lanes, facts in zip(found["lanes"], found["facts"], strict=True)],
                "engine": name,
                "us": found[f"us_{engine}"],
                "q1": found[f"us_{engine}_q1"],
                "q3": found[f"us_{engine}_q3"],
            }
        )
        for engine, name in NAMES.items()
    ]
    return pd.concat(parts, ignore_index=True)
