"""A results folder with charts and the page, made by their steps from tables that are there."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import altair as alt
import pytest
import vl_convert

from atlas.charts import fonts, frame, picture
from atlas.charts.study_tables import Tables
from atlas.page import page
from atlas.workflow import files

CHARTS = ("retention", "claims", "curve", "domains", "matrix", "contrasts", "confound", "ablations", "base_loss")


def make_page(folder: Path, tables: Path, save: Callable[[alt.TopLevelMixin, Path], None] = picture.save) -> Path:
    """Draw all charts, ``save`` them and write the page below ``folder``, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tables").symlink_to(tables)
    for name in CHARTS:
        charts = importlib.import_module(f"atlas.charts.{name}").charts(Tables(tables))
        save(frame.picture(charts), folder / "charts" / name)
    write_page(folder)
    return folder


def save_picture(chart: alt.TopLevelMixin, out: Path) -> None:
    """Only the picture that the page holds, in a quarter of the time that all formats take."""
    with alt.data_transformers.enable(max_rows=None):
        svg = vl_convert.vegalite_to_svg(chart.to_dict())
    files.write_text(out.with_suffix(".svg"), fonts.embedded(picture.renumbered(svg)))


def write_page(folder: Path) -> None:
    """Write the page by its command line."""
    captions = [str(Path("report", f"{name}.rst").resolve()) for name in CHARTS]
    charts = [str(folder / "charts" / f"{name}.svg") for name in CHARTS]
    options = ["--tables", str(folder / "tables"), "--out", str(folder / "index.html")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["page", *options, "--charts", *charts, "--captions", *captions])
        page.main()
