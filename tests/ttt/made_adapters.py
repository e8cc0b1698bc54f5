"""Adapters that were not taught by a run but made, put in the place of a run's, and located."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from torch import Tensor

from atlas.pool.facts import read_pool, read_stream
from atlas.study.arm import Locating
from atlas.study.jobs import LocateSpec, RunSpec
from atlas.ttt import locate
from atlas.ttt.engine.lines import Line, batch
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.probes import Prober
from tests.ttt.tiny_run import FILES, spec, teach
from tests.ttt.tiny_ttt import make_model

CPU = torch.device("cpu")
STILL: dict[str, Any] = {"phases": {"fast": None, "slow": None}}
PLACE = ["change", "unit", "first_layer", "last_layer", "role", "half"]
Make = Callable[[Adapters, list[list[Line]]], Tensor]


def learned(adapters: Adapters, lanes: list[list[Line]], role: str = "", layer: int = 0, steps: int = 150) -> Tensor:
    """Adapters that were trained on lines; with a role, at one site alone, beside small noise at all others."""
    theta = adapters.initial(0, range(len(lanes)))
    grad, lines = torch.zeros_like(theta), batch(lanes, CPU)
    parts = [
        torch.full((part.numel(),), float(not role or (slot.site.role == role and slot.site.layer == layer)))
        for slot, some in zip(adapters.slots, adapters._parts(theta[:1]), strict=True)
        for part in some
    ]
    trained = torch.cat(parts)
    theta += 3e-4 * (1 - trained) * torch.randn(theta.shape, generator=torch.Generator().manual_seed(3))
    theta.grad = grad
    descent = torch.optim.Adam([theta], lr=0.04)
    adapters.train(theta, grad)
    for step in range(steps):
        descent.param_groups[0]["lr"] = 0.04 * (1 - step / steps)
        grad.zero_()
        adapters.descend(lines, lines.answers / lines.answers.sum())
        grad *= trained
        descent.step()
    return theta.detach()


def located(
    inputs: Path, folder: Path, make: Make | None, locating: dict[str, Any] | None = None, **changes: Any
) -> Path:
    """A run that taught nothing, with made adapters put in the place of its own, and located; its folder.

    Without ``make`` they stay those of the run, zero.
    """
    run = spec(recipe=STILL, **changes)
    teach(inputs, folder, run)
    if make:
        adapters = Adapters.attach(make_model(), run.targets, run.ranks, run.alpha)
        theta = make(adapters, [taught_to(inputs, seed) for seed in run.seeds])
        save_file(adapters.named(theta), folder / "adapters.safetensors")
    return locate_run(inputs, folder, run, locating)


def taught_to(inputs: Path, seed: int) -> list[Line]:
    facts = {fact.fact_id: fact for fact in read_pool(inputs / "pool.parquet")}
    return Prober("pool").items([facts[row.fact_id] for row in read_stream(inputs / f"{seed}.parquet")])


def locate_run(
    inputs: Path, folder: Path, run: RunSpec, locating: dict[str, Any] | None = None, out: Path | None = None
) -> Path:
    """Locate a run by the step's command line."""
    asked = LocateSpec(run=run, locate=Locating.model_validate({"windows": 2, **(locating or {})}))
    streams = [str(inputs / f"{seed}.parquet") for seed in run.seeds]
    named = [text for name in FILES if name != "measured" for text in (f"--{name}", str(inputs / FILES[name]))]
    more = ["--run", str(folder / "run.json"), "--out", str(out or folder)]
    locate.main(["--spec", asked.model_dump_json(), "--streams", *streams, *named, *more])
    return out or folder


def knockouts(folder: Path) -> pd.DataFrame:
    """knockouts.parquet with a row a seed, change and unit: counts of all taught facts, and of placebo."""
    rows = pq.read_table(folder / "knockouts.parquet").to_pandas()
    counts = {"facts": "sum", "recalled": "sum", "judged": "sum", "associated": "sum", "base_loss_rise": "first"}
    by = rows.groupby([*PLACE, "seed", "probe"], dropna=False, sort=False).agg(counts).reset_index()
    taught, placebo = (by[by["probe"] == probe].drop(columns="probe") for probe in ("taught", "placebo"))
    keys = [*PLACE, "seed"]
    joined: pd.DataFrame = taught.merge(placebo[[*keys, "facts", "recalled"]], on=keys, suffixes=("", "_placebo"))
    return joined
