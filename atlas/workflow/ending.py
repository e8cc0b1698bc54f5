"""The end of a run in words: what ran, what did not have to, how long, where the results are, what failed and why.

It knows nothing of Snakemake: the Snakefile says what became of each job, and `text` says it to people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

LAST_LINES = 8  # of the log of a job that failed
MOST_FAILURES = 5  # shown with their logs; a cause that many jobs share need not be read twenty times
ENDS = ("atlas: error:", "Error")  # a log without these ends where the job was ended from outside


class State(StrEnum):
    """What became of a job."""

    RAN = "ran"
    CACHED = "cached"  # its outputs were taken from the cache between workflows
    CURRENT = "current"  # up to date: nothing to do
    FAILED = "failed"
    LEFT = "left"  # to be done still


@dataclass(frozen=True)
class Job:
    """A job, as far as a summary needs it."""

    name: str  # its rule and wildcards, such as `teach qv 1-8`
    state: State
    log: Path | None = None

    @property
    def rule(self) -> str:
        return self.name.partition(" ")[0]


def state(needed: bool, finished: bool, failed: bool, log: Path | None, started: float) -> State:
    """The state of a job; a finished one that has not written its log since the start came from the cache."""
    if failed:
        return State.FAILED
    if not needed:
        return State.CURRENT
    if not finished:
        return State.LEFT
    return State.RAN if log is None or written(log) >= started else State.CACHED


def written(log: Path) -> float:
    """When a log was last written to, in seconds since the epoch; 0 where there is none."""
    return log.stat().st_mtime if log.exists() else 0.0


def text(jobs: Iterable[Job], seconds: float, results: str) -> str:
    """The summary, lines that begin with `atlas: `."""
    of: dict[State, list[Job]] = {kind: [] for kind in State}
    for job in jobs:
        of[job.state].append(job)
    whole = not of[State.FAILED] and not of[State.LEFT]
    lines = [f"{'done' if whole else 'not done'} after {duration(seconds)}: {_counts(of)}"]
    lines += [line for job in of[State.FAILED][:MOST_FAILURES] for line in _failure(job)]
    if len(of[State.FAILED]) > MOST_FAILURES:
        lines.append(f"and {len(of[State.FAILED]) - MOST_FAILURES} more, see {results}/logs")
    if whole:
        lines.append(f"results are in {results}/: {_places(results)}")
    else:
        lines.append("what is finished is kept; mend the cause and run the same command again to go on from there")
    return "\n".join(f"atlas: {line}" if not line.startswith("  ") else line for line in lines)


def duration(seconds: float) -> str:
    """A time for people: `42 s`, `3 min 5 s`, `2 h 10 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _counts(of: dict[State, list[Job]]) -> str:
    ran = len(of[State.RAN])
    parts = [f"{ran} {'job' if ran == 1 else 'jobs'} ran{_by_rule(of[State.RAN])}"]
    if of[State.CACHED]:
        parts.append(f"{len(of[State.CACHED])} from the cache{_by_rule(of[State.CACHED])}")
    parts.append(f"{len(of[State.CURRENT])} up to date")
    if of[State.FAILED]:
        parts.append(f"{len(of[State.FAILED])} failed")
    if of[State.LEFT]:
        parts.append(f"{len(of[State.LEFT])} not begun or not finished")
    return ", ".join(parts)


def _by_rule(jobs: Sequence[Job]) -> str:
    names = Counter("charts" if job.rule.startswith("chart_") else job.rule for job in jobs)
    return f" ({', '.join(f'{number} {name}' for name, number in names.most_common())})" if names else ""


def _places(results: str) -> str:
    known = {"index.html": "the page", "report.html": "every step and its settings", "tables": "Parquet", "charts": ""}
    there = [name for name in known if Path(results, name).exists()]
    return ", ".join(f"{name} ({known[name]})" if known[name] else name for name in there) or "see the README"


def _failure(job: Job) -> list[str]:
    """What failed, the last lines of its log, and what it means where these name no error."""
    if job.log is None:
        return [f"failed: {job.name}"]
    found = job.log.read_text(encoding="utf-8", errors="replace").splitlines() if job.log.exists() else []
    last = [f"    {line}" for line in found[-LAST_LINES:]]
    head = f"failed: {job.name}; {job.log} " + ("ends with" if last else "is empty")
    if not any(mark in line for line in last for mark in ENDS):
        last.append(
            "    (no error of its own: it was ended from outside, for want of memory or time, say; on a cluster"
            " see .snakemake/slurm_logs, too)"
        )
    return [head, *last]
