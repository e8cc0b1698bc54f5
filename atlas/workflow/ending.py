"""The end of a run in words: what ran, what did not have to, how long, where the results are, what failed and why.

Of Snakemake's internals, this takes those of `ended`: tests/workflow/test_snakemake.py says when they change.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from atlas.phrases import plural

BEGAN = time.time()  # of this Snakemake
LAST_LINES = 8  # of the log of a job that failed
MOST_FAILURES = 5  # shown with their logs; a cause that many jobs share need not be read twenty times
NO_ERROR = "no error of its own: it was ended from outside, for want of memory or time, say"
NOT_BEGUN = "it failed before it began, see what Snakemake printed of it, or was ended from outside at once"
BATCHES = ("tables_", "charts_")  # how rules begin whose jobs make several
ENDS = ("atlas: error:", "Error")  # a log without these ends where the job was ended from outside


class Outcome(StrEnum):
    """What became of a job."""

    RAN = "ran"
    CACHED = "cached"  # its outputs were taken from the cache between workflows
    CURRENT = "current"  # up to date: nothing to do
    FAILED = "failed"
    LEFT = "left"  # to be done still


@dataclass(frozen=True)
class EndedJob:
    """A job, as far as a summary needs it."""

    name: str  # its rule and wildcards, such as `teach qv 1-8`
    outcome: Outcome
    logs: tuple[Path, ...] = ()  # several where one job runs several steps

    @property
    def rule(self) -> str:
        return self.name.partition(" ")[0]


def say(workflow: Any, results: str) -> None:
    """Print what became of every job of Snakemake's ``workflow``, which ends now."""
    print(summary(ended(workflow), time.time() - BEGAN, results), file=sys.stderr)


def ended(workflow: Any) -> Iterator[EndedJob]:
    """The jobs of Snakemake's ``workflow``; targets, which only gather, do not count.

    Of a group that failed it is the job that wrote its log last, since the others had to wait.
    """
    groups = [failed.jobs if failed.is_group() else [failed] for failed in workflow.scheduler.failed]
    failed = {max(jobs, key=lambda job: _written(_logs_of(job))) for jobs in groups}
    dag = workflow.dag
    for job in dag.jobs:
        if not job.rule.norun:
            logs = _logs_of(job)
            outcome = outcome_of(dag.needrun(job), dag.finished(job), job in failed, logs, BEGAN)
            yield EndedJob(" ".join([job.rule.name, *job.wildcards]), outcome, logs)


def _logs_of(job: Any) -> tuple[Path, ...]:
    return tuple(map(Path, job.log))


def outcome_of(needed: bool, finished: bool, failed: bool, logs: Sequence[Path], began: float) -> Outcome:
    """The outcome of a job; a finished one that has not written a log since the start came from the cache."""
    if failed:
        return Outcome.FAILED
    if not needed:
        return Outcome.CURRENT
    if not finished:
        return Outcome.LEFT
    return Outcome.RAN if not logs or _written(logs) >= began else Outcome.CACHED


def _written(logs: Sequence[Path]) -> float:
    """When the last of some logs was written to, in seconds since the epoch; 0 where there is none."""
    return max((log.stat().st_mtime for log in logs if log.exists()), default=0.0)


def summary(jobs: Iterable[EndedJob], seconds: float, results: str) -> str:
    """What became of some jobs, in lines that begin with `atlas: `."""
    of: dict[Outcome, list[EndedJob]] = {kind: [] for kind in Outcome}
    for job in jobs:
        of[job.outcome].append(job)
    failed, left, cached = of[Outcome.FAILED], of[Outcome.LEFT], of[Outcome.CACHED]
    counts = [
        f"{plural(len(of[Outcome.RAN]), 'job')} ran{_by_rule(of[Outcome.RAN])}",
        f"{len(cached)} from the cache{_by_rule(cached)}" if cached else "",
        f"{len(of[Outcome.CURRENT])} up to date",
        f"{len(failed)} failed" if failed else "",
        f"{len(left)} not begun or not finished" if left else "",
    ]
    lines = [f"{'not done' if failed or left else 'done'} after {duration(seconds)}: {', '.join(filter(None, counts))}"]
    lines += [line for job in failed[:MOST_FAILURES] for line in _failure(job)]
    if len(failed) > MOST_FAILURES:
        lines.append(f"and {len(failed) - MOST_FAILURES} more, see {results}/logs")
    if failed or left:
        lines.append("what is finished is kept; mend the cause and run the same command again to go on from there")
    else:
        lines.append(f"results are in {results}/: {_places(results)}")
    return "\n".join(f"atlas: {line}" if not line.startswith("  ") else line for line in lines)


def duration(seconds: float) -> str:
    """A time for people: `42 s`, `3 min 5 s`, `2 h 10 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _by_rule(jobs: Sequence[EndedJob]) -> str:
    names = Counter(job.rule.partition("_")[0] if job.rule.startswith(BATCHES) else job.rule for job in jobs)
    counts = [
        f"{plural(n, 'job')} of {name}" if name + "_" in BATCHES else f"{n} {name}" for name, n in names.most_common()
    ]
    return f" ({', '.join(counts)})" if counts else ""


def _places(results: str) -> str:
    known = {"index.html": "the page", "report.html": "every step and its settings", "tables": "Parquet", "charts": ""}
    there = [name for name in known if Path(results, name).exists()]
    return ", ".join(f"{name} ({known[name]})" if known[name] else name for name in there) or "see the README"


def _failure(job: EndedJob) -> list[str]:
    """What failed, the last lines of its logs that name an error, and what it means where none does."""
    if not job.logs:
        return [f"failed: {job.name}"]
    lines = {log: _last_lines(log) for log in job.logs}
    wrong = [log for log, last in lines.items() if any(mark in line for line in last for mark in ENDS)]
    shown = wrong or [max(job.logs, key=lambda log: _written([log]))]
    said = []
    for log in shown:
        said += [f"failed: {job.name}; {log} " + ("ends with" if lines[log] else "is empty"), *lines[log]]
    if not wrong:
        why = NO_ERROR if any(lines[log] for log in shown) else NOT_BEGUN
        said.append(f"    ({why}; on a cluster see .snakemake/slurm_logs, too)")
    return said


def _last_lines(log: Path) -> list[str]:
    found = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return [f"    {line}" for line in found[-LAST_LINES:]]
