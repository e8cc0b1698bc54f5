"""Whoever wants the guard alone gets it: torch, numpy, safetensors and rich are all that it takes."""

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from atlas import guard

MODULES = [found.name for found in pkgutil.walk_packages(guard.__path__, "atlas.guard.")]
NOT_NEEDED = {"pydantic", "pandas", "pyarrow", "scipy", "snakemake", "altair", "unearth", "transformers", "gguf"}
ROOMS = {path.parent.name for path in Path(guard.__path__[0]).parent.glob("*/__init__.py")} - {"guard"}


@pytest.mark.parametrize("statement", ["import atlas; atlas.verify, atlas.GuardError", f"import {', '.join(MODULES)}"])
def test_it_loads_no_other_room_and_none_of_their_libraries(statement):
    command = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "torch" in loaded
    assert not loaded & NOT_NEEDED
    assert not {f"atlas.{room}" for room in ROOMS} & loaded
