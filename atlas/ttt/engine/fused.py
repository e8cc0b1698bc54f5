"""A training pass of the small model by hand: forward, loss and backward, as the plain model and autograd compute them.

All that a pass is for is known before it: what each token counts in the loss, and which weights train. So linear layers
that read the same input are one product, what the way back needs is kept and nothing else, and a batch goes through in
parts that a processor's caches hold. The plain model is the oracle of this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atlas.base.attention import Packed, View
from atlas.base.model import POSITION_OFFSET, Layer, Transformer
from atlas.study.jobs import Precision
from atlas.ttt.engine.lanes import LaneLinear, Lanes, Pull
from atlas.ttt.engine.lines import IGNORED, Batch
from atlas.ttt.engine.products import FrozenLinear, FrozenProduct

MERGED = 500  # tokens of a lane alone from which on it pays to add its adapters to the weights
CACHED, RESIDENT = 700, 1 << 18  # tokens at which a part of a batch is large enough, on a processor and on a GPU


class FusedModel:
    """The small model, with adapters at some of its linear layers, ready for training passes."""

    def __init__(self, model: Transformer) -> None:
        self.decoder = model.model.decoder
        self.layers: list[FusedLayer] = []
        for layer in cast("Iterable[Layer]", self.decoder.layers):
            self.layers.append(FusedLayer(layer, below=any(made.trains for made in self.layers)))

    @torch.no_grad()
    def descend(self, lines: Batch, counts: Tensor, pull: Pull | None = None) -> tuple[Tensor, Tensor]:
        """One pass; see ``atlas.ttt.engine.lanes.LaneModel.descend``."""
        found = [
            self._descend(part, lines, counts[part.targets], pull and pull.part(part.of, part.targets.start))
            for part in parts_of(lines)
        ]
        nll, logits = (torch.cat(some) for some in zip(*found, strict=True))
        return nll, logits

    def _descend(self, part: Part, lines: Batch, counts: Tensor, pull: Pull | None) -> tuple[Tensor, Tensor]:
        embeddings, targets = self.decoder.embed_tokens.weight, lines.targets[part.targets]
        x = F.embedding(lines.tokens[part.tokens], embeddings)
        x += F.embedding(lines.positions[part.tokens] + POSITION_OFFSET, self.decoder.embed_positions.weight)
        views = [part.packed.all] * (len(self.layers) - 1) + [part.packed.asked]
        passes = [LayerPass(layer, part, view) for layer, view in zip(self.layers, views, strict=True)]
        for each in passes:
            x = each.forward(x)
        norm = NormPass(self.decoder.final_layer_norm)
        logits = F.linear(norm.forward(x), embeddings)
        chances, real = torch.log_softmax(logits, dim=-1), targets != IGNORED
        counts, places = counts * real, part.outputs * logits.shape[1] + targets.clamp(min=0)
        nll = chances.view(-1).index_select(0, places).neg_().mul_(real)
        # of the loss by the logits: what a row counts, times its softmax, less what each target or distribution counts
        grad = chances.exp_().mul_(counts.new_zeros(len(logits)).index_add_(0, part.outputs, counts)[:, None])
        if pull:
            drawn = pull.chances * counts.index_select(0, pull.places)[:, None]
            grad.index_add_(0, part.outputs.index_select(0, pull.places), drawn, alpha=-1)
            counts = counts.index_fill(0, pull.places, 0)
        grad.view(-1).index_add_(0, places, -counts)
        back: Tensor | None = norm.backward(grad @ embeddings)
        while back is not None:
            back = passes.pop().backward(back)
        return nll, logits.index_select(0, part.outputs)


@dataclass(frozen=True)
class Part:
    """Some lanes of a batch.

    Attributes:
        of: which lanes; ``tokens`` and ``targets`` say where theirs are in the batch.
        outputs: int64, (targets,): the row of the output that each target is predicted by.
        merges: whether adapters are added to the weights.
    """

    of: slice
    tokens: slice
    targets: slice
    outputs: Tensor
    lanes: Lanes
    packed: Packed
    merges: bool


def parts_of(lines: Batch) -> Iterator[Part]:
    """Cut a batch between lanes into parts that are as large as pays."""
    sizes, asked, first = lines.lanes, lines.asked, 0
    enough = CACHED if lines.tokens.device.type == "cpu" else RESIDENT
    for last in range(1, len(sizes) + 1):
        count = sum(sizes[first:last])
        if count < enough and last < len(sizes):
            continue
        of = slice(first, last)
        tokens, ours, targets = (slice(sum(some[:first]), sum(some[:last])) for some in (sizes, asked, lines.predicted))
        packed = lines.packed if count == sum(sizes) else lines.packed.part(tokens, ours)
        outputs = lines.outputs[targets] - ours.start
        if count:
            lanes = Lanes(sizes[of], asked[of])
            yield Part(of, tokens, targets, outputs, lanes, packed, last - first == 1 and count >= MERGED)
        first = last


class FusedLayer:
    """One decoder layer, and how far down gradients go on in it.

    Attributes:
        below: whether any layer below it trains; then they go on to its input.
        attends, mixes, feeds, trains: whether anything trains below its output projection, its up projection, its down
            projection; at all.
        scores: whether anything trains that decides where attention looks.
    """

    def __init__(self, layer: Layer, below: bool) -> None:
        attention = layer.self_attn
        q, k, v = attention.q_proj, attention.k_proj, attention.v_proj
        self.heads, self.below = attention.heads, below
        self.first_norm, self.second_norm = layer.self_attn_layer_norm, layer.final_layer_norm
        self.qkv, self.q, self.kv = Linears(q, k, v), Linears(q), Linears(k, v)
        self.out, self.up, self.down = Linears(attention.out_proj), Linears(layer.fc1), Linears(layer.fc2)
        self.attends = below or bool(self.qkv.adapted)
        self.mixes = self.attends or bool(self.out.adapted)
        self.feeds = self.mixes or bool(self.up.adapted)
        self.trains = self.feeds or bool(self.down.adapted)
        self.scores = below or any(isinstance(linear, LaneLinear) for linear in (q, k))


class LayerPass:
    """One pass of a part of a batch through a layer, out of which the tokens of ``view`` come."""

    def __init__(self, layer: FusedLayer, part: Part, view: View) -> None:
        self.layer, self.view = layer, view
        self.first_norm, self.second_norm = NormPass(layer.first_norm), NormPass(layer.second_norm)
        self.attention = AttentionPass(layer, part, view)
        self.out, self.up, self.down = (LinearPass(each, part) for each in (layer.out, layer.up, layer.down))

    def forward(self, x: Tensor) -> Tensor:
        """x (tokens, width); gives (those of the view, width)."""
        own = x if self.view.rows is None else x.index_select(0, self.view.rows)
        own = self.out.forward(self.attention.forward(self.first_norm.forward(x)), onto=own)
        self.wide = self.up.forward(self.second_norm.forward(own), relu=True)
        return self.down.forward(self.wide, onto=own)

    def backward(self, grad: Tensor) -> Tensor | None:
        """The gradient of x from that of the output, which is changed; None where nothing below trains."""
        layer, rows = self.layer, self.view.rows
        if (back := self.down.backward(grad, layer.feeds)) is None:
            return None
        torch.ops.aten.threshold_backward.grad_input(back, self.wide, 0, grad_input=back)
        if (back := self.up.backward(back, layer.mixes)) is None:
            return None
        grad.add_(self.second_norm.backward(back))
        if (back := self.out.backward(grad, layer.attends)) is None:
            return None
        if (back := self.attention.backward(back)) is None:
            return None
        back = self.first_norm.backward(back)
        return back.add_(grad) if rows is None else back.index_add_(0, rows, grad)


class AttentionPass:
    """Attention up to its output projection: of the tokens of ``view``, to their lines."""

    def __init__(self, layer: FusedLayer, part: Part, view: View) -> None:
        self.layer, self.view, self.lines = layer, view, part.packed.lines
        whole = part.packed.all.grid
        linears = [(layer.qkv, whole)] if view.rows is None else [(layer.q, view.grid), (layer.kv, whole)]
        self.linears = [(LinearPass(some, part), grid) for some, grid in linears]

    def forward(self, x: Tensor) -> Tensor:
        """x (tokens, width); gives (those of the view, width)."""
        inputs = [x] if self.view.rows is None else [x.index_select(0, self.view.rows), x]
        heads, size = self.layer.heads, x.shape[1] // self.layer.heads
        self.gridded = []  # queries, keys and values: (matrices, lines * heads, time, size)
        for (linears, grid), rows in zip(self.linears, inputs, strict=True):
            made = linears.forward(rows)
            matrices = made.shape[1] // x.shape[1]
            cells, _ = grid.by_heads(heads, matrices)
            self.gridded.append(made.view(-1, size).index_select(0, cells).view(matrices, -1, grid.time, size))
        query, key, value = (matrix for some in self.gridded for matrix in some)
        mask = self.view.mask(heads, self.lines).to(x.dtype)
        self.weights = torch.baddbmm(mask, query, key.transpose(1, 2), alpha=size**-0.5).softmax(-1)
        return self.view.grid.taken(torch.bmm(self.weights, value)[None], heads)

    def backward(self, grad: Tensor) -> Tensor | None:
        """The gradient of x, (tokens, width), from that of the output; None where nothing below trains."""
        query, key, value = (matrix for some in self.gridded for matrix in some)
        mixed, size = torch.zeros_like(query), query.shape[2]
        mixed.view(-1, size).index_copy_(0, self.view.grid.by_heads(self.layer.heads)[1], grad.view(-1, size))
        grads = [torch.empty_like(some) for some in self.gridded]
        of_query, of_key, of_value = (matrix for some in grads for matrix in some)
        torch.bmm(self.weights.transpose(1, 2), mixed, out=of_value)
        if self.layer.scores:  # otherwise nobody reads these
            scores = torch.bmm(mixed, value.transpose(1, 2))
            torch._softmax_backward_data(scores, self.weights, -1, scores.dtype, grad_input=scores)
            scores.mul_(size**-0.5)
            torch.bmm(scores, key, out=of_query)
            torch.bmm(scores.transpose(1, 2), query, out=of_key)
        of_x, *of_all = (
            linears.backward(grid.added(some, self.layer.heads), self.layer.below)
            for (linears, grid), some in zip(self.linears, grads, strict=True)
        )
        if self.view.rows is None or of_x is None:
            return of_x
        return cast("Tensor", of_all[0]).index_add_(0, self.view.rows, of_x)


class Linears:
    """Linear layers that read the same input: as one product, beside which some of them have adapters.

    ``adapted`` has those, each with the columns of the output that are its own.
    """

    def __init__(self, *layers: nn.Module) -> None:
        bases = [cast("nn.Linear", layer.base if isinstance(layer, LaneLinear) else layer) for layer in layers]
        weight, bias = (torch.cat([getattr(base, name) for base in bases]) for name in ("weight", "bias"))
        precision: Precision = "bfloat16" if isinstance(bases[0], FrozenLinear) else "float32"
        self.product = FrozenProduct(weight, bias, precision, packs=True)
        ends = accumulate(base.out_features for base in bases)
        self.adapted = [
            (layer, slice(end - base.out_features, end))
            for layer, base, end in zip(layers, bases, ends, strict=True)
            if isinstance(layer, LaneLinear)
        ]


class LinearPass:
    """One pass of a part of a batch through linear layers that read the same input, and their adapters."""

    def __init__(self, linears: Linears, part: Part) -> None:
        self.product, self.lanes = linears.product, part.lanes
        self.adapters, self.low = [], list[Tensor]()  # low: what their first matrices give
        for layer, columns in linears.adapted:
            assert layer.trained is not None
            a, b, *grads = (tensor[part.of] for tensor in (*layer.trained.parts, *layer.trained.grads))
            self.adapters.append((columns, layer.scale, a, b, grads))
        self.merged = part.merges and not self.product.reduced and bool(self.adapters)
        if self.merged:
            weight = self.product.weight.clone()
            for columns, scale, a, b, _ in self.adapters:
                weight[columns].addmm_(b[0].T, a[0].T, alpha=scale)
            self.product = FrozenProduct(weight, self.product.bias, "float32", packs=True)

    def forward(self, x: Tensor, onto: Tensor | None = None, relu: bool = False) -> Tensor:
        """x (tokens, in); gives (tokens, out). ``onto`` is added to it; with ``relu``, what is negative becomes 0."""
        if self.adapters:
            self.x, self.low = x, [self.lanes.product(x, a) for _, _, a, _, _ in self.adapters]
        if self.merged or not self.adapters:
            return self.product.forward(x, onto, relu)
        out = self.product.forward(x)
        for (columns, scale, _, b, _), low in zip(self.adapters, self.low, strict=True):
            self.lanes.add(out[:, columns], low, b, scale)
        out = out if onto is None else out.add_(onto)
        return out.relu_() if relu else out

    def backward(self, grad: Tensor, goes_on: bool) -> Tensor | None:
        """Add up the adapters' gradients; where it ``goes_on``, the gradient of x from that of the output."""
        inner = []  # gradients of ``low``
        for (columns, scale, _, b, (of_a, of_b)), low in zip(self.adapters, self.low, strict=True):
            ours = grad[:, columns]
            inner.append(self.lanes.product(ours, b.transpose(1, 2), scale))
            self.lanes.add_gradient(of_a, self.x, inner[-1])
            self.lanes.add_gradient(of_b, low, ours, scale)
        if not goes_on:
            return None
        back = self.product.backward(grad)
        if not self.merged:
            for (_, _, a, _, _), ours in zip(self.adapters, inner, strict=True):
                self.lanes.add(back, ours, a.transpose(1, 2))
        return back


class NormPass:
    """One pass through a layer norm."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        shape, weight, bias = self.norm.normalized_shape, self.norm.weight, self.norm.bias
        out, self.mean, self.rstd = torch.native_layer_norm(x, shape, weight, bias, self.norm.eps)
        self.x = x
        return out

    def backward(self, grad: Tensor) -> Tensor:
        """The gradient of x, from that of the output."""
        shape, weight, bias = self.norm.normalized_shape, self.norm.weight, self.norm.bias
        rest = self.x, shape, self.mean, self.rstd, weight, bias, [True, False, False]
        of_x: Tensor = torch.ops.aten.native_layer_norm_backward(grad, *rest)[0]
        return of_x
