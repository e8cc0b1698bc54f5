"""Memory of long numerical work."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's names in malloc.h
KEEP = 1 << 30  # bytes


def keep_freed_memory() -> None:
    """Let the process keep the memory of freed tensors for the next ones.

    glibc hands large blocks back to the system at once, which then has to clear them anew: some 5% of a training step.
    Other C libraries have no such setting and are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, KEEP)
        mallopt(TRIM_THRESHOLD, KEEP)
