"""Verify a model in memory (``atlas.verify``), or the checkpoint of another project by its own config."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from atlas.errors import AtlasError
from atlas.guard import weight_checks
from atlas.guard.arrangements import not_judged
from atlas.guard.blueprints import Blueprint, TensorSpec, blueprint
from atlas.guard.foreign_text import ENGLISH, Text, TextAsRead, load
from atlas.guard.formats import COMPUTED, CONFIG, Contents, GgufFile, checkpoint_in, contents, is_gguf, read_json
from atlas.guard.report import FITS, LOSS, Certificate, Check, Report, insist
from atlas.guard.tensors import WeightPart, fingerprint, parts_of, sha256_of
from atlas.guard.weight_checks import Mismatch, mismatches, none_of

Rename = Mapping[str, str | None] | Callable[[str], str | None]
MEND = "the model is not what the file holds: mend the loading (names, `strict`), and verify again"
NOT_CHECKED = {
    "hashes": "another project's checkpoint has no manifest of Atlas",
    LOSS: "tensors in each other's place pass: give --text english, or a FILE in the model's language",
}


def verify(
    model: nn.Module,
    checkpoint: Path | str,
    rename: Rename | None = None,
    *,
    tied: Mapping[str, str] | None = None,
    cast: bool = False,
    trained: bool = True,
    text: Text | None = None,
    tokenizer: Any = None,
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
        text: of a causal language model, to tell whether every tensor is in its place: a file in its language,
            "english" for a short text that is at hand, or token ids. The weights are changed in place meanwhile, and
            put back bit by bit.
        tokenizer: of `transformers` or `tokenizers`, for a text; without it the tokenizer.json of the checkpoint.

    Returns the checks, all passed. Raises ``atlas.GuardError``, whose ``failed`` has the checks that failed, with
    the tensors; AtlasError where the file cannot be read or a name of ``rename`` is not in it.
    """
    reading = None if text is None else TextAsRead.of(text, tokenizer, Path(checkpoint))
    held = contents(Path(checkpoint))
    names = _new_names(held.tensors, rename, str(checkpoint))
    in_file = {new: held.tensors[old] for old, new in names.items()}
    in_memory = model.state_dict()
    declared = {**getattr(model, "all_tied_weights_keys", {}), **(tied or {})}
    identity = ""
    found = weight_checks.fit([*held.misplaced, *_misfits(in_memory, in_file, declared, cast)])
    if all(check.passed for check in found):
        same = {name: tensor.to(in_memory[name].dtype) for name, tensor in in_file.items()}
        found += [weight_checks.loaded(in_memory, same), shared(in_memory, in_file, declared)]
        if trained:
            stored = {names[old]: kind for old, kind in held.stored.items() if old in names}
            once: dict[str, WeightPart] = {}  # of parameters that are declared to be one, the first
            for part in parts_of(model):
                once.setdefault(root_of(part.name, declared), replace(part, stored=stored.get(part.name, "")))
            found += weight_checks.static(list(once.values()))
        identity = fingerprint(in_memory)
        if reading is None:
            found.append(
                not_judged('whether every tensor is in its place takes a text; pass text="english", or a file')
            )
        else:
            found += reading.judged_by(model, Path(checkpoint))
    certificate = Certificate.of(found, identity)
    insist(certificate, checkpoint, MEND)
    return certificate


def _misfits(
    in_memory: Mapping[str, Tensor], in_file: Mapping[str, Tensor], declared: Mapping[str, str], cast: bool
) -> Iterator[Mismatch]:
    """What of a model and a file does not fit, but for what is declared; and what in memory is no number."""
    there = {root_of(name, declared) for name in in_file}
    for found in mismatches(in_file, in_memory):
        excused = found.tensor not in in_file and root_of(found.tensor, declared) in there
        if not excused and not (cast and found.check == "dtypes" and in_file[found.tensor].is_floating_point()):
            yield found
    for name, tensor in in_memory.items():
        if tensor.is_meta:
            yield Mismatch("names", name, "has no values in memory (device meta)")
        elif tensor.is_floating_point() and (bad := int((~torch.isfinite(tensor)).sum())):
            yield Mismatch("finite", name, f"{bad} of {tensor.numel()} values in memory are not finite")


