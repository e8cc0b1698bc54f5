"""Atlas: where do taught facts live? A benchmark for test-time-trained LoRA adapters.

``atlas.verify(model, checkpoint)`` is the guard for other projects, see docs/guard.md.
"""

import importlib
import sys
from typing import Any

from atlas.workflow import interrupts

__version__ = "0.1.0"

_LATE = {"verify": "atlas.guard.verification", "GuardError": "atlas.guard.report"}

if interrupts.is_own(sys.argv, sys.orig_argv):
    interrupts.end_at_once()  # before the imports of a step, which take seconds; `run_step` goes on from here


def __getattr__(name: str) -> Any:
    """Import the guard when it is first used: it takes torch, which is slow, and most commands do not need it.

    By name, not by an import statement: the code digest of every step would take the guard in.
    """
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module 'atlas' has no attribute {name!r}")
