"""Nothing is the same tensor by accident: neither two matrices of a file, nor two parameters in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor

from atlas.base.checkpoint import Check, sha256_of
from atlas.guard.foreign import Foreign
from atlas.guard.parts import Part


def copies(parts: Iterable[Part]) -> Check:
    """No matrix is a copy of another, bit by bit: training never makes two alike, a wrong map of names does.

    Biases and norms are left out, because those that never moved may be alike. False alarms: none are possible
    unless a model was built with equal matrices, by stacking layers twice, say.
    """
    first: dict[str, Part] = {}
    wrong: dict[str, str] = {}
    for part in parts:
        if part.kind in ("matrix", "embedding"):
            other = first.setdefault(sha256_of(part.values), part)
            if other is not part:
                wrong |= {part.tensor: f"{part.name} is a copy of {other.name}"}
    return _check("copies", "no two matrices hold the same values", wrong)


def shared(in_memory: Mapping[str, Tensor], in_file: Mapping[str, Tensor], declared: Mapping[str, str]) -> Check:
    """Parameters share memory where that is declared, and nowhere else.

    Args:
        in_memory: the model's tensors by name.
        in_file: the file's, by the same names. Of those that are declared to be one, a single one is enough.
        declared: name to the name that it shares memory with.
    """
    wrong = {
        second: f"shares memory with {first}, the file has {_in_file(first, second, in_file)}; where it is meant, "
        f"say tied={{{second!r}: {first!r}}}"
        for first, second in _overlaps(in_memory)
        if root_of(first, declared) != root_of(second, declared)
    }
    for name in in_memory.keys() - in_file.keys():
        partners = [other for other in in_file if root_of(other, declared) == root_of(name, declared)]
        if not any(_place(in_memory[other]) == _place(in_memory[name]) for other in partners):
            wrong[name] = (
                f"has memory of its own, though it is tied to {', '.join(partners)}, which alone is in the file"
            )
    return _check("tied", "parameters share memory only where that is declared", wrong)


def root_of(name: str, declared: Mapping[str, str]) -> str:
    """The name that stands for all that are declared to share memory with ``name``, directly or through others."""
    seen = {name}
    while name in declared and declared[name] not in seen:
        name = declared[name]
        seen.add(name)
    return name


def head_tied(foreign: Foreign) -> Check:
    """An output head that is the embedding by its config, and stands in the file again, is the embedding's copy."""
    head = foreign.layout.head.name
    embedding = next(iter(foreign.rows))
    again = foreign.layout.tied and head in foreign.tensors
    wrong = {}
    if again and sha256_of(foreign.tensors[head]) != sha256_of(foreign.tensors[embedding]):
        wrong[head] = f"differs from {embedding}, though the config says tie_word_embeddings"
    return _check("head", "the output head is the embedding where the config ties them", wrong)


def _in_file(first: str, second: str, in_file: Mapping[str, Tensor]) -> str:
    return "one for each" if {first, second} <= in_file.keys() else "one for both"


def _overlaps(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Pairs of names whose tensors have bytes in common; each name with the first that it meets."""
    spans = sorted((str(tensor.device), *_span(tensor), name) for name, tensor in tensors.items() if tensor.numel())
    reach: tuple[str, int, str] | None = None  # device, end and name of what reaches furthest so far
    for device, start, end, name in spans:
        if reach and reach[0] == device and start < reach[1]:
            yield reach[2], name
        if not reach or reach[0] != device or end > reach[1]:
            reach = device, end, name


def _place(tensor: Tensor) -> tuple[object, ...]:
    """Where a tensor lies, and how."""
    return tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride()


def _span(tensor: Tensor) -> tuple[int, int]:
    """First byte of a tensor, and the byte behind its last."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    start: int = tensor.data_ptr()
    return start, start + (last + 1) * tensor.element_size()


def _check(name: str, sentence: str, wrong: Mapping[str, str]) -> Check:
    detail = "; ".join(f"{tensor}: {problem}" for tensor, problem in sorted(wrong.items())) or sentence
    return Check(
        name=name, passed=not wrong, measured=float(len(wrong)), limit=0.0, detail=detail, tensors=sorted(wrong)
    )
