"""Kill Snakemake, a job, or both at random moments, run the same command again, and compare with an undisturbed run.

`make torture` is the long form: python -m tests.real.torture --kills 20
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from rich.console import Console
from rich.table import Table

from atlas.check import scan
from atlas.workflow import files
from tests.real.checkout import REPOSITORY, Checkout, make

VICTIMS = ("snakemake", "a job", "both")
TEACH = ("ttt.run", "ttt.edit")  # the steps that teach an arm: the costly ones, which go on from a session
LOOK_AGAIN = 2.0  # seconds, at most, where a kill waits for one of them
LEAST_TEACHING = 0.4  # of all kills
TIMES = {"seconds_train", "seconds_score", "core_seconds", "session_seconds"}
OF_TIMES = {"speed", "speedrun"}  # a chart and a table that times are the point of
EQUAL_BYTES = (
    "base/*/base.safetensors",
    "pool/pool.parquet",
    "charts/*.json",
    "charts/*.svg",
    "ttt/*/*/adapters.safetensors",
)


@dataclass(frozen=True)
class Kill:
    """One kill: when, whom, and what was running then."""

    round: int
    seconds: float  # after the start of the command
    victim: str
    running: tuple[str, ...]

    @property
    def teaching(self) -> bool:
        return any(name in TEACH for name in self.running)


@dataclass
class Tormentor:
    """Kills by the draws of one seed, every second one while facts are taught.

    Args:
        longest: most seconds from the start of a command to the kill.
    """

    seed: int
    longest: float
    kills: list[Kill] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)

    def rounds(self, kills: int, fresh: Callable[[int], Checkout], *targets: str) -> Iterator[Checkout]:
        """Checkouts by ``fresh``, each tormented until its command succeeds: as many as it takes for all the kills."""
        number = 0
        while len(self.kills) < kills:
            number += 1
            assert number <= 2 * kills + 3, f"only {len(self.kills)} kills in {number} rounds: no step is seen to run"
            checkout = fresh(number)
            self.torment(checkout, kills - len(self.kills), *targets, number=number)
            yield checkout

    def torment(self, checkout: Checkout, most: int, *targets: str, number: int = 1) -> None:
        """Run the command over and over, killed up to ``most`` times, until it succeeds; it must in the end."""
        for _ in range(most):
            if self._killed(checkout, targets, number) is None:
                break
        else:
            checkout.done(*targets)
        _wait_for_orphans(checkout)

    def _killed(self, checkout: Checkout, targets: tuple[str, ...], number: int) -> Kill | None:
        """Start the command and kill; None where it was done before that."""
        victim, while_teaching = VICTIMS[len(self.kills) % len(VICTIMS)], len(self.kills) % 2 == 1
        process = checkout.begun("torture.log", *targets)
        started = time.monotonic()
        wait = self._draw.uniform(0.5, self.longest)
        while True:
            time.sleep(wait)
            if (code := process.poll()) is not None:
                assert code == 0, f"failed by itself, see {checkout.root / 'torture.log'}"
                return None
            jobs = running_steps(checkout, process.pid)
            if while_teaching:
                jobs = [job for job in jobs if _name(job) in TEACH]
            if jobs or (victim == "snakemake" and not while_teaching):
                break
            wait = self._draw.uniform(0.05, LOOK_AGAIN)
        kill = Kill(number, time.monotonic() - started, victim, tuple(sorted(_name(job) for job in jobs)))
        self._strike(process, jobs, victim)
        process.wait()
        self.kills.append(kill)
        return kill

    def _strike(self, process: subprocess.Popen[bytes], jobs: list[psutil.Process], victim: str) -> None:
        if victim == "snakemake":
            process.kill()
        elif victim == "both":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            self._draw.choice(jobs).kill()


def running_steps(checkout: Checkout, group: int | None = None) -> list[psutil.Process]:
    """Steps that run in this checkout, of one Snakemake or (without ``group``) of any, dead ones included."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        mine = process.info["cwd"] == str(checkout.root) and words[1:2] == ["-m"] and words[2].startswith("atlas.")
        with suppress(ProcessLookupError):
            if mine and (group is None or os.getpgid(process.pid) == group):
                found.append(process)
    return found


def _name(job: psutil.Process) -> str:
    try:
        words = job.cmdline()
    except psutil.Error:
        return "gone"
    return words[2].removeprefix("atlas.") if len(words) > 2 else "gone"


def _wait_for_orphans(checkout: Checkout) -> None:
    """Jobs of a Snakemake that was killed go on by themselves; what they write counts."""
    psutil.wait_procs(running_steps(checkout))


