"""What all tests share: fast tests run first, and each test process keeps to one core."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; the tests run in parallel already
# no test cuts the power, and a disk takes its time; what tests start as a user would waits for it
os.fsync = lambda fd: None  # noqa: ARG005
# what runs in the background has Ctrl-C ignored, and so would all that the tests start
signal.signal(signal.SIGINT, signal.default_int_handler)


pytest_plugins = ["tests.charts.made_studies"]

settings.register_profile("atlas", deadline=None)  # a busy machine is no defect
settings.load_profile("atlas")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: (bool(item.get_closest_marker("workflow")), bool(item.get_closest_marker("slow"))))


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Makes a folder of a name by a function that fills it, once for all processes of a test run: the others wait."""
    base: Path = tmp_path_factory.getbasetemp()
    common = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        path, done = common / name, common / f"{name}.done"
        with FileLock(common / f"{name}.lock"):
            if not done.exists():
                make(path)
                done.touch()
        return path

    return folder
