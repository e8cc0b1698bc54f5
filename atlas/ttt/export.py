"""What a study made, for other programs: `atlas export` writes models and adapters that transformers and PEFT load."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
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
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.frozen import reinitialise
from atlas.ttt.plugged import adapter_of
from atlas.ttt.run_files import RunRecord, read_record

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


def base_of(source: Path, given: Path | None = None) -> Path:
    """The folder of the base that is exported, or that a run taught: the given one, or where the workflow has it."""
    if not (source / RECORD).is_file():
        return source
    return given or source.parents[2] / "base" / str(read_record(source / RECORD).base_replica)


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
    base = base_of(folder, given)
    model = load_base(base)
    reinitialise(model, record.reinit, read_manifest(base / "base.json").config.seed, record.seeds)
    if (found := fingerprint(model.state_dict())) != record.frozen.at_start:
        raise AtlasError(
            f"{base}: fingerprint {found}, but {folder / RECORD} was taught on {record.frozen.at_start}; give the "
            "folder of that base by --base"
        )
    with safe_open(weights, "pt") as file:
        alpha = float(json.loads(file.metadata()["atlas"])["alpha"])
    tensors = read_tensors(weights)
    if record.plugged and record.adapts:
        tensors = _plain(record, deepcopy(model), tensors, alpha)
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
    for to, lane in zip(folders, lanes, strict=True):
        yield write_lane(to, model, lane, alpha, adapted)


def write_lane(folder: Path, model: LanguageModel, lane: Mapping[str, Tensor], alpha: float, adapted: Path) -> Path:
    """Write what a lane added to a base, by our names, as PEFT's adapter of the model that is at ``adapted``."""
    parts = {name.rpartition("."): tensor for name, tensor in lane.items()}
    theirs = {f"{model.outside(path)}.{side}": tensor for (path, _, side), tensor in parts.items()}
    hub.write_adapter(folder, theirs, alpha, str(adapted))
    return folder


def _plain(record: RunRecord, model: LanguageModel, tensors: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """What the adapters of a plugin add, by our names: as LoRA where all of them can say it so, else whole updates.

    The model is changed. AtlasError where the plugin is not there.
    """
    adapters = Adapters.attach(model, record.targets, record.ranks, alpha, *adapter_of(record))
    theta = adapters.joined(tensors)
    loras = adapters.as_lora(theta)
    paths = [slot.site.path for slot in adapters.slots]
    if loras is None:
        return {f"{path}{UPDATE}": update for path, update in zip(paths, adapters.updates(theta), strict=True)}
    sides = (hub.A, hub.B)
    return {
        f"{path}{side}": part
        for path, lora in zip(paths, loras, strict=True)
        for side, part in zip(sides, lora, strict=True)
    }


def _write(folder: Path, model: Transformer, updates: Mapping[str, Tensor] | None = None) -> Path:
    """Write a model, with what a run added to its matrices, (in, out) by name."""
    weights = dict(model.state_dict())
    for name, update in (updates or {}).items():
        matrix = f"{name.removesuffix(UPDATE)}.weight"
        weights[matrix] = weights[matrix] + update.T
    hub.write_model(folder, weights, model.config)
    return folder
