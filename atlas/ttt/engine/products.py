"""Products with frozen matrices: in float32, or with both factors rounded to bfloat16 and summed in float32.

What a product is given and gives is float32 either way, so that all else of a model stays as it is. Rounding is to 8
bits, of the factors; a processor rounds the sum once more, since it can give no other type, a GPU does not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atlas.errors import AtlasError
from atlas.study.jobs import Precision

INSTRUCTIONS = ("avx512_bf16", "bf16")  # what torch calls them on x86 and on ARM


class FrozenProduct:
    """``x W' + b`` and its gradient, for a matrix that stays as it is.

    Args:
        weight: (out, in); the product has a copy of its own where it is rounded or packed.
        bias: (out,), added in float32; None for none.
        precision: of the product.
        packs: whether to take memory for two more copies of the matrix, in the order in which oneDNN reads it, where
            that is to be had: float32 products are then 5 to 20% faster, and take in what is added to them.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, precision: Precision, packs: bool = False) -> None:
        self.reduced = precision == "bfloat16"
        self.weight = weight.detach().bfloat16() if self.reduced else weight.detach()
        self.bias = bias
        self.packed: list[Tensor] = []  # the matrix for x, and for gradients
        fits = weight.dtype == torch.float32 and weight.device.type == "cpu" and not self.reduced
        if packs and fits and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            both = self.weight, self.weight.T.contiguous()
            self.packed = [torch.ops.mkldnn._reorder_linear_weight(matrix, None) for matrix in both]

    def forward(self, x: Tensor, onto: Tensor | None = None, relu: bool = False) -> Tensor:
        """``x W' + b``, (rows, out). x (rows, in).

        Args:
            onto: is added, (rows, out).
            relu: put what is negative to 0.
        """
        out: Tensor
        if self.packed and onto is not None:
            out = torch.ops.mkldnn._linear_pointwise.binary(x, onto, self.packed[0], self.bias, "add")
            return out.relu_() if relu else out
        if self.packed:
            out = torch.ops.mkldnn._linear_pointwise(x, self.packed[0], self.bias, "relu" if relu else "none", [], "")
            return out
        if self.reduced:
            out = _product(x, self.weight.T)
            out = out.float() if self.bias is None else out + self.bias  # in float32, as the bias is
        else:
            out = F.linear(x, self.weight, self.bias)
        out = out if onto is None else out + onto
        return out.relu_() if relu else out

    def backward(self, grad: Tensor) -> Tensor:
        """``grad W``, the gradient of x, (rows, in). grad (rows, out)."""
        if self.packed:
            out: Tensor = torch.ops.mkldnn._linear_pointwise(grad, self.packed[1], None, "none", [], "")
            return out
        return _product(grad, self.weight).float() if self.reduced else grad @ self.weight


def _product(x: Tensor, matrix: Tensor) -> Tensor:
    """``x M`` of x (rows, in) rounded to bfloat16, as M (in, out) is; the sum is float32, which only a GPU gives."""
    rounded = x.bfloat16()
    return torch.mm(rounded, matrix, out_dtype=torch.float32) if x.is_cuda else rounded @ matrix


class _Frozen(torch.autograd.Function):
    """A product, of whose gradients autograd is given that of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, product: FrozenProduct) -> Tensor:
        ctx.product = product
        return product.forward(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None]:
        return ctx.product.backward(grads[0]), None


class FrozenLinear(nn.Linear):
    """A linear layer that is not trained and computes in bfloat16. Its parameters are those of the layer that it stands
    for, unrounded: what looks at the weights of a model finds them as they were."""

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)  # nn.Linear's own would draw weights
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.product = FrozenProduct(linear.weight, linear.bias, "bfloat16")

    def forward(self, x: Tensor) -> Tensor:
        """x is (..., in)."""
        out: Tensor = _Frozen.apply(x.reshape(-1, x.shape[-1]), self.product)  # type: ignore[no-untyped-call]
        return out if x.dim() == 2 else out.view(*x.shape[:-1], -1)


def product_of(linear: nn.Linear) -> FrozenProduct:
    """The product of a frozen linear layer, in the precision in which it computes."""
    if isinstance(linear, FrozenLinear):
        return linear.product
    return FrozenProduct(linear.weight, linear.bias, "float32")


def require(precision: Precision, gpu: bool) -> None:
    """Raises AtlasError where the processor of this machine, or its GPU, has no instructions for a precision."""
    if precision == "float32":
        return
    if gpu:
        able = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        made_for = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        able = made_for and any(map(torch.cpu.get_capabilities().get, INSTRUCTIONS))
    if not able:
        where = "this GPU" if gpu else "this processor, as torch sees it,"
        raise AtlasError(
            f"precision: bfloat16, but {where} has no instructions for it; write precision: float32, or run the study "
            "where there are some (a processor with AVX512-BF16, a GPU of 2020 or later)"
        )
