"""Outputs are published atomically, all files of a step together, and never those of two writers mixed.

Files are staged in a hidden folder beside their place, which their writer holds a lock on for as long as it lives.
The kernel frees the lock of a writer that is killed, so the next writer can tell leftovers from work in hand.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from atlas.errors import AtlasError, DiskFullError
from atlas.workflow import checksums, progress
from atlas.workflow.access import FULL

BEGAN = time.time()  # of this process: where two write one output, the one that began last has the newer code and study
STAGED = ".partial"
ALIVE = "alive"
LOCK = f".{checksums.NAME}.lock"
PATIENCE = 600.0  # seconds; publishing takes milliseconds, so a lock held for longer belongs to a process that hangs


@contextmanager
def whole(path: Path | str) -> Iterator[Path]:
    """Yield a scratch path; move it to ``path`` when the block succeeds, remove it when it fails.

    Raises DiskFullError where the space does not suffice.
    """
    path = Path(path)
    if _is_stage(path.parent):
        yield path
        return
    with _stage(path) as stage:
        yield stage / path.name
        _settle(stage / path.name)
        os.replace(stage / path.name, path)


@contextmanager
def together(last: Path | str) -> Iterator[Path]:
    """Yield a scratch folder; publish all files in it beside ``last`` when the block succeeds, or else none.

    ``last``, which must be among them, disappears first and appears last: where it is, all files beside it come from
    the writer that wrote it, wherever another one was killed. Their checksums go to SHA256SUMS in the same folder.
    Where two processes write the same output, the result of the one that began last stays.
    Raises DiskFullError where the space does not suffice, AtlasError where another writer hangs while it publishes.
    """
    last = Path(last)
    if _is_stage(last.parent):
        yield last.parent
        return
    with _stage(last) as stage:
        yield stage
        names = sorted(path.name for path in stage.iterdir() if path.name != ALIVE)
        for name in names:
            _settle(stage / name)
        with _alone(last.parent):
            try:
                known = checksums.read(last.parent)
            except checksums.DamagedListError as error:  # nothing of it is taken over, or it would look sound again
                progress.say(f"{error}; a new one is begun, `atlas check` says what it does not name")
                known = {}
            if last.exists() and last.name in known and known[last.name].began > BEGAN:
                progress.say(
                    f"{last}: a process that began later has written it meanwhile; that result stays, this one goes"
                )
                return
            new = {name: checksums.Checksum(checksums.sha256(stage / name), BEGAN) for name in names}
            checksums.write(stage / checksums.NAME, {**known, **new})  # the last thing that takes space
            _settle(stage / checksums.NAME)
            if len(names) > 1:
                last.unlink(missing_ok=True)
            for name in [name for name in names if name != last.name] + [checksums.NAME, last.name]:
                os.replace(stage / name, last.with_name(name))


def relist(folder: Path, gone: Iterable[str], new: Iterable[str] = ()) -> None:
    """Take files off a folder's list of checksums, before they are deleted, and put others on it as they are now.

    A damaged list is begun anew with those. Raises as ``together`` does.
    """
    with _stage(folder / checksums.NAME) as stage, _alone(folder):
        known: dict[str, checksums.Checksum] = {}
        with suppress(checksums.DamagedListError):
            known = checksums.read(folder)
        left = {name: entry for name, entry in known.items() if name not in {*gone}}
        there = [name for name in new if name not in known and (folder / name).is_file()]
        taken = {name: checksums.Checksum(checksums.sha256(folder / name), 0.0) for name in there}
        checksums.write(stage / checksums.NAME, {**left, **taken})
        _settle(stage / checksums.NAME)
        os.replace(stage / checksums.NAME, folder / checksums.NAME)


def _is_stage(folder: Path) -> bool:
    return folder.suffix == STAGED


@contextmanager
def _stage(path: Path) -> Iterator[Path]:
    """A folder beside ``path`` that no other process writes to or clears away, gone when the block ends."""
    folder: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        folder, life = _claim(path)
        try:
            yield folder
        finally:
            life.release()
    except OSError as error:
        if error.errno in FULL:
            written = sum(file.stat().st_size for file in folder.iterdir()) if folder and folder.is_dir() else 0
            free = shutil.disk_usage(path.parent if path.parent.is_dir() else ".").free
            raise DiskFullError(
                f"{path}: {FULL[error.errno]} while writing it ({written:,} bytes were written, {free:,} bytes are "
                "free on the disk); make space and run the same command to go on"
            ) from None
        error.filename = error.filename or str(path)
        raise
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _claim(path: Path) -> tuple[Path, FileLock]:
    """Make a folder and lock it. A sweeper that comes between the two takes it for a leftover: then make another."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=STAGED, dir=path.parent))
        life = FileLock(folder / ALIVE)
        try:
            life.acquire(timeout=0)
        except (Timeout, FileNotFoundError, FileExistsError):
            continue
        return folder, life


def _sweep(folder: Path) -> None:
    """Remove what writers that were killed left behind: the scratch folders that nobody holds a lock on."""
    for left in folder.glob(f".*{STAGED}"):
        try:
            with FileLock(left / ALIVE, timeout=0):
                shutil.rmtree(left, ignore_errors=True)
        except OSError:  # its writer lives, or another sweeper was faster, or it is not ours to remove
            continue


def _settle(path: Path) -> None:
    """Bring a staged file to the disk, with the mode that a file has which is opened there: safetensors writes files
    that nobody else may read."""
    shutil.copymode(path.with_name(ALIVE), path)
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock under which the files of a folder are published."""
    try:
        with FileLock(folder / LOCK, timeout=PATIENCE):
            yield
    except Timeout:
        raise AtlasError(
            f"{folder / LOCK}: held for {PATIENCE / 60:.0f} minutes by another writer, which seems to hang; end it "
            "(`fuser` or `lsof` name it on its machine) and run the same command to go on"
        ) from None