def differences(checkout: Checkout, undisturbed: Checkout) -> list[str]:
    """Result files of the undisturbed run that are missing or have other values; times do not count."""
    found = []
    for path in sorted(undisturbed.file(".").rglob("*.parquet")):
        name = path.relative_to(undisturbed.file(".")).as_posix()
        mine = checkout.file(name)
        if not mine.exists() or not timeless(mine).equals(timeless(path)):
            found.append(name)
    for pattern in EQUAL_BYTES:
        for path in sorted(undisturbed.file(".").glob(pattern)):
            name = path.relative_to(undisturbed.file(".")).as_posix()
            if path.stem in OF_TIMES:
                continue
            if not checkout.file(name).exists() or checkout.file(name).read_bytes() != path.read_bytes():
                found.append(name)
    return found


def timeless(path: Path) -> pa.Table:
    """A table without its times, and in an order that does not go by them."""
    table = pq.read_table(path)
    table = table.drop_columns(sorted(TIMES & {*table.column_names}))
    if path.stem == "baselines":
        return table.filter(pc.not_equal(table["metric"], "edit_seconds"))
    return table.sort_by([("arm", "ascending"), ("sessions", "ascending")]) if path.stem in OF_TIMES else table


def problems(checkout: Checkout, undisturbed: Checkout, *targets: str) -> list[str]:
    """All that is not as after an undisturbed run: values, damage, scraps, work that is left."""
    found = [f"{name}: differs" for name in differences(checkout, undisturbed)]
    found += [f"{finding.path}: {finding.problem}" for finding in scan.scan(checkout.file(".")).findings]
    found += [f"{path}: left over" for path in checkout.root.rglob("*.partial")]
    found += [f"{name}: still to be made" for name in sorted(checkout.planned(*targets))]
    return found


def resumed(checkout: Checkout) -> int:
    """How often a run went on from a session in its middle."""
    records = (files.read_json(path) for path in checkout.file("ttt").glob("*/*/run.json"))
    return sum(len(record["resumed_after"]) for record in records)


def quick_study() -> dict[str, Any]:
    """The study of `make quick`, with enough sessions that a run can be killed in its middle."""
    study: dict[str, Any] = {}
    for name in ("config.yaml", "studies/quick.yaml"):
        study = _merged(study, yaml.safe_load((REPOSITORY / name).read_text(encoding="utf-8")))
    changes = {"results": "results", "checkpoints": [10, 20], "ablation_checkpoints": [10]}
    return {**study, **changes}


def _merged(values: Any, over: Any) -> Any:
    if not (isinstance(values, dict) and isinstance(over, dict)):
        return over
    return {**values, **{key: _merged(values.get(key), value) for key, value in over.items()}}


def main() -> None:
    """Torture the quick study and say how it went; exit 1 where a result differs."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=0)
    args = options.parse_args()
    console, found = Console(width=120), []
    with tempfile.TemporaryDirectory(prefix="atlas-torture-") as scratch:
        undisturbed = make(Path(scratch, "undisturbed"), quick_study())
        started = time.monotonic()
        undisturbed.done()
        took = time.monotonic() - started
        console.print(f"undisturbed: {took:.0f} s")
        tormentor, went_on = Tormentor(args.seed, took / 3), 0
        fresh = partial(_round, Path(scratch))
        for checkout in tormentor.rounds(args.kills, fresh):
            found += problems(checkout, undisturbed)
            went_on += resumed(checkout)
        show(console, tormentor.kills)
    teaching = sum(kill.teaching for kill in tormentor.kills)
    console.print(
        f"{len(tormentor.kills)} kills in {tormentor.kills[-1].round} rounds, {teaching} of them while facts were "
        f"taught; {went_on} runs went on from a session in their middle"
    )
    if teaching < LEAST_TEACHING * len(tormentor.kills):
        found.append(f"only {teaching} kills while facts were taught")
    for problem in found:
        console.print(problem)
    console.print("all results equal those of the undisturbed run" if not found else f"{len(found)} problems")
    sys.exit(bool(found))


def _round(scratch: Path, number: int) -> Checkout:
    return make(scratch / f"round-{number}", quick_study())


def show(console: Console, kills: list[Kill]) -> None:
    """The table of kills."""
    table = Table("Kill", "Round", "After", "Killed", "Running then")
    for number, kill in enumerate(kills, start=1):
        running = ", ".join(kill.running) or "no job yet"
        table.add_row(str(number), str(kill.round), f"{kill.seconds:.1f} s", kill.victim, running)
    console.print(table)


if __name__ == "__main__":
    main()
