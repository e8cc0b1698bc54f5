"""Verify a model in memory (``atlas.verify``), or the checkpoint of another project by its own config."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from atlas.errors import AtlasError
from atlas.guard import adapters, configured
from atlas.guard.arrangements import not_judged
from atlas.guard.blueprints import Blueprint, TensorSpec, blueprint, heads_of
from atlas.guard.conversions import converted, hosts
from atlas.guard.fitting import fit, loaded, misfits, root_of, unjudged, values_of
from atlas.guard.foreign_text import ENGLISH, Text, TextAsRead, load
from atlas.guard.formats import COMPUTED, CONFIG, Contents, GgufFile, is_gguf
from atlas.guard.model_parts import model_parts
from atlas.guard.names import Rename, renamed
from atlas.guard.reading import DEQUANTISE, checkpoint_in, contents, plainly, read_json
from atlas.guard.report import FITS, LOSS, UNDECIDED, Certificate, Check, Report, insist
from atlas.guard.tensors import WeightPart, fingerprint, role_name, sha256_of, widened
from atlas.guard.unconfirmed import consistent, unconfirmed
from atlas.guard.value_checks import static
from atlas.guard.weight_checks import Mismatch, mismatches, none_of

NEWER_HEAD = "lm_head.weight"
MEND = "the model is not what the file holds: mend the loading (names, `strict`, config), and verify again"
NOT_CHECKED = {
    "hashes": "another project's checkpoint has no manifest of Atlas",
    LOSS: "tensors in each other's place pass: give --text english, or a FILE in the model's language",
}
UNREAD = 'whether every tensor is in its place takes a text; pass text="english", or a file'
UNCONFIRMED = (
    "nothing in the file can confirm them; compare them with the config that was published, or load the model and "
    "compare its loss on a text"
)


def verify(
    model: nn.Module,
    checkpoint: Path | str,
    rename: Rename | None = None,
    *,
    tied: Mapping[str, str] | None = None,
    cast: bool = False,
    trained: bool = True,
    changed: Collection[str] = (),
    base: Path | str | None = None,
    text: Text | None = None,
    tokenizer: Any = None,
) -> Certificate:
    """Check that a model in memory holds a checkpoint, whole and unchanged, and that nothing in it is untrained.

    Args:
        model: any module, on any device. Its ``state_dict`` is compared with the file; of a `transformers` model
            also its config with the config.json beside the file, and what it computes with what the config makes.
        checkpoint: a safetensors file, an index of shards, a GGUF file (read dequantised), or the folder of one; or
            the folder of a LoRA adapter that PEFT wrote, for a PeftModel or for a model that it was merged into.
        rename: names in the file to names in the model, where they differ; None leaves a tensor out. A function, or
            a mapping of whole names and of beginnings that end with a dot ("" is the beginning of all names). What
            `transformers` renames and joins when it loads its own models is known.
        tied: parameters that share another's memory on purpose. What a `transformers` model declares is known.
        cast: whether the model may hold the file's values in another dtype, cast from the file's.
        trained: whether matrices, biases and norms are held against fresh initialisations, too.
        changed: keys of the config that the model has otherwise than its file on purpose, such as "rope_parameters".
        base: of an adapter, the checkpoint of the model that it adapts (default: the one that the adapter names,
            where that is a folder).
        text: of a causal language model, to tell whether every tensor is in its place: a file in its language,
            "english" for a short text that is at hand, or token ids. The weights are changed in place meanwhile, and
            put back bit by bit.
        tokenizer: of `transformers` or `tokenizers`, for a text; without it the tokenizer.json of the checkpoint.

    Returns the checks, all passed. Raises ``atlas.GuardError``, whose ``failed`` has the checks that failed, with
    the tensors; AtlasError where the file cannot be read, or an option names what is not there or is not used.
    """
    path = Path(checkpoint)
    if adapters.is_adapter(path):
        unused = {
            "rename": rename,
            "tied": tied,
            "cast": cast,
            "changed": changed,
            "text": text,
            "tokenizer": tokenizer,
        }
        if given := [
            option for option, value in unused.items() if value is not None and value != () and value is not False
        ]:
            raise AtlasError(f"{path}: {given[0]}: not used for an adapter; leave it out")
        checks, identity = adapters.verify(model, path, base, trained), fingerprint(model.state_dict())
        mend = adapters.MEND
    elif base is not None:
        raise AtlasError(
            f"{path}: base={str(base)!r} goes with the folder of an adapter, and this is none; leave it out"
        )
    else:
        reading = None if text is None else TextAsRead.of(text, tokenizer, path)  # before anything costly
        checks, identity = _whole(model, path, rename, tied or {}, cast, trained, changed)
        if identity:
            checks += reading.judged_by(model, path) if reading else [not_judged(UNREAD)]
        mend = MEND
    certificate = Certificate.of(checks, identity)
    insist(certificate, checkpoint, mend)
    return certificate


def _whole(
    model: nn.Module,
    path: Path,
    rename: Rename | None,
    tied: Mapping[str, str],
    cast: bool,
    trained: bool,
    changed: Collection[str],
) -> tuple[list[Check], str]:
    """The checks of a whole model, see ``verify``, and the fingerprint of its weights, empty where they do not fit."""
    held = contents(path)
    if adapters.layers(model) and not any(".lora_" in name for name in held.tensors):
        raise AtlasError(f"{path}: no adapter, but the model has one of PEFT; give its folder, and this one as base=")
    names = renamed(held.tensors, rename, str(path))
    placed, in_memory = model.state_dict(), values_of(model)
    found = hosts(model)
    made = converted({new: held.tensors[old] for old, new in names.items()}, found[0] if len(found) == 1 else None)
    if unknown := sorted({*tied, *tied.values()} - in_memory.keys()):
        raise AtlasError(f"{path}: tied: the model has no tensor {unknown[0]!r}; name it as state_dict does")
    declared = {**{old: new for host in found for old, new in host.declared().items()}, **tied}
    expected = configured.expectation(path, found, changed)
    computed = configured.without_need(found, expected, in_memory.keys() - made.tensors.keys(), in_memory)
    problems = [*held.misplaced, *misfits(in_memory, made, declared, cast, computed)]
    left = unjudged(problems, made, in_memory)
    said = f"{', '.join(sorted({each.tensor for each in left}))}: {made.unjudged}" if left else ""
    checks = fit([each for each in problems if each not in left], made.tensors, in_memory, said)
    identity = ""
    if all(check.passed for check in checks):
        skipped = {each.tensor for each in left}
        in_file = {name: tensor for name, tensor in made.tensors.items() if name not in skipped}
        there = {root_of(name, declared) for name in in_file}
        held_there = {
            name: tensor for name, tensor in placed.items() if root_of(name, declared) in there and not tensor.is_meta
        }
        same = {name: tensor.to(in_memory[name].dtype) for name, tensor in in_file.items()}
        checks += [loaded(in_memory, same), shared(held_there, in_file, declared)]
        if trained and any(tensor.is_meta for tensor in placed.values()):
            checks.append(none_of("trained", f"{UNDECIDED}: accelerate holds part of the model elsewhere", {}))
        elif trained:
            stored = {names[old]: kind for old, kind in held.stored.items() if old in names}
            once: dict[str, WeightPart] = {}  # of parameters that are declared to be one, the first
            for part in model_parts(model):
                if part.tensor in held_there:
                    kind = stored.get(made.sources.get(part.tensor, [""])[0], "")
                    once.setdefault(root_of(part.name, declared), replace(part, stored=kind))
            checks += static(list(once.values()))
        identity = fingerprint(in_memory)
    checks += configured.checks(model, found, expected, {*made.tensors} | {*in_memory}, made.computed)
    return checks, identity


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
        root = root_of(name, declared)
        partners = [other for other in in_file if other in in_memory and root_of(other, declared) == root]
        if partners and not any(_place(in_memory[other]) == _place(in_memory[name]) for other in partners):
            wrong[name] = (
                f"has memory of its own, though it is tied to {', '.join(partners)}, which alone is in the file"
            )
    return none_of("tied", "parameters share memory only where that is declared", wrong)


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

    @property
    def head(self) -> TensorSpec:
        """The output matrix, by the name that this file has for it: GPT-NeoX has an older and a newer one."""
        head = self.blueprint.head
        newer = head.name not in self.tensors and NEWER_HEAD in self.tensors
        return replace(head, name=NEWER_HEAD) if newer else head

    @cached_property
    def specs(self) -> dict[str, TensorSpec]:
        """The tensors that must be there, by the names that this file would use for them.

        A bare model, saved without its head, has no prefix: no name in the file may have it then, nor behind that of
        a wrapper.
        """
        prefix = self.blueprint.prefix
        bare = not any(f".{prefix}" in f".{name}" for name in self.tensors)
        specs = [replace(spec, name=spec.name.removeprefix(prefix)) if bare else spec for spec in self.blueprint.specs]
        named = self.config.get("architectures")  # such as LlamaModel, which has no head
        made = named if isinstance(named, list) else []
        headless = bool(made) and all(str(name).endswith("Model") and "LMHead" not in str(name) for name in made)
        if self.head.name in self.tensors or not (self.blueprint.tied or headless):
            specs.append(self.head)
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
        """Yield every way in which the file is not what its config says.

        A tensor's dtype is held against those of its role in other layers: norms, say, may be kept in 32 bits.
        """
        yield from self.misplaced
        found = widened(self.trained)
        counts = Counter(tensor.dtype for tensor in found.values() if tensor.is_floating_point())
        by_role: dict[str, Counter[torch.dtype]] = defaultdict(Counter)
        for name, tensor in found.items():
            if tensor.is_floating_point():
                by_role[role_name(name)][tensor.dtype] += 1
        expected = {}
        for name, spec in self.specs.items():
            peers = by_role[role_name(name)] or {torch.float32: 1}
            usual = max(peers, key=lambda dtype: (peers[dtype], counts[dtype]))
            expected[name] = torch.empty(spec.shape, dtype=usual, device="meta")
        yield from mismatches(found, expected)

    def parts(self) -> list[WeightPart]:
        """The parts of a file that fits its config. A tied head that stands there again is no part of its own."""
        specs = [spec for spec in self.specs.values() if not (self.blueprint.tied and spec.role == "head")]
        heads = heads_of(self.config)
        return [
            replace(part, stored=self.stored.get(spec.name, ""), blocks=heads.get(part.role, part.blocks))
            for spec in specs
            for part in spec.parts(self.tensors[spec.name])
        ]


def read_foreign(path: Path) -> Foreign:
    """Read a checkpoint and its config. ``path``: a folder, a safetensors or GGUF file, or an index of shards.

    Raises AtlasError where a file is missing or damaged, or the architecture has no map of names.
    """
    with plainly():
        return _read_foreign(path)


def _read_foreign(path: Path) -> Foreign:
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
    if method := config.get("quantization_config"):
        kind = method.get("quant_method", "unnamed") if isinstance(method, dict) else "unnamed"
        raise AtlasError(
            f"{beside}: quantization_config ({kind!r:.100}): the file holds codes, not weights; {DEQUANTISE}"
        )
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
    keys = unconfirmed(foreign.config, foreign.tensors)
    certificate, missing = verify_foreign(foreign), dict(not_checked)
    if keys:
        missing = {f"the config's {', '.join(keys)}": UNCONFIRMED} | missing
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
    found = fit(list(foreign.mismatches()), foreign.trained, foreign.specs)
    if all(check.passed for check in found):
        head, embedding, wrong = foreign.head.name, next(iter(foreign.specs)), {}
        again = foreign.blueprint.tied and head in foreign.tensors
        if again and sha256_of(foreign.tensors[head]) != sha256_of(foreign.tensors[embedding]):
            wrong[head] = f"differs from {embedding}, though the config says tie_word_embeddings"
        found.append(none_of("head", "the output head is the embedding where the config ties them", wrong))
        found += static(foreign.parts())
    found.append(consistent(foreign.config, foreign.tensors))
    return Certificate.of(found, fingerprint(foreign.tensors))
