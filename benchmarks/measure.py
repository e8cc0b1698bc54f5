"""Clock and memory: contestants take turns in random order, so that what else the machine does falls on all alike."""

from __future__ import annotations

import ctypes
import gc
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

Found = TypeVar("Found")

SIZES = (512, 1024, 2048)  # of the square products that the peak is sought among
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # of the kernel's clear_refs: forget the highest resident memory


def in_turns(contestants: Mapping[str, Callable[[], object]], draw: np.random.Generator) -> dict[str, float]:
    """Run every contestant once, in random order; seconds of each."""
    names, seconds = list(contestants), {}
    for i in draw.permutation(len(names)):
        began = time.perf_counter()
        contestants[names[i]]()
        seconds[names[i]] = time.perf_counter() - began
    return seconds


class Sgemm:
    """A product of two square float32 matrices: as fast as this machine multiplies, with the threads at hand."""

    def __init__(self, size: int) -> None:
        self.left, self.right, self.out = (torch.randn(size, size) for _ in range(3))
        self.flops = 2 * size**3

    def __call__(self) -> None:
        torch.mm(self.left, self.right, out=self.out)

    def speed(self, tries: int) -> float:
        """FLOPs per second, the best of some tries."""
        return max(self.flops / in_turns({"": self}, np.random.default_rng(0))[""] for _ in range(tries))


def fastest_sgemm(tries: int = 5) -> Sgemm:
    """The product whose size reaches the highest speed."""
    return max((Sgemm(size) for size in SIZES), key=lambda product: product.speed(tries))


def with_peak(work: Callable[[], Found]) -> tuple[Found, float | None]:
    """What ``work`` gives, and the MiB that it needs at most above what is resident before.

    The second is None where the kernel does not count it.
    """
    gc.collect()
    if not CLEAR.exists():
        return work(), None
    ctypes.CDLL(None).malloc_trim(0)  # what earlier work has freed is given back, so that none of it is reused unseen
    CLEAR.write_text(RESET_PEAK)
    before = _resident("VmRSS")
    found = work()
    return found, (_resident("VmHWM") - before) / 1024


def _resident(what: str) -> int:
    found = re.search(rf"^{what}:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])
