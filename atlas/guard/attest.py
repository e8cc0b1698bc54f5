"""``atlas.verify``: the guard for any model. What is in memory is what is in the file, all of it, and it is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from atlas.base.checkpoint import Certificate, Check, Mismatch, fingerprint, mismatches
from atlas.errors import AtlasError
from atlas.guard import checks
from atlas.guard.foreign import Contents, contents
from atlas.guard.parts import Part, parts_of
from atlas.guard.report import insist
from atlas.guard.ties import copies, root_of, shared

Value = TypeVar("Value")
Rename = Mapping[str, str | None] | Callable[[str], str | None]
MEND = "the model is not what the file holds: mend the loading (names, `strict`), and verify again"


def verify(
    model: nn.Module,
    checkpoint: Path | str,
    rename: Rename | None = None,
    *,
    tied: Mapping[str, str] | None = None,
    cast: bool = False,
    trained: bool = True,
) -> Certificate:
    """Check that a model in memory holds a checkpoint, whole and unchanged, and that nothing in it is untrained.

    Args:
        model: any module, on any device. Its ``state_dict`` is what is compared, buffers included.
        checkpoint: a safetensors file, an index of shards, a GGUF file (read dequantised), or the folder of one.
        rename: names in the file to names in the model, where they differ; None leaves a tensor out. A function, or
            a mapping of whole names and of beginnings that end with a dot ("" is the beginning of all names).
        tied: parameters that share another's memory on purpose. What a `transformers` model declares is known.
        cast: whether the model may hold the file's values in another dtype, cast from the file's.
        trained: whether matrices, biases and norms are held against fresh initialisations, too.

    Returns the checks, all passed. Raises ``atlas.GuardError``, whose ``failed`` has the checks that failed, with
    the tensors; AtlasError where the file cannot be read or a name of ``rename`` is not in it.
    """
    found = contents(Path(checkpoint))
    in_file = renamed(found.tensors, rename, str(checkpoint))
    stored = renamed(found.stored, rename, str(checkpoint)) if found.stored else {}
    declared = {**getattr(model, "all_tied_weights_keys", {}), **(tied or {})}
    certificate = _certify(model, replace(found, tensors=in_file, stored=stored), declared, cast, trained)
    insist(certificate, checkpoint, MEND)
    return certificate


def _certify(model: nn.Module, held: Contents, declared: Mapping[str, str], cast: bool, trained: bool) -> Certificate:
    in_memory, in_file = model.state_dict(), held.tensors
    found = list(checks.fit([*held.misplaced, *_problems(model, in_file, declared, cast)]))
    if any(not check.passed for check in found):
        return Certificate(passed=False, fingerprint="", checks=found)
    same = {name: tensor.to(in_memory[name].dtype) for name, tensor in in_file.items()}
    found += [checks.loaded(in_memory, same), shared(in_memory, in_file, declared)]
    found += _trained(model, declared, held.stored) if trained else []
    return Certificate(passed=all(check.passed for check in found), fingerprint=fingerprint(in_memory), checks=found)


def _trained(model: nn.Module, declared: Mapping[str, str], stored: Mapping[str, str]) -> Iterator[Check]:
    once: dict[str, Part] = {}  # of parameters that are declared to be one, the first
    for part in parts_of(model):
        once.setdefault(root_of(part.name, declared), replace(part, stored=stored.get(part.name, "")))
    parts = list(once.values())
    yield from checks.static(parts)
    yield copies(parts)


def _problems(
    model: nn.Module, in_file: Mapping[str, Tensor], declared: Mapping[str, str], cast: bool
) -> Iterator[Mismatch]:
    there = {root_of(name, declared) for name in in_file}
    for found in mismatches(in_file, model):
        excused = found.tensor not in in_file and root_of(found.tensor, declared) in there
        if not excused and not (cast and found.check == "dtypes" and in_file[found.tensor].is_floating_point()):
            yield found
    for name, tensor in model.state_dict().items():
        if tensor.is_meta:
            yield Mismatch("names", name, "has no values in memory (device meta)")
        elif tensor.is_floating_point() and (bad := int((~torch.isfinite(tensor)).sum())):
            yield Mismatch("finite", name, f"{bad} of {tensor.numel()} values in memory are not finite")


def renamed(tensors: Mapping[str, Value], rename: Rename | None, origin: str) -> dict[str, Value]:
    """Tensors, or what there is to say of each, by the names that the model has for them.

    Raises AtlasError where two get one name, or where a mapping names what is not there: a renaming that does
    nothing is a mistake.
    """
    new: dict[str, Value] = {}
    used: set[str] = set()
    for name, tensor in tensors.items():
        if isinstance(rename, Mapping):
            key, target = _looked_up(name, rename)
            used |= {key} if key is not None else set()
        else:
            target = rename(name) if rename else name
        if target in new:
            raise AtlasError(f"{origin}: two tensors are renamed to {target}, {name} is one; mend `rename`")
        if target is not None:
            new[target] = tensor
    if isinstance(rename, Mapping) and (idle := sorted(rename.keys() - used)):
        raise AtlasError(
            f"{origin}: rename: no tensor is called {idle[0]!r} or begins so; it has {next(iter(tensors))}"
        )
    return new


def _looked_up(name: str, rename: Mapping[str, str | None]) -> tuple[str | None, str | None]:
    """The key of the mapping that applies to a name, and the new name: the whole name, or the longest beginning."""
    if name in rename:
        return name, rename[name]
    beginnings = [key for key in rename if name.startswith(key) and (not key or key.endswith("."))]
    if not beginnings:
        return None, name
    key = max(beginnings, key=len)
    new = rename[key]
    return key, None if new is None else new + name.removeprefix(key)
