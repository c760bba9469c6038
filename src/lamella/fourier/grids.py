"""Where the samples of a discrete Fourier transform lie, and which sizes transform fast."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["fast_size", "frequency_axes", "frequency_grid"]


def frequency_axes(shape: Sequence[int], device: torch.device | str = "cpu") -> tuple[Tensor, ...]:
    """Frequency along each axis in cycles/px, float64, shaped to broadcast to the rfft layout of `shape`."""
    axes = []
    for axis, size in enumerate(shape):
        last = axis == len(shape) - 1
        line = (torch.fft.rfftfreq if last else torch.fft.fftfreq)(size, dtype=torch.float64, device=device)
        axes.append(line.reshape([-1 if other == axis else 1 for other in range(len(shape))]))
    return tuple(axes)


def frequency_grid(shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Length of k in cycles/px of each sample of an rfft: `(h, w // 2 + 1)` or `(d, h, w // 2 + 1)`, float32.

    Parameters
    ----------
    shape
        of the real image or volume.
    device
        where the result lies.
    """
    square: Tensor | float = 0.0
    for line in frequency_axes(shape, device):
        square = square + line.to(torch.float32) ** 2
    return torch.sqrt(torch.as_tensor(square))


def fast_size(size: int) -> int:
    """The smallest even number ≥ `size` with no prime factor above 5, for fast transforms."""
    size = max(2, size + size % 2)
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 2
