"""LoRA adapters as PEFT writes them: against their own config, their base, a model in memory, and a merged one."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from atlas.errors import AtlasError
from atlas.guard import configured
from atlas.guard.conversions import HubModel, converted, hosts
from atlas.guard.fitting import NOT_INSIDE, fit, loaded, misfits
from atlas.guard.formats import CONFIG
from atlas.guard.reading import checkpoint_in, contents, read_json, read_safetensors
from atlas.guard.report import UNDECIDED, Certificate, Check, Report
from atlas.guard.tensors import fingerprint
from atlas.guard.weight_checks import Mismatch, mismatches, none_of

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
INSIDE = "base_model.model."  # where PEFT holds the model that it adapts
MATRIX = re.compile(r"(?P<path>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(\.weight)?")
MEND_NAMES = "mend the names in the file"
MEND = "this is not the adapter at work: load it by PeftModel.from_pretrained(base, folder), and verify again"
BESIDE_LORA = {  # further tensors of an adapter, and the key of its config that brings them
    "lora_magnitude_vector": "use_dora",
    "lora_B.bias": "lora_bias",
    "trainable_tokens_delta": "trainable_token_indices",
}
WRAPPERS = {"_orig_mod", "module", "_fsdp_wrapped_module", "base_model"}  # steps that are no model's own prefix


def _above_zero(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _modules(value: Any) -> bool:
    """Whether a value is a pattern, or names."""
    if isinstance(value, list):
        return all(isinstance(each, str) for each in value)
    return value is None or (isinstance(value, str) and _pattern(value))


def _names(value: Any) -> bool:
    return _modules(value) and not isinstance(value, str)


def _numbers(value: Any) -> bool:
    return (
        value is None or isinstance(value, int) or (isinstance(value, list) and all(isinstance(n, int) for n in value))
    )


def _patterns(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict) and all(_pattern(key) and _above_zero(number) for key, number in value.items())
    )


def _pattern(value: str) -> bool:
    try:
        return bool(re.compile(value))
    except re.error:
        return False


KEYS: Mapping[str, tuple[Callable[[Any], bool], str]] = {  # what is read of an adapter's config, and as what
    "r": (lambda value: _above_zero(value) and isinstance(value, int), "a whole number above 0"),
    "lora_alpha": (_above_zero, "a number above 0"),
    "base_model_name_or_path": (lambda value: isinstance(value, str | None), "a path or a name"),
    **dict.fromkeys(("target_modules", "exclude_modules"), (_modules, "names of modules, or a pattern")),
    **dict.fromkeys(("modules_to_save", "target_parameters"), (_names, "a list of names")),
    "layers_to_transform": (_numbers, "numbers of layers"),
    "layers_pattern": (_modules, "names, or a pattern"),
    **dict.fromkeys(("rank_pattern", "alpha_pattern"), (_patterns, "numbers above 0 by pattern")),
}
PLAIN = (True, False, None, "gaussian", "orthogonal", "eva")  # beginnings of LoRA that leave the base as it was
NO_BASE = "give the base (--base MODEL, base=): the adapter names {}, which is no folder here"


def is_adapter(path: Path) -> bool:
    """Whether a path is the folder of an adapter."""
    return (path / ADAPTER_CONFIG).is_file()


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter in a folder. AtlasError where its files are missing or damaged, or where it is no LoRA."""

    folder: Path

    @cached_property
    def config(self) -> Mapping[str, Any]:
        path = self.folder / ADAPTER_CONFIG
        found = read_json(path)
        if not isinstance(found, dict) or found.get("peft_type") != "LORA":
            kind = found.get("peft_type") if isinstance(found, dict) else None
            raise AtlasError(f"{path}: peft_type is {kind!r}, expected LORA; adapters of other kinds cannot be judged")
        wrong = [
            f"{key} is {found.get(key)!r}, expected {expected}"
            for key, (fits, expected) in KEYS.items()
            if not fits(found.get(key))
        ]
        if wrong:
            raise AtlasError(f"{path}: {', '.join(wrong)}; take the file of PEFT itself")
        return found

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """The file's tensors, by its names."""
        path = self.folder / ADAPTER_WEIGHTS
        if not path.is_file():
            raise AtlasError(f"{path}: no such file; save the adapter with PEFT's save_pretrained, as safetensors")
        return read_safetensors(path)

    @cached_property
    def pairs(self) -> dict[str, dict[str, Tensor]]:
        """A and B by the path of the module that they adapt."""
        found: dict[str, dict[str, Tensor]] = {}
        for name, tensor in self.tensors.items():
            if name.startswith(INSIDE) and (match := MATRIX.fullmatch(name.removeprefix(INSIDE))):
                found.setdefault(match["path"], {})[match["side"]] = tensor
        return found

    def rank(self, path: str) -> int:
        return int(_by_pattern(self.config.get("rank_pattern"), path, self.config["r"]))

    def scale(self, path: str) -> float:
        """What B A is multiplied by."""
        rank = self.rank(path)
        alpha = float(_by_pattern(self.config.get("alpha_pattern"), path, self.config["lora_alpha"]))
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def update(self, path: str, shape: Sequence[int]) -> Tensor | None:
        """What the adapter adds to a weight of a shape, in float32; None where it is no plain matrix."""
        pair = self.pairs.get(path, {})
        plain = self.config.get("init_lora_weights", True) in PLAIN and not self.config.get("use_dora")
        if not plain or pair.keys() != {"A", "B"} or any(side.ndim != 2 for side in pair.values()):
            return None
        added = self.scale(path) * (pair["B"].float() @ pair["A"].float())
        turned = self.config.get("fan_in_fan_out") or self._embeds(path)
        added = added.T if turned else added
        return added if list(added.shape) == list(shape) else None

    def saves(self, path: str) -> bool:
        """Whether a path is of a module that is saved whole."""
        whole = self.config.get("modules_to_save") or ()
        return any(re.match(rf"(^|.*\.){re.escape(each)}($|\..*)", path) for each in whole)

    def targets(self, path: str) -> bool:
        """Whether the config says that a module is adapted, by PEFT's rules."""
        config = self.config
        wanted, excluded = config.get("target_modules"), config.get("exclude_modules") or ()
        if _named(excluded, path) or self.saves(path) or not wanted:
            return False
        if isinstance(wanted, str):
            return wanted == "all-linear" or bool(re.fullmatch(wanted, path))
        if not _named(wanted, path):
            return False
        layers = config.get("layers_to_transform")
        if path in wanted or layers in (None, []):
            return True
        patterns = config.get("layers_pattern") or [r"[^.]*"]
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            if match := re.match(rf"(?:^|.*?\.){pattern}\.(?P<at>\d+)\.", path):
                return int(match["at"]) in ([layers] if isinstance(layers, int) else layers)
        return False

    def misfits(self, weights: Mapping[str, Tensor] | None) -> Iterator[Mismatch]:
        """What of the adapter does not fit its config, and its base, where that is at hand.

        Args:
            weights: the base's tensors by name, with the prefix that the adapter's paths have.
        """
        for name, tensor in self.tensors.items():
            if bad := int((~torch.isfinite(tensor)).sum()):
                yield Mismatch("finite", name, f"{bad} of {tensor.numel()} values are not finite")
            if problem := self._unexpected(name):
                yield Mismatch("names", name, problem)
            held = (weights or {}).get(name.removeprefix(INSIDE))
            if held is not None and self.saves(name.removeprefix(INSIDE)) and held.shape != tensor.shape:
                yield Mismatch("shapes", name, f"shape {list(tensor.shape)}, the base has {list(held.shape)}")
        if not self.config.get("target_parameters"):
            for path, pair in self.pairs.items():
                yield from self._shapes(path, pair, weights)
        yield from (Mismatch("names", name, f"missing, {why}") for name, why in self._missing(weights or {}))

    def _missing(self, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
        """Tensors that are not there, each with the reason why they should be."""
        for path, pair in self.pairs.items():
            for side in {"A", "B"} - pair.keys():
                yield f"{INSIDE}{path}.lora_{side}.weight", "its other half is there"
        for module in self.config.get("modules_to_save") or ():
            if not any(re.match(rf"(^|.*\.){re.escape(module)}\.", name) for name in self.tensors):
                yield module, "the adapter's config has it in modules_to_save"
        if self.config.get("target_modules") == "all-linear":
            return
        for name, weight in weights.items():
            path = name.removesuffix(".weight")
            if path != name and weight.ndim > 1 and path not in self.pairs and self.targets(path):
                yield f"{INSIDE}{path}.lora_A.weight", "target_modules has this module"

    def _unexpected(self, name: str) -> str:
        """Why a tensor has no place in the adapter that the config describes; empty where it has one."""
        path = name.removeprefix(INSIDE)
        if path == name:
            return NOT_INSIDE
        if match := MATRIX.fullmatch(path):
            its = self.targets(match["path"]) or self.config.get("target_parameters")
            return "" if its else "unexpected, target_modules of the adapter's config leaves its module out"
        beside = any(f".{part}" in path and self.config.get(key) for part, key in BESIDE_LORA.items())
        bias = path.endswith(".bias") and self.config.get("bias", "none") != "none"
        return (
            ""
            if beside or bias or self.saves(path) or path.endswith("base_layer.weight")
            else "unexpected, no part of such an adapter"
        )

    def _shapes(
        self, path: str, pair: Mapping[str, Tensor], weights: Mapping[str, Tensor] | None
    ) -> Iterator[Mismatch]:
        """A and B by their rank and by the weight that they adapt."""
        rank, base = self.rank(path), (weights or {}).get(f"{path}.weight")
        if weights is not None and base is None and path not in ("lm_head", "embed_out"):  # these may be tied
            yield Mismatch("names", f"{INSIDE}{path}.lora_A.weight", f"unexpected, the base has no {path}.weight")
        embedding = self._embeds(path)
        out, into = (None, None) if base is None else base.shape[:2]
        if self.config.get("fan_in_fan_out") or embedding:
            out, into = into, out
        for side, found in pair.items():
            wanted = [rank, into] if side == "A" else [out, rank]
            if any(size not in (None, have) for size, have in zip(wanted, found.shape[:2], strict=True)):
                expected = ", ".join("any" if size is None else str(size) for size in wanted)
                because = f"for rank {rank}" + (f" on {list(base.shape)}" if base is not None else "")
                name = f"{INSIDE}{path}.lora_" + (f"embedding_{side}" if embedding else f"{side}.weight")
                yield Mismatch("shapes", name, f"shape {list(found.shape)}, expected [{expected}] {because}")

    def _embeds(self, path: str) -> bool:
        """Whether a module is an embedding: PEFT's matrices are transposed there."""
        return any(name.startswith(f"{INSIDE}{path}.lora_embedding_") for name in self.tensors)

    def adds(self) -> Check:
        """No adapter is without effect, as it is before its training: a B or an A of zeros."""
        wrong = {
            f"{INSIDE}{path}.lora_{side}": f"all zero, so that nothing is added to {path}"
            for path, pair in self.pairs.items()
            for side, tensor in pair.items()
            if not bool(tensor.any())
        }
        return none_of("update", "every adapter adds something to its module", wrong)

    def based(self, base: Path) -> Check:
        """The base is the one that the adapter names: the same folder, name or tensors."""
        named = self.config.get("base_model_name_or_path")
        wrong = {}
        if not named:
            return none_of("base", f"{UNDECIDED}: the adapter names no base", {})
        beside = base / CONFIG
        config = read_json(beside) if beside.is_file() else {}
        said = str(config.get("_name_or_path") or "") if isinstance(config, dict) else ""
        last = str(named).rstrip("/").rpartition("/")[2].lower()
        cached = "models--" + str(named).replace("/", "--").lower()
        known = {base.name.lower(), said.rpartition("/")[2].lower()} | {part.lower() for part in base.absolute().parts}
        if Path(named).is_dir():
            if Path(named).resolve() != base.resolve() and not _alike(Path(named), base):
                wrong["base_model_name_or_path"] = f"{named}, whose tensors are others than those of {base}"
        elif last not in {base.name.lower(), said.rpartition("/")[2].lower()} and cached not in known:
            wrong["base_model_name_or_path"] = (
                f"{named!r}, given {base}{f', by its config {said!r}' if said else ''}: give the base that it names; "
                f"where this is the same one, write its path into {ADAPTER_CONFIG}"
            )
        return none_of("base", "the base is the one that the adapter names", wrong)


def _by_pattern(patterns: Mapping[str, Any] | None, path: str, default: Any) -> Any:
    """The value of the first pattern that a path ends with, as PEFT does."""
    return next((value for key, value in (patterns or {}).items() if re.match(rf"(.*\.)?({key})$", path)), default)


def _named(modules: str | Sequence[str], path: str) -> bool:
    if isinstance(modules, str):
        return bool(re.fullmatch(modules, path))
    return any(path == each or path.endswith(f".{each}") for each in modules)


def _alike(first: Path, second: Path) -> bool:
    return fingerprint(contents(first).tensors) == fingerprint(contents(second).tensors)


def _prefixed(weights: Mapping[str, Tensor], paths: Sequence[str]) -> dict[str, Tensor]:
    """A base's tensors under the names of the adapter's paths: a bare model's have no prefix, or one too many."""
    known = {name.removesuffix(".weight") for name in weights if name.endswith(".weight")}
    for path in paths:
        first, _, rest = path.partition(".")
        if rest in known and path not in known and first not in WRAPPERS:
            return {f"{first}.{name}": tensor for name, tensor in weights.items()}
        for name in known:
            if name.partition(".")[2] == path and path not in known:
                before = name.removesuffix(path)
                return {each.removeprefix(before): tensor for each, tensor in weights.items()}
    return dict(weights)


def merged(held: Mapping[str, Tensor], base: Mapping[str, Tensor], adapter: Adapter, times: Mapping[str, int]) -> Check:
    """How often an adapter is in the weights, by what they differ from their base.

    Args:
        held: the weights, by name.
        base: the base's, by the same names.
        adapter: what may be merged in.
        times: by module, how often it should be there.
    """
    wrong, unjudged = {}, []
    for path, expected in times.items():
        name = f"{path}.weight"
        if name not in held or name not in base or held[name].shape != base[name].shape:
            continue  # a check of its own
        added = adapter.update(path, base[name].shape)
        weight, before = held[name].detach().cpu().float(), base[name].float()
        coarse = max(torch.finfo(each.dtype).eps for each in (held[name], base[name]) if each.is_floating_point())
        rounding = max(coarse, 1e-6) * float(weight.norm())
        # rounding points nowhere: of an update it takes a share that falls with the root of how many numbers there are
        if added is None or rounding > 0.05 * float(added.norm()) * math.sqrt(added.numel()):
            unjudged.append(path)
            continue
        difference = weight - before
        found = float((difference * added).sum() / added.square().sum())
        if float((difference - round(found) * added).norm()) > rounding:
            wrong[name] = "is neither the base's nor the base's with this adapter in it"
        elif round(found) != expected:
            has = "without the adapter" if not round(found) else f"with the adapter in it {_times(round(found))}"
            wrong[name] = f"is the base's {has}, expected {_times(expected)}"
    sentence = "the adapter is in the weights as often as it should be"
    if unjudged and not wrong:
        why = "what the adapter adds is no plain matrix, began in the base, or is below rounding"
        sentence = f"{UNDECIDED} of {', '.join(sorted(unjudged))}: {why}"
    return none_of("merged", sentence, wrong)


def _times(many: int) -> str:
    return {0: "not at all", 1: "once", 2: "twice"}.get(many, f"{many} times")


def base_of(adapter: Adapter, given: Path | str | None) -> Path | None:
    """The folder or file of an adapter's base: the one given, or the one that it names, where that is here."""
    named = adapter.config.get("base_model_name_or_path")
    if given is not None and not Path(given).exists():
        raise AtlasError(f"{given}: no such file or folder; give the base that the adapter names, {named!r}")
    found = given if given is not None else named
    return Path(found) if found and Path(found).exists() else None


def inspect(folder: Path, given: Path | None) -> Report:
    """Verify an adapter's files, against its base where that is given or at hand, and say what could not be checked.

    Raises AtlasError where a file cannot be read, or it is no LoRA adapter.
    """
    adapter = Adapter(folder)
    base, named = base_of(adapter, given), adapter.config.get("base_model_name_or_path")
    weights = _prefixed(contents(base).tensors, [*adapter.pairs]) if base else None
    problems = list(adapter.misfits(weights))
    expected = adapter.tensors.keys() | {each.tensor for each in problems if each.problem.startswith("missing")}
    expected -= {each.tensor for each in problems if each.check == "names" and each.problem.startswith("unexpected")}
    checks = [*fit(problems, adapter.tensors, expected, mend=MEND_NAMES), adapter.adds()]
    missing = {"whether the adapter is loaded": "needs the model: atlas.verify(peft_model, folder)"}
    if base:
        checks.append(adapter.based(base))
        if named and Path(named).is_dir() and weights is not None and not checks[-1].passed:
            before = _prefixed(contents(Path(named)).tensors, [*adapter.pairs])
            often = merged(weights, before, adapter, dict.fromkeys(adapter.pairs, 0))
            checks += [often] if "in it" in often.detail else []  # else it is another base altogether
    else:
        missing["modules and shapes of the base"] = NO_BASE.format(repr(named))
    numbers = sum(tensor.numel() for tensor in adapter.tensors.values())
    words = f"LoRA adapter of {len(adapter.pairs)} modules, {len(adapter.tensors)} tensors of {numbers:,} numbers"
    return Report.of_checks(Certificate.of(checks, fingerprint(adapter.tensors)), folder, words, missing)


def verify(model: nn.Module, folder: Path, given: Path | str | None, trained: bool) -> list[Check]:
    """Check that a model in memory has an adapter at work: as a PeftModel, or merged into its weights.

    Raises AtlasError where a file cannot be read, or where a merged model comes without its base.
    """
    adapter = Adapter(folder)
    base = base_of(adapter, given)
    if base is not None:
        checkpoint_in(base)
    if layers(model):
        checks = _at_work(model, adapter, base)
    elif base is None:
        named = adapter.config.get("base_model_name_or_path")
        raise AtlasError(
            f"{folder}: the model holds no adapter of PEFT, so that this one must be merged in; "
            + NO_BASE.format(repr(named))
        )
    else:
        held = model.state_dict()
        checks = fit(list(adapter.misfits(held)), adapter.tensors, adapter.tensors)
        checks += _against_base(held, hosts(model), adapter, base, dict.fromkeys(adapter.pairs, 1), whole=True)
    if trained:
        checks.append(adapter.adds())
    if base is not None:
        checks.append(adapter.based(base))
    return checks


def layers(model: nn.Module) -> dict[str, Any]:
    """The layers of a model that PEFT has put LoRA into, by path."""
    if "peft" not in sys.modules:  # none was made, then
        return {}
    from peft.tuners.lora import LoraLayer

    return {path: module for path, module in model.named_modules() if isinstance(module, LoraLayer)}


def _at_work(model: Any, adapter: Adapter, base: Path | None) -> list[Check]:
    """The adapter in memory is the file's, active, scaled as its config says, on the base as it was."""
    from peft import PeftModel, get_peft_model_state_dict

    model = next((module for module in model.modules() if isinstance(module, PeftModel)), model)  # behind wrappers
    if "peft_config" not in dir(model):
        raise AtlasError(f"{adapter.folder}: the adapter is neither in a PeftModel nor was it loaded by transformers")
    adapted = layers(model)
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    before = INSIDE if inner is not model else ""
    states, problems = {}, {}
    for name in sorted({name for layer in adapted.values() for name in layer.scaling}):
        state = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
        states[name] = {key if before else INSIDE + key: tensor for key, tensor in state.items()}
        problems[name] = list(_differing(states[name], adapter))
    name = min(states, key=lambda each: (len(problems[each]), _others(states[each], adapter)))  # that of the file
    state, bare = states[name], _bare(inner)
    checks = fit(
        list(dict.fromkeys([*problems[name], *adapter.misfits(bare)])), adapter.tensors, state, mend=MEND_NAMES
    )
    if all(check.passed for check in checks):
        same = {key: tensor.to(state[key].dtype) for key, tensor in adapter.tensors.items() if key in state}
        checks.append(loaded(state, same))
    ours = {path.removeprefix(before): layer for path, layer in adapted.items() if name in layer.scaling}
    checks.append(_active(ours, name, adapter))
    times = {path: layer.merged_adapters.count(name) for path, layer in ours.items()}
    if base is not None:
        checks += _against_base(bare, hosts(inner), adapter, base, times, whole=False)
    else:
        named = adapter.config.get("base_model_name_or_path")
        checks.append(none_of("merged", f"{UNDECIDED}, nor the weights below: {NO_BASE.format(repr(named))}", {}))
    found = hosts(model)
    expected = configured.expectation(base or adapter.folder, found, ())
    return checks + configured.checks(model, found, expected, model.state_dict().keys(), {})


def _active(adapted: Mapping[str, Any], name: str, adapter: Adapter) -> Check:
    """An adapter acts in all its layers, alone, and as strongly as its config says."""
    wrong = {}
    for path, layer in adapted.items():
        at_work, wanted = name in layer.merged_adapters, adapter.scale(path)
        if not math.isclose(layer.scaling[name], wanted, rel_tol=1e-6):
            wrong[path] = f"scaled by {layer.scaling[name]:g}, by its config {wanted:g}"
        elif layer.disable_adapters and not at_work:
            wrong[path] = "the adapter is switched off"
        elif name not in layer.active_adapters and not at_work:
            wrong[path] = f"the adapter {name!r} is not active, only {', '.join(layer.active_adapters) or 'none'}"
        elif {*layer.merged_adapters} - {name}:
            wrong[path] = f"other adapters are merged in: {', '.join(layer.merged_adapters)}"
    return none_of("active", "the adapter acts everywhere, scaled as its config says", wrong)


def _others(state: Mapping[str, Tensor], adapter: Adapter) -> int:
    """How many tensors of an adapter in memory are not the file's."""
    both = state.keys() & adapter.tensors.keys()
    return sum(not torch.equal(state[key].cpu(), adapter.tensors[key].to(state[key].dtype)) for key in both)


def _differing(state: Mapping[str, Tensor], adapter: Adapter) -> Iterator[Mismatch]:
    """What of an adapter in memory is not in the file, and the other way round; PEFT may have cast it."""
    whole = {name for name in adapter.tensors if name.endswith("base_layer.weight")}  # an embedding, saved beside
    for each in mismatches({name: tensor for name, tensor in adapter.tensors.items() if name not in whole}, state):
        if each.check in ("names", "shapes"):
            yield each
    for name, tensor in state.items():
        if not bool(torch.isfinite(tensor).all()):
            yield Mismatch("finite", name, "values in memory are not finite")


def _bare(inner: nn.Module) -> dict[str, Tensor]:
    """The tensors of the model that adapters are on, without them, by the model's own names."""
    return {
        re.sub(r"(\.(token_adapter|base_layer|original_module))+\.", ".", key): tensor
        for key, tensor in inner.state_dict().items()
        if not any(part in key for part in (".lora_", ".modules_to_save.", ".trainable_tokens_"))
    }


def _against_base(
    held: Mapping[str, Tensor],
    found: Sequence[HubModel],
    adapter: Adapter,
    base: Path,
    times: Mapping[str, int],
    whole: bool,
) -> list[Check]:
    """The weights below an adapter are the base's, with the adapter in them as often as it should be.

    Args:
        held: the weights in memory by name, without what PEFT adds.
        found: the models of `transformers` that they are of.
        adapter, base: the two folders.
        times: by module, how often the adapter should be in its weight.
        whole: whether modules that the adapter saves whole are in the place of the base's.
    """
    host = found[0] if len(found) == 1 else None
    made = converted(contents(base).tensors, host, held.keys())
    problems = list(misfits(held, made, host.declared() if host else {}, True, ()))
    if problems:
        return [
            replace(check, name=f"base {check.name}") for check in fit(problems, made.tensors, held) if not check.passed
        ]
    its = {name.removeprefix(INSIDE).replace(".base_layer.", "."): tensor for name, tensor in adapter.tensors.items()}
    its = {name: tensor for name, tensor in its.items() if name.endswith(".bias") or (whole and adapter.saves(name))}
    merging = {f"{path}.weight" for path in times}
    merging |= {name for name in held if name.endswith(tuple(adapter.config.get("target_parameters") or ()))}
    if whole:  # rows of single tokens are in it, then
        tokens = (name.removeprefix(INSIDE) for name in adapter.tensors if "trainable_tokens_delta" in name)
        merging |= {f"{re.sub(r'[.](token_adapter[.])?trainable_tokens_delta', '', name)}.weight" for name in tokens}
    rest = {name: tensor for name, tensor in {**made.tensors, **its}.items() if name not in merging and name in held}
    same = {name: tensor.to(held[name].dtype) for name, tensor in rest.items()}
    return [replace(loaded(held, same), name="base loaded"), merged(held, made.tensors, adapter, times)]
