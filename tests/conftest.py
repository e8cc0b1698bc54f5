"""What all tests share: fast tests run first, and each test process keeps to one core."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; the tests run in parallel already


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: (bool(item.get_closest_marker("workflow")), bool(item.get_closest_marker("slow"))))
