"""What reruns after a change, by dry runs: what is new, what follows from it, and nothing else."""

from __future__ import annotations

import ast
import copy as copying
import re
from pathlib import Path

import pytest

from tests.workflow.checkout import STUDY, below


def with_changes(**changes):
    return {**copying.deepcopy(STUDY), **changes}


def after_runs(finished):
    """All that is made from the runs: tables, charts, the page."""
    names = {path.relative_to(finished.file(".")).as_posix() for path in finished.file(".").rglob("*.*")}
    return below(names, "tables", "charts")


RUN_FILES = {"facts.parquet", "matrix.parquet", "sessions.parquet", "adapters.safetensors", "run.json"}


TAUGHT = [*STUDY["arms"], *STUDY["ablations"]]


def runs(arms, block="1-2"):
    return {f"ttt/{arm}/{block}/{name}" for arm in arms for name in RUN_FILES}


def test_a_new_arm_runs_alone(copy):
    everything = after_runs(copy)
    copy.configure(with_changes(arms={**STUDY["arms"], "out": {"targets": ["o"], "ranks": 2}}))
    # the chart of the ablations has the colours of all arms, the table knows none of the new one
    assert copy.planned() == runs(["out"]) | everything - {"tables/ablations.parquet"}


def test_a_new_entry_of_seeds_runs_alone(copy):
    everything = after_runs(copy)
    copy.configure(with_changes(seeds=["1-2", 5]))
    assert copy.planned() == {"pool/streams/5.parquet"} | runs(TAUGHT, "5") | everything


def test_a_changed_arm_runs_alone(copy):
    everything = after_runs(copy)
    copy.configure(with_changes(arms={**STUDY["arms"], "ffn": {"targets": ["up", "down"], "ranks": 3}}))
    of_another_arm = {name for name in everything if Path(name).stem == "ablations"}
    assert of_another_arm
    assert copy.planned() == runs(["ffn"]) | everything - of_another_arm


def test_a_changed_ablation_runs_alone(copy):
    shorter = {**STUDY["ablations"]["qv_single_phase"], "recipe": {"fast": None, "slow": {"lr": 1e-4}}}
    copy.configure(with_changes(ablations={"qv_single_phase": shorter}))
    planned = copy.planned()
    assert below(planned, "pool", "base", "ttt") == runs(["qv_single_phase"])
    assert {"tables/claims.parquet", "tables/contrasts.parquet"} <= planned
    assert "tables/retention.parquet" not in planned


@pytest.mark.parametrize("name", ["atlas/ttt/lora.py", "atlas/base/model.py", "atlas/files.py", "atlas/config.py"])
def test_a_comment_reruns_nothing(copy, name):
    path = copy.root / name
    path.write_text("# A remark.\n" + path.read_text())
    assert copy.planned() == set()


def test_code_of_a_stage_reruns_it_and_what_follows(copy):
    everything = after_runs(copy)
    with open(copy.root / "atlas" / "ttt" / "lora.py", "a") as file:
        file.write("\nNEW = 1\n")
    planned = copy.planned()
    assert below(planned, "pool", "base") == set()
    assert planned == runs(TAUGHT) | everything
    reason = re.search(r"reason: .*before: (\[.*?\]) now: (\[.*?\])", copy.done("--dry-run"))
    assert reason
    before, now = (set(ast.literal_eval(parts)) for parts in reason.groups())
    assert {part.partition("=")[0] for part in before ^ now} == {"atlas.ttt.lora"}


def test_code_of_the_checks_certifies_again_and_no_run_stays_that_an_older_check_let_pass(copy):
    everything = after_runs(copy)
    with open(copy.root / "atlas" / "base" / "checks.py", "a") as file:
        file.write("\nNEW = 1\n")
    assert copy.planned() == {"base/certificate.json", "base/config.json"} | runs(TAUGHT) | everything


def test_code_of_the_charts_redraws_charts_only(copy):
    with open(copy.root / "atlas" / "charts" / "__init__.py", "a") as file:
        file.write("\nNEW = 1\n")
    planned = copy.planned()
    assert planned
    assert planned == below(planned, "charts")


def test_a_lost_file_is_made_again_with_what_follows(copy):
    everything = after_runs(copy)
    copy.file("ttt/qv/1-2/facts.parquet").unlink()
    assert copy.planned() == runs(["qv"]) | everything
