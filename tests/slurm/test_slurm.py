"""The workflow on a real Slurm: the same tables as without, whatever befalls the jobs and the one who submits them."""

import os
import re
import shlex
import signal
from dataclasses import dataclass

import pytest

from tests.real.checkout import ONE_BASE, REPOSITORY, Checkout, make
from tests.real.torture import problems
from tests.slurm import scheduler
from tests.slurm.conftest import TARGETS

BASE, QV, FFN = "rule_base_", "rule_teach_wildcards_qv_1-2", "rule_teach_wildcards_ffn_1-2"
SINGLE_PHASE = "rule_teach_wildcards_qv_single_phase_1-2"
# laid on the documented ones: too little for one arm, at its first attempt only; another one asks for a GPU
RESOURCES = (
    "teach:mem_mb=300 if attempt == 1 and wildcards.arm == 'ffn' else 2000",
    "teach:gpu=1 if wildcards.arm == 'qv_single_phase' else 0",
)


def documented() -> list[str]:
    """The options of the command that docs/running.md gives for accounts, partitions and single rules, as written."""
    text = (REPOSITORY / "docs/running.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (options,) = re.findall(r"^snakemake (--workflow-profile profiles/slurm .*--set-resources .*)$", text, re.MULTILINE)
    return shlex.split(options)


@dataclass(frozen=True)
class Storm:
    """A run and its jobs."""

    checkout: Checkout
    jobs: list[scheduler.Job]

    def of(self, comment):
        return [job for job in self.jobs if job.comment.startswith(comment)]


@pytest.fixture(scope="module")
def storm(slurm, tmp_path_factory):  # noqa: ARG001  it has to be up
    """A run in which one job hangs past its time, one takes more memory than it has, and one is cancelled."""
    made = make(tmp_path_factory.mktemp("storm") / "atlas", ONE_BASE)
    with scheduler.snakemake(made, *TARGETS, *documented(), *RESOURCES) as running:
        hanging = scheduler.wait_for("pretraining", lambda: scheduler.processes(made, "atlas.base.pretrain"))
        scheduler.jobs(BASE, "RUNNING")[-1].hang(hanging)
        scheduler.wait_for("a run of qv", lambda: scheduler.jobs(QV, "RUNNING"))[-1].cancel()
        assert running.wait(timeout=300) == 0, (made.root / "printed.txt").read_text()
    return Storm(made, scheduler.jobs())


def test_the_tables_are_those_of_a_local_run(storm, undisturbed):
    assert problems(storm.checkout, undisturbed, *TARGETS) == []


@pytest.mark.parametrize(
    ("job", "states"),
    [(BASE, ["TIMEOUT", "COMPLETED"]), (QV, ["CANCELLED", "COMPLETED"]), (FFN, ["FAILED", "COMPLETED"])],
)
def test_a_job_that_was_ended_is_submitted_again(storm, job, states):
    assert [attempt.state for attempt in storm.of(job)] == states


def test_the_job_that_failed_had_too_little_memory(storm):
    logs = storm.checkout.root.glob(".snakemake/slurm_logs/rule_teach/ffn_1-2/*.log")
    assert ["xceeded job memory limit" in log.read_text() for log in logs] == [True]


def test_the_documented_command_says_account_and_partition_and_every_job_keeps_its_limits(storm):
    assert {job.account for job in storm.jobs} == {"abc"}
    teaching = {job for job in storm.jobs if job.comment.startswith("rule_teach_")}
    assert {job.partition for job in teaching} == {"gpu"}
    assert {job.partition for job in {*storm.jobs} - teaching} == {"short"}
    assert [job.minutes for job in storm.of(SINGLE_PHASE)] == ["4:00:00"]
    assert [job.minutes for job in storm.of(QV)] == ["4:00:00", "8:00:00"]
    assert [job.memory for job in storm.of(BASE)] == ["2000M", "4000M"]
    assert all(job.minutes != "UNLIMITED" for job in storm.jobs)


def test_small_steps_share_one_job_or_take_none(storm):
    assert len(storm.of("rule_figures_")) == 1
    assert {job.comment for job in storm.of("rule_base_")} == {"rule_base_certify_measure_base_pretrain"}
    assert len({job.comment for job in storm.jobs}) == 5


def test_of_two_writers_after_a_killed_controller_none_harms_the_other(storm, undisturbed, tmp_path):
    """Slurm's jobs outlive the Snakemake that submitted them; the next one submits the same again."""
    again = storm.checkout.copy(tmp_path / "atlas")
    for path in again.file("ttt").glob("*/*/*"):
        path.unlink()
    writers = lambda: scheduler.processes(again, "atlas.ttt.run")  # noqa: E731
    with scheduler.snakemake(again, *TARGETS) as killed:
        orphans = scheduler.wait_for("a run", writers)
        for writer in orphans:
            writer.suspend()  # so that it is still at work when its twin begins
        os.killpg(killed.pid, signal.SIGKILL)
    with scheduler.snakemake(again, *TARGETS) as second:
        others = lambda: [writer for writer in writers() if writer not in orphans]  # noqa: E731
        twins = lambda: scheduler.commands(orphans) & scheduler.commands(others())  # noqa: E731
        scheduler.wait_for("the same run by the next controller", twins)
        for writer in orphans:
            writer.resume()
        assert second.wait(timeout=240) == 0, (again.root / "printed.txt").read_text()
    scheduler.wait_for("the end of all jobs", lambda: not scheduler.jobs(state="RUNNING"))
    assert problems(again, undisturbed, *TARGETS) == []
