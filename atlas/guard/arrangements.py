"""Functional checks of any causal language model: on a little text, no other arrangement of its weights does better.

What ``atlas.guard.wiring`` asks of models that Atlas trains, asked of a model that is at hand as a module only. It is
taken apart by the names and the classes of its modules, those of `transformers`; what has no known name is tried as a
matrix all the same, by its shape. Converters make one mistake in every layer, so each arrangement within a layer is
tried in all layers at once as well: where all are wrong, mending a single one need not help.

An arrangement is refused on the same terms as there: tried on a first look at the text, held against other text where
it seems to gain anything, and refused where the gain over those tokens, pair by pair, is beyond a margin and beyond
chance.
"""

from __future__ import annotations

import inspect
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atlas.errors import AtlasError
from atlas.guard.foreign_configs import others, under
from atlas.guard.report import UNDECIDED, Check
from atlas.guard.tensors import is_norm
from atlas.guard.weight_checks import finite
from atlas.guard.wiring import (
    BEFORE_LAYERS,
    FACTORS,
    HEADS_AT_MOST,
    LAYERS_AT_MOST,
    MARGIN,
    SLACK,
    Gain,
    LayerModule,
    Move,
    TextSample,
    changed,
    gained,
    shifted,
    swapped,
    verdict,
)

FEWEST = 192  # tokens that a text must have
CONTEXT = 64  # tokens of a window at most
FIRST_LOOK, LEAST_LOOK = 512, 128  # tokens of the first look; of a large model fewer
SECOND_LOOK = 8  # times as many tokens at most
BATCH = 2048  # tokens that run at once
BUDGET = {"cpu": 4e12, "other": 4e14}  # tokens x parameters that first looks may take: a minute or two
LOOKS = 40  # first looks of a whole model that the budget should allow
UNLIKE = 4.0  # times as large as in other layers
PAIRED_HEADS = 4  # with more heads than this only neighbours are exchanged

ROLES = {
    **dict.fromkeys(("q_proj", "query", "q_lin", "wq"), "q"),
    **dict.fromkeys(("k_proj", "key", "k_lin", "wk"), "k"),
    **dict.fromkeys(("v_proj", "value", "v_lin", "wv"), "v"),
    **dict.fromkeys(("o_proj", "out_proj", "out_lin", "wo", "dense"), "o"),
    **dict.fromkeys(("fc1", "c_fc", "up_proj", "dense_h_to_4h", "lin1", "w3"), "up"),
    **dict.fromkeys(("gate_proj", "w1"), "gate"),
    **dict.fromkeys(("fc2", "down_proj", "dense_4h_to_h", "lin2", "w2"), "down"),
}
"""Role by the last name of a module, as libraries call it."""
SIDE_BY_SIDE = {"c_attn", "qkv_proj", "Wqkv"}  # queries, keys and values in one matrix, one after the other
BY_HEAD = {"query_key_value"}  # the three of each head together
POSITIONS = re.compile(r"wpe|(embed_positions|position_embeddings?)$")

SENTENCES = {
    "siblings": "no two modules of a layer do better in each other's place",
    "transposed": "no square matrix does better transposed",
    "rotary": "queries and keys do no better with their rows in another order of rotary positions",
    "heads": "no two attention heads do better in each other's place",
    "layers": "no two layers do better in each other's place, nor all of them one place on or back",
    "positions": "positions do no better one place on or back",
    "ends": "embedding and output head do no better in each other's place",
    "offset": "no norm's weight does better with one added or taken away",
    "sign": "no matrix does better with its sign reversed",
    "scale": "no weight does better at half or twice its size",
    "load": "no module does harm: silenced, the loss does not fall",
}
EVERYWHERE = ("siblings", "transposed", "rotary", "offset", "sign")  # kinds that are tried in all layers at once, too


@dataclass(frozen=True)
class Plan:
    """A causal language model taken apart. Tensors are the model's own, or views of them."""

    model: nn.Module
    path: str  # of the layers
    layers: Sequence[nn.Module]
    modules: Sequence[LayerModule]  # what is in no layer has the layer BEFORE_LAYERS, an output head len(layers)
    heads: Mapping[str, int]  # of q, k, v and o; empty where the config does not tell
    rotary: int  # dimensions of a head that turn with the position
    config: Any  # of `transformers`; None where there is none

    @property
    def size(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())


