"""Locks that go with their process: the one by which Snakemake's own are told from those of the dead, and a folder's.

Every Snakemake that may write holds a lock of the kernel's on a file in `.snakemake`, which goes with the process,
however it ends; its jobs do not inherit it. Who is alone with that file knows that all other locks are of the dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from atlas.workflow import access, progress

ALIVE = "atlas.alive"
NEEDED = 1_000_000  # bytes
LOCKS = "locks"  # Snakemake's, one file a running workflow and kind
RECORDS = (LOCKS, "metadata", "incomplete", "log")

_held: list[int] = []  # open for as long as this process lives


def hold(folder: Path = Path(".snakemake"), dryrun: bool = False) -> list[Path]:
    """Note that this process lives, and remove the locks of dead ones, which are returned; a dry run does neither.

    Where the file system has no locks, or another Snakemake lives, nothing is removed and Snakemake's own rule holds:
    it refuses to start where another one may write the same files. On a full disk, and where another user's records
    may not be read or written, Snakemake would end with a traceback: this ends it with one line.
    """
    _may_keep_records(folder, dryrun)
    if dryrun:
        return []
    if (free := shutil.disk_usage(folder.parent).free) < NEEDED:
        sys.exit(
            f"atlas: error: {folder}: the disk is full: {free:,} bytes are free, Snakemake needs about {NEEDED:,} for "
            "its records; make space and run the same command to go on"
        )
    folder.mkdir(exist_ok=True)
    try:
        alive = os.open(folder / ALIVE, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:  # another user's, in a folder that both may write to
        alive = os.open(folder / ALIVE, os.O_RDONLY)
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


def _may_keep_records(folder: Path, dryrun: bool) -> None:
    """End with one line where Snakemake cannot work with the records in its ``folder``: a dry run makes the folders
    that are missing and reads what is there, a run writes it, too."""
    for path in (folder, *(folder / name for name in RECORDS)):
        problem = None if dryrun and path.is_dir() else access.not_writable(path)
        if path.is_dir() and not problem:
            unreadable = [each for each in (path, *path.glob("*")) if not access.may(each, os.R_OK)]
            problem = access.refused(unreadable[0], "read") if unreadable else None
        if problem:
            sys.exit(
                f"atlas: error: {problem}; Snakemake keeps its records there: work in a copy of the repository of your "
                "own (`git clone`), or ask for access"
            )


@contextlib.contextmanager
def alone(folder: Path, what: str) -> Iterator[None]:
    """Be the only process that writes to a folder, which is made; say so where another one has to be waited for.

    ``what`` is being done there, for that message.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.say(f"{folder}: another process is {what}; waiting until it is done")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
