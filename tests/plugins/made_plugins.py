"""Packages of plugins as an environment holds them, written for a test."""

import importlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from atlas.plugins import loading
from atlas.pool import readers

EDITOR = """
from atlas.ttt.editors.editor import Editor

class Idle(Editor):
    def write(self, batches):
        return self.state, []
"""
ADAPTER = """
from pydantic import Field
from atlas.study.settings import Settings
from atlas.ttt.engine.adapter import TrainableAdapter

class Own(Settings):
    factor: float = Field(1.0, gt=0)

class Scaled(TrainableAdapter):
    settings_class = Own

    def __init__(self, site, settings):
        shapes = {"a": (site.linear.in_features, site.rank), "b": (site.rank, site.linear.out_features)}
        super().__init__(site, shapes, settings.factor)

    def initial(self, draw):
        return [draw.normal(size=shape) for shape in self.shapes.values()]

    def update(self, parts):
        return self.scale * (parts[0] @ parts[1])
"""


class Environment:
    """A folder on Python's path, into which packages are put."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, name: str, text: str, points: str = "") -> None:
        """A module of a dotted name, and the entry points of its package."""
        path = self.folder.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        if points:
            info = self.folder / f"{name.partition('.')[0]}-1.0.dist-info"
            info.mkdir(exist_ok=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name.partition('.')[0]}\nVersion: 1.0\n")
            (info / "entry_points.txt").write_text(textwrap.dedent(points))
        forget(self.folder)


def forget(folder: Path) -> None:
    """Look at what is installed anew, and import it again."""
    importlib.invalidate_caches()
    for name, module in [*sys.modules.items()]:
        if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]
    for cached in (loading.installed, loading.load, readers.readers):
        cached.cache_clear()


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    """An environment of the test's own beside the one that runs it."""
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield Environment(tmp_path / "site")
    forget(tmp_path / "site")
