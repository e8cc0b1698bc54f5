"""The page: all charts, the figures behind them and where they come from, in one file that needs no network."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd
from markdown_it import MarkdownIt

from atlas import files
from atlas.charts import memory, prose, retention
from atlas.charts.tables import Tables
from atlas.charts.words import percent, plural
from atlas.progress import say
from atlas.steps import parser, run_step

TEMPLATE = Path(__file__).with_name("data") / "page.html"
HEADINGS = {
    "claims": "The essay, claim by claim",
    "retention": "What is left",
    "curve": "Session after session",
    "domains": "By domain",
    "matrix": "By age",
    "harm": "What teaching cost",
    "ablations": "Other recipes",
    "contrasts": "Planned comparisons",
    "confound": "On a mis-loaded base",
}
COLUMNS = {
    "Recall": ("taught", "recall"),
    "Ranked": ("taught", "ranked"),
    "Recognition": ("taught", "recognition"),
    "Recognition, never taught": ("placebo", "recognition"),
    "Recognition, net": ("taught", "recognition_net"),
    "Recall, rephrased": ("rephrase", "recall"),
}
"""Heading of a column to the probe and metric that it shows."""


def render(tables: Tables, charts: Mapping[str, str], captions: Mapping[str, str], folder: str) -> str:
    """The page as HTML. ``charts`` are SVG texts by name; ``folder`` leads from the page to the tables."""
    rows = tables.retention.query("domain == 'all'")
    headline, lead = retention.finding(rows)
    sections = [section(name, svg, captions[name]) for name, svg in charts.items()]
    links = [f'<a href="{folder}/{path.name}">{path.name}</a>' for path in sorted(tables.folder.glob("*.parquet"))]
    nav = {name: heading_of(name) for name in charts}
    nav |= {"words": "In words", "figures": "Figures", "memory": "Memory", "provenance": "Provenance"}
    return Template(files.read_text(TEMPLATE)).substitute(
        headline=html.escape(headline),
        lead=html.escape(f"{lead}."),
        nav="\n".join(f'<a href="#{name}">{text}</a>' for name, text in nav.items()),
        sections="\n".join(sections),
        words=in_words(tables.claims),
        retention="\n".join(retention_table(part, tables.arms) for _, part in rows.groupby("sessions")),
        memory=memory.continual_table(tables.continual),
        controls=memory.controls_list(tables.controls),
        provenance=provenance(tables.folder / "retention.parquet"),
        tables=", ".join(links),
    )


def heading_of(name: str) -> str:
    """The heading over a chart; one that this page does not know goes by its name."""
    return HEADINGS.get(name, name.capitalize())


def section(name: str, svg: str, caption: str) -> str:
    """A chart with its heading, how to read it, and its other formats."""
    others = ", ".join(f'<a href="charts/{name}.{ending}">{ending.upper()}</a>' for ending in ("png", "svg", "html"))
    return (
        f'<h2 id="{name}">{heading_of(name)}</h2>\n<p>{html.escape(" ".join(caption.split()))}</p>\n'
        f'<figure><div class="wide">{inline(svg, name)}</div>\n'
        f"<figcaption>This chart as {others}.</figcaption></figure>"
    )


def inline(svg: str, name: str) -> str:
    """An SVG to be put into a page: it scales, it has a name, and its ids do not meet those of others."""
    ids = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    label = html.escape(f"Chart: {heading_of(name)}")
    return ids.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def in_words(claims: pd.DataFrame) -> str:
    """The ledger in words, one part to open for each of its sections."""
    text = MarkdownIt("zero", {"html": False}).enable(["emphasis", "list"])
    parts = [f"<p>{html.escape(prose.summary(claims))}</p>"]
    found = prose.sections(claims)
    for heading, meaning in prose.SECTIONS.items():
        if entries := found.get(heading):
            items = text.render("\n".join(entries))
            title = f"{heading}: {plural(len(entries), 'claim')}"
            parts.append(f'<details><summary>{title}</summary>\n<p class="note">{meaning}</p>\n{items}</details>')
    return "\n".join(parts)


def retention_table(rows: pd.DataFrame, arms: pd.DataFrame) -> str:
    """The figures of one checkpoint, an arm a row."""
    sessions, facts = rows["sessions"].iloc[0], rows.loc[rows["probe"] == "taught", "n_facts"].max()
    cells = {(row["arm"], row["probe"], row["metric"]): row for row in rows.to_dict("records")}
    head = "".join(f'<th scope="col">{text}</th>' for text in ("Arm", "Parameters", *COLUMNS))
    body = [
        f"<tr><td>{arm['arm']}</td><td>{arm['trainable_params']:,}<small>{arm['share']:.1%}</small></td>"
        + "".join(_cell(cells.get((arm["arm"], *key))) for key in COLUMNS.values())
        + "</tr>"
        for arm in arms.to_dict("records")
    ]
    return (
        f"<h3>After {sessions} sessions, {facts} facts</h3>\n"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{"".join(body)}</tbody></table></div>'
    )


def _cell(row: Mapping[Any, Any] | None) -> str:
    if row is None:
        return "<td></td>"
    low, high = row["ci_low"], row["ci_high"]
    interval = "" if pd.isna(low) else f"<small>{percent(low)} to {percent(high)}</small>"
    return f"<td>{row['value']:.1%}{interval}</td>"


def provenance(path: Path) -> str:
    """What the tables rest on, from the footer of one of them."""
    footer = files.provenance_of(path)
    runs = footer.get("run_code_digests", {})
    entries = {
        "Commit": footer.get("commit") or "not known",
        "Base fingerprint": footer.get("base_fingerprint"),
        "Code of the runs": ", ".join(sorted(set(runs.values()))),
        "Code of the tables": footer.get("code_digest"),
        "Seeds": ", ".join(map(str, footer.get("seeds", []))),
        "Versions, runs": _versions(footer.get("run_versions", {})),
        "Versions, tables": _versions(footer.get("versions", {})),
    }
    return "\n".join(f"<dt>{name}</dt><dd>{html.escape(str(value))}</dd>" for name, value in entries.items())


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _texts(paths: Sequence[Path]) -> dict[str, str]:
    return {path.stem: files.read_text(path) for path in paths}


def main() -> None:
    """Write the page from the tables, charts and captions given."""
    options = parser(__doc__)
    options.add_argument("--tables", type=Path, required=True, help="folder of the tables, results/tables")
    options.add_argument("--charts", type=Path, nargs="+", required=True, help="SVG charts, in the order of the page")
    options.add_argument("--captions", type=Path, nargs="+", required=True, help="report/NAME.rst, one a chart")
    options.add_argument("--out", type=Path, required=True, help="the page, results/index.html")
    args = options.parse_args()
    folder = Path(os.path.relpath(args.tables, args.out.parent)).as_posix()
    files.publish_text(args.out, render(Tables(args.tables), _texts(args.charts), _texts(args.captions), folder))
    say(f"charts page: see {args.out}")


if __name__ == "__main__":
    run_step(main)
