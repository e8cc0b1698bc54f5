"""Files that say the same thing twice: they stay in step."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from atlas import __version__

REPOSITORY = Path(__file__).parents[1]


def lines(name):
    return [line for line in (REPOSITORY / name).read_text(encoding="utf-8").splitlines() if re.match("[a-z]", line)]


def test_the_conda_environment_lists_what_the_lock_pins():
    environment = yaml.safe_load((REPOSITORY / "envs" / "atlas.yaml").read_text(encoding="utf-8"))
    *_, pip = environment["dependencies"]
    assert pip["pip"] == lines("requirements.lock"), "envs/atlas.yaml is out of step; run `make lock`"


def test_both_locks_agree():
    assert set(lines("requirements.lock")) <= set(lines("requirements-dev.lock")), "run `make lock`"


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock", "requirements-cuda.lock"])
def test_locks_pin_every_package_and_name_no_index(name):
    for line in lines(name):
        assert re.fullmatch(r"[a-z0-9._-]+==[\w.!]+( ; [\w.<>=!'() ]+)?", line), f"{name}: {line}"


PLATFORMS = [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")]
PLACES = [
    {
        "sys_platform": system,
        "platform_system": system.title(),
        "platform_machine": machine,
        "python_full_version": python,
    }
    for system, machine in PLATFORMS
    for python in ("3.11.9", "3.12.9", "3.13.9")
]


def needed(name, place):
    """What a lock file asks for on a platform, by name."""
    asked = map(Requirement, lines(name))
    return {each.name for each in asked if not each.marker or each.marker.evaluate(place)}


@pytest.mark.parametrize("place", PLACES, ids=lambda place: "-".join(place.values()))
def test_the_locks_hold_for_every_platform_and_python(place):
    """What torch for Linux brings along of CUDA is pinned where it comes, and nowhere asked for: a constraint."""
    linux, cuda = place["sys_platform"] == "linux", needed("requirements-cuda.lock", place)
    for lock in ("requirements.lock", "requirements-dev.lock"):
        assert (REPOSITORY / lock).read_text(encoding="utf-8").splitlines()[1] == "-c requirements-cuda.lock"
        assert {"torch", "numpy", "snakemake"} <= needed(lock, place)
        assert ("greenlet" in needed(lock, place)) is linux
        assert not any(name.startswith(("cuda-", "nvidia-", "triton")) for name in needed(lock, place))
    assert ({"nvidia-cublas", "nvidia-cudnn-cu13", "cuda-bindings", "triton"} <= cuda) is linux
    assert bool(cuda) is linux


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__


def test_every_rule_uses_the_one_environment():
    for path in sorted((REPOSITORY / "rules").glob("*.smk")):
        assert set(re.findall(r'"\.\./envs/[^"]*"', path.read_text(encoding="utf-8"))) <= {'"../envs/atlas.yaml"'}


def test_the_files_have_the_marks_that_atlas_readme_fills():
    from atlas.page import readme

    files = {name: path for name, (path, _) in readme.OF_OTHER_STUDIES.items()}
    for name in readme.BLOCKS:
        path = files.get(name, Path("README.md"))
        filled = readme.filled((REPOSITORY / path).read_text(encoding="utf-8"), {name: "x"}, str(path))
        assert filled.count("x\n" + readme.marks(name)[1]) == 1


def test_the_locks_pin_every_direct_dependency():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for name, wanted in (
        ("requirements.lock", [*project["dependencies"], *extras["workflow"]]),
        ("requirements-dev.lock", [each for extra in extras.values() for each in extra]),
    ):
        pinned = {each.name: each for each in map(Requirement, lines(name))}
        for asked in map(Requirement, wanted):
            if asked.name != project["name"]:  # an extra that has another one
                (version,) = pinned[asked.name.lower()].specifier
                assert asked.specifier.contains(version.version), asked


def test_every_dependency_has_a_lower_bound_and_python_no_upper_one():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=3.11"
    for text in [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]:
        asked = Requirement(text)
        assert asked.name == project["name"] or any(each.operator == ">=" for each in asked.specifier), text


def test_torch_is_the_public_version_that_every_index_has():
    assert "torch==2.13.0" in lines("requirements.lock")


def test_make_stops_in_one_line_where_python_is_another(tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\nexit 1\n')
    python.chmod(0o755)
    command = ["make", "--silent", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}", "reproduce"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert not (tmp_path / "venv").exists()
    first, *rest = done.stderr.splitlines()
    assert first.startswith("atlas: error: Python 3.11 or later is needed, found Python 3.9.2; ")
    assert all(re.match(r"make(\[\d+\])?: ", line) for line in rest)  # [1] under `make test`
