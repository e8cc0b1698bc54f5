"""Whether a file and a model fit, name by name, and what explains many rows at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from atlas.guard import weight_checks
from atlas.guard.conversions import Converted
from atlas.guard.names import cause
from atlas.guard.report import ONE_CAUSE, UNDECIDED, Check
from atlas.guard.tensors import widened
from atlas.guard.weight_checks import Mismatch, mismatches

PLAIN = {torch.float64, torch.float32, torch.float16, torch.bfloat16}
CAST = "pass cast=True where that is meant"
EMPTY = "has no values in memory (device meta)"
NOT_INSIDE = "unexpected, PEFT looks for names that begin with `base_model.model.`"
UNLOADED = f"{ONE_CAUSE}no matrix is the file's: the model was not loaded from it, or it is another checkpoint"


def values_of(model: nn.Module) -> dict[str, Tensor]:
    """A model's ``state_dict``, with the values that accelerate holds elsewhere, on disk, say."""
    state = model.state_dict()
    hooked = any("_hf_hook" in module.__dict__ for module in model.modules())
    if hooked and any(tensor.is_meta for tensor in state.values()):
        from accelerate.utils.modeling import get_state_dict_offloaded_model

        state = dict(get_state_dict_offloaded_model(model))
    return state


def root_of(name: str, declared: Mapping[str, str]) -> str:
    """The name that stands for all that are declared to share memory with ``name``, directly or through others."""
    seen = {name}
    while name in declared and declared[name] not in seen:
        name = declared[name]
        seen.add(name)
    return name


def misfits(
    in_memory: Mapping[str, Tensor],
    made: Converted,
    declared: Mapping[str, str],
    cast: bool,
    computed: Collection[str],
) -> Iterator[Mismatch]:
    """What of a model and a file does not fit, but for what is declared; and what in memory is no number.

    Args:
        in_memory: the model's tensors by name.
        made: the file's, as the model has them.
        declared: name to the name that it shares memory with.
        cast: whether another dtype is meant.
        computed: names that the file need not have.
    """
    in_file = made.tensors
    there = {root_of(name, declared) for name in in_file}
    yield from made.wrong
    for found in mismatches(widened(in_file), widened(in_memory)):
        excused = found.tensor not in in_file and (
            root_of(found.tensor, declared) in there or found.tensor in computed or _named(made.wrong, found.tensor)
        )
        if not excused and not (cast and found.check == "dtypes" and in_file[found.tensor].is_floating_point()):
            yield found
    for name, tensor in in_memory.items():
        if tensor.is_meta:
            yield Mismatch("names", name, EMPTY)
        elif tensor.is_floating_point() and (bad := int((~torch.isfinite(widened({name: tensor})[name])).sum())):
            yield Mismatch("finite", name, f"{bad} of {tensor.numel()} values in memory are not finite")


def _named(wrong: Sequence[Mismatch], tensor: str) -> bool:
    return any(each.tensor == tensor for each in wrong)


def unjudged(problems: Sequence[Mismatch], made: Converted, in_memory: Mapping[str, Tensor]) -> set[Mismatch]:
    """The problems that nobody can judge, because `transformers` converts or quantises in a way not followed here.

    Converting explains names where file and model both lack some; never names that are only missing. Quantising
    explains what belongs to a module whose weight is held in codes.
    """
    found = set()
    if made.unfollowed and any(each.tensor not in in_memory for each in problems):
        found = {each for each in problems if (each.tensor in in_memory) != (each.tensor in made.tensors)}
    if made.quantised:
        codes = {
            name.rpartition(".")[0]
            for name in in_memory.keys() & made.tensors.keys()
            if in_memory[name].dtype not in PLAIN and made.tensors[name].dtype in PLAIN
        }
        found |= {each for each in problems if any(each.tensor.startswith(f"{module}.") for module in codes)}
    return found


def fit(
    problems: Sequence[Mismatch],
    in_file: Collection[str],
    in_model: Collection[str],
    left: str = "",
    mend: str = "",
) -> list[Check]:
    """Names, shapes, dtypes and finite values; where many rows have one cause, it comes first.

    Args:
        problems: what does not fit.
        in_file, in_model: the names of both.
        left: which problems were not judged, and why.
        mend: how to mend names, where that is not by `rename`.
    """
    missing = [each.tensor for each in problems if each.tensor in in_model and each.tensor not in in_file]
    unexpected = [each.tensor for each in problems if each.tensor in in_file and each.tensor not in in_model]
    first = {"names": cause(missing, unexpected, {*in_file} & {*in_model})}
    if mend and ": pass" in first["names"]:
        first["names"] = f"{first['names'].partition(': pass')[0]}: {mend}"
    for name, remedy, only in (
        ("names", "load the file first", EMPTY),
        ("names", "mend the names in the file", NOT_INSIDE),
        ("dtypes", CAST, ""),
    ):
        said = [each.problem for each in problems if each.check == name and only in each.problem]
        if 2 * len(said) > len(in_file) > 1 and len({*said}) == 1:
            first[name] = f"{ONE_CAUSE}{len(said)} of {len(in_file)} tensors, {said[0]}: {remedy}"
    checks = weight_checks.fit(problems)
    for at, check in enumerate(checks):
        if not check.passed and first.get(check.name):
            checks[at] = replace(check, detail=f"{first[check.name]}; {check.detail}")
        elif check.passed and check.name == "names" and left:
            checks[at] = replace(check, detail=f"{UNDECIDED}: {left}")
    return checks


def loaded(in_memory: Mapping[str, Tensor], in_file: Mapping[str, Tensor]) -> Check:
    """What is in memory after loading is what is in the file; where nothing is, that is said first."""
    check = weight_checks.loaded(in_memory, in_file)
    matrices = {name for name, tensor in in_file.items() if tensor.ndim > 1}  # fresh vectors may be those of the file
    none = len(matrices) > 1 and matrices <= {*check.tensors}
    return replace(check, detail=f"{UNLOADED}; {check.detail}") if none else check
