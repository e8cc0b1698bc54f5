"""Names and paths that Snakemake or a disk would not take are refused when the study is read; all others work."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from snakemake.io import PeriodicityDetector, contains_wildcard
from snakemake.pathvars import PATHVAR_REGEX

from atlas.errors import AtlasError
from atlas.study import config, paths
from atlas.study.settings import Name

REPOSITORY = Path(__file__).parents[2]
ARMS = {"qv": {"targets": ["q", "v"]}}


def accepted(kind, value) -> bool:
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


@given(st.text("ab_", max_size=3), st.text("ab", min_size=1, max_size=4), st.integers(1, 24), st.text("ab", max_size=2))
def test_names_that_repeat_are_those_that_snakemake_refuses(before, part, times, after):
    name = f"a{before}{part * times}{after}"
    assert accepted(Name, name) == (len(name) <= 100 and PeriodicityDetector().is_periodic(name) is None)


@pytest.mark.parametrize(
    "name", ["class", "none", "all", "pool", "covariance", "trace", "list_of", "str", "a" * 19, "x_9"]
)
def test_names_that_are_only_unusual_work(name):
    loaded = config.study({"arms": {name: {"targets": ["q"]}}})
    assert loaded.run_spec(name, "1-4").arm == name


@pytest.mark.parametrize(
    "name", ["a" * 20, "qv_" + "ab" * 20, "b" * 101, "Qv", "q-v", "q.v", "9a", "_a", "", "qé", "a\n"]
)
@pytest.mark.parametrize("place", ["arms", "ablations", "search"])
def test_names_that_cannot_be_files_are_refused_wherever_they_stand(name, place):
    arm = {name: {"targets": ["q"]}}
    given = {
        "arms": ARMS,
        **({"search": {"arms": arm}} if place == "search" else {place: arm | ARMS if place == "arms" else arm}),
    }
    with pytest.raises(AtlasError, match=place) as caught:
        config.study(given)
    assert str(caught.value).count("\n") == name.count("\n")


def test_two_candidates_of_one_name_are_refused():
    sweeps = {"a": {"vary": {"clip": [1, 2]}}, "a_1": {"vary": {"budget": [3]}}}
    with pytest.raises(AtlasError, match=r"search\.sweeps: two candidates would be called 'a_1'"):
        config.study({"arms": ARMS, "search": {"arms": ARMS, "sweeps": sweeps}})


def test_a_pair_that_a_family_names_twice_is_refused():
    arms = {"a": {"targets": ["q", "v"]}, "c": {"targets": ["up"]}}
    with pytest.raises(AtlasError, match="'c' and 'a' are compared twice"):
        config.study({"arms": arms, "contrasts": {"x": [["a", "c"], ["c", "a"]]}})
    assert config.study({"arms": arms, "contrasts": {"x": [["a", "c"]], "y": [["a", "c"]]}}).arms.keys() == arms.keys()


WORK = [
    "my results",
    "it's",
    'q"x',
    "a*b",
    "a[1]",
    "a?b",
    "ü-é",
    "a$HOME",
    "a#b;c",
    "a\\b",
    "a,b:c",
    "<Results>",
    ".hidden",
]
FAIL = {
    "": "an empty path",
    "{x}": "'{' has a meaning",
    "a{x}/b": "'{' has a meaning",
    "<results>": "'<results>' has a meaning",
    "-x": "begins with a dash",
    "./-x": "begins with a dash",
    "a\nb": "a line end",
    " a": "a space around it",
    "s3://bucket/a": "an address",
    "~nobody-of-this-name/x": "nobody's home folder",
    "é" * 128: "more than 255 bytes",
    "/".join(["x" * 99] * 11): "more than 1000 bytes",
    ".": "holds the study itself",
    "..": "holds the study itself",
    "/": "holds the study itself",
    "a/..": "holds the study itself",
    ".snakemake/x": "lies in .snakemake",
    str(REPOSITORY): "holds the study itself",
    str(REPOSITORY / "atlas"): "lies in atlas",
    str(REPOSITORY / "docs" / "mine"): "lies in docs",
    "a-file": "is a file",
    "other/mine": "lies in .*other, which holds the results of another study",
    "other/ttt": "lies in .*other, which holds",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder where another study has begun."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").touch()
    for made in paths.MADE:
        (tmp_path / "other" / made).parent.mkdir(parents=True)
        (tmp_path / "other" / made).touch()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("results", [*WORK, "results", "other", "../elsewhere/x"])
def test_results_may_go_to_any_folder_that_a_shell_can_quote(results):
    assert config.study({"arms": ARMS, "results": results}).results == results
    assert not contains_wildcard(results)
    assert not PATHVAR_REGEX.search(results)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("results", "said"), FAIL.items(), ids=range(len(FAIL)))
def test_a_folder_for_results_that_cannot_be_is_refused_in_one_line(results, said):
    with pytest.raises(AtlasError, match=f"config.yaml: results: .*{said}") as caught:
        config.study({"arms": ARMS, "results": results})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["", "a{b}.csv", "<logs>/a.csv", "a\tb.csv"])
@pytest.mark.parametrize("key", ["pool.source", "base.corpus", "base.model", "arms.a.start"])
def test_own_files_are_held_to_what_snakemake_can_watch(key, path):
    first, *inner = key.split(".")
    given = path
    for part in reversed(inner):
        given = {part: given}
    arms = {"a": {"targets": ["q"], **given["a"]}} if first == "arms" else ARMS
    with pytest.raises(AtlasError, match=f"config.yaml: {key}: "):
        config.study({"arms": ARMS, **({"arms": arms} if first == "arms" else {first: given})})


def test_the_folders_that_results_may_not_go_to_are_those_of_the_repository():
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert {name.split("/")[0] for name in listed.splitlines() if "/" in name} <= {*paths.FOLDERS}
