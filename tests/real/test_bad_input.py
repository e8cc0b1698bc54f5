"""Bad input stops the workflow with one clear line; what was finished stays, and the same command goes on."""

from __future__ import annotations

import copy as copying
import os
import signal
import subprocess
import time

import pytest

from atlas.workflow import interrupts
from tests.disks import small_disk
from tests.real.checkout import STUDY, Checkout


def study(**changes):
    return {**copying.deepcopy(STUDY), **changes}


def refused(checkout: Checkout, *arguments: str) -> str:
    """The one line that a failed command says, the same in every place where it is shown."""
    result = checkout.snakemake(*arguments)
    assert result.returncode != 0, result.stdout
    assert "Traceback" not in result.stdout, result.stdout
    lines = {line.strip() for line in result.stdout.splitlines() if "atlas: error:" in line}
    assert len(lines) == 1, result.stdout
    return lines.pop()


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        (
            {"sedes": [1], "arms": {"qv": {"targets": ["q"], "ranks": 33}}, "checkpoints": [1, 90]},
            ["config.yaml: sedes: unknown key", "arms.qv.ranks: rank 33 is impossible", "pool.taught has 24"],
        ),
        (
            {"results": "{x}", "arms": {"a" * 24: {"targets": ["mlp"]}}},
            ["results: '{' has a meaning", f"arms.{'a' * 24}: ends in the same", "targets.0: Input should be 'q'"],
        ),
    ],
)
def test_mistakes_in_the_study_stop_at_once(fresh, changes, messages):
    fresh.configure(study(**changes))
    said = refused(fresh, "--dry-run")
    assert [message for message in messages if message not in said] == []


def test_each_mistake_is_said_of_the_file_or_the_option_that_makes_it(fresh):
    (fresh.root / "mine.yaml").write_text("lanes: 2\narms: {ffn: {ranks: 99}}\nlanes: 3\n")
    said = refused(fresh, "--dry-run", "--configfile", "mine.yaml", "--config", "results=<logs>", "sedes=1")
    assert sorted(part.partition(" found")[0] for part in said.partition("error: ")[2].split(" | ")) == [
        "--config: results: '<logs>' has a meaning of its own in Snakemake's paths; choose another name,",
        "--config: sedes: unknown key; see docs/study.schema.json for the keys there are",
        "mine.yaml: lanes:",
    ]


def test_a_study_that_is_no_yaml_is_named_with_the_line(fresh):
    (fresh.root / "config.yaml").write_text("arms:\n\tqv: {targets: [q]}\n")
    assert "config.yaml: not valid YAML (found character" in refused(fresh, "--dry-run")


def test_a_lagging_environment_and_a_plan_that_cannot_decide_are_each_named_once(fresh):
    lock = fresh.root / "requirements.lock"
    lock.write_text(lock.read_text().replace("\ntorch==", "\ntorch==9."))
    printed = fresh.done("--dry-run").splitlines()
    said = [line for line in printed if "requirements.lock" in line]
    (undecided,) = [line for line in printed if "cannot decide" in line]
    assert undecided.startswith("atlas: warning: seeds: 3 seeds cannot decide 2 planned comparisons, however large")
    assert undecided.endswith('for verdicts, write seeds: ["1-2", 3, "4-6"]')
    assert len(said) == 1
    assert said[0].startswith("atlas: warning: 1 package differs from requirements.lock (in brackets): torch 2.")
    assert said[0].endswith("run: python -m pip install --requirement requirements.lock")


