"""Lock files, conda environment and project file: one set of versions."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[1]
CONDA_NAMES = {"torch": "pytorch"}


def project():
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements):
    return [re.split(r"[^\w-]", requirement)[0].lower() for requirement in requirements]


def lock(name):
    lines = (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_the_lock_pins_every_direct_dependency():
    assert set(names(project()["dependencies"])) <= lock("requirements.lock").keys()
    assert set(names(project()["optional-dependencies"]["dev"])) <= lock("requirements-dev.lock").keys()


def test_the_lock_of_the_tests_extends_the_lock_of_the_study():
    assert lock("requirements.lock").items() <= lock("requirements-dev.lock").items()


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_locks_hold_public_versions_and_nothing_of_one_machine(name):
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    assert not re.search(r"https?:|file:|/|^-|\+", "".join(text.splitlines(keepends=True)[1:]), re.MULTILINE)
    assert lock(name)["torch"] == "2.13.0"


def test_the_conda_environment_has_the_versions_of_the_lock():
    listed = yaml.safe_load((REPOSITORY / "envs" / "atlas.yaml").read_text(encoding="utf-8"))["dependencies"]
    conda = dict(entry.split("==") for entry in listed if not entry.startswith("python="))
    pinned = lock("requirements.lock")
    assert conda == {CONDA_NAMES.get(name, name): pinned[name] for name in names(project()["dependencies"])}


def test_the_citation_names_the_version():
    from atlas import __version__

    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
