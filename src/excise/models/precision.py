"""Bfloat16 arithmetic, also on processors that have none."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

MULTIPLICATIONS = frozenset(
    {
        nn.functional.linear, nn.functional.conv2d, nn.functional.scaled_dot_product_attention,
        torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm, torch.baddbmm, Tensor.baddbmm,
    }
)  # fmt: skip
"""What autocast computes in bfloat16 and a U-Net spends its time in."""


@contextmanager
def autocast(device: torch.device) -> Iterator[None]:
    """Autocast to bfloat16. Casts are not cached: training swaps weights and changes them in place.

    Norms with float32 weights compute in float32 (FLUX.1's). That they are a little slower so is not told.
    """
    with warnings.catch_warnings(), torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
        warnings.filterwarnings("ignore", "Mismatch dtype between input and weight")
        yield


@contextmanager
def bfloat16_arithmetic(device: torch.device) -> Iterator[None]:
    """Autocast to bfloat16; on a processor without such instructions the same roundings around float32 multiplications.

    There torch's own bfloat16 kernels take many times as long as float32, and this hardly longer; sums are float32 in either.
    """
    with autocast(device):
        if device.type == "cpu" and not has_bfloat16():
            with RoundedMultiplications():
                yield
        else:
            yield


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 at least as fast as float32."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class RoundedMultiplications(TorchFunctionMode):
    """Multiplications as autocast to bfloat16 makes them: operands and result rounded, products and sums in float32, gradients alike."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in MULTIPLICATIONS:
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            product = func(*map(_rounded, args), **{name: _rounded(value) for name, value in kwargs.items()})
        return product.to(torch.bfloat16)


def _rounded(value: Any) -> Any:
    return value.to(torch.bfloat16).float() if isinstance(value, Tensor) and value.is_floating_point() else value
