"""Ctrl-C in one line at any moment: at once while nothing is at stake, such as during imports, later as an exception.

Only processes that are Atlas's own take part, its command, its steps and Snakemake while it plans, never a notebook or
a program that imports Atlas.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

INTERRUPTED = 130  # 128 + SIGINT, as shells report it
SAID = "interrupted; finished outputs are kept, run the same command to go on"


def end_at_once() -> None:
    """From now on Ctrl-C ends the process with one line: an exception in the middle of an import may be mistaken for
    another one. Where Ctrl-C is ignored, as by ``nohup``, or handled by others, this changes nothing."""
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _ignore):
        signal.signal(signal.SIGINT, _end)


def raise_once(seconds: int = 0) -> None:
    """From now on Ctrl-C raises KeyboardInterrupt, so that files are cleared up; a second one ends the process. So do
    ``seconds`` after the first, unless they are 0: libraries have handlers in which an exception gets lost."""
    global _seconds
    _seconds = seconds
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, _raise)


def came() -> bool:
    """Whether there was a Ctrl-C since ``raise_once``."""
    return _came


def ignore() -> None:
    """From now on nothing is left to interrupt."""
    if signal.getsignal(signal.SIGINT) in (_end, _raise):
        signal.signal(signal.SIGINT, _ignore)


_came = False
_seconds = 0


def _end(_signal: int, _frame: FrameType | None) -> None:
    shown = "\r\x1b[K\x1b[?25h" if os.isatty(2) else ""  # a spinner's line goes, the cursor that it hid comes back
    os.write(2, f"{shown}atlas: error: {SAID}\n".encode())
    os._exit(INTERRUPTED)


def _ignore(_signal: int, _frame: FrameType | None) -> None:
    pass


def _raise(_signal: int, _frame: FrameType | None) -> None:
    global _came
    _came = True
    signal.signal(signal.SIGINT, _end)
    signal.signal(signal.SIGALRM, _end)
    signal.alarm(_seconds)
    raise KeyboardInterrupt
