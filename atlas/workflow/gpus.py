"""The GPUs that jobs of this machine share: how many there are, and which one a job takes."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_held: list[int] = []  # open for as long as this process lives


def count(environment: Mapping[str, str]) -> int:
    """How many GPUs a process with this environment would see, without importing torch, which takes seconds.

    Those that nvidia-smi lists, as far as CUDA_VISIBLE_DEVICES lets them be seen; where there is no nvidia-smi, as in
    some containers, all that this names.
    """
    shown = environment.get("CUDA_VISIBLE_DEVICES")
    listed = _listed()
    if shown is None:
        return listed or 0
    named = [name.strip() for name in shown.split(",")]
    ends = [at for at, name in enumerate(named) if not name or name.startswith("-")]  # CUDA reads no further
    seen = min([len(named), *ends])
    return seen if listed is None else min(seen, listed)


def take(cards: Sequence[str], folder: str | None = None) -> int:
    """Take a card that no other job of this user has taken, for as long as this process lives; its place in ``cards``.

    Where all of them are taken it is the first one, which is shared then.

    Args:
        cards: names of their own of the cards that this process sees.
        folder: where the locks are; by default that of temporary files.
    """
    locks = Path(folder or tempfile.gettempdir())
    for place, card in enumerate(cards):
        lock = os.open(locks / f"atlas-{os.getuid()}-{card}", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
        else:
            _held.append(lock)
            return place
    return 0


def _listed() -> int | None:
    """How many GPUs nvidia-smi lists; None where there is none."""
    try:
        found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return sum(line.startswith("GPU ") for line in found.stdout.splitlines())
