"""Progress of long work: a bar with time left on a terminal, lines now and then elsewhere, and a log file of both."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 30.0
LINES_ONLY = "ATLAS_PROGRESS"  # set to "lines" where several runs share one terminal, as under Snakemake

_log: Path | None = None


def log_to(path: Path | str | None) -> None:
    """Copy everything that is said from now on to a fresh log file; None stops that."""
    global _log
    _log = Path(path) if path else None
    if _log:
        _log.parent.mkdir(parents=True, exist_ok=True)
        _log.write_text("", encoding="utf-8")


def say(text: str, terminal: bool = True) -> None:
    """Say a line on stderr (unless ``terminal`` is False) and in the log."""
    if terminal:
        print(text, file=sys.stderr, flush=True)
    if _log:
        with open(_log, "a", encoding="utf-8") as file:
            file.write(text + "\n")


class Tracker:
    """Counts finished units of work (steps, sessions) and tells people how far it is."""

    def __init__(self, label: str, total: int, bar: Progress | None, done: int = 0) -> None:
        self.label, self.total, self.done, self.found = label, total, done, done
        self.started = self.last_line = time.monotonic()
        self.bar = bar
        self.task = bar.add_task(label, total=total, completed=done, note="") if bar else None

    def advance(self, note: str = "", units: int = 1) -> None:
        """Report ``units`` more as done; ``note`` is a short figure of merit such as ``loss 1.53``."""
        self.done += units
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, advance=units, note=note)
        if self.done >= self.total or time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = time.monotonic()
            spent = self.last_line - self.started
            left = spent / max(1, self.done - self.found) * (self.total - self.done)
            text = f"{self.label}: {self.done}/{self.total}, {spent:.0f} s, {left:.0f} s left  {note}"
            say(text.rstrip(), terminal=self.bar is None)


@contextmanager
def tracker(label: str, total: int, done: int = 0) -> Iterator[Tracker]:
    """Yield a tracker of ``total`` units, some of them done before: a bar where stderr is a terminal of its own, lines
    elsewhere."""
    if not sys.stderr.isatty() or os.environ.get(LINES_ONLY) == "lines":
        yield Tracker(label, total, None, done)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield Tracker(label, total, bar, done)
