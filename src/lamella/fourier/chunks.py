"""Run an operation on a stack a few images at a time: as fast as one batch, in a fraction of the memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from numpy.typing import ArrayLike
from torch import Tensor

__all__ = ["as_float", "per_image"]

# Pixels that are transformed at once. Small patches share a batch, an image of 2048² goes alone.
_PIXELS_ON_CPU = 1 << 21
_PIXELS_ON_GPU = 1 << 25


def as_float(array: ArrayLike | Tensor) -> Tensor:
    """Any array as a tensor of a type that transforms: whole numbers and float16 become float32."""
    tensor = torch.as_tensor(array)
    if tensor.is_complex() or tensor.dtype in (torch.float32, torch.float64):
        return tensor
    return tensor.to(torch.float32)


def per_image(operation: Callable[[Tensor], Tensor], array: Tensor, rank: int) -> Tensor:
    """Apply `operation` to `array` in chunks over its leading axes.

    Parameters
    ----------
    operation
        takes `(n, *inner)` or, where there are no leading axes, `(*inner)`, and keeps n.
    array
        `(..., *inner)`.
    rank
        number of inner axes: 2 for images, 3 for volumes.
    """
    leading, inner = array.shape[: array.ndim - rank], array.shape[array.ndim - rank :]
    if not leading:
        return operation(array)
    stack = array.reshape(-1, *inner)
    pixels = _PIXELS_ON_GPU if array.is_cuda else _PIXELS_ON_CPU
    step = max(1, pixels // max(1, inner.numel()))
    if len(stack) <= step:
        out = operation(stack)
        return out.reshape(*leading, *out.shape[1:])
    first = operation(stack[:step])
    out = first.new_empty(len(stack), *first.shape[1:])
    out[:step] = first
    for start in range(step, len(stack), step):
        out[start : start + step] = operation(stack[start : start + step])
    return out.reshape(*leading, *out.shape[1:])
