"""What a study made, for other programs: `atlas export` writes models and adapters that transformers and PEFT load."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
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
from atlas.ttt.schema import RunRecord, read_record

CHECKPOINT, RECORD = "base.safetensors", "run.json"
UPDATE = ".update"  # the end of our names of what is added to a whole matrix


@dataclass(frozen=True)
class Run:
    """A run as it lies there, and the folder of the base that it taught."""

    folder: Path
    base: Path

    @cached_property
    def record(self) -> RunRecord:
        return read_record(self.folder / RECORD)

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """All lanes' adapters, (lanes, ...) each."""
        return read_tensors(self.weights)

    @property
    def weights(self) -> Path:
        return self.folder / "adapters.safetensors"

    @cached_property
    def alpha(self) -> float:
        with safe_open(self.weights, "pt") as file:
            return float(json.loads(file.metadata()["atlas"])["alpha"])

    def lane(self, number: int) -> dict[str, Tensor]:
        """The tensors of one lane by name."""
        return {name: tensor[number] for name, tensor in self.tensors.items()}

    def adapter(self, number: int, model: LanguageModel) -> dict[str, Tensor]:
        """The tensors of one lane's adapter by the names of `transformers`."""
        parts = ((name.rpartition("."), tensor) for name, tensor in self.lane(number).items())
        return {f"{model.outside(path)}.{side}": tensor for (path, _, side), tensor in parts}

    def model(self) -> LanguageModel:
        """The model under the adapters as the run had it. AtlasError where the base there is another one."""
        model = load_base(self.base)
        reinitialise(model, self.record.reinit, read_manifest(self.base / "base.json").config.seed)
        if (found := fingerprint(model.state_dict())) != self.record.frozen.at_start:
            raise AtlasError(
                f"{self.base}: fingerprint {found}, but {self.folder / RECORD} was taught on "
                f"{self.record.frozen.at_start}; give the folder of that base by --base"
            )
        return model


def export(source: Path, out: Path, base: Path | None = None) -> list[Path]:
    """Write what lies in ``source`` in folders of their own below ``out`` and return them.

    Args:
        source: results/base, for the base; or the folder of a run, for its base and an adapter a seed, or, where whole
            matrices were changed, a model a seed.
        out: folder that is not there yet, or empty.
        base: folder of the base that the run taught; None: where the workflow has it.

    Raises AtlasError where ``source`` is neither, ``out`` has something in it, or the base is another one.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise AtlasError(f"{out}: there is something already; name a folder that is new or empty")
    if (source / RECORD).is_file():
        return list(_export_run(Run(source, base or source.parents[2] / "base"), out))
    if (source / CHECKPOINT).is_file():
        return [_write(out, own(load_base(source), source))]
    raise AtlasError(f"{source}: neither {RECORD} nor {CHECKPOINT} is there; name the folder of a run, or results/base")


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


def _export_run(run: Run, out: Path) -> Iterator[Path]:
    model = run.model()
    if any(name.endswith(UPDATE) for name in run.tensors):
        yield from _export_models(run, own(model, run.base), out)
        return
    if isinstance(model, Transformer):
        yield (base := _write(out / "base", model))
    else:
        base = Path(str(read_manifest(run.base / "base.json").config.model))  # it is there already
    for number, seed in enumerate(run.record.seeds):
        hub.write_adapter(out / f"seed-{seed}", run.adapter(number, model), run.alpha, str(base))
        yield out / f"seed-{seed}"


def _export_models(run: Run, model: Transformer, out: Path) -> Iterator[Path]:
    for number, seed in enumerate(run.record.seeds):
        yield _write(out / f"seed-{seed}", model, run.lane(number))


def _write(folder: Path, model: Transformer, updates: dict[str, Tensor] | None = None) -> Path:
    """Write a model, with what a run added to its matrices, (in, out) by name."""
    weights = dict(model.state_dict())
    for name, update in (updates or {}).items():
        matrix = f"{name.removesuffix(UPDATE)}.weight"
        weights[matrix] = weights[matrix] + update.T
    hub.write_model(folder, weights, model.config)
    return folder
