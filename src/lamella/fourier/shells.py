"""Statistics over rings and shells of equal spatial frequency: FRC, FSC, and the resolution they state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lamella.errors import ImageError
from lamella.fourier.chunks import as_float
from lamella.fourier.grids import frequency_grid

__all__ = ["resolution_at", "shell_correlation", "shell_count", "shell_frequency", "shell_index", "shell_sums"]


def shell_correlation(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fourier ring correlation of two images, or shell correlation of two volumes.

    Parameters
    ----------
    a, b
        `(h, w)` or `(d, h, w)`, of one size, odd or even, cubic or not.

    Returns
    -------
    frequency
        `(s,)` of each shell's middle, cycles/px, 0 … 0.5; shells are one sample of the longest axis wide.
    correlation
        `(s,)` Re Σ A·B* / √(Σ|A|² Σ|B|²); 0 where one of them has no power.
    count
        `(s,)` Fourier samples in each shell, both halves of the plane counted.

    Notes
    -----
    Harauz & van Heel 1986. Samples beyond 0.5 cycles/px (the corners) belong to no shell. All float64.
    """
    a, b = as_float(a), as_float(b)
    if a.shape != b.shape or a.ndim not in (2, 3):
        raise ImageError(
            f"shapes {tuple(a.shape)} and {tuple(b.shape)} have no shell correlation",
            mend="give two images or two volumes of one size",
        )
    shape = tuple(a.shape)
    terms_a, terms_b = (torch.fft.rfftn(part) for part in (a, b))
    places = _places(shape, a.device)
    cross = _sum(terms_a.real * terms_b.real + terms_a.imag * terms_b.imag, *places)
    power_a, power_b = (_sum(part.real**2 + part.imag**2, *places) for part in (terms_a, terms_b))
    both = power_a * power_b
    correlation = torch.where(both > 0, cross / both.clamp_min(torch.finfo(both.dtype).tiny).sqrt(), 0.0)
    return shell_frequency(shape, a.device), correlation, shell_count(shape, a.device)


def shell_frequency(shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Frequency of each shell's middle, cycles/px, float64."""
    return torch.arange(max(shape) // 2 + 1, dtype=torch.float64, device=device) / max(shape)


def shell_count(shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Fourier samples in each shell, both halves of the plane counted, float64."""
    return _sum(torch.ones((), device=device), *_places(shape, device))


def shell_index(shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """The shell of each sample of an rfft of `shape`, int64: length of k · longest axis, rounded."""
    return (frequency_grid(shape, device) * max(shape)).round().long()


def shell_sums(values: Tensor, shape: Sequence[int]) -> Tensor:
    """Sum real values in the layout of an rfft of `shape` over its shells.

    Parameters
    ----------
    values
        `(..., h, w // 2 + 1)` or `(..., d, h, w // 2 + 1)`.
    shape
        of the real image or volume.

    Returns
    -------
    Tensor
        `(..., s)` float64. Each stored sample counts as often as it stands in the whole plane.
    """
    inner = values.ndim - len(shape)
    places = _places(shape, values.device)
    planes = values.reshape(-1, *values.shape[inner:])
    return torch.stack([_sum(plane, *places) for plane in planes]).reshape(*values.shape[:inner], -1)


def _places(shape: Sequence[int], device: torch.device | str) -> tuple[Tensor, Tensor, int]:
    """Each sample's shell (those beyond the last in one of their own), its weight, and the number of shells."""
    shells = max(shape) // 2 + 1
    weights = torch.full((shape[-1] // 2 + 1,), 2.0, dtype=torch.float64, device=device)
    weights[0] = 1.0
    if shape[-1] % 2 == 0:
        weights[-1] = 1.0
    index = shell_index(shape, device).clamp_max(shells)
    return index.reshape(-1), weights.expand(index.shape), shells


def _sum(values: Tensor, index: Tensor, weights: Tensor, shells: int) -> Tensor:
    return torch.bincount(index, (values * weights).reshape(-1), minlength=shells + 1)[:shells]


def resolution_at(
    frequency: ArrayLike | Tensor, curve: ArrayLike | Tensor, threshold: float, pixel_size_ang: float
) -> float:
    """Resolution in Å at which a curve first falls below a threshold.

    Parameters
    ----------
    frequency, curve
        `(s,)` as `shell_correlation` gives them; the shell of frequency 0 is left out.
    threshold
        such as 0.143 or 0.5.
    pixel_size_ang
        of the images.

    Returns
    -------
    float
        interpolated linearly between the shells; the last shell's resolution where the curve never falls, inf where its
        first shell is below already.
    """
    k, values = np.asarray(frequency, dtype=np.float64), np.asarray(curve, dtype=np.float64)
    k, values = k[k > 0], values[k > 0]
    below = np.flatnonzero(~(values >= threshold))
    if len(below) == 0:
        return float(pixel_size_ang / k[-1])
    first = int(below[0])
    if first == 0:
        return float("inf")
    high, low = values[first - 1], values[first]
    part = (high - threshold) / (high - low) if np.isfinite(low) else 0.0
    return float(pixel_size_ang / (k[first - 1] + part * (k[first] - k[first - 1])))
