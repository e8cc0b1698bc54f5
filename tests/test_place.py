"""The repository works wherever it lies: below folders of any name, `atlas` included, and in a path with a space.

`.ci/run` runs this in a clone at such a place, too.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from atlas.workflow import digest

REPOSITORY = Path(__file__).parents[1]
TRACING = Path(__file__).with_name("real") / "tracing"
STEPS = sorted(
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    for path in REPOSITORY.glob("atlas/*/**/*.py")
    if re.search(r"^if __name__ == .__main__.:", path.read_text(encoding="utf-8"), re.MULTILINE)
)


@pytest.fixture
def elsewhere(tmp_path):
    """A folder called atlas below another one, with a space in its path."""
    folder = tmp_path / "atlas" / "a b" / "atlas"
    folder.mkdir(parents=True)
    return folder


def test_the_digest_of_every_step_is_the_same_elsewhere(elsewhere):
    shutil.copytree(REPOSITORY / "atlas", elsewhere / "atlas")
    assert len(STEPS) > 40
    for step in STEPS:
        assert digest.code_parts(step, elsewhere) == digest.code_parts(step), step


def test_the_trace_of_a_step_names_functions_of_the_package_only(elsewhere):
    files = {
        "atlas/__init__.py": "",
        "atlas/room/__init__.py": "",
        "atlas/room/step.py": "import library\n\n\ndef main():\n    library.other()\n\n\nmain()\n",
        "library.py": "def other():\n    pass\n",  # below a folder called atlas, as an environment's packages may be
    }
    for name, text in files.items():
        (elsewhere / name).parent.mkdir(parents=True, exist_ok=True)
        (elsewhere / name).write_text(text)
    calls = elsewhere / "calls"
    calls.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(TRACING), "ATLAS_CALLS": str(calls)}
    subprocess.run([sys.executable, "-m", "atlas.room.step"], cwd=elsewhere, env=environment, check=True)
    (noted,) = calls.iterdir()
    assert [line.split("\t")[:2] for line in noted.read_text().splitlines()] == [
        [str(elsewhere / "atlas/room/step.py"), "main"]
    ]


@pytest.mark.parametrize("target", ["help", "quick"])
def test_make_plans_elsewhere(elsewhere, target):
    for name in ("Makefile", "requirements.lock", "requirements-cuda.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, elsewhere)
    done = subprocess.run(["make", "-n", target], cwd=elsewhere, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
