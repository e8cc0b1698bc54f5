"""What `transformers` makes of a file's names and tensors when it loads a model, by its own rules.

Of a file whose names are a model's already nothing is changed. `transformers` is imported where such a model is given.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from atlas.guard.tensors import sha256_of
from atlas.guard.weight_checks import Mismatch


@dataclass(frozen=True)
class HubModel:
    """A model of `transformers`, the given one or inside it."""

    prefix: str  # of its names in the given model, empty or with a dot at the end
    model: Any

    def declared(self) -> dict[str, str]:
        """Names of parameters that it ties to others, to these."""
        ties = getattr(self.model, "all_tied_weights_keys", None)
        if ties is None:
            ties = dict(self._older())
        return {self.prefix + name: self.prefix + other for name, other in ties.items()}

    def _older(self) -> Iterator[tuple[str, str]]:
        """Ties as `transformers` 4 declares them: by patterns that do not say to what; that is what shares memory."""
        found = re.compile("|".join(self.model._tied_weights_keys or ()) or "(?!)")
        state = {name: tensor for name, tensor in self.model.state_dict().items() if not tensor.is_meta}
        free = {tensor.data_ptr(): name for name, tensor in state.items() if not found.search(name)}
        for name, tensor in state.items():
            if found.search(name) and tensor.data_ptr() in free:
                yield name, free[tensor.data_ptr()]


@dataclass
class Converted:
    """A file's tensors as the model has them, and what has no place there."""

    tensors: dict[str, Tensor] = field(default_factory=dict)  # by the model's names
    sources: dict[str, list[str]] = field(default_factory=dict)  # what each was made of
    computed: dict[str, Tensor] = field(default_factory=dict)  # what the model computes and does not load
    head: list[str] = field(default_factory=list)  # the head of a file, of which the model is the body
    wrong: list[Mismatch] = field(default_factory=list)
    unfollowed: str = ""  # why names that differ cannot be judged
    quantised: bool = False  # whether the model was quantised when it was loaded

    @property
    def unjudged(self) -> str:
        """Why some of what does not fit cannot be judged."""
        return self.unfollowed or "the model was quantised when it was loaded"

    def put(self, name: str, tensor: Tensor, source: list[str]) -> None:
        if name in self.tensors and sha256_of(self.tensors[name]) != sha256_of(tensor):
            both = f"{', '.join(self.sources[name])} and {', '.join(source)} of the file both become this tensor"
            self.wrong.append(Mismatch("names", name, both))
        self.tensors.setdefault(name, tensor)
        self.sources.setdefault(name, source)


def hosts(model: nn.Module) -> list[HubModel]:
    """The models of `transformers` in a model, the outermost ones."""
    if "transformers" not in sys.modules:  # none was made, then
        return []
    from transformers import PreTrainedModel

    found: list[HubModel] = []
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        if isinstance(module, PreTrainedModel) and not any(prefix.startswith(host.prefix) for host in found):
            found.append(HubModel(prefix, module))
    return found


def converted(tensors: Mapping[str, Tensor], host: HubModel | None, names: Collection[str] | None = None) -> Converted:
    """The tensors of a file, by its names after `rename`, as `transformers` puts them into a model of its own.

    ``names``: what the model's tensors are called, where its ``state_dict`` has other names, those of an adapter, say.
    """
    made = Converted()
    if host is None:
        for name, tensor in tensors.items():
            made.put(name, tensor, [name])
        return made
    inside = {}
    for name, tensor in tensors.items():
        if name.startswith(host.prefix):
            inside[name.removeprefix(host.prefix)] = tensor
        else:
            made.put(name, tensor, [name])
    config = host.model.config
    made.quantised = getattr(config, "quantization_config", None) is not None
    left = dict(_placed(inside, host, names or host.model.state_dict().keys(), made))
    _set_aside(left, host, made)
    for name, tensor in left.items():
        made.put(host.prefix + name, tensor, [host.prefix + name])
    return made


