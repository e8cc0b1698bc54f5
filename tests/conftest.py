"""What all tests share: fast tests run first, and each test process keeps to one core."""

import os
import signal

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; the tests run in parallel already
# what runs in the background has Ctrl-C ignored, and so would all that the tests start
signal.signal(signal.SIGINT, signal.default_int_handler)


pytest_plugins = ["tests.charts.made_studies"]

settings.register_profile("atlas", deadline=None)  # a busy machine is no defect
settings.load_profile("atlas")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: (bool(item.get_closest_marker("workflow")), bool(item.get_closest_marker("slow"))))
