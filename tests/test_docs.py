"""The documentation: built without a warning, complete, without a network, and with no figure typed by hand."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from atlas.page import readme
from atlas.study import config
from tests.charts.test_charts_drawn import NETWORK

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted((REPOSITORY / "docs").glob("*.md"))
FIGURE = re.compile(r"\d+(?:\.\d+)?\s?(?:%|points\b|nats\b|MB\b|GB\b)")
FETCHED = re.compile(r'<(?:script|link rel="(?!canonical)|img)[^>]*(?:src|href)="(?:https?:)?//')
CONSTANTS = {"95%", "100%", "0%"}
"""What figures in prose may say because it is a definition: the confidence, all, and none."""
MADE = {"metrics.md", "gpu.md", "families.md"}  # by `atlas metrics`, benchmarks/gpu.sh and benchmarks/families.py
"""Pages that are generated as a whole."""


@pytest.fixture(scope="module")
def site(made_once) -> Path:
    """The site, built as `make docs` builds it."""
    return Path(made_once("site", _build))


def _build(folder: Path) -> None:
    """A warning ends it."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


def test_every_page_is_built_and_needs_no_network(site):
    assert {path.stem for path in PAGES} <= {path.stem for path in site.glob("*.html")}
    for path in site.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not FETCHED.search(text), path.name
        assert "{{ " not in text, path.name


def test_formulas_are_drawn_by_the_browser_itself(site):
    for name in ("recipes", "statistics"):
        text = (site / f"{name}.html").read_text(encoding="utf-8")
        assert text.count("<math") >= 5
        assert "arithmatex" not in text


def test_figures_come_from_the_study(site):
    study = config.load(REPOSITORY / "config.yaml")
    text = (site / "index.html").read_text(encoding="utf-8")
    assert f"{study.pool.most_taught} facts to teach in {len(study.pool.shares)} domains" in text
    for arm in study.arms:
        assert f"<code>{arm}</code>" in text


def prose(text: str) -> str:
    """A page without code, what is filled in, and what other commands write into it."""
    for name in readme.BLOCKS:
        begin, end = readme.marks(name)
        text = re.sub(f"{begin}.*?{end}", "", text, flags=re.DOTALL)
    return re.sub(r"```.*?```|`[^`]*`|\{\{.*?\}\}|\$\$.*?\$\$|\$[^$]*\$", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("path", [*PAGES, REPOSITORY / "README.md"], ids=lambda path: path.name)
def test_no_result_is_typed(path):
    if path.name not in MADE:
        assert set(FIGURE.findall(prose(path.read_text(encoding="utf-8")))) <= CONSTANTS


def test_a_typed_result_would_be_found():
    assert FIGURE.findall(prose("Recall is 12.5% `3%` and rises by 4 points.")) == ["12.5%", "4 points"]


@pytest.mark.parametrize("name", ["retention", "forgetting", "domains"])
def test_an_example_draws_its_figure_from_the_tables(name, tmp_path, example_results):
    script = REPOSITORY / "examples" / f"{name}.py"
    out = tmp_path / "figure.svg"
    subprocess.run([sys.executable, script, example_results, out], check=True, cwd=tmp_path)
    svg = out.read_text(encoding="utf-8")
    assert "qv" in svg
    assert not NETWORK.search(svg.replace("http://www.w3.org", ""))


def test_an_example_finds_the_verdicts_in_which_two_studies_differ(tmp_path, example_results):
    other = shutil.copytree(example_results, tmp_path / "other")
    table = pd.read_parquet(other / "tables" / "contrasts.parquet")
    table.loc[[1], "verdict"] = "b > a" if table["verdict"][1] == "a > b" else "a > b"
    table.to_parquet(other / "tables" / "contrasts.parquet")
    script = REPOSITORY / "examples" / "verdicts.py"
    command = [sys.executable, script, example_results, other]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert re.fullmatch(r"claims: 0 of [1-9]\d* verdicts differ", printed[0])
    assert printed[1] == f"contrasts: 1 of {len(table)} verdicts differ"
    assert printed[3].split()[:3] == table.loc[1, ["family", "arm_a", "arm_b"]].tolist()
    assert len(printed) == 4


@pytest.fixture(scope="module")
def example_results(tmp_path_factory) -> Path:
    """Results of two arms."""
    from tests.charts.made_tables import make_tables
    from tests.synthetic import Design, arms_like_the_study

    arms = {name: arm for name, arm in arms_like_the_study().items() if name in ("qv", "ffn")}
    folder: Path = tmp_path_factory.mktemp("study")
    make_tables(folder, arms, Design(seeds=(1, 2), checkpoints=(2, 4)))
    return folder
