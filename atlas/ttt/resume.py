"""The state of an unfinished run on disk, so that a run that is killed goes on from its last saved session.

The file lies beside the run's outputs and is no output itself: it is written atomically, and goes when the run is
done. A state is used only by a run that would have come to the same one: same arm and recipe, inputs, and code.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from atlas.workflow import progress
from atlas.workflow.files import whole

T = TypeVar("T")

NAME = "unfinished.safetensors"
CPU = torch.device("cpu")
SHARE = 0.02  # of a run's time that saving may take


class Saved:
    """Keeps the state of one run.

    Args:
        folder: the run's folder.
        identity: all that decides the state: a state of another identity is not used.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.path, self.identity = folder / NAME, identity
        self._free = 0.0  # when the next save is due, so that saving stays within its share

    def load(self, fresh: T, device: torch.device = CPU) -> T:
        """The saved state, its tensors on a device, or ``fresh`` where this run can use none; says which, and why."""
        if not self.path.exists():
            return fresh
        try:
            with safe_open(self.path, framework="np") as file:
                about = json.loads(file.metadata()["atlas"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            if about["sha256"] != _digest(arrays):
                raise ValueError("its checksum does not fit")
        except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
            progress.say(f"{self.path}: damaged ({str(error).splitlines()[0]}); the run starts from the beginning")
            return fresh
        if about["identity"] != self.identity:
            progress.say(f"{self.path}: of other code, inputs or settings; the run starts from the beginning")
            return fresh
        state: T = unpacked(type(fresh), arrays, device=device)
        return state

    def offer(self, state: Any) -> None:
        """Save the state, unless so little time went by since the last time that saving would take over its share."""
        if (began := time.perf_counter()) < self._free:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        arrays = packed(state)
        about = {"identity": self.identity, "sha256": _digest(arrays)}
        with whole(self.path) as scratch:
            save_file(arrays, scratch, metadata={"atlas": json.dumps(about)})
        ended = time.perf_counter()
        self._free = ended + (ended - began) / SHARE

    def discard(self) -> None:
        """The run is done."""
        self.path.unlink(missing_ok=True)


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    """A checksum over names and values, in hex: safetensors itself keeps none."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def packed(value: Any, name: str = "") -> dict[str, np.ndarray]:
    """A tree of dataclasses, lists, tensors, arrays and numbers as named arrays."""
    if is_dataclass(value):
        parts = {f"{name}.{field.name}": getattr(value, field.name) for field in fields(value)}
    elif isinstance(value, list):
        parts = {f"{name}.{i}": item for i, item in enumerate(value)}
    else:
        return {name: np.array(value.cpu().numpy() if isinstance(value, torch.Tensor) else value, order="C")}
    return {key: array for part, item in parts.items() for key, array in packed(item, part).items()}


def unpacked(kind: Any, arrays: dict[str, np.ndarray], name: str = "", device: torch.device = CPU) -> Any:
    """The value of type ``kind`` that ``packed`` made these arrays from, with its tensors on a device."""
    if is_dataclass(kind):
        types = get_type_hints(kind)
        parts = (unpacked(types[field.name], arrays, f"{name}.{field.name}", device) for field in fields(kind))
        return kind(*parts)  # type: ignore[operator]
    if get_origin(kind) is list:
        (item,) = get_args(kind)
        below = [key.removeprefix(f"{name}.") for key in arrays if key.startswith(f"{name}.")]
        count = len({key.partition(".")[0] for key in below})
        return [unpacked(item, arrays, f"{name}.{i}", device) for i in range(count)]
    if kind is torch.Tensor:
        return torch.from_numpy(arrays[name]).to(device)
    return arrays[name] if kind is np.ndarray else kind(arrays[name][()])
