"""Atlas: where do taught facts live? A benchmark for test-time-trained LoRA adapters.

``atlas.verify(model, checkpoint)`` is the guard for other projects, see docs/guard.md.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

_LATE = {"verify": "atlas.guard.verification", "GuardError": "atlas.guard.report"}


def _is_own(argv: list[str], original: list[str]) -> bool:
    """Whether the process runs a module of Atlas's by ``python -m``, or its command.

    ``argv`` and ``original`` are those of ``sys`` while the package is imported: until Python has found the module that
    ``-m`` names, ``argv`` begins with ``-m``.
    """
    started = Path(*original[-len(argv) :][:1]).name if argv else ""
    return started.startswith("atlas.") if argv[:1] == ["-m"] else started == "atlas"


if _is_own(sys.argv, sys.orig_argv):
    from atlas.workflow import interrupts  # not for the guard alone, which takes no other room

    interrupts.end_at_once()  # before the imports of a step, which take seconds; `run_step` goes on from here


def __getattr__(name: str) -> Any:
    """Import the guard when it is first used: it takes torch, which is slow, and most commands do not need it.

    By name, not by an import statement: the code digest of every step would take the guard in.
    """
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module 'atlas' has no attribute {name!r}")