def _placed(
    tensors: Mapping[str, Tensor], host: HubModel, known: Collection[str], made: Converted
) -> Iterator[tuple[str, Tensor]]:
    """Put every tensor that has a place into ``made``; yield those that have none."""
    base = host.model.base_model_prefix
    try:
        renamings, converters, rename, convert = _rules(host.model)
    except Exception as error:  # any: these rules are no fixed part of the library
        made.unfollowed = f"transformers converts on loading by rules that cannot be followed here ({error!r})"
        renamings, converters = [], []
    by_pattern = {pattern: converter for converter in converters for pattern in converter.source_patterns}
    gathered: dict[str, Any] = {}
    sources: dict[str, list[str]] = {}
    for name in sorted(tensors, key=_natural):
        new, pattern = (
            convert(rename(name, renamings), converters) if renamings or converters else (_modern(name), None)
        )
        new = _prefixed(new, known, base)
        if new not in known and name in known:  # it has its name already
            new, pattern = name, None
        if new not in known:
            yield name, tensors[name]
        elif pattern is None:
            made.put(host.prefix + new, tensors[name], [host.prefix + name])
        else:
            converter = gathered.setdefault(new, deepcopy(by_pattern[pattern]))
            converter.add_tensor(new, name, pattern, tensors[name])
            sources.setdefault(new, []).append(host.prefix + name)
    for first, converter in gathered.items():
        try:
            results = converter.convert(first, model=host.model, config=host.model.config)
        except Exception as error:  # any: what the library raises on tensors that do not go together
            many = f"{len(sources[first])} tensors of the file ({_some(sources[first])})"
            made.wrong.append(
                Mismatch(
                    "names",
                    host.prefix + first,
                    f"transformers cannot make it of {many}: {' '.join(str(error).split())}",
                )
            )
            continue
        for name, values in results.items():
            made.put(host.prefix + name, values[0] if isinstance(values, list) else values, sources[first])


def _rules(model: Any) -> tuple[list[Any], list[Any], Any, Any]:
    """The renamings and converters of a model, and what applies them; none where the library has no such rules."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
    except ImportError:
        return [], [], None, None
    from transformers.core_model_loading import WeightConverter, apply_converters, apply_renamings

    rules = get_model_conversion_mapping(model)
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    return [rule for rule in rules if rule not in converters], converters, apply_renamings, apply_converters


def _modern(name: str) -> str:
    """The name that `transformers` gives to norms of its oldest files, also where it has no rules yet."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _prefixed(name: str, known: Collection[str], base: str) -> str:
    """The name with the prefix of a bare model's names, or without it, where that is what the model has."""
    if base and (bare := name.removeprefix(f"{base}.")) != name and bare in known:
        return bare
    return longer if base and (longer := f"{base}.{name}") in known else name


def _set_aside(left: dict[str, Tensor], host: HubModel, made: Converted) -> None:
    """Take out what the model's class computes or does without, and the head where the model is a body."""
    patterns = set(host.model._keys_to_ignore_on_load_unexpected or ())
    patterns.add(r"(attn|attention)\.masked_bias$")  # of GPT-2's kin, no longer known to transformers
    own = {name for name, _ in host.model.named_buffers()}
    buffers = {name.rpartition(".")[2] for name in own}
    patterns |= {rf"(^|\.){each}$" for each in ("inv_freq", "position_ids") if each in buffers}
    base = host.model.base_model_prefix
    body = host.model.base_model is host.model and any(
        source.removeprefix(host.prefix).startswith(f"{base}.") for found in made.sources.values() for source in found
    )
    for name in list(left):
        if _prefixed(name, own, base) in own or any(re.search(pattern, name) for pattern in patterns):
            made.computed[host.prefix + name] = left.pop(name)
        elif body and not name.startswith(f"{base}."):
            made.head.append(host.prefix + name)
            del left[name]


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Names by their numbers: experts are joined in this order."""
    return [(0, int(step), "") if step.isdigit() else (1, 0, step) for step in name.split(".")]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
