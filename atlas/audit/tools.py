"""What other tools notice of the damage that the guard is tried on, and of damaged adapters, beside the guard."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import torch
from safetensors.torch import save_file

from atlas import __version__
from atlas.audit.audit_columns import DETECTION, TOOLS
from atlas.audit.detection_rates import felt
from atlas.audit.foreign_damage import ForeignBench
from atlas.audit.other_tools import ADAPTER_TOOLS, TOOLS_OF_MODELS, Heard, hear, installed
from atlas.audit.subjects import excerpt
from atlas.errors import AtlasError
from atlas.guard.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, inspect
from atlas.guard.faults.adapter_kinds import ADAPTER_FAULTS
from atlas.guard.faults.foreign import KINDS
from atlas.guard.formats import read_tensors
from atlas.study.config import Guard
from atlas.workflow import files, progress
from atlas.workflow.digest import code_digest
from atlas.workflow.steps import add_spec, environment, parser, run_step

ARCHITECTURE = "llama"  # the one that most models of today are made like
FILE_ALONE, WITH_TEXT = "atlas verify", "atlas verify --text"
ADAPTER, SOUND = "adapter", "sound"  # the subject and the family of damaged adapters, and of honest models
KEY = TOOLS.names[:5]  # what a row is about


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask the tools by the command line; see ``python -m atlas.audit.tools --help``."""
    options = parser(__doc__)
    add_spec(options, Guard)
    options.add_argument("--corpus", type=Path, required=True, help="corpus.txt")
    options.add_argument("--detection", type=Path, required=True, help="what the guard saw of the same damage")
    options.add_argument("--out", type=Path, required=True, help="Parquet table to write")
    args = options.parse_args(arguments)
    torch.set_num_threads(1)
    detection = files.read_parquet(args.detection, DETECTION).to_pandas()
    with tempfile.TemporaryDirectory(prefix="atlas-guard-") as scratch:
        bench = ForeignBench(Path(scratch), args.spec, ARCHITECTURE, excerpt(files.read_text(args.corpus)))
        rows = [*of_models(bench, detection), *of_adapters(bench.honest, Path(scratch) / ADAPTER)]
    step, versions = "atlas.audit.tools", environment("torch", "transformers")["versions"]
    provenance = {"step": step, "code_digest": code_digest(step), "versions": versions}
    files.write_parquet(args.out, pa.Table.from_pylist(rows, TOOLS), provenance)
    progress.say(f"guard: asked {', '.join(installed())} about the same damage, see {args.out}")


def of_models(bench: ForeignBench, detection: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows of ``TOOLS`` for all damage that is done to files, each tool in turn; the guard's as in ``detection``."""
    there = {tool: version for tool, version in installed().items() if tool in TOOLS_OF_MODELS}
    seen = detection.assign(felt=felt(detection))[detection["subject"] == bench.name]
    known = {(row["family"], row["kind"], row["module"]): row for row in seen.to_dict("records")}
    for tool, version in there.items():
        yield row(dict.fromkeys(KEY, SOUND) | {"felt": False}, tool, version, hear(TOOLS_OF_MODELS[tool], bench.honest))
    for each in KINDS:
        for place, draw in bench.cases(each):
            if bench.damage(each, place, draw).in_memory:
                continue  # no file tells of it
            found = known.get(key := (each.family, each.name, place))
            if found is None:
                raise AtlasError(f"detection: no row of {bench.name}, {', '.join(key)}; make the guard's tables again")
            about = dict(zip(KEY, (bench.name, *key, bool(found["felt"])), strict=True))
            for tool, version in there.items():
                yield row(about, tool, version, hear(TOOLS_OF_MODELS[tool], bench.damaged))
            for tool, level in ((FILE_ALONE, "file"), (WITH_TEXT, "text")):
                failed = found[f"failed_{level}"]
                yield row(about, tool, __version__, Heard("error" if failed else "nothing", failed))


def of_adapters(base: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of ``TOOLS`` for each of ``ADAPTER_FAULTS``, done to an adapter of a base; none where PEFT is not there."""
    there = {tool: version for tool, version in installed().items() if tool in ADAPTER_TOOLS}
    if not there:
        return
    save_adapter(base, folder)
    tensors, config = read_tensors(folder / ADAPTER_WEIGHTS), files.read_json(folder / ADAPTER_CONFIG)
    for name, damage in ADAPTER_FAULTS.items():
        changed = dict(config)
        save_file(damage(dict(tensors), changed), folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
        (folder / ADAPTER_CONFIG).write_text(json.dumps(changed), encoding="utf-8")
        about = dict(zip(KEY, (ADAPTER, ADAPTER, name, "all", None), strict=True))
        for tool, version in there.items():
            yield row(about, tool, version, hear(partial(ADAPTER_TOOLS[tool], base), folder))
        try:
            failed = ", ".join(check.name for check in inspect(folder, base).failed)
        except AtlasError as error:
            failed = str(error)
        yield row(about, FILE_ALONE, __version__, Heard("error" if failed else "nothing", failed))


def save_adapter(base: Path, folder: Path) -> None:
    """A LoRA adapter of queries and values, as PEFT saves it, of rank 4 and with every number drawn."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        wanted = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), wanted)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)


def row(about: dict[str, Any], tool: str, version: str, heard: Heard) -> dict[str, Any]:
    """A row of ``TOOLS``."""
    return {**about, "tool": tool, "version": version, "verdict": heard.verdict, "said": heard.said}


if __name__ == "__main__":
    run_step(main)
