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
        weight: (out, in); the product has a rounded copy of its own in bfloat16.
        bias: (out,), added in float32; None for none.
        precision: of the product.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, precision: Precision) -> None:
        self.reduced = precision == "bfloat16"
        self.weight = weight.detach().bfloat16() if self.reduced else weight
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """``x W' + b``, (rows, out). x (rows, in)."""
        if not self.reduced:
            return F.linear(x, self.weight, self.bias)
        out = _product(x, self.weight.T)
        return out if self.bias is None else out.add_(self.bias)

    def backward(self, grad: Tensor) -> Tensor:
        """``grad W``, the gradient of x, (rows, in). grad (rows, out)."""
        return _product(grad, self.weight) if self.reduced else grad @ self.weight


def _product(x: Tensor, matrix: Tensor) -> Tensor:
    """``x M`` in float32, of x (rows, in) that is rounded to the bfloat16 of M (in, out)."""
    rounded = x.bfloat16()
    # only CUDA has a product of bfloat16 that is float32
    return torch.mm(rounded, matrix, out_dtype=torch.float32) if x.is_cuda else (rounded @ matrix).float()


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
        able = torch.backends.mkldnn.is_available() and any(map(torch.cpu.get_capabilities().get, INSTRUCTIONS))
    if not able:
        where = "this GPU" if gpu else "this processor, as torch sees it,"
        raise AtlasError(
            f"precision: bfloat16, but {where} has no instructions for it; write precision: float32, or run the study "
            "where there are some (a processor with AVX512-BF16, a GPU of 2020 or later)"
        )
