"""A results folder with charts and the page, made by their steps from tables that are there."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from atlas.charts import page
from atlas.charts.output import save
from atlas.charts.tables import Tables

CHARTS = ("retention", "claims", "curve", "domains", "matrix", "contrasts", "confound", "ablations", "harm")


def make_page(folder: Path, tables: Path) -> Path:
    """Draw all charts and write the page below ``folder``, which is returned."""
    (folder / "tables").symlink_to(tables)
    for name in CHARTS:
        save(importlib.import_module(f"atlas.charts.{name}").draw(Tables(tables)), folder / "charts" / name)
    write_page(folder)
    return folder


def write_page(folder: Path) -> None:
    """Write the page by its command line."""
    captions = [str(Path("report", f"{name}.rst").resolve()) for name in CHARTS]
    charts = [str(folder / "charts" / f"{name}.svg") for name in CHARTS]
    options = ["--tables", str(folder / "tables"), "--out", str(folder / "index.html")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["page", *options, "--charts", *charts, "--captions", *captions])
        page.main()
