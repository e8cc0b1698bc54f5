"""What a study made, for other programs: `atlas export` writes models and adapters that transformers and PEFT load."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from atlas.base.checkpoint import load_certified, read_manifest
from atlas.base.language import LanguageModel
from atlas.base.model import Transformer
from atlas.errors import AtlasError
from atlas.guard.formats import read_tensors
from atlas.guard.tensors import fingerprint
from atlas.ttt import hub
from atlas.ttt.frozen import reinitialise
from atlas.ttt.run_files import read_record

CHECKPOINT, RECORD = "base.safetensors", "run.json"
UPDATE = ".update"  # the end of our names of what is added to a whole matrix


def export(source: Path, out: Path, base: Path | None = None) -> list[Path]:
    """Write what lies in ``source`` in folders of their own below ``out`` and return them.

    Args:
        source: results/base/1, for a base; or the folder of a run, for its base and an adapter a seed, or, where whole
            matrices were changed, a model a seed.
        out: folder that is not there yet, or empty.
        base: folder of the base that the run taught; None: where the workflow has it.

    Raises AtlasError where ``source`` is neither, ``out`` has something in it, or the base is another one.
    """
    must_be_empty(out)
    if (source / RECORD).is_file():
        return list(_export_run(source, base, out))
    if (source / CHECKPOINT).is_file():
        return [_write(out, own(load_base(source), source))]
    raise AtlasError(
        f"{source}: neither {RECORD} nor {CHECKPOINT} is there; name the folder of a run, or results/base/1"
    )


def must_be_empty(out: Path) -> None:
    """Raise AtlasError where a folder that is to be written has something in it."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise AtlasError(f"{out}: there is something already; name a folder that is new or empty")


def how_to_load(folder: Path) -> str:
    """The call that loads an exported folder."""
    if (folder / hub.ADAPTER["config"]).is_file():
        return f"PeftModel.from_pretrained(base, {str(folder)!r})"
    return f"AutoModelForCausalLM.from_pretrained({str(folder)!r})"


def load_base(folder: Path) -> LanguageModel:
    """The certified base in a folder. AtlasError where there is none."""
    return load_certified(folder / CHECKPOINT, folder / "base.json", folder / "certificate.json")


def own(model: LanguageModel, folder: Path) -> Transformer:
    """A base that was pretrained here; AtlasError where it comes from outside, since it is there already."""
    if not isinstance(model, Transformer):
        source = read_manifest(folder / "base.json").config.model
        raise AtlasError(f"{folder}: the base is that of {source}; use it from there. Its adapters are exported")
    return model


def _export_run(folder: Path, given: Path | None, out: Path) -> Iterator[Path]:
    """Write what the run in ``folder`` taught its base, seed by seed."""
    record, weights = read_record(folder / RECORD), folder / "adapters.safetensors"
    base = given or folder.parents[2] / "base" / str(record.base_replica)
    model = load_base(base)
    reinitialise(model, record.reinit, read_manifest(base / "base.json").config.seed, record.seeds)
    if (found := fingerprint(model.state_dict())) != record.frozen.at_start:
        raise AtlasError(
            f"{base}: fingerprint {found}, but {folder / RECORD} was taught on {record.frozen.at_start}; give the "
            "folder of that base by --base"
        )
    tensors = read_tensors(weights)
    lanes = [{name: tensor[number] for name, tensor in tensors.items()} for number in range(len(record.seeds))]
    folders = [out / f"seed-{seed}" for seed in record.seeds]
    if any(name.endswith(UPDATE) for name in tensors):
        whole = own(model, base)
        yield from (_write(to, whole, lane) for to, lane in zip(folders, lanes, strict=True))
        return
    if isinstance(model, Transformer):
        yield (adapted := _write(out / "base", model))
    else:
        adapted = Path(str(read_manifest(base / "base.json").config.model))  # it is there already
    with safe_open(weights, "pt") as file:
        alpha = float(json.loads(file.metadata()["atlas"])["alpha"])
    for to, lane in zip(folders, lanes, strict=True):
        yield write_lane(to, model, lane, alpha, adapted)


def write_lane(folder: Path, model: LanguageModel, lane: Mapping[str, Tensor], alpha: float, adapted: Path) -> Path:
    """Write what a lane added to a base, by our names, as PEFT's adapter of the model that is at ``adapted``."""
    parts = {name.rpartition("."): tensor for name, tensor in lane.items()}
    theirs = {f"{model.outside(path)}.{side}": tensor for (path, _, side), tensor in parts.items()}
    hub.write_adapter(folder, theirs, alpha, str(adapted))
    return folder


def _write(folder: Path, model: Transformer, updates: Mapping[str, Tensor] | None = None) -> Path:
    """Write a model, with what a run added to its matrices, (in, out) by name."""
    weights = dict(model.state_dict())
    for name, update in (updates or {}).items():
        matrix = f"{name.removesuffix(UPDATE)}.weight"
        weights[matrix] = weights[matrix] + update.T
    hub.write_model(folder, weights, model.config)
    return folder
