"""One finished run of a very small study, shared by all tests of the workflow."""

import os
from pathlib import Path

import pytest

from tests.real import checkout

CHECKOUT = "it's $HOME & (atlas)"
UMASK = 0o027  # of the finished run: no common one, so that a step that sets its own is seen


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.workflow)


@pytest.fixture(scope="session")
def finished(made_once):
    """A checkout whose study has run to its end, with the functions that each step called noted in ``calls/``.

    Look, do not touch.
    """
    return checkout.Checkout(made_once("workflow", _run_study) / CHECKOUT)


def _run_study(folder):
    made = checkout.make(folder / CHECKOUT, checkout.STUDY)
    calls = made.root / "calls"
    calls.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).with_name("tracing")))
        patch.setenv("ATLAS_CALLS", str(calls))
        before = os.umask(UMASK)
        try:
            made.done()
        finally:
            os.umask(before)


@pytest.fixture
def copy(finished, tmp_path):
    """A finished checkout of the test's own."""
    return finished.copy(tmp_path / "atlas")


@pytest.fixture
def fresh(tmp_path):
    """A checkout of the test's own in which nothing has run."""
    return checkout.make(tmp_path / "atlas", checkout.STUDY)
