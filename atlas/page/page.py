"""The page: the answer, charts that follow what is chosen, the figures behind them, and where they come from.

One file that needs no network. It carries its tables, Vega (which draws the charts) and a font; the charts' pictures
stand in it, too, for paper and for browsers without scripts.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import vl_convert

from atlas.charts import fonts
from atlas.charts.frame import packed
from atlas.charts.study_tables import Tables
from atlas.charts.theme import adaptive, colours, variables
from atlas.metrics import CHOICES, REGISTRY
from atlas.page import answer, controls
from atlas.page.sections import Shown, present
from atlas.workflow import files
from atlas.workflow.progress import say
from atlas.workflow.steps import environment, parser, run_step

DATA = Path(__file__).with_name("data")
USELESS = (
    re.compile(r' (?:aria-\w+|role|class|font-family|stroke-miterlimit|pointer-events)="[^"]*"| opacity="1"'),
    re.compile(r'<path d="M0,0h0v0h0Z"\s*/>'),
)
"""What an SVG of Vega's can lose inside the page: roles of single marks, the font of all, frames without an extent."""
ONLY_EMBED = "window.vegaEmbed = vegaEmbed;"


def render(tables: Tables, pictures: dict[str, str], captions: dict[str, str], folder: str) -> str:
    """The page as HTML. ``pictures`` are SVG texts by chart; ``folder`` leads from the page to the tables."""
    shown = present(tables, pictures, captions)
    nav = [(part.section.name, part.section.heading) for part in shown] + [("provenance", "Where this comes from")]
    return Template(files.read_text(DATA / "page.html")).substitute(
        css=f"{fonts.faces()}\n:root {{ {variables()} }}\n{files.read_text(DATA / 'page.css')}",
        answer=html.escape(" ".join(answer.answer(tables.claims))),
        nav="\n".join(f'<a href="#{name}">{heading}</a>' for name, heading in nav),
        choices=controls.choices(tables),
        sections="\n".join(section(part, tables, folder) for part in shown),
        provenance=provenance(tables.folder / "retention.parquet"),
        tables=links(folder, (path.stem for path in sorted(tables.folder.glob("*.parquet")))),
        data=adaptive(json.dumps(data(tables, shown), separators=(",", ":"))).replace("</", "<\\/"),
        vega=library(),
        script=files.read_text(DATA / "page.js"),
    )


def data(tables: Tables, shown: Sequence[Shown]) -> dict[str, Any]:
    """What the script works with: what can be chosen, the charts, and every table once."""
    figures = [figure for part in shown for figure in part.alive]
    arms = tables.names
    return {
        "metrics": [[name, REGISTRY[name].label] for name in CHOICES],
        "sessions": sorted(int(sessions) for sessions in set(tables.retention["sessions"])),
        "arms": arms,
        "colours": colours(arms),
        "figures": {figure.name: figure.described() for figure in figures},
        "tables": {figure.table: packed(figure.rows) for figure in figures},
    }


def library() -> str:
    """Vega, which draws the charts: zipped and in base64, a third of its size."""
    return base64.b64encode(gzip.compress(vl_convert.javascript_bundle(ONLY_EMBED).encode(), mtime=0)).decode("ascii")


def section(part: Shown, tables: Tables, folder: str) -> str:
    """A section: how to read it, its charts, its figures, and links to all it is made from."""
    name, heading = part.section.name, part.section.heading
    charts = [figure(part, number) for number in range(max(1, len(part.alive)))] if part.picture else []
    others = ", ".join(f'<a href="charts/{name}.{ending}">{ending.upper()}</a>' for ending in ("png", "svg", "html"))
    files_of = [f"Table: {links(folder, part.section.tables)}."] if part.section.tables else []
    files_of += [f"Picture with all metrics: {others}."] if part.picture else []
    return "\n".join(
        [
            f'<section aria-labelledby="{name}">\n<h2 id="{name}">{heading}</h2>',
            f"<p>{html.escape(' '.join(part.caption.split()))}</p>",
            *charts,
            *(made for make in part.section.parts if (made := make(tables))),
            f'<p class="note">{" ".join(files_of)}</p>\n</section>',
        ]
    )


def figure(part: Shown, number: int) -> str:
    """One chart: the picture, and where there is one, room for the chart that follows the choices."""
    name = part.section.name
    label = html.escape(f"Chart: {part.section.heading}", quote=True)
    still = f'<div class="still wide">{inline(part.picture, name, label)}</div>' if number == 0 else ""
    if not part.alive:
        return f"<figure>{still}</figure>"
    live = part.alive[number]
    return (
        f'<figure data-figure="{live.name}">\n<p class="finding"></p>\n<p class="basis"></p>\n<p class="aside"></p>\n'
        f'<div class="chart{" many" if live.repeat else ""}" role="{"group" if live.repeat else "img"}"></div>\n'
        f'<p class="nothing" hidden>Nothing to show: none of the arms that are chosen is in this chart.</p>\n{still}\n'
        '<details class="rows"><summary>These figures as a table</summary>'
        '<div class="wide" tabindex="0" role="region" aria-label="Figures of the chart"></div></details>\n</figure>'
    )


def inline(svg: str, name: str, label: str) -> str:
    """An SVG to be put into the page: it scales, follows the colour scheme, has one name, and ids of its own."""
    svg = adaptive(fonts.bare(svg))
    for useless in USELESS:
        svg = useless.sub("", svg)
    svg = re.sub(r"(\d\.\d)\d+", r"\1", svg)  # a tenth of a pixel is enough
    ids = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    return ids.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def links(folder: str, tables: Iterable[str]) -> str:
    """Links to tables."""
    return ", ".join(f'<a href="{folder}/{name}.parquet">{name}.parquet</a>' for name in tables)


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
        "Versions, charts": _versions(environment("vl-convert-python")["versions"]),
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
