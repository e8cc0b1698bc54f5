"""What no file of weights holds: a model's config, the numbers its modules took from it, and buffers that it computes.

They are compared with those of a second model, which `transformers` makes of the config without memory for weights.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from atlas.errors import AtlasError
from atlas.guard.conversions import HubModel
from atlas.guard.formats import CONFIG, GgufFile, is_gguf
from atlas.guard.reading import checkpoint_in, read_json
from atlas.guard.report import UNDECIDED, Check
from atlas.guard.weight_checks import counted

IDLE = re.compile(  # keys of a config, and attributes of modules, that change nothing of what a model computes
    r"_.*|.*drop.*|p|.*_token_ids?|output_.*|return_dict|use_return_dict|use_cache|architectures|transformers_version"
    r"|(torch_)?dtype|use_bfloat16|pretraining_tp|id2label|label2id|num_labels|problem_type|finetuning_task|summary_.*"
    r"|task_specific_params|initializer_.*|init_std|gradient_checkpointing|chunk_size_feed_forward|.*aux_loss_coef.*"
    r"|.*jitter.*|training|inplace|padding_idx|attn_implementation|name_or_path|prefix|tokenizer_class|auto_map"
    r"|quantization_config|generation_config|torchscript|max_seq_len_cached|warnings_issued"
    r"|in_features|out_features|num_embeddings|embedding_dim|nf|nx|n_inner"  # seen by the shapes of weights
)
DEEPEST = 8  # configs within configs that are looked into
FLEXIBLE = ("dynamic", "longrope")  # rotary positions whose frequencies follow the length of the text before
ROUNDING = {torch.float64: 1e-5, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}


@dataclass
class Second:
    """A model that `transformers` makes of a config, with values for what it computes and for nothing else.

    ``of``: the model whose class it has; ``config``: what it is made of. AtlasError is never raised; where the class
    cannot be made so, ``trouble`` says why.
    """

    of: Any
    config: Any
    trouble: str = field(default="", init=False)

    @cached_property
    def model(self) -> Any:
        """The second model, all on the device meta; None where it cannot be made."""
        try:
            with torch.random.fork_rng(devices=[]), torch.device("meta"):
                return type(self.of)(deepcopy(self.config))
        except Exception as error:  # any: the class is somebody else's
            self.trouble = (
                f"{type(self.of).__name__} cannot be made of its config alone ({' '.join(str(error).split())})"
            )
            return None

    def computed(self, wanted: Collection[str]) -> dict[str, Tensor]:
        """Those of the named tensors that the class computes from the config.

        They are computed twice, over zeros and over ones: what differs then was not computed, or was drawn.
        """
        if self.model is None:
            return {}
        results = []
        for fill in (0, 1):
            model = deepcopy(self.model)  # which takes a note of what it has initialised
            for path, module in model.named_modules():
                for tensors in (module._buffers, module._parameters):
                    for own, tensor in tensors.items():
                        if tensor is not None and f"{path}.{own}".lstrip(".") in wanted:
                            there = torch.full(tensor.shape, fill, dtype=tensor.dtype)
                            tensors[own] = nn.Parameter(there, False) if isinstance(tensor, nn.Parameter) else there
            with contextlib.suppress(Exception), torch.random.fork_rng(devices=[]), torch.no_grad():  # as above
                model.initialize_weights()
            both = (*model.named_buffers(), *model.named_parameters())
            results.append({name: tensor.detach().clone() for name, tensor in both if name in wanted})
        found = {name: first for name, first in results[0].items() if torch.equal(first, results[1][name])}
        for path, module in self.model.named_modules():
            own = {f"{path}.{each}": each for each in (*module._buffers, *module.__dict__)}
            if "rope_init_fn" in own.values() and (left := {*wanted} & own.keys() - found.keys()):
                with contextlib.suppress(Exception):  # `transformers` 4 computes it where it makes the module, only
                    fresh = type(module)(config=module.config)
                    made = fresh.__dict__ | fresh._buffers
                    found |= {name: made[own[name]] for name in left}
        return found


def _buffers(
    model: nn.Module,
    found: Sequence[HubModel],
    seconds: Sequence[Second],
    held: Collection[str],
    dropped: Mapping[str, Tensor],
) -> Check:
    """What a model computes and no file holds is there, is numbers, and is what the config makes it."""
    wrong: dict[str, str] = {}
    expected: dict[str, Tensor] = {}
    flexible: set[str] = set()
    for host, second in zip(found, seconds, strict=True):
        outside = {name.removeprefix(host.prefix) for name, _ in _outside(model, held) if name.startswith(host.prefix)}
        expected |= {host.prefix + name: tensor for name, tensor in second.computed(outside).items()}
        if {*map(str, flat(second.config.to_dict()).values())} & {*FLEXIBLE}:
            flexible |= {host.prefix + name for name in outside if name.endswith("inv_freq") and "original" not in name}
    unjudged = []
    for name, tensor in _outside(model, held):
        made = expected.get(name)
        if problem := _problem(tensor, made, name in flexible):
            wrong[name] = problem
        elif made is None or not _same(tensor, made):
            unjudged.append(name)
    for name in (name for name in dropped if name.endswith("inv_freq")):  # the rotary tables that older files hold
        tensor = dropped[name]
        same = [each for each in expected if each.endswith("inv_freq") and expected[each].shape == tensor.shape]
        if same and not any(_same(tensor, expected[each]) for each in same):
            wrong[name] = f"of the file, is not what the config makes it: {_difference(tensor, expected[same[0]])}"
    sentence = "what the model computes and no file holds is what its config makes it"
    if unjudged and not wrong:
        sentence = f"{UNDECIDED} against a config, only that they are numbers: {', '.join(sorted(unjudged))}"
    return counted("buffers", sentence, (f"{name}: {problem}" for name, problem in sorted(wrong.items())), wrong)


def _outside(model: nn.Module, held: Collection[str]) -> Iterator[tuple[str, Tensor]]:
    """Buffers that no file has, and tensors that are plain attributes of modules."""
    yield from ((name, tensor) for name, tensor in model.named_buffers() if name not in held)
    for path, module in model.named_modules():
        for own, value in module.__dict__.items():
            if isinstance(value, Tensor) and not IDLE.fullmatch(own):
                yield f"{path}.{own}".lstrip("."), value


def _problem(tensor: Tensor, made: Tensor | None, flexible: bool) -> str:
    """What is wrong with a computed tensor; ``made``: what the config makes it, where that is known."""
    if tensor.is_meta:
        return "has no values in memory (device meta)"
    if made is not None and _same(tensor, made):
        return ""
    if tensor.is_floating_point() and tensor.element_size() == 1:
        tensor = tensor.float()  # torch can do little with numbers of 8 bits
    mask = bool(((tensor == 0) | (tensor == -torch.inf)).all())  # one that is added, of zeros and minus infinity
    if bad := int((~torch.isfinite(tensor)).sum()) if made is not None or not mask else 0:
        return f"{bad} of {tensor.numel()} values are not finite"
    if made is None or (flexible and bool((tensor > 0).all())):
        return ""
    return f"is not what the config makes it: {_difference(tensor, made)}"


def _same(found: Tensor, wanted: Tensor) -> bool:
    """Whether two tensors are equal, but for the rounding of the coarser dtype and of another device's arithmetic."""
    if found.shape != wanted.shape or found.is_complex() != wanted.is_complex():
        return False
    first, second = (torch.view_as_real(each) if each.is_complex() else each for each in (found.cpu(), wanted.cpu()))
    if not first.is_floating_point() and not second.is_floating_point():
        return torch.equal(first.long(), second.long())
    rounding = max(ROUNDING.get(each.dtype, 0.1) if each.is_floating_point() else 0.0 for each in (first, second))
    tiny = 1e-7 if torch.float16 in (first.dtype, second.dtype) else 0.0
    return torch.allclose(first.double(), second.double(), rtol=rounding, atol=tiny)


