"""Progress of long work: a bar with time left on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

SECONDS_BETWEEN_LINES = 30.0


class Tracker:
    """Counts finished units of work (steps, sessions) and tells people how far it is."""

    def __init__(self, label: str, total: int, bar: Progress | None) -> None:
        self.label, self.total, self.done = label, total, 0
        self.started = self.last_line = time.monotonic()
        self.bar = bar
        self.task = bar.add_task(label, total=total, note="") if bar else None

    def advance(self, note: str = "", units: int = 1) -> None:
        """Report ``units`` more as done; ``note`` is a short figure of merit such as ``loss 1.53``."""
        self.done += units
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, advance=units, note=note)
        elif self.done >= self.total or time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
            self._line(note)

    def _line(self, note: str) -> None:
        self.last_line = time.monotonic()
        spent = self.last_line - self.started
        left = spent / self.done * (self.total - self.done)
        print(
            f"{self.label}: {self.done}/{self.total}, {spent:.0f} s, {left:.0f} s left  {note}",
            file=sys.stderr,
        )


@contextmanager
def tracker(label: str, total: int) -> Iterator[Tracker]:
    """Yield a tracker of ``total`` units that draws a bar where stderr is a terminal and prints lines elsewhere."""
    if not sys.stderr.isatty():
        yield Tracker(label, total, None)
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
        yield Tracker(label, total, bar)
