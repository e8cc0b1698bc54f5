"""The step of every chart: it writes the picture as JSON, HTML that opens without a network, SVG and PNG."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

import altair as alt
import vl_convert

from atlas.charts import fonts
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
    args = options.parse_args()
    save(picture(charts(Tables(args.tables, tuple(args.arms)))), args.out)
    say(f"charts {args.out.name}: see {args.out}.html")


def save(chart: alt.TopLevelMixin, out: Path) -> None:
    """Write ``out`` with the endings .json, .html, .svg and .png, all or none."""
    with alt.data_transformers.enable(consolidate_datasets=True, max_rows=None):
        spec = chart.to_json(indent=1)
    page = vl_convert.vegalite_to_html(spec, bundle=True)
    with files.together(out.with_name(f"{out.name}.json")) as stage:
        files.write_text(stage / f"{out.name}.html", page)
        files.write_text(stage / f"{out.name}.svg", fonts.embedded(renumbered(vl_convert.vegalite_to_svg(spec))))
        (stage / f"{out.name}.png").write_bytes(vl_convert.vegalite_to_png(spec, scale=SCALE))
        files.write_text(stage / f"{out.name}.json", spec + "\n")


def renumbered(svg: str) -> str:
    """An SVG with its ids counted from 1. Vega counts on from chart to chart: ids would tell what was drawn before."""
    number = {name: str(at) for at, name in enumerate(re.findall(r'\bid="([^"]+)"', svg), start=1)}
    return re.sub(r'(\bid="|url\(#|href="#)([^")]+)', lambda found: f"{found[1]}id{number[found[2]]}", svg)
