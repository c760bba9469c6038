"""Change the sampling of images and volumes by any ratio, about their origin."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lamella.errors import ImageError
from lamella.fourier.chunks import as_float

__all__ = ["rescale", "rescaled_size"]

_SLACK = 1e-6  # of a pixel: a size that misses a whole number by less is that number


def rescaled_size(size: int, ratio: float) -> int:
    """Pixels of a side that hold the same field once they are `ratio` times as large: as many as fit in whole."""
    return max(math.floor(size / ratio + _SLACK), 1)


def rescale(array: Tensor, ratio: float, rank: int, shape: Sequence[int] | None = None) -> Tensor:
    """Sample images or volumes anew, in pixels that are `ratio` times as large; their origin, n // 2, stays in place.

    Parameters
    ----------
    array
        `(..., h, w)` or `(..., d, h, w)`, real.
    ratio
        new pixel size over the old one, above or below 1; need not be a simple fraction.
    rank
        of one image (2) or volume (3).
    shape
        of the result's last axes; `rescaled_size` of each where left out.

    Returns
    -------
    Tensor
        values keep their unit: they are those of the band-limited function through the samples, so the mean stays.

    Notes
    -----
    The array is taken as a trigonometric polynomial, periodic along each axis, whose terms beyond the new Nyquist
    frequency are left out; its values are computed where the new samples lie, by one matrix per axis. For ratios that
    divide the sizes it equals cropping or padding the Fourier transform about the origin.
    """
    if not ratio > 0:
        raise ImageError(f"pixels that are {ratio:g} times as large", mend="give a positive pixel size")
    array = as_float(array)
    inner = tuple(array.shape[array.ndim - rank :])
    wanted = tuple(rescaled_size(size, ratio) for size in inner) if shape is None else tuple(shape)
    out = array
    # The axis that shrinks most goes first, the others then have less to do.
    for axis in sorted(range(rank), key=lambda axis: wanted[axis] / inner[axis]):
        matrix = _sampling(inner[axis], wanted[axis], ratio, array.device).to(array.dtype)
        out = (out.movedim(axis - rank, -1) @ matrix.T).movedim(-1, axis - rank)
    return out.contiguous()


def _sampling(size: int, wanted: int, ratio: float, device: torch.device) -> Tensor:
    """`(wanted, size)` float64: the values of the polynomial through `size` samples at the new samples' places."""
    places = size // 2 + (torch.arange(wanted, dtype=torch.float64, device=device) - wanted // 2) * ratio
    angle = (places[:, None] - torch.arange(size, dtype=torch.float64, device=device)) * (2 * math.pi / size)
    last = min(size // 2, math.floor(size / (2 * ratio) + _SLACK))
    half = torch.sin(angle / 2)
    on_sample = half.abs() < _SLACK
    # Dirichlet's kernel: 1 + 2 Σ cos(k · angle) for k from 1 to the last
    kernel = torch.where(on_sample, 2 * last + 1.0, torch.sin((last + 0.5) * angle) / torch.where(on_sample, 1.0, half))
    if last * 2 == size:
        kernel -= torch.cos(last * angle)  # the term at Nyquist is there once
    return kernel / size