def _difference(found: Tensor, wanted: Tensor) -> str:
    if found.shape != wanted.shape:
        return f"shape {list(found.shape)}, expected {list(wanted.shape)}"
    wide = torch.complex128 if found.is_complex() or wanted.is_complex() else torch.float64
    first, second = (each.cpu().to(wide).flatten() for each in (found, wanted))
    at = int((first - second).abs().argmax())
    return f"{first[at].item():.6g} at {at}, expected {second[at].item():.6g}"


@dataclass(frozen=True)
class Expectation:
    """The settings that are expected of a model: those of the config beside its file."""

    where: str  # the file, or why there is none to compare with
    config: Any  # of the model's own config class; None where there is none
    changed: tuple[str, ...]
    seconds: tuple[Second, ...]  # of each model of `transformers` that is inside
    problem: str = ""  # why the config is not one of this model


def expectation(checkpoint: Path, found: Sequence[HubModel], changed: Collection[str]) -> Expectation:
    """The config beside a checkpoint, or in it (GGUF), and what the models inside a model are expected to be.

    Raises AtlasError where the config cannot be read, or a key of ``changed`` is not in it or has not changed.
    """
    file = checkpoint_in(checkpoint)
    where, config, problem = str(file if is_gguf(file) else file.parent / CONFIG), None, ""
    if len(found) == 1 and (is_gguf(file) or Path(where).is_file()):
        where, config, problem = _read(file, where, found[0].model)
    elif found:
        where = f"there is no {CONFIG} beside the file" if len(found) == 1 else "there are several models inside"
    differs = _differences(found[0].model.config, config) if config is not None else {}
    for key in changed:
        if not any(each == key or each.startswith(f"{key}.") for each in differs):
            raise AtlasError(f"{checkpoint}: changed: {key!r} is in the model as in {where}; leave it out")
    # sizes of another model would only make that: they are told by the config, and by shapes
    resized = any(isinstance(value, int) and not isinstance(value, bool) for pair in differs.values() for value in pair)
    expected = config if config is not None and not changed and not resized else None
    seconds = tuple(Second(host.model, expected or host.model.config) for host in found)
    return Expectation(where, config, tuple(changed), seconds, problem)


