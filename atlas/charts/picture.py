"""The step of every chart: it writes the picture as JSON, HTML that opens without a network, SVG and PNG."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

import altair as alt
import vl_convert

from atlas.charts import fonts, library
from atlas.charts.frame import Chart, picture
from atlas.charts.study_tables import Tables
from atlas.workflow import files
from atlas.workflow.progress import say
from atlas.workflow.steps import parser, run_step

SCALE = 2  # pixels of the PNG per pixel of the chart: sharp in print


def step(doc: str | None, charts: Callable[[Tables], Iterable[Chart]]) -> NoReturn:
    """Run the step of a chart, which ``doc`` describes."""
    run_step(lambda: draw(doc, charts))


def draw(doc: str | None, charts: Callable[[Tables], Iterable[Chart]]) -> None:
    """Read ``--tables``, draw, write ``--out`` with its four endings."""
    options = parser(doc)
    options.add_argument("--tables", type=Path, required=True, help="folder of the tables, results/tables")
    options.add_argument("--out", type=Path, required=True, help="path without ending, results/charts/NAME")
    options.add_argument(
        "--arms", nargs="+", default=[], metavar="ARM", help="order of the study, without arms.parquet"
    )
    options.add_argument("--library", type=Path, help="vega.js of atlas.charts.library (default: bundled here, slowly)")
    args = options.parse_args()
    vega = files.read_text(args.library) if args.library else None
    save(picture(charts(Tables(args.tables, tuple(args.arms)))), args.out, vega)
    say(f"charts {args.out.name}: see {args.out}.html")


def save(chart: alt.TopLevelMixin, out: Path, vega: str | None = None) -> None:
    """Write ``out`` with the endings .json, .html, .svg and .png, all or none; HTML carries the library ``vega``."""
    with alt.data_transformers.enable(consolidate_datasets=True, max_rows=None):
        spec = chart.to_json(indent=1)
    svg = vl_convert.vegalite_to_svg(spec)
    with files.together(out.with_name(f"{out.name}.json")) as stage:
        files.write_text(stage / f"{out.name}.html", library.page_of(spec, vega or library.for_charts()))
        files.write_text(stage / f"{out.name}.svg", fonts.embedded(renumbered(svg)))
        (stage / f"{out.name}.png").write_bytes(vl_convert.svg_to_png(svg, scale=SCALE))
        files.write_text(stage / f"{out.name}.json", spec + "\n")


def renumbered(svg: str) -> str:
    """An SVG with its ids counted from 1. Vega counts on from chart to chart: ids would tell what was drawn before."""
    number = {name: str(at) for at, name in enumerate(re.findall(r'\bid="([^"]+)"', svg), start=1)}
    return re.sub(r'(\bid="|url\(#|href="#)([^")]+)', lambda found: f"{found[1]}id{number[found[2]]}", svg)