def functional(model: nn.Module, tokens: Tensor, before: Sequence[int] = (), margin: float = MARGIN) -> list[Check]:
    """Every functional check of a causal language model on a text.

    Args:
        model: takes token ids, int64 (windows, time), and gives logits, (windows, time, vocabulary), or an object that
            has them as ``logits``. Its weights are changed in place, and put back bit by bit whatever happens.
        tokens: the text, int64, (tokens,).
        before: what the model expects in front of every text, such as its token for a beginning.
        margin: nats a token that an arrangement may gain.
    """
    if len(tokens) < FEWEST:
        return [not_judged(f"the text has {len(tokens)} tokens, at least {FEWEST} are needed")]
    plan = plan_of(model)
    if not plan.size or any(parameter.is_meta for parameter in model.parameters()):
        return [not_judged("the model has no parameters, or some without values (device meta)")]
    device = next(model.parameters()).device
    budget = BUDGET["cpu" if device.type == "cpu" else "other"]
    first = int(min(FIRST_LOOK, max(LEAST_LOOK, budget / LOOKS / plan.size), len(tokens) // 3))
    with quiet(model):
        samples = windows(tokens.to(device), min(CONTEXT, _context(model) - len(before)), first, before)
        try:
            looks = [CausalProbe(plan, each) for each in samples]
        except Exception as error:  # whatever a model raises that takes something else
            reason = " ".join(str(error).split())[:200]
            raise AtlasError(
                f"{type(model).__name__}: gives no logits for tokens ({reason}); a text is for causal language models"
            ) from error
        shown = torch.cat([each.targets.flatten() for each in samples])
        single, pair = guesses(shown.tolist(), looks[1].symbols)[:, -samples[1].targets.numel() :].mean(1).tolist()
        loss = float(looks[1].losses().mean())
        found = [predicts(loss, single, looks[1].symbols)]
        if not math.isfinite(loss):
            return found
        margin += SLACK * max(0.0, loss - pair)
        chosen, left_out = affordable(plan, budget / first)
        for kind, sentence in SENTENCES.items():
            if moves := [move for move in chosen if move.kind == kind]:
                found.append(verdict(kind, sentence, gained(moves, *looks), margin))
        if gains := list(_under_other_configs(plan, samples, looks)):
            found.append(verdict("config", "the weights do no better under another config", gains, margin))
    return [*found, not_judged(left_out)] if left_out else found


def _under_other_configs(plan: Plan, samples: Sequence[TextSample], looks: Sequence[CausalProbe]) -> Iterator[Gain]:
    """What the same weights gain under other configs: by the first look, by the second where that is suspicious."""
    config = getattr(plan.model, "config", None)
    if not plan.heads or config is not plan.config:
        return
    for title, other in others(config):
        if (model := under(plan.model, other)) is not None:
            move, probed = Move("config", title, 0, (), (), tuple), replace(plan, model=model, layers=())
            for sample, look in zip(samples, looks, strict=True):
                gain = Gain.of(move, look.losses() - CausalProbe(probed, sample).losses())
                if not gain.mean > 0:
                    break
            yield gain


def not_judged(why: str) -> Check:
    """The check that stands where the wiring was not judged, or not all of it; it never fails."""
    return Check("wiring", True, None, MARGIN, f"{UNDECIDED}: {why}", needs="text")


def predicts(loss: float, limit: float, symbols: int) -> Check:
    """The model predicts a text better than the frequencies of its tokens do: weights that were never loaded, or belong
    to another vocabulary, do not."""
    nothing = f"a model that knows nothing has {math.log(symbols):.3g}"
    sentence = f"loss on the text, nats a token, against a guess by its tokens' frequencies; {nothing}"
    if not loss < limit:
        sentence = (
            f"the loss on the text is {loss:.4g} nats a token, no better than a guess by its tokens' frequencies "
            f"({limit:.4g}; {nothing}): not the model's weights, or another's tokenizer or text"
        )
    return Check("predicts", loss < limit, finite(loss), limit, sentence, needs="text")


def guesses(tokens: Sequence[int], symbols: int) -> Tensor:
    """What a guess at each token costs that knows how often each came before, and one that knows also what came behind
    which; nats, float64 (2, tokens).

    Witten and Bell, "The zero-frequency problem" (1991), method C: what has not been seen has as much probability
    together as there were kinds of tokens so far; behind a token it is shared out by the first guess.
    """
    counts: Counter[int] = Counter()
    behind: dict[int, Counter[int]] = defaultdict(Counter)
    costs = []
    for seen, token in enumerate(tokens):
        kinds, total = len(counts), seen + len(counts)
        unseen = (kinds / total if seen else 1.0) / max(symbols - kinds, 1)
        single = counts[token] / total if token in counts else unseen
        after = behind[tokens[seen - 1] if seen else -1]
        pair = (after[token] + len(after) * single) / (after.total() + len(after)) if after else single
        costs.append((-math.log(single), -math.log(pair)))
        counts[token] += 1
        after[token] += 1
    return torch.tensor(costs, dtype=torch.float64).T


def windows(tokens: Tensor, context: int, first: int, before: Sequence[int]) -> list[TextSample]:
    """Windows of a text, (tokens,), each with ``before`` in front: a first sample of about ``first`` tokens and another
    one ``SECOND_LOOK`` times as large, as far as the text goes, both from all of it evenly."""
    rows = tokens[: len(tokens) // context * context].view(-1, context)
    wanted = min(max(first // context, 1) * (1 + SECOND_LOOK), len(rows))
    rows = rows[torch.linspace(0, len(rows) - 1, wanted, device=rows.device).round().long()]
    front = torch.tensor(before, dtype=rows.dtype, device=rows.device).expand(len(rows), -1)
    rows, at = torch.cat([front, rows], 1), torch.arange(len(rows), device=rows.device)
    chosen = at % max(min(1 + SECOND_LOOK, len(rows) // max(first // context, 1)), 2) == 0
    return [TextSample(some[:, :-1], some[:, 1:]) for some in (rows[chosen], rows[~chosen])]


class CausalProbe:
    """Losses of one model on one text, computed anew only from the layer that changed on, as a ``LossProbe`` does.

    What comes before that layer is left out: each layer before gives at once what it gave to the unchanged model. Where
    that does not give the same losses (layers that hand something on by another way), all is computed anew.
    """

    def __init__(self, plan: Plan, sample: TextSample) -> None:
        self.plan, self.symbols = plan, 0
        rows = max(BATCH // sample.inputs.shape[1], 1)
        ends = list(range(rows, len(sample.inputs), rows))
        batches = (torch.tensor_split(each, ends) for each in (sample.inputs, sample.targets))
        self._batches = list(zip(*batches, strict=True))
        takes = inspect.signature(plan.model.forward).parameters
        self._how = {"use_cache": False} if "use_cache" in takes else {}
        self._given: list[list[Any]] = []  # by batch what each layer gave
        clean = []
        for inputs, targets in self._batches:
            given: list[Any] = []
            hooks = [
                layer.register_forward_hook(lambda _m, _i, out, given=given: given.append(out)) for layer in plan.layers
            ]
            try:
                clean.append(self._run(inputs, targets))
            finally:
                for hook in hooks:
                    hook.remove()
            self._given.append(given)
        self._clean = torch.cat(clean)
        self._partly = all(len(given) == len(plan.layers) for given in self._given)
        self._partly = self._partly and torch.equal(self._losses(len(plan.layers)), self._clean)

    def losses(self, layer: int | None = None) -> Tensor:
        """Nats a token by window, float32, (windows,), given that nothing before ``layer`` has changed; None: nothing.

        Gains are compared window by window, since tokens beside each other gain or lose together.
        """
        return self._clean if layer is None else self._losses(layer if self._partly else BEFORE_LAYERS)

    def _losses(self, layer: int) -> Tensor:
        found = []
        for (inputs, targets), given in zip(self._batches, self._given, strict=True):
            with _giving(self.plan.layers[: max(layer, 0)], given):
                found.append(self._run(inputs, targets))
        return torch.cat(found)

    @torch.no_grad()
    def _run(self, inputs: Tensor, targets: Tensor) -> Tensor:
        made = self.plan.model(inputs, **self._how)
        logits = made if isinstance(made, Tensor) else made.logits
        if logits.shape[:-1] != inputs.shape:
            raise ValueError(f"logits of shape {list(logits.shape)}, expected {[*inputs.shape, 'vocabulary']}")
        self.symbols = logits.shape[-1]
        return F.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none").mean(1)


@contextmanager
def _giving(layers: Sequence[nn.Module], outputs: Sequence[Any]) -> Iterator[None]:
    """Layers that give an output without computing it, within a block."""
    before = [layer.__dict__.get("forward") for layer in layers]
    try:
        for layer, output in zip(layers, outputs, strict=False):
            layer.__dict__["forward"] = lambda *_, output=output, **__: output
        yield
    finally:
        for layer, was in zip(layers, before, strict=True):
            if was is None:
                layer.__dict__.pop("forward", None)
            else:
                layer.__dict__["forward"] = was


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """A model without dropout within a block; afterwards every module is in the mode that it was in."""
    were = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, was in were:
            module.training = was


def _context(model: nn.Module) -> int:
    """How many tokens a model takes at a time, as far as its config says."""
    found = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 1 else CONTEXT


def plan_of(model: nn.Module) -> Plan:
    """Take a model apart. Its layers are the list of modules that holds most of its parameters."""
    lists = {path: module for path, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    path = max(lists, key=lambda each: sum(p.numel() for p in lists[each].parameters()), default="")
    layers = list(lists[path]) if path else []
    config: Any = getattr(model, "config", None)
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    count = getattr(config, "num_attention_heads", None)
    heads: dict[str, int] = {}
    if isinstance(count, int):
        fewer = getattr(config, "num_key_value_heads", None) or count
        heads = {"q": count, "k": fewer, "v": fewer, "o": count}
    frequencies = [buffer for name, buffer in model.named_buffers() if name.endswith("inv_freq")]
    asked: Any = model  # of `transformers`, perhaps
    head = asked.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    modules: list[LayerModule] = []
    seen = set()
    for name, module in model.named_modules():
        for own, values in module.named_parameters(recurse=False):
            if id(values) in seen or not values.is_floating_point() or own == "bias":
                continue
            seen.add(id(values))
            layer, title = BEFORE_LAYERS, f"{name}.{own}"
            if path and (inside := re.match(rf"{re.escape(path)}\.(\d+)\.", title)):
                layer = int(inside[1])
            elif module is head:
                layer = len(layers)
            bias = module._parameters.get("bias") if own == "weight" else None
            modules += _parts(module, title, values.detach(), None if bias is None else bias.detach(), layer, heads)
    return Plan(model, path, layers, modules, heads, 2 * len(frequencies[0]) if frequencies else 0, config)


def _parts(
    module: nn.Module, title: str, weight: Tensor, bias: Tensor | None, layer: int, heads: Mapping[str, int]
) -> Iterator[LayerModule]:
    """A parameter as one module, or where several roles share it as one each; matrices as (out, in)."""
    *_, last, own = ("", *title.replace(".base_layer.", ".").split("."))  # PEFT wraps layers under this name
    if is_norm(module):
        yield LayerModule(layer, "norm", title, weight, bias)
        return
    if weight.ndim < 2:
        return
    weight = weight.T if type(module).__name__ == "Conv1D" else weight
    name = last if own == "weight" else own
    if isinstance(module, nn.Embedding):
        yield LayerModule(layer, "positions" if POSITIONS.search(last) else "embedding", title, weight)
        return
    if name == "gate_up_proj":
        halves = weight.chunk(2, -2)
        yield from (
            LayerModule(layer, role, f"{title}[{role}]", half)
            for role, half in zip(("gate", "up"), halves, strict=True)
        )
        return
    if (name in SIDE_BY_SIDE | BY_HEAD) and heads and weight.ndim == 2:
        shares = [heads[role] for role in "qkv"]
        if len(weight) % sum(shares) == 0 and (name in SIDE_BY_SIDE or len(set(shares)) == 1):
            size = len(weight) // sum(shares)
            ends = [shares[0] * size, (shares[0] + shares[1]) * size]
            pieces = [
                [part.view(-1, 3, size, *part.shape[1:])[:, at] for at in range(3)]
                if name in BY_HEAD
                else torch.tensor_split(part, ends)
                for part in (weight, bias)
                if part is not None
            ]
            for role, *tensors in zip("qkv", *pieces, strict=True):
                yield LayerModule(layer, role, f"{title}[{role}]", *tensors)
            return
    role = ROLES.get(name, "o" if name == "c_proj" and "attn" in title else "down" if name == "c_proj" else "")
    yield LayerModule(layer, role, title, weight, bias)


def affordable(plan: Plan, budget: float) -> tuple[list[Move], str]:
    """The moves that a budget allows, in parameters that are computed with, and in words what it does not allow."""
    inside: dict[int, list[LayerModule]] = defaultdict(list)
    for module in plan.modules:
        inside[module.layer].append(module)
    single = {layer: list(_within(plan, inside[layer])) for layer in inside}
    numbers = [layer for layer in single if 0 <= layer < len(plan.layers)]
    chosen = [*_everywhere(plan, [single[layer] for layer in numbers]), *_outside(plan)]
    chosen += [move for layer in single if layer not in numbers for move in single[layer]]
    chosen += _of_other_size([module for layer in numbers for module in inside[layer]])
    chosen += _rows_of_layers([inside[layer] for layer in numbers])
    spent = sum(_cost(plan, move) for move in chosen)
    order = [*dict.fromkeys([*numbers[-1:], *numbers[:1], *numbers[len(numbers) // 2 :], *numbers])]
    tried: list[int] = []
    for layer in order:
        cost = sum(_cost(plan, move) for move in single[layer])
        if tried and spent + cost > budget:
            break
        spent += cost
        tried.append(layer)
        chosen += single[layer]
    if len(tried) == len(order):
        return chosen, ""
    which = ", ".join(map(str, sorted(tried)))
    single_ones = f"{len(order) - len(tried)} of {len(order)} layers one by one, for the time that it takes"
    return chosen, f"{single_ones}; all layers at once were, and layers {which}"


def _cost(plan: Plan, move: Move) -> float:
    """Parameters that a look at a move computes with."""
    return plan.size * (1 - max(move.layer, 0) / (len(plan.layers) + 1))


def _everywhere(plan: Plan, layers: Sequence[Sequence[Move]]) -> Iterator[Move]:
    """Moves within a layer made in all layers at once."""
    alike: dict[str, list[Move]] = defaultdict(list)
    for moves in layers:
        for move in moves:
            if move.kind in EVERYWHERE:
                alike[move.name.replace(f"{plan.path}.{move.layer}.", f"{plan.path}.*.")].append(move)
    for title, moves in alike.items():
        if len(moves) == len(layers) > 1:
            yield joined(moves, title)


def joined(moves: Sequence[Move], title: str) -> Move:
    """Several moves of different tensors as one."""
    tensors = tuple(tensor for move in moves for tensor in move.tensors)
    targets = tuple(target for move in moves for target in move.targets)
    layer = min(move.layer for move in moves)
    return Move(
        moves[0].kind, title, layer, tensors, targets, lambda: tuple(value for move in moves for value in move.values())
    )


def _outside(plan: Plan) -> Iterator[Move]:
    """Moves of what is in no layer, and of all norms together."""
    norms = [module for module in plan.modules if module.role == "norm"]
    for by in (1.0, -1.0):
        if len(norms) > 1:
            yield joined([_offset(norm, by) for norm in norms], f"all norms {by:+g}")
    outer = {module.role or "head": module for module in plan.modules if not 0 <= module.layer < len(plan.layers)}
    if "positions" in outer:
        yield from shifted(outer["positions"])
    if "embedding" in outer and "head" in outer and outer["embedding"].weight.shape == outer["head"].weight.shape:
        first, second = outer["embedding"], outer["head"]
        yield replace(swapped("ends", f"{first.name} and {second.name}", [first], [second]), layer=BEFORE_LAYERS)


def _of_other_size(modules: Sequence[LayerModule]) -> Iterator[Move]:
    """Matrices of quite another size than those of their role in other layers, made as large as these."""
    sizes: dict[str, list[tuple[float, LayerModule]]] = defaultdict(list)
    for module in modules:
        if module.role not in ("norm", ""):
            sizes[module.role].append((float(module.weight.double().square().mean().sqrt()), module))
    for alike in sizes.values():
        usual = sorted(size for size, _ in alike)[(len(alike) - 1) // 2]
        for size, module in alike:
            if usual and math.isfinite(size) and not 1 / UNLIKE < size / usual < UNLIKE:
                factor = usual / max(size, torch.finfo(torch.float64).tiny)
                title = f"{module.name} x {factor:.3g}, as large as in other layers"
                yield changed("scale", title, module, partial(torch.mul, other=factor))


def _rows_of_layers(layers: Sequence[Sequence[LayerModule]]) -> Iterator[Move]:
    """Layers in each other's place: neighbours, in a model of few layers all pairs, and all of them one on or back."""
    alike = [layer for layer in layers if [m.weight.shape for m in layer] == [m.weight.shape for m in layers[0]]]
    if len(alike) < 2:
        return
    for first, second in combinations(range(len(alike)), 2):
        if second == first + 1 or len(alike) <= LAYERS_AT_MOST:
            a, b = alike[first], alike[second]
            yield swapped("layers", f"layers {a[0].layer} and {b[0].layer}", a, b)
    if len(alike) > 2:
        for by, which in ((1, "on"), (-1, "back")):
            yield _rotated(alike, by, f"all layers one place {which}")


def _rotated(layers: Sequence[Sequence[LayerModule]], by: int, title: str) -> Move:
    targets = [[tensor for module in layer for tensor in module.tensors] for layer in layers]
    sources = [targets[(at - by) % len(targets)] for at in range(len(targets))]
    names = tuple(module.name for layer in layers for module in layer)
    return Move(
        "layers",
        title,
        layers[0][0].layer,
        names,
        tuple(tensor for layer in targets for tensor in layer),
        lambda: tuple(tensor.clone() for layer in sources for tensor in layer),
    )


def _within(plan: Plan, inside: Sequence[LayerModule]) -> Iterator[Move]:
    """Moves within a layer, or of one module that is in none."""
    for first, second in combinations(inside, 2):
        yield from _exchanged(first, second)
    for module in inside:
        yield from _alone(plan, module)
    by_role = {module.role: module for module in inside}
    if not (plan.rotary > 2 and plan.heads and {"q", "k"} <= by_role.keys()):
        return
    both = [by_role["q"], by_role["k"]]
    if len(sizes := {_flat(module)[0] // plan.heads[module.role] for module in both}) == 1:
        for title, order in _rotary_orders(sizes.pop(), plan.rotary):
            turned = [
                changed(
                    "rotary", f"{m.name} {title}", m, partial(_turned, count=plan.heads[m.role], order=order), bias=True
                )
                for m in both
            ]
            yield from (*turned, joined(turned, " and ".join(move.name for move in turned)))


def _flat(module: LayerModule) -> tuple[int, int]:
    """Outputs and inputs of a matrix."""
    weight = module.weight
    return weight.numel() // weight.shape[-1], weight.shape[-1]


def _exchanged(first: LayerModule, second: LayerModule) -> Iterator[Move]:
    """Two modules beside each other, in each other's place."""
    beside = (
        first.name.rsplit(".", 2)[0] == second.name.rsplit(".", 2)[0]
        or first.name.partition("[")[0] == second.name.partition("[")[0]
    )
    norms = {first.role, second.role} & {"norm"}
    title = f"{first.name} and {second.name}"
    if (first.bias is None) != (second.bias is None):
        first, second = replace(first, bias=None), replace(second, bias=None)
    if not beside or (norms and first.role != second.role):
        return
    if first.weight.numel() == second.weight.numel() and _flat(first) == _flat(second):
        yield swapped("siblings", title, [first], [second])
    elif _flat(first) == _flat(second)[::-1] and first.weight.ndim == second.weight.ndim == 2:
        a, b = first.weight, second.weight
        yield Move(
            "siblings",
            f"{title}, transposed",
            first.layer,
            (first.name, second.name),
            (a, b),
            lambda: (b.T.clone(), a.T.clone()),
        )


def _alone(plan: Plan, module: LayerModule) -> Iterator[Move]:
    """What may be wrong with one module: its sign, its size, a norm's convention, the order of its heads, itself."""
    inside = (
        0 <= module.layer < len(plan.layers)
    )  # what is outside makes logits larger or smaller: honest models differ
    if module.role == "norm":
        yield from (_offset(module, by) for by in (1.0, -1.0) if inside)
    elif module.role != "positions":
        yield changed("sign", f"{module.name} reversed", module, torch.neg)
    if inside and module.role in ("q", "v", "down", "norm", ""):  # k, o, gate and up scale along with these
        for factor in FACTORS:
            yield changed("scale", f"{module.name} x {factor:g}", module, partial(torch.mul, other=factor))
    if module.role in ("q", "o", "down"):  # attention is even, attention is off, the feed-forward is off
        yield changed("load", module.name, module, torch.zeros_like, bias=True)
    out, into = _flat(module)
    if out == into and module.role in ("q", "k", "v", "o"):
        yield changed(
            "transposed", module.name, module, lambda weight: weight.reshape(out, into).T.reshape(weight.shape).clone()
        )
    count = plan.heads.get(module.role, 1)
    if count > 1 and (into if module.role == "o" else out) % count == 0:
        yield from _of_heads(module, count)


def _of_heads(module: LayerModule, count: int) -> Iterator[Move]:
    """Heads in each other's place, one place on or back, and silenced one by one."""
    orders = {}
    for a, b in combinations(range(count), 2):
        if count <= PAIRED_HEADS or b == a + 1:
            orders[f"heads {a} and {b}"] = [{a: b, b: a}.get(head, head) for head in range(count)]
    for by, which in ((1, "on"), (-1, "back")):
        orders[f"heads one place {which}"] = [(head - by) % count for head in range(count)]
    for title, order in orders.items():
        yield _by_head("heads", f"{module.name}, {title}", module, count, partial(_ordered, order=order))
    if module.role in ("q", "k", "v") and count <= HEADS_AT_MOST:
        for head in range(count):
            mask = torch.arange(count) != head
            yield _by_head("load", f"{module.name}, head {head}", module, count, partial(_kept, mask=mask))


def _ordered(heads: Tensor, order: list[int]) -> Tensor:
    return heads[order]


def _kept(heads: Tensor, mask: Tensor) -> Tensor:
    return heads * mask.to(heads)[:, None]


def _by_head(kind: str, title: str, module: LayerModule, count: int, change: Callable[[Tensor], Tensor]) -> Move:
    """A change of a matrix cut into heads, (heads, numbers): its outputs, or the inputs of what reads all heads."""
    across = module.role == "o"

    def done(tensor: Tensor) -> Tensor:
        cut = tensor.reshape(len(tensor), count, -1).transpose(0, 1) if across else tensor
        new = change(cut.reshape(count, -1)).reshape(cut.shape)
        return (new.transpose(0, 1) if across else new).reshape(tensor.shape)

    return changed(kind, title, module, done, bias=not across)


def _offset(norm: LayerModule, by: float) -> Move:
    return changed("offset", f"{norm.name} {by:+g}", norm, lambda weight: weight + by)


def _turned(tensor: Tensor, count: int, order: Tensor) -> Tensor:
    """Rows of every head in another order: of a weight, or a bias."""
    return tensor.reshape(count, len(order), -1)[:, order].reshape(tensor.shape)


def _rotary_orders(size: int, rotary: int) -> Iterator[tuple[str, Tensor]]:
    """The orders that libraries hold the rows of a head in, one made of the other: the two numbers that turn together
    beside each other, or half of the rotary dimensions apart."""
    halves = torch.arange(rotary).view(2, -1)
    for title, first in (("interleaved", halves.T), ("in halves", torch.arange(rotary).view(-1, 2).T)):
        yield title, torch.cat([first.flatten(), torch.arange(rotary, size)])
