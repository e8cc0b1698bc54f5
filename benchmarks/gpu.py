"""Measure the engine on a GPU: results equal to the processor's, speed beside PEFT on the same card, where time goes.

Sections come in the order of their value and share a budget of seconds. What fails or finds no time left says so in
the tables, which are written anew after every section.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import shutil
import subprocess
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity

from atlas.errors import AtlasError
from atlas.ttt.course import Course
from atlas.ttt.engine.products import require
from atlas.ttt.resume import Saved
from atlas.workflow import progress
from atlas.workflow.steps import environment, now, parser, run_step
from benchmarks import gpu_report
from benchmarks.baseline import Peft
from benchmarks.engines import Atlas, Engine
from benchmarks.gpu_tasks import ARMS, NEW, TINY, Sizes, course, large, necessary, small
from benchmarks.tasks import CPU, Task

ENGINES: Mapping[str, Callable[[Task], Engine]] = {"atlas": Atlas, "peft": partial(Peft, kernel="sdpa")}
PRECISIONS = ("fp32", "tf32", "bf16")
FIRST_STEPS = 4
COMPARED_SESSIONS = 3
REHEARSED = 32  # stored facts of the session that is profiled
CORE_LANES = 8  # what one core trains together
MOST_STEPS = 60  # of a timing
WAITS = {"cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"}

Make = Callable[[Sizes, torch.device, int, int], Task]
MODELS: dict[str, Make] = {"small": small, "SmolLM2-135M": large}


@dataclass
class Bench:
    """What is measured, where and until when, and what was found so far.

    Attributes:
        ends: when no further measurement begins.
        peaks: FLOP/s of a large square product, by precision: what this card can, in practice.
        rows: of the tables; ``profiles`` are tables of their own, in Markdown.
    """

    device: torch.device
    sizes: Sizes
    ends: float = 0.0
    peaks: dict[str, float] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    profiles: list[str] = field(default_factory=list)

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    def measure(self, row: Mapping[str, Any], work: Callable[[], Mapping[str, Any]]) -> None:
        """Add a row with what ``work`` finds, or with the reason why there is nothing."""
        found: Mapping[str, Any] = {"note": "no time left"}
        if time.perf_counter() < self.ends:
            try:
                found = work()
            except torch.OutOfMemoryError:
                found = {"note": "out of memory"}
            except Exception as error:  # what comes behind it is worth having all the same
                traceback.print_exc()
                found = {"note": f"failed: {type(error).__name__}: {(str(error) or '-').splitlines()[0]}"}
        self.rows.append({**row, **found})
        progress.say(", ".join(f"{key} {value}" for key, value in self.rows[-1].items()))
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()

    def clock(self, work: Callable[[], object]) -> float:
        """Seconds of work, until the card is done with it."""
        self._settle()
        began = time.perf_counter()
        work()
        self._settle()
        return time.perf_counter() - began

    def _settle(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(self.device)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark by the command line; see ``python -m benchmarks.gpu --help``."""
    args, cuda = _parse(arguments), torch.cuda.is_available()
    if not cuda and not args.tiny:
        raise AtlasError("torch sees no CUDA card here; --tiny runs through on the processor")
    bench = Bench(torch.device("cuda" if cuda else "cpu"), TINY if args.tiny else Sizes())
    about: dict[str, Any] = {"started": now(), "card": card(bench.device), "peaks": bench.peaks}
    about |= environment("torch", "transformers", "peft", "numpy")
    began = time.perf_counter()
    for section, share in SECTIONS.items():
        entered = time.perf_counter()
        bench.ends = min(began + args.seconds, entered + share * args.seconds)
        section(bench)
        progress.say(f"{section.__name__}: took {time.perf_counter() - entered:.0f} s")
        gpu_report.write(args.out, bench.rows, bench.profiles, about | {"finished": now()})
    progress.say((args.out / "gpu.md").read_text(encoding="utf-8"))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--out", type=Path, default=Path("results/bench-gpu"), help="folder for the tables")
    options.add_argument("--seconds", type=float, default=420, help="budget; what is under way then is finished")
    options.add_argument("--tiny", action="store_true", help="a run through with tiny sizes, on a processor, too")
    return options.parse_args(arguments)


def card(device: torch.device) -> str:
    """The card with its driver, or the processor."""
    if device.type == "cpu":
        return "no card: the processor"
    about, driver = torch.cuda.get_device_properties(device), ""
    if asked := shutil.which("nvidia-smi"):
        query = [asked, "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(query, capture_output=True, text=True, check=False).stdout.partition("\n")[0]
    return f"{about.name}, {about.total_memory / 2**30:.0f} GiB, driver {driver or 'unknown'}"


@contextlib.contextmanager
def precision(name: str, device: torch.device, autocast: bool = True) -> Iterator[None]:
    """Products in a precision; bf16 by autocast, unless an engine has a way of its own."""
    torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast and name == "bf16"):
            yield
    finally:
        torch.set_float32_matmul_precision("highest")