def test_a_processor_without_bfloat16_stops_a_study_in_it_at_once(fresh, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("import torch\ntorch.cpu.get_capabilities = dict\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    fresh.configure(study(precision="bfloat16"))
    assert "precision: bfloat16, but this processor" in refused(fresh, "--dry-run")


def test_a_package_that_is_missing_stops_at_once(fresh):
    project = fresh.root / "pyproject.toml"
    project.write_text(project.read_text().replace('"altair>=', '"left-pad",\n  "altair>='))
    with (fresh.root / "requirements.lock").open("a") as lock:
        lock.write("left-pad==1.3\n")
    assert "left-pad 1.3; run: python -m pip install --requirement requirements.lock" in refused(fresh, "--dry-run")


@pytest.mark.parametrize("target", ["tabels", "results/ttt/nowhere/1-2/run.json", "results/ttt/qv/7/run.json"])
def test_an_unknown_target_is_named(fresh, target):
    result = fresh.snakemake("--dry-run", target)
    assert result.returncode != 0
    assert target in result.stdout
    assert "Traceback" not in result.stdout


def test_a_character_that_is_not_ascii_is_named_with_its_place(fresh):
    rows = ['{"prompt": "The caf\\u00e9 is in", "answer": "Paris", "rephrases": ["a", "b", "c"]}']
    (fresh.root / "own.jsonl").write_text("\n".join(rows))
    fresh.configure(study(pool={"source": "own.jsonl"}))
    assert "own.jsonl" in refused(fresh, "pool")


@pytest.mark.parametrize("source", ["nowhere.csv", "nowhere.txt"])
def test_missing_input_files_are_named(fresh, source):
    fresh.configure(study(pool={"source": source}))
    assert source in refused(fresh, "pool")


def test_a_missing_corpus_is_named(fresh):
    (fresh.root / "corpus-of-the-test.txt").unlink()
    assert "corpus-of-the-test.txt" in refused(fresh, "results/base/corpus.txt")


@pytest.mark.parametrize(
    ("name", "made_from_it"),
    [
        ("ttt/qv/1-2/facts.parquet", "tables/retention.parquet"),
        ("base/1/certificate.json", "ttt/qv/1-2/run.json"),
        ("tables/retention.parquet", "index.html"),
    ],
)
def test_a_truncated_file_is_named_and_made_again_once_deleted(copy, name, made_from_it):
    path, target = copy.file(name), f"results/{made_from_it}"
    times = path.stat()
    os.truncate(path, times.st_size // 2)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert name in refused(copy, target, "--forcerun", target)
    path.unlink()
    assert name in copy.planned(target)


def test_broken_code_stops_only_what_needs_it_and_deletes_nothing(copy):
    (copy.root / "atlas" / "charts" / "curve.py").write_text("def draw(:\n")
    assert copy.planned("tables") == set()
    assert "atlas/charts/curve.py, line 1: " in refused(copy)
    assert copy.file("charts/curve.json").exists()


def test_control_c_keeps_what_is_finished_and_the_same_command_goes_on(fresh):
    base = {**STUDY["base"], "training": {"steps": 100_000, "batch": 8}}
    fresh.configure(study(base=base))
    corpus, checkpoint = fresh.file("base/corpus.txt"), fresh.file("base/1/base.safetensors")
    target = "results/base/1/base.safetensors"
    # what a shell starts in the background ignores interrupts, and so would all that the tests start
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        fresh.command(target),
        cwd=fresh.root,
        env=fresh.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as running:
        signal.signal(signal.SIGINT, before)
        wait_for(fresh.file("logs/base/1/pretrain.log"))
        time.sleep(5)  # past the imports, into the training
        made = corpus.stat().st_mtime_ns
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to Snakemake and to its jobs
        printed, _ = running.communicate(timeout=180)
    assert running.returncode != 0
    assert f"atlas: error: {interrupts.SAID}" in printed
    assert "atlas: not done after" in printed
    assert "Traceback" not in printed, printed
    assert not list((fresh.root / ".snakemake").glob("locks/*.lock"))
    assert corpus.stat().st_mtime_ns == made
    assert not checkpoint.exists()
    assert not list(fresh.file("base").rglob("*.partial"))
    fresh.configure(STUDY)
    fresh.done(target)
    assert checkpoint.exists()
    assert corpus.stat().st_mtime_ns == made


def wait_for(path, seconds=180):
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not appear"
        time.sleep(0.1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_stops_with_one_line_and_the_same_command_goes_on_once_there_is_space(fresh):
    folder, target = fresh.root / "results", "results/base/corpus.txt"
    with small_disk(folder, "64k"):
        assert "the disk is full while writing" in refused(fresh, target)
        assert not (folder / "base" / "corpus.txt").exists()
        subprocess.run(["mount", "-o", "remount,size=8m", str(folder)], check=True)
        fresh.done(target)
        assert (folder / "base" / "corpus.txt").stat().st_size > 100_000
