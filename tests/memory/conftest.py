"""A tiny certified base, and a memory that three facts were taught on it."""

import shutil
import sys
from pathlib import Path

import pytest

from atlas import cli
from tests.ttt.tiny_run import make_inputs

FACTS = {"The capital of Peru is": "Lima", "The river of Vienna is the": "Danube", "My dog is called": "Rex"}


@pytest.fixture
def atlas(capsys, monkeypatch):
    """Runs the command ``atlas`` in this process: what it printed; its line on stderr where it ends with an error."""

    def run(*arguments, fails=False):
        monkeypatch.setattr(sys, "argv", ["atlas", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert bool(ended.value.code) == fails, err
        if not fails:
            return out
        *_, last = err.splitlines()
        assert last.startswith("atlas: error: ")
        return last

    return run


@pytest.fixture(scope="session")
def base(made_once):
    """A folder with a certified base, and its corpus."""

    def make(folder: Path) -> None:
        folder.mkdir()
        make_inputs(folder)

    return made_once("memory-base", make)


def facts(some=FACTS):
    """Options that give facts."""
    return [text for fact in some.items() for text in ("--fact", *fact)]


def place(base):
    """Options of a new memory on a base, small ones."""
    return ["--model", base, "--corpus", base / "corpus.txt", "--targets", "q", "v", "up", "--ranks", "4"]


def teach(*options):
    """Run ``atlas teach`` for fixtures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["atlas", "teach", *map(str, options)])
        with pytest.raises(SystemExit):
            cli.main()


@pytest.fixture(scope="session")
def taught(base, tmp_path_factory):
    """A memory of one session."""
    folder = tmp_path_factory.mktemp("taught") / "memory"
    teach(*facts(), "--memory", folder, *place(base), "--lr", "0.01")
    return folder


@pytest.fixture
def memory(taught, tmp_path):
    """A copy of it that a test may change."""
    return shutil.copytree(taught, tmp_path / "memory")