def equality(bench: Bench) -> None:
    """A short study on the processor and on the card: losses, adapters, scores. The engine and PEFT on the card."""
    for name in ("float64", "float32"):
        row = {"section": "equality", "what": f"losses of {FIRST_STEPS} steps, {name}"}
        bench.measure(row, partial(_devices_differ, bench, getattr(torch, name)))
    for arm in ARMS:
        row = {"section": "equality", "what": f"adapters after a session of {arm}, over how far they went, float32"}
        bench.measure(row, partial(_studies_differ, bench, arm))
    for model in MODELS:
        row = {"section": "equality", "what": f"{model} against PEFT, losses of {FIRST_STEPS} steps, float64"}
        bench.measure(row, partial(_engines_differ, bench, MODELS[model]))


def _devices_differ(bench: Bench, dtype: torch.dtype) -> dict[str, Any]:
    task = replace(small(bench.sizes, bench.device, bench.sizes.compared, NEW), dtype=dtype)
    return {"value": relative(*(Atlas(replace(task, device=at)).steps(FIRST_STEPS) for at in (bench.device, CPU)))}


def _engines_differ(bench: Bench, make: Make) -> dict[str, Any]:
    task = make(bench.sizes, bench.device, 2, NEW).exact()
    return {"value": relative(*(engine(task).steps(FIRST_STEPS) for engine in ENGINES.values()))}


def _studies_differ(bench: Bench, arm: str) -> dict[str, Any]:
    lanes = bench.sizes.compared
    made = [run(course(bench.sizes, at, arm, lanes, [1, COMPARED_SESSIONS])) for at in (bench.device, CPU)]
    begun = [each.state.sessions[0].traces[0].losses.cpu().numpy() for each in made]
    (ours, theirs), last = ([each.state.checkpoints[i] for each in made] for i in (0, -1))
    went = theirs.theta - made[1].adapters.initial(0, made[1].spec.seeds).numpy()
    recall = [point.probed.scores.recalled.mean() for point in last]
    note = (
        f"losses of the first {FIRST_STEPS} steps {relative(*(losses[:FIRST_STEPS] for losses in begun)):.1e}, "
        f"of the first phase {relative(*begun):.1e}; scores of all probes after {COMPARED_SESSIONS} sessions "
        f"{relative(*(point.probed.scores.nll for point in last)):.1e}; recall {recall[0]:.3f} and {recall[1]:.3f}"
    )
    return {"value": float(np.linalg.norm(ours.theta - theirs.theta) / np.linalg.norm(went)), "note": note}


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest relative difference; infinite where one of the two alone is not a number."""
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    if (np.isnan(ours) != np.isnan(theirs)).any():
        return float("inf")
    return float(np.nanmax(np.abs(ours - theirs) / np.maximum(np.abs(theirs), 1e-12)))


def run(made: Course) -> Course:
    """Run a course; what it would need to go on later is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        made.run(f"{made.spec.arm} on {made.device.type}", Saved(Path(folder), ""))
    return made


def steps_in_fp32(bench: Bench) -> None:
    """Training steps of the small model against PEFT, and on one core."""
    for name in PRECISIONS:
        bench.measure({"section": "peak", "what": name}, partial(_peak, bench, name))
    _steps(bench, "small", bench.sizes.lanes, "fp32")
    for facts in bench.sizes.facts:
        row = {"section": "steps", "model": "small", "engine": "atlas, one core", "precision": "fp32"}
        bench.measure(row | {"lanes": CORE_LANES, "facts": facts}, partial(_on_core, bench, facts))


def _peak(bench: Bench, name: str) -> dict[str, Any]:
    dtype = torch.bfloat16 if name == "bf16" else torch.float32
    left, right = torch.randn(2, bench.sizes.product, bench.sizes.product, device=bench.device, dtype=dtype)
    with precision(name, bench.device):
        seconds = [bench.clock(partial(torch.mm, left, right)) for _ in range(5)]
    bench.peaks[name] = 2 * bench.sizes.product**3 / min(seconds)
    return {"value": bench.peaks[name]}


def _steps(bench: Bench, model: str, lanes: Sequence[int], name: str) -> None:
    """Both engines at every size. PEFT trains lanes one after another, so one lane gives its speed."""
    for facts in bench.sizes.facts:
        for engine, count in [("peft", 1), *(("atlas", count) for count in lanes)]:
            row = {"section": "steps", "model": model, "engine": engine, "precision": name}
            work = partial(_stepped, bench, model, bench.device, count, facts, engine, name)
            bench.measure(row | {"lanes": count, "facts": facts}, work)
            if engine == "atlas" and bench.rows[-1].get("note", "").startswith("failed"):
                break  # more lanes would fail alike


def _on_core(bench: Bench, facts: int) -> dict[str, Any]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {**_stepped(bench, "small", CPU, CORE_LANES, facts, "atlas", "fp32"), "share": None, "mib": None}
    finally:
        torch.set_num_threads(threads)