def _read(file: Path, where: str, model: Any) -> tuple[str, Any, str]:
    """The config beside a checkpoint, or in it, by the class of a model's own; or why there is none to compare with."""
    values = GgufFile(file).config if is_gguf(file) else read_json(Path(where))
    if not isinstance(values, Mapping):
        raise AtlasError(f"{where}: not the config of a model; put the model's transformers config there")
    inside = [values, *(value for value in values.values() if isinstance(value, Mapping))]
    chosen = next((each for each in inside if each.get("model_type") == model.config.model_type), None)
    if chosen is None and is_gguf(file):  # which has one name for models that are alike
        return f"{where} holds the config of a {values.get('model_type')}", None, ""
    if chosen is None:
        return (
            where,
            None,
            f"model_type: {model.config.model_type!r} in the model, {values.get('model_type')!r} in {where}",
        )
    try:
        if chosen is values and not is_gguf(file):  # JSON has no infinity, which the class spells in its own way
            chosen = type(model.config).get_config_dict(str(file.parent))[0]
        return where, type(model.config).from_dict(dict(chosen)), ""
    except Exception as error:  # any: what the class raises on values that it does not take
        why = " ".join(str(error).split())
        return where, None, f"model_type: {where} is no config of a {model.config.model_type} ({why})"


def without_need(
    found: Sequence[HubModel], expected: Expectation, missing: Collection[str], in_memory: Mapping[str, Tensor]
) -> set[str]:
    """Tensors that a file need not have: the model's class says so, and computes them as they are in memory."""
    excused = set()
    for host, second in zip(found, expected.seconds, strict=True):
        patterns = host.model._keys_to_ignore_on_load_missing or ()
        left = {name.removeprefix(host.prefix) for name in missing if name.startswith(host.prefix)}
        left = {name for name in left if any(re.search(pattern, name) for pattern in patterns)}
        if left:
            made = second.computed(left)
            excused |= {host.prefix + name for name in made if _same(in_memory[host.prefix + name], made[name])}
    return excused


