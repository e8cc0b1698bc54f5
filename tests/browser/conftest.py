"""The page of a study of many arms, open in a real browser; tests are skipped where there is none, and say why."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import chromium
from tests.charts.made_tables import make_tables
from tests.page.made_page import make_page, save_picture
from tests.synthetic import Design, ablations_like_the_study, many_arms

PICTURES = Path("results-browser")  # git ignores it
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """One worker runs them all: there is one page and one browser."""
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(scope="session")
def chromium_is_here() -> None:
    if reason := chromium.missing():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def index(chromium_is_here, tmp_path_factory) -> Path:  # noqa: ARG001  without a browser nothing need be made
    """The page of sixteen arms, on disk with its charts and tables."""
    folder = tmp_path_factory.mktemp("page")
    design = Design(seeds=(1, 2), checkpoints=(10, 30))
    tables = make_tables(folder / "study", many_arms(), design, ablations_like_the_study())
    return make_page(folder, tables, save_picture) / "index.html"


@pytest.fixture(scope="session")
def opened(index, tmp_path_factory) -> Iterator[chromium.Page]:
    with chromium.browser(tmp_path_factory.mktemp("profile")) as driver:
        yield chromium.Page(driver, index)


@pytest.fixture
def pictures() -> Path:
    """Where screenshots are kept, to be looked at."""
    return PICTURES