def _new_names(names: Iterable[str], rename: Rename | None, origin: str) -> dict[str, str]:
    """Names in a file to those that the model has for them, without the tensors that are left out.

    Raises AtlasError where two get one name, or where a mapping names what is not there: a renaming that does
    nothing is a mistake.
    """
    new: dict[str, str] = {}
    taken: set[str] = set()
    used: set[str] = set()
    for name in names:
        target: str | None = name
        if isinstance(rename, Mapping):  # the whole name, or the longest beginning
            beginnings = [key for key in rename if name.startswith(key) and (not key or key.endswith("."))]
            key = name if name in rename else max(beginnings, key=len, default=None)
            if key is not None:
                used.add(key)
                begun = rename[key]
                target = None if begun is None else begun + name.removeprefix(key)
        elif rename:
            target = rename(name)
        if target in taken:
            raise AtlasError(f"{origin}: two tensors are renamed to {target}, {name} is one; mend `rename`")
        if target is not None:
            new[name] = target
            taken.add(target)
    if isinstance(rename, Mapping) and (idle := sorted(rename.keys() - used)):
        raise AtlasError(f"{origin}: rename: no tensor is called {idle[0]!r} or begins so; it has {next(iter(names))}")
    return new


def shared(in_memory: Mapping[str, Tensor], in_file: Mapping[str, Tensor], declared: Mapping[str, str]) -> Check:
    """Parameters share memory where that is declared, and nowhere else.

    Args:
        in_memory: the model's tensors by name.
        in_file: the file's, by the same names. Of those that are declared to be one, a single one is enough.
        declared: name to the name that it shares memory with.
    """
    wrong = {}
    for first, second in _overlaps(in_memory):
        if root_of(first, declared) != root_of(second, declared):
            has = "one for each" if {first, second} <= in_file.keys() else "one for both"
            meant = f"where it is meant, say tied={{{second!r}: {first!r}}}"
            wrong[second] = f"shares memory with {first}, the file has {has}; {meant}"
    for name in in_memory.keys() - in_file.keys():
        partners = [other for other in in_file if root_of(other, declared) == root_of(name, declared)]
        if not any(_place(in_memory[other]) == _place(in_memory[name]) for other in partners):
            wrong[name] = (
                f"has memory of its own, though it is tied to {', '.join(partners)}, which alone is in the file"
            )
    return none_of("tied", "parameters share memory only where that is declared", wrong)


def root_of(name: str, declared: Mapping[str, str]) -> str:
    """The name that stands for all that are declared to share memory with ``name``, directly or through others."""
    seen = {name}
    while name in declared and declared[name] not in seen:
        name = declared[name]
        seen.add(name)
    return name