def _stepped(
    bench: Bench, model: str, device: torch.device, lanes: int, facts: int, engine: str, name: str
) -> dict[str, Any]:
    """Seconds of a training step, without what a session takes besides; memory at most; share of the card's peak."""
    if bench.cuda:
        torch.cuda.reset_peak_memory_stats()
    task = MODELS[model](bench.sizes, device, lanes, facts)
    if own := engine == "atlas" and name == "bf16":
        require("bfloat16", device.type == "cuda")
        task = task.in_precision("bfloat16")
    made = ENGINES[engine](task)
    with precision(name, device, autocast=not own):
        made.steps(2)
        one = bench.clock(lambda: made.steps(1))
        more = max(1, min(MOST_STEPS, int(bench.sizes.seconds / one)))
        many = bench.clock(lambda: made.steps(1 + more))
    seconds = (many - one) / more if many > one else many / (1 + more)
    return {
        "seconds": seconds,
        "facts_per_second": lanes * facts / seconds,
        "tokens_per_second": sum(item.predicted for lane in task.lines for item in lane) / seconds,
        "share": necessary(task) / seconds / bench.peaks.get(name, float("nan")),
        "mib": torch.cuda.max_memory_allocated() / 2**20 if bench.cuda else None,
        "steps": more,
    }


def profiles(bench: Bench) -> None:
    """Where the time of one session goes, on the card and on the processor."""
    for arm in ARMS:
        what = f"a session of {arm}, {bench.sizes.profiled} lanes x {NEW} facts and {REHEARSED} stored"
        bench.measure({"section": "profile", "what": what}, partial(_profile, bench, arm, what))


def _profile(bench: Bench, arm: str, what: str) -> dict[str, Any]:
    session = Atlas(small(bench.sizes, bench.device, bench.sizes.profiled, NEW + REHEARSED, arm, "session")).session
    steps, seconds, waits = len(session()), bench.clock(session), waited(bench, session)
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA] if bench.cuda else [ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as profiler:
        bench.clock(session)
    events = [event for event in profiler.key_averages() if not event.key.startswith("Optimizer.")]  # spans, no work
    kernels = [event for event in events if event.device_type.name == "CUDA"]
    calls = [event for event in events if event.device_type.name == "CPU"]
    bench.profiles.append(gpu_report.profile(what, kernels, calls, waits))
    return {
        "steps": steps,
        "seconds": seconds,
        "device_seconds": sum(event.self_device_time_total for event in kernels) / 1e6,
        "kernels": sum(event.count for event in kernels),
        "launches": sum(event.count for event in calls if event.key.startswith("cu") and "Launch" in event.key),
        "waits": sum(event.count for event in calls if event.key in WAITS),
        "copies": sum(event.count for event in kernels if event.key.startswith("Memcpy")),
    }


def waited(bench: Bench, work: Callable[[], object]) -> Counter[str]:
    """How often each line of code makes the processor wait for the card."""
    if not bench.cuda:
        return Counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return Counter(f"{'/'.join(Path(each.filename).parts[-3:])}:{each.lineno}" for each in caught)


def hosted_steps(bench: Bench) -> None:
    """Training steps of SmolLM2's shape against PEFT."""
    for name in ("fp32", "bf16"):
        _steps(bench, "SmolLM2-135M", bench.sizes.hosted_lanes, name)


def sessions(bench: Bench) -> None:
    """Whole sessions with all that is measured of them: facts taught per second."""
    for lanes in bench.sizes.session_lanes:
        for arm in ARMS:
            row = {"section": "sessions", "what": arm, "model": "small", "engine": "atlas", "precision": "fp32"}
            bench.measure(row | {"lanes": lanes, "facts": NEW}, partial(_taught, bench, arm, lanes))


def _taught(bench: Bench, arm: str, lanes: int) -> dict[str, Any]:
    made = course(bench.sizes, bench.device, arm, lanes, [1, bench.sizes.sessions])
    whole = bench.clock(partial(run, made))
    later = made.state.sessions[len(made.state.sessions) // 2 :]  # facts to be rehearsed are stored by then
    train, score = (float(np.median([getattr(s, part) for s in later])) for part in ("seconds_train", "seconds_score"))
    note = f"training {train:.3f} s, scoring {score:.3f} s; {bench.sizes.sessions} sessions and probes {whole:.1f} s"
    return {"seconds": train + score, "facts_per_second": lanes * NEW / (train + score), "note": note}


def steps_in_other_precisions(bench: Bench) -> None:
    """Training steps of the small model in tf32 and bf16."""
    for name in PRECISIONS[1:]:
        _steps(bench, "small", bench.sizes.lanes, name)


SECTIONS: dict[Callable[[Bench], None], float] = {
    equality: 0.15,
    steps_in_fp32: 0.25,
    profiles: 0.2,
    hosted_steps: 0.25,
    sessions: 0.2,
    steps_in_other_precisions: 0.3,
}
"""What is measured, the most valuable first, and the share of the budget after which a section begins nothing more."""


if __name__ == "__main__":
    run_step(main)