def checks(
    model: nn.Module,
    found: Sequence[HubModel],
    expected: Expectation,
    held: Collection[str],
    dropped: Mapping[str, Tensor],
) -> list[Check]:
    """Buffers and config; of the latter nothing where no model of `transformers` is inside.

    Args:
        model: the model; ``found``: those of `transformers` in it.
        expected: what the model is expected to be.
        held: names of tensors that are compared with the file.
        dropped: tensors of the file that the model computes itself.
    """
    made = [_buffers(model, found, expected.seconds, held, dropped)]
    return [*made, _config(found, expected)] if found else made


def _config(found: Sequence[HubModel], expected: Expectation) -> Check:
    """The model's settings are those beside its file, and its modules took their numbers from them."""
    wrong: dict[str, str] = {}
    if expected.config is not None:
        second = expected.seconds[0]  # whose class sets some keys itself, as the model's did
        same = second.config is expected.config and second.model is not None
        differs = _differences(found[0].model.config, second.model.config if same else expected.config)
        for key, (ours, theirs) in differs.items():
            if not any(key == each or key.startswith(f"{each}.") for each in expected.changed):
                wrong[key] = f"{_short(ours)} in the model, {_short(theirs)} in {expected.where}"
    elif expected.problem:
        key, _, problem = expected.problem.partition(": ")
        wrong[key] = problem
    for host, second in zip(found, expected.seconds, strict=True):
        for name, problem in _modules(host, second):
            wrong.setdefault(name, problem)
    troubles = [second.trouble for second in expected.seconds if second.model is None]
    if troubles or expected.config is None:
        sentence = f"{UNDECIDED}: {'; '.join(troubles) or expected.where}"
    else:
        sentence = f"the model's settings are those of {expected.where}"
    return counted("config", sentence, (f"{key}: {problem}" for key, problem in sorted(wrong.items())), wrong)


def _differences(ours: Any, theirs: Any) -> dict[str, tuple[Any, Any]]:
    """Keys by which two configs of one class would compute otherwise. What only one has is not of the class."""
    first, second = (flat(config.to_dict()) for config in (ours, theirs))
    keys = {key for key in first.keys() | second.keys() if "." in key or (key in first and key in second)}
    return {
        key: (first.get(key), second.get(key))
        for key in sorted(keys)
        if not _alike(first.get(key), second.get(key)) and not any(IDLE.fullmatch(step) for step in key.split("."))
    }


def _alike(first: Any, second: Any) -> bool:
    """Whether two settings are equal, but for the 32 bits that GGUF has for numbers."""
    if isinstance(first, float) and isinstance(second, float):
        return math.isclose(first, second, rel_tol=1e-6)
    return bool(first == second)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def flat(config: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """A config key by key, those of configs within it as PATH.KEY; lists and tuples are one."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value and before.count(".") < DEEPEST:
            found |= flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = list(value) if isinstance(value, tuple) else value
    return found


def _modules(host: HubModel, second: Second) -> Iterator[tuple[str, str]]:
    """Numbers and switches of modules, and modules without weights, that the config makes otherwise.

    One row a setting: of many modules that differ alike the first is named.
    """
    if second.model is None:
        return
    other = dict(second.model.named_modules())
    rows: dict[tuple[str, str], list[str]] = {}
    for path, module in host.model.named_modules():
        made = other.get(path)
        if made is None:
            continue
        if type(module) is not type(made):
            if not list(module.parameters()) and not list(made.parameters()):
                said = f"is {type(module).__name__}, the config makes it {type(made).__name__}"
                rows.setdefault(("", said), []).append(path)
            continue
        for own, value in made.__dict__.items():
            now = module.__dict__.get(own, value)
            plain = isinstance(value, int | float | str | bool) and isinstance(now, int | float | str | bool | None)
            if plain and not _alike(now, value) and not IDLE.fullmatch(own):
                rows.setdefault((own, f"is {now!r}, the config makes it {value!r}"), []).append(path)
    for (own, said), paths in rows.items():
        name = ".".join(step for step in (host.prefix + paths[0], own) if step)
        yield name, said if len(paths) == 1 else f"{said}, and so in {len(paths)} modules"
