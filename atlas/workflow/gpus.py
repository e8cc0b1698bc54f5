"""The GPUs that jobs of this machine share, counted without importing torch, which takes seconds."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping


def count(environment: Mapping[str, str]) -> int:
    """How many GPUs a process with this environment would see.

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


def _listed() -> int | None:
    """How many GPUs nvidia-smi lists; None where there is none."""
    try:
        found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return sum(line.startswith("GPU ") for line in found.stdout.splitlines())
