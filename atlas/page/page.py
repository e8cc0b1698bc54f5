"""The page: the answer, charts that follow what is chosen, the figures behind them, and where they come from.

One file that needs no network. It carries its tables, Vega (which draws the charts) and a font; the charts' pictures
stand in it, too, for paper and for browsers without scripts.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from atlas.charts import fonts, library
from atlas.charts.frame import packed
from atlas.charts.study_tables import Tables
from atlas.charts.theme import adaptive, colours, variable, variables
from atlas.metrics import CHOICES, REGISTRY
from atlas.page import headlines
from atlas.page.sections import Shown, present
from atlas.page.templates import html, rendered
from atlas.phrases import plural
from atlas.workflow import files
from atlas.workflow.progress import say
from atlas.workflow.steps import environment, parser, run_step

DATA = Path(__file__).with_name("data")
USELESS = (
    re.compile(r' (?:aria-\w+|role|class|font-family|stroke-miterlimit|pointer-events)="[^"]*"| opacity="1"'),
    re.compile(r'<path d="M0,0h0v0h0Z"\s*/>'),
)
"""What an SVG of Vega's can lose inside the page: roles of single marks, the font of all, frames without an extent."""


def render(tables: Tables, pictures: dict[str, str], captions: dict[str, str], folder: str, vega: str) -> str:
    """The page as HTML. ``pictures`` are SVG texts by chart; ``folder`` leads from the page to the tables; ``vega`` is
    the library that draws."""
    shown = present(tables, pictures, captions)
    checkpoints = sorted(set(tables.retention["sessions"]))
    return html(
        "page",
        css=Markup(f"{fonts.faces()}\n:root {{ {variables()} }}\n{files.read_text(DATA / 'page.css')}"),
        findings=[
            {"topic": found.topic, "said": rendered(found.says), "section": found.section}
            for found in headlines.findings(tables)
            if found.section in {part.section.name for part in shown}
        ],
        metrics=[(metric, REGISTRY[metric].label, REGISTRY[metric].title) for metric in CHOICES],
        checkpoints=[(sessions, plural(sessions, "session"), "") for sessions in checkpoints],
        colours={arm: variable(colour) for arm, colour in colours(tables.names).items()},
        shown=shown,
        sections=[section(part, tables, folder) for part in shown],
        provenance=provenance(tables.folder / "retention.parquet"),
        folder=folder,
        tables=[path.stem for path in sorted(tables.folder.glob("*.parquet"))],
        data=Markup(adaptive(json.dumps(data(tables, shown), separators=(",", ":"))).replace("<", "\\u003c")),
        vega=packed_library(vega),
        script=Markup(files.read_text(DATA / "page.js")),
    )


def data(tables: Tables, shown: Sequence[Shown]) -> dict[str, Any]:
    """What the script works with: what can be chosen, the charts, and every table once."""
    figures = [figure for part in shown for figure in part.alive]
    return {
        "metrics": [(metric, REGISTRY[metric].label) for metric in CHOICES],
        "nearest": {metric: REGISTRY[metric].nearest for metric in CHOICES if REGISTRY[metric].nearest},
        "sessions": sorted(int(sessions) for sessions in set(tables.retention["sessions"])),
        "arms": tables.names,
        "colours": colours(tables.names),
        "figures": {figure.name: figure.described() for figure in figures},
        "tables": {figure.table or figure.name: packed(figure.rows) for figure in figures},
    }


def packed_library(vega: str) -> str:
    """Vega, which draws the charts: zipped and in base64, a third of its size."""
    return base64.b64encode(gzip.compress(vega.encode(), mtime=0)).decode("ascii")


def section(part: Shown, tables: Tables, folder: str) -> Markup:
    """A section: how to read it, its charts, its figures, and links to all it is made from."""
    name, label = part.section.name, f"Chart: {part.section.heading}"
    return html(
        "section",
        section=part.section,
        caption=" ".join(part.caption.split()),
        picture=inline(part.picture, name, label) if part.picture else "",
        alive=part.alive,
        parts=[made for make in part.section.parts if (made := make(tables))],
        folder=folder,
    )


def inline(svg: str, name: str, label: str) -> Markup:
    """An SVG to be put into the page: it scales, follows the colour scheme, has one name, and ids of its own."""
    svg = adaptive(fonts.bare(svg))
    for useless in USELESS:
        svg = useless.sub("", svg)
    svg = re.sub(r"(\d\.\d)\d+", r"\1", svg)  # a tenth of a pixel is enough
    ids = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    return Markup(ids.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1))


def provenance(path: Path) -> dict[str, Any]:
    """What the tables rest on, from the footer of one of them."""
    footer = files.provenance_of(path)
    versions = {
        "runs": footer.get("run_versions", {}),
        "tables": footer.get("versions", {}),
        "charts": environment("vl-convert-python")["versions"],
    }
    return {
        "Commit": footer.get("commit") or "not known",
        **{f"Base {replica}": print_ for replica, print_ in footer.get("base_fingerprints", {}).items()},
        "Code of the runs": ", ".join(sorted(set(footer.get("run_code_digests", {}).values()))),
        "Code of the tables": footer.get("code_digest"),
        "Seeds": ", ".join(map(str, footer.get("seeds", []))),
        "Precision": footer.get("precision", "float32"),
    } | {f"Versions, {of}": ", ".join(map(" ".join, found.items())) for of, found in versions.items()}


def main() -> None:
    """Write the page from the tables, charts and captions given."""
    options = parser(__doc__)
    options.add_argument("--tables", type=Path, required=True, help="folder of the tables, results/tables")
    options.add_argument("--charts", type=Path, nargs="+", required=True, help="SVG charts, in the order of the page")
    options.add_argument("--captions", type=Path, nargs="+", required=True, help="report/NAME.rst, one a chart")
    options.add_argument("--library", type=Path, help="vega_page.js of atlas.charts.library (default: bundled here)")
    options.add_argument("--out", type=Path, required=True, help="the page, results/index.html")
    args = options.parse_args()
    folder = Path(os.path.relpath(args.tables, args.out.parent)).as_posix()
    charts, captions = ({path.stem: files.read_text(path) for path in given} for given in (args.charts, args.captions))
    vega = files.read_text(args.library) if args.library else library.for_page()
    files.publish_text(args.out, render(Tables(args.tables), charts, captions, folder, vega))
    say(f"charts page: see {args.out}")


if __name__ == "__main__":
    run_step(main)
