"""The fixture ``assert_loaded`` of pytest: a test fails, and names the tensors, where a model is not what a file holds.

pytest finds it by itself where Atlas is installed. Nothing is imported before a test asks for the fixture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import pytest


class AssertLoaded(Protocol):
    """``atlas.verify``, but for what it does where a check fails; the options are the same."""

    def __call__(self, model: Any, checkpoint: Path | str, **options: Any) -> None: ...


@pytest.fixture(scope="session")
def assert_loaded() -> AssertLoaded:
    """Fail a test unless a model in memory holds a checkpoint: ``assert_loaded(model, "path/to/checkpoint")``."""
    from atlas.guard.report import GuardError  # takes torch
    from atlas.guard.verification import verify

    def check(model: Any, checkpoint: Path | str, **options: Any) -> None:
        __tracebackhide__ = True
        try:
            verify(model, checkpoint, **options)
        except GuardError as error:
            told = "\n".join(f"  {check.name}: {check.detail}" for check in error.failed)
            pytest.fail(f"{checkpoint}: the model is not what the checkpoint holds\n{told}", pytrace=False)

    return check
