"""The lock that Snakemake leaves behind when it is killed: the next one clears it away, if no other one lives.

Every Snakemake that may write holds a lock of the kernel's on a file in `.snakemake`, which goes with the process,
however it ends; its jobs do not inherit it. Who is alone with that file knows that all other locks are of the dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
from pathlib import Path

ALIVE = "atlas.alive"
NEEDED = 1_000_000  # bytes
LOCKS = "locks"  # Snakemake's, one file a running workflow and kind

_held: list[int] = []  # open for as long as this process lives


def hold(folder: Path = Path(".snakemake")) -> list[Path]:
    """Note that this process lives, and remove the locks of dead ones, which are returned.

    Where the file system has no locks, or another Snakemake lives, nothing is removed and Snakemake's own rule holds:
    it refuses to start where another one may write the same files. On a full disk, where Snakemake would end with a
    traceback over its own records, this ends it with one line.
    """
    if (free := shutil.disk_usage(folder.parent).free) < NEEDED:
        sys.exit(
            f"atlas: error: {folder}: the disk is full: {free:,} bytes are free, Snakemake needs about {NEEDED:,} for "
            "its records; make space and run the same command to go on"
        )
    folder.mkdir(exist_ok=True)
    alive = os.open(folder / ALIVE, os.O_RDWR | os.O_CREAT, 0o666)
    _held.append(alive)
    removed = []
    with contextlib.suppress(OSError):
        fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for lock in sorted((folder / LOCKS).glob("*.lock")):
            lock.unlink()
            removed.append(lock)
    with contextlib.suppress(OSError):
        fcntl.flock(alive, fcntl.LOCK_SH)  # waits at most until another one has cleared away
    return removed