def _overlaps(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Pairs of names whose tensors have bytes in common; each name with the first that it meets."""
    spans = []
    for name, tensor in tensors.items():
        if tensor.numel():
            last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
            start = tensor.data_ptr()
            spans.append((str(tensor.device), start, start + (last + 1) * tensor.element_size(), name))
    reach: tuple[str, int, str] | None = None  # device, end and name of what reaches furthest so far
    for device, start, end, name in sorted(spans):
        if reach and reach[0] == device and start < reach[1]:
            yield reach[2], name
        if not reach or reach[0] != device or end > reach[1]:
            reach = device, end, name


def _place(tensor: Tensor) -> tuple[object, ...]:
    """Where a tensor lies, and how."""
    return tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride()


@dataclass(frozen=True, kw_only=True)
class Foreign(Contents):
    """The checkpoint of another project: its tensors, and what its config says they should be."""

    origin: Path
    config: Mapping[str, Any]
    blueprint: Blueprint

    @cached_property
    def specs(self) -> dict[str, TensorSpec]:
        """The tensors that must be there, by the names that this file would use for them.

        A bare model, saved without its head, has no prefix: no name in the file may have it then.
        """
        prefix = self.blueprint.prefix
        bare = not any(name.startswith(prefix) for name in self.tensors)
        specs = [replace(spec, name=spec.name.removeprefix(prefix)) if bare else spec for spec in self.blueprint.specs]
        made = self.config.get("architectures") or []  # such as LlamaModel, which has no head
        headless = bool(made) and all(str(name).endswith("Model") and "LMHead" not in str(name) for name in made)
        if self.blueprint.head.name in self.tensors or not (self.blueprint.tied or headless):
            specs.append(self.blueprint.head)
        return {spec.name: spec for spec in specs}

    @cached_property
    def trained(self) -> dict[str, Tensor]:
        """The tensors of the file without those that are computed, such as masks."""
        computed = re.compile(self.blueprint.buffers)
        return {name: tensor for name, tensor in self.tensors.items() if not computed.fullmatch(name)}

    @property
    def words(self) -> str:
        """What this is, in words."""
        numbers = sum(tensor.numel() for tensor in self.trained.values())
        computed = len(self.tensors) - len(self.trained)
        buffers = f" and {computed} that are computed, which are not looked at" if computed else ""
        kinds = ", ".join(f"{many} as {kind}" for kind, many in Counter(self.stored.values()).most_common())
        stored = f"; GGUF: {kinds}, judged by their dequantised numbers" if kinds else ""
        return f"{self.config['model_type']}, {len(self.trained)} tensors of {numbers:,} numbers{buffers}{stored}"

    def mismatches(self) -> Iterator[Mismatch]:
        """Yield every way in which the file is not what its config says; dtypes are held against the usual one."""
        yield from self.misplaced
        dtypes = Counter(tensor.dtype for tensor in self.trained.values())
        usual = dtypes.most_common(1)[0][0] if dtypes else torch.float32
        dtype = f"most tensors of the file have {str(usual).removeprefix('torch.')}"
        if not usual.is_floating_point:
            usual, dtype = torch.float32, "expected numbers in floating point"
        expected = {name: torch.empty(spec.shape, dtype=usual, device="meta") for name, spec in self.specs.items()}
        yield from mismatches(self.trained, expected, dtype)

    def parts(self) -> list[WeightPart]:
        """The parts of a file that fits its config. A tied head that stands there again is no part of its own."""
        specs = [spec for spec in self.specs.values() if not (self.blueprint.tied and spec.role == "head")]
        return [
            replace(part, stored=self.stored.get(spec.name, ""))
            for spec in specs
            for part in spec.parts(self.tensors[spec.name])
        ]


def read_foreign(path: Path) -> Foreign:
    """Read a checkpoint and its config. ``path``: a folder, a safetensors or GGUF file, or an index of shards.

    Raises AtlasError where a file is missing or damaged, or the architecture has no map of names.
    """
    checkpoint = checkpoint_in(path)
    if is_gguf(checkpoint):
        file = GgufFile(checkpoint)
        expected = blueprint(file.config, str(checkpoint))
        # A head that is the embedding again is tied: the file has no other way to say so.
        embedding, head = (file.tensors.get(spec.name) for spec in (expected.specs[0], expected.head))
        again = embedding is not None and head is not None and torch.equal(embedding, head)
        expected = replace(expected, tied=expected.tied or again, buffers=f"{expected.buffers}|{COMPUTED}")
        return Foreign(
            origin=checkpoint, config=file.config, blueprint=expected, tensors=file.tensors, stored=file.stored
        )
    beside = checkpoint.parent / CONFIG
    config = read_json(beside)
    if not isinstance(config, dict):
        raise AtlasError(f"{beside}: not the config of a model; put the model's transformers config there")
    expected = blueprint(config, str(beside))
    found = contents(checkpoint)
    return Foreign(origin=path, config=config, blueprint=expected, tensors=found.tensors, misplaced=found.misplaced)


def inspect_foreign(path: Path, not_checked: Mapping[str, str] = NOT_CHECKED, text: str | Path | None = None) -> Report:
    """Verify a checkpoint of another project, and say what could not be checked, and why.

    With a text, a file or ``"english"``, the model is run as well: `transformers` loads it.

    Raises AtlasError where the file cannot be read, or nothing tells what model it should be.
    """
    checkpoint = checkpoint_in(path)
    if not checkpoint.is_file():
        raise AtlasError(
            f"{path}: no such file; give a safetensors or GGUF file, an index of shards, or the folder of one"
        )
    reading = None if text is None else TextAsRead.of(text, None, checkpoint)  # before anything costly
    foreign = read_foreign(checkpoint)
    certificate, missing = verify_foreign(foreign), dict(not_checked)
    if reading:
        missing[LOSS] = "what the file holds does not fit its config"
        if all(check.passed for check in certificate.checks if check.name in FITS):
            del missing[LOSS]
            found = reading.judged_by(load(checkpoint), checkpoint)
            certificate = Certificate.of([*certificate.checks, *found], certificate.fingerprint)
    beside = Path(text) if text and text != ENGLISH else None
    return Report.of_checks(certificate, path, foreign.words, missing, text=beside)


def verify_foreign(foreign: Foreign) -> Certificate:
    """Make every check that a checkpoint of another project allows: names, shapes, dtypes, values, training."""
    found = weight_checks.fit(foreign.mismatches())
    if all(check.passed for check in found):
        head, embedding, wrong = foreign.blueprint.head.name, next(iter(foreign.specs)), {}
        again = foreign.blueprint.tied and head in foreign.tensors
        if again and sha256_of(foreign.tensors[head]) != sha256_of(foreign.tensors[embedding]):
            wrong[head] = f"differs from {embedding}, though the config says tie_word_embeddings"
        found.append(none_of("head", "the output head is the embedding where the config ties them", wrong))
        found += weight_checks.static(foreign.parts())
    return Certificate.of(found, fingerprint(foreign.tensors))
