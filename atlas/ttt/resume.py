"""The state of an unfinished run on disk, so that a run that is killed goes on from its last saved session.

The file lies beside the run's outputs and is no output itself: it is written atomically, and goes when the run is
done. A state is used only by a run that would have come to the same one: same arm and recipe, inputs, and code.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import islice
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
    """A tree of dataclasses, lists, tensors, arrays and numbers as named arrays, as many however long its lists are."""
    out: dict[str, np.ndarray] = {}
    _pack(type(value), [value], name, out)
    return out


def unpacked(kind: Any, arrays: Mapping[str, np.ndarray], name: str = "", device: torch.device = CPU) -> Any:
    """The value of type ``kind`` that ``packed`` made these arrays from, with its tensors on a device."""
    (value,) = _unpack(kind, 1, arrays, name, device)
    return value


def _pack(kind: Any, values: Sequence[Any], name: str, out: dict[str, np.ndarray]) -> None:
    """Pack many values of one type: a field of all of them together, the items of all lists behind one another.

    ``NAME.lengths`` and ``NAME.shapes`` say what is whose: int64, (values,) and (values, axes).
    """
    if is_dataclass(kind):
        for part, inside in _parts(kind):
            _pack(inside, [getattr(value, part) for value in values], f"{name}.{part}", out)
    elif get_origin(kind) is list:
        out[f"{name}.lengths"] = np.array([len(value) for value in values], np.int64)
        _pack(get_args(kind)[0], [item for value in values for item in value], f"{name}.items", out)
    elif kind in (np.ndarray, torch.Tensor):
        values = [value.numpy(force=True) if isinstance(value, torch.Tensor) else value for value in values]
        kinds = {(value.dtype, value.ndim) for value in values}
        if len(kinds) > 1:
            raise TypeError(f"{name}: arrays of unlike types or axes, {sorted(map(str, kinds))}")
        out[f"{name}.shapes"] = np.array([value.shape for value in values], np.int64)
        out[f"{name}.values"] = np.concatenate([value.ravel() for value in values] or [np.empty(0)])
    else:
        out[name] = np.array(values)


def _unpack(kind: Any, count: int, arrays: Mapping[str, np.ndarray], name: str, device: torch.device) -> list[Any]:
    """The ``count`` values of type ``kind`` that ``_pack`` packed."""
    if is_dataclass(kind):
        parts = [_unpack(inside, count, arrays, f"{name}.{part}", device) for part, inside in _parts(kind)]
        return [kind(*values) for values in zip(*parts, strict=True)]  # type: ignore[operator]
    if get_origin(kind) is list:
        lengths = arrays[f"{name}.lengths"].tolist()
        items = iter(_unpack(get_args(kind)[0], sum(lengths), arrays, f"{name}.items", device))
        return [list(islice(items, length)) for length in lengths]
    if kind in (np.ndarray, torch.Tensor):
        shapes, values = arrays[f"{name}.shapes"], arrays[f"{name}.values"]
        ends = np.cumsum(shapes.prod(axis=1)).tolist() if count else []
        cuts = zip([0, *ends], ends, shapes.tolist(), strict=False)
        own = [values[begin:end].reshape(shape).copy() for begin, end, shape in cuts]  # each is changed by itself
        return own if kind is np.ndarray else [torch.from_numpy(array).to(device) for array in own]
    return [kind(value) for value in arrays[name].tolist()]


def _parts(kind: Any) -> list[tuple[str, Any]]:
    """The fields of a dataclass, and their types."""
    types = get_type_hints(kind)
    return [(field.name, types[field.name]) for field in fields(kind)]
