"""What Atlas takes of Snakemake's internals, on a workflow of four rules: each test names the module to mend."""

import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from snakemake import jobs as snakemake_jobs

from atlas.workflow import locks, why

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
CHANGED = "Snakemake's internals have changed: mend atlas/workflow/{}.py, or pin an earlier version in pyproject.toml"
SNAKEFILE = """
from atlas.workflow import ending

rule all:
    input: "good.txt", "left.txt"

rule good:
    input: "given.txt"
    output: "good.txt"
    log: "good.log"
    params: size=config.get("size", 1), code=config.get("code", ["toy.step=0123456789ab", "torch==2.12.0"])
    shell: "ls .snakemake/locks > {output} 2> {log}"

rule bad:
    output: "bad.txt"
    log: "bad.log"
    shell: "echo 'atlas: error: no such pool; make it' > {log}; false"

rule left:
    input: "bad.txt"
    output: "left.txt"
    shell: "touch {output}"

onsuccess:
    ending.say(workflow, "results")

onerror:
    ending.say(workflow, "results")
"""


def snakemake(folder, *arguments):
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nocolor", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=folder, env=environment, stdout=-1, stderr=subprocess.STDOUT, text=True)
    return done.stdout


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A folder where the workflow has run, as far as it goes, and what Snakemake printed."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "Snakefile").write_text(SNAKEFILE)
    (folder / "given.txt").write_text("given\n")
    return folder, snakemake(folder, "--keep-going")


def test_the_ending_knows_what_became_of_each_job(ran):
    said = [line for line in ran[1].splitlines() if line.startswith("atlas: ")]
    expected = [
        r"atlas: not done after \d+ s: 1 job ran \(1 good\), 0 up to date, 1 failed, 1 not begun or not finished",
        r"atlas: failed: bad; bad\.log ends with",
        r"atlas: what is finished is kept; .*",
    ]
    assert len(said) == 3, (CHANGED.format("ending"), ran[1])
    assert all(map(re.fullmatch, expected, said)), (CHANGED.format("ending"), said)


def test_a_lock_of_a_dead_snakemake_is_cleared_away(ran):
    names = (ran[0] / "good.txt").read_text().split()
    assert names, CHANGED.format("locks")
    memory = ran[0] / ".snakemake"
    left = [memory / locks.LOCKS / name for name in names]
    for path in left:  # as if it had been killed
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert locks.hold(memory) == left, CHANGED.format("locks")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["good.txt"], "good.txt: up to date, nothing would run"),
        (
            ["left.txt"],
            "left.txt: 2 jobs would run\n\nbad\n  not made yet\n\nleft\n  not made yet\n  follows bad, made",
        ),
        (["good.txt", "--config", "size=2"], "good.txt: 1 job would run\n\ngood\n  setting changed: 1 -> 2"),
        (
            ["good.txt", "--config", "code=['toy.step=ffffffffffff','torch==2.12.0']"],
            "good\n  code changed: toy.step",
        ),
        (
            ["good.txt", "--config", "code=['toy.step=0123456789ab','torch==2.13.0','gguf==0.19.0']"],
            "good\n  package changed: torch 2.12.0 -> 2.13.0, gguf 0.19.0 (now used)",
        ),
        (["good.txt", "--forcerun", "good"], "good\n  forced on the command line"),
    ],
)
def test_why_reads_a_dry_run(ran, monkeypatch, change, said):
    monkeypatch.chdir(ran[0])
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    assert said in why.explain(change[0], change[1:]), CHANGED.format("why")


def test_why_reads_what_is_said_of_files(ran, monkeypatch):
    monkeypatch.chdir(ran[0])
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    with open("given.txt", "a") as file:
        file.write("More.\n")
    assert "good\n  input changed: given.txt" in why.explain("good.txt"), CHANGED.format("why")


def test_snakemakes_words_are_those_that_why_knows():
    source = inspect.getsource(snakemake_jobs)
    for words in (why.PARAMS.rstrip(": "), *why.SIMPLE, *why.WITH_FILES, why.UPSTREAM):
        assert words in source, (CHANGED.format("why"), words)


def test_snakemake_is_pinned_below_the_next_major_version():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (wanted,) = (line for line in project["optional-dependencies"]["workflow"] if re.match(r"snakemake[<>=]", line))
    (locked,) = re.findall(r"^snakemake==(\d+)\.", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE)
    assert wanted.endswith(f",<{int(locked) + 1}"), wanted
