"""What a test sees of the queue, and does to its jobs as users, other jobs and schedulers do."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from tests.real.checkout import Checkout
from tests.real.torture import running_steps

PROFILE = ("--workflow-profile", "profiles/slurm")


@dataclass(frozen=True)
class Job:
    """A job as squeue shows it, finished ones included."""

    number: int
    state: str
    node: str
    partition: str
    account: str
    minutes: str  # its limit, as H:MM:SS or less
    memory: str  # what it may take, such as 2000M
    comment: str  # the executor's: its rules and wildcards

    def cancel(self) -> None:
        subprocess.run(["scancel", str(self.number)], check=True)

    def hang(self, waiting: list[psutil.Process]) -> None:
        """Stop its processes as if they waited for ever, and let its time be over."""
        for process in waiting:
            process.suspend()
        subprocess.run(["scontrol", "update", f"JobId={self.number}", "EndTime=now"], check=True)


def jobs(words: str = "", state: str = "") -> list[Job]:
    """Jobs whose comment has ``words``, oldest first."""
    command = ["squeue", "--states=all", "--noheader", "--sort=i", "--format=%A|%T|%N|%P|%a|%l|%m|%k"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = (line.split("|", 7) for line in printed.splitlines())
    found = [Job(int(number), *fields) for number, *fields in rows]
    return [job for job in found if words in job.comment and state in ("", job.state)]


def processes(checkout: Checkout, step: str) -> list[psutil.Process]:
    """Processes of a step, such as atlas.ttt.run, in a checkout."""
    return [process for process in running_steps(checkout) if process.info["cmdline"][2] == step]


def commands(running: list[psutil.Process]) -> set[tuple[str, ...]]:
    """What processes run, as they were when they were found."""
    return {tuple(process.info["cmdline"]) for process in running}


@contextmanager
def snakemake(checkout: Checkout, *arguments: str):
    """Snakemake through the profile, as long as the block lasts; what it prints goes to a file."""
    log = checkout.root / "printed.txt"
    with (
        open(log, "a") as file,
        subprocess.Popen(
            [*checkout.command(*arguments), *PROFILE],
            cwd=checkout.root,
            env=checkout.environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as running,
    ):
        try:
            yield running
        finally:
            running.kill()


def wait_for(what: str, true: Callable[[], object], seconds: float = 240):
    """The first true answer."""
    until = time.monotonic() + seconds
    while not (answer := true()):
        assert time.monotonic() < until, f"{what}: not within {seconds} s"
        time.sleep(0.3)
    return answer
