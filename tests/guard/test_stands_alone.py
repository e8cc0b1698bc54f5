"""Whoever wants the guard alone gets it: torch, numpy, safetensors and rich are all that it takes."""

import json
import pkgutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from atlas import guard
from atlas.base.model import opt_config
from atlas.workflow import files
from atlas.workflow.digest.packages import versions_of
from tests.base.test_certify import CONFIG, TEXT, as_if_trained, put
from tests.guard.foreign_models import saved

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


BASE = {"torch", "numpy", "safetensors", "rich"}
# an environment that holds what `pip install atlas-facts` brings, and nothing else
ALONE = """
import sys
class Elsewhere:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in %r:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Elsewhere)
sys.argv[0] = "atlas"
from atlas.cli import main
main()
"""


@pytest.fixture(scope="module")
def alone():
    """The command ``atlas`` where the guard is installed alone."""
    there = {*versions_of(frozenset(BASE)), "setuptools", "atlas-facts"}
    packages = metadata.packages_distributions().items()
    absent = {module for module, names in packages if there.isdisjoint(map(canonicalize_name, names))}
    assert {"pydantic", "pyarrow", "yaml", "snakemake", "altair"} <= absent
    assert not absent & {"torch", "atlas"}

    def run(*arguments):
        command = [sys.executable, "-c", ALONE % absent, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def test_pip_installs_four_packages_for_it():
    project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {Requirement(each).name for each in project["dependencies"]} == BASE


def test_the_command_verifies_with_these_alone(alone, tmp_path):
    folder = saved(tmp_path / "model", "llama", trained=True)
    done = alone("verify", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "but not whether every tensor is in its place: see above" in done.stdout
    by_text = alone("verify", folder, "--text", "english")
    assert by_text.returncode == 1
    assert "reading a text takes tokenizers; install the extra lm: " in by_text.stderr
    assert by_text.stderr.count("\n") == 1


def test_of_a_checkpoint_of_atlas_it_says_what_takes_more(alone, tmp_path):
    files.write_text(tmp_path / "corpus.txt", TEXT)
    put(tmp_path, as_if_trained(0))
    files.write_json(tmp_path / "config.json", opt_config(CONFIG.own))
    done = alone("verify", tmp_path / "base.safetensors", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert "python -m pip install 'atlas-facts[workflow]'" in json.loads(done.stdout)["not_checked"].popitem()[1]
    refused = alone("verify", tmp_path / "base.safetensors", "--manifest", tmp_path / "base.json")
    assert refused.returncode == 1
    assert "base.json: goes with checkpoints of Atlas's own; install the extra workflow: " in refused.stderr


def test_a_missing_file_is_named(alone):
    done = alone("verify", "nowhere.safetensors")
    assert done.stderr.startswith("atlas: error: nowhere.safetensors: no such file; ")


@pytest.mark.parametrize("arguments", [["show"], ["plan"], ["schema"], ["check", "."], ["why", "all"]])
def test_other_commands_name_the_extra_in_one_line(alone, arguments):
    done = alone(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("atlas: error: ")
    assert " is not installed; install the extra workflow: python -m pip install 'atlas-facts[workflow]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_help_takes_nothing_else(alone):
    done = alone("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "verify" in done.stdout
