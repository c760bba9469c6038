"""Filters in the layout of a real Fourier transform, and their application."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lamella.errors import ImageError
from lamella.fourier.chunks import as_float, per_image
from lamella.fourier.grids import frequency_grid

__all__ = ["apply_filter", "band_pass", "gaussian_low_pass"]


def band_pass(
    shape: Sequence[int],
    low: float | None,
    high: float | None,
    falloff: float = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """A band-pass filter with raised-cosine edges.

    Parameters
    ----------
    shape
        of the real image `(h, w)` or volume `(d, h, w)`.
    low, high
        the filter is 1 from `low` to `high`, cycles/px; None leaves that side open. With a `low` above 0 the mean is
        removed.
    falloff
        width of each edge outside the band, cycles/px; where it is wider than `low`, it ends at 0. 0 is a sharp edge.

    Returns
    -------
    Tensor
        `(h, w // 2 + 1)` or `(d, h, w // 2 + 1)`, float32, 0…1.
    """
    k = frequency_grid(shape, device)
    out = torch.ones_like(k)
    if high is not None:
        out = out * _edge(k - high, falloff)
    if low is not None and low > 0:
        out = out * _edge(low - k, min(falloff, low))
    return out


def gaussian_low_pass(shape: Sequence[int], sigma: float, device: torch.device | str = "cpu") -> Tensor:
    """exp(−k² / 2 sigma²) with `sigma` in cycles/px, in the layout of `band_pass`.

    In real space it is a Gaussian of standard deviation 1 / (2π sigma) pixels.
    """
    if sigma <= 0:
        raise ImageError(f"a Gaussian of width {sigma} cycles/px", mend="give a positive width")
    return torch.exp(-0.5 * (frequency_grid(shape, device) / sigma) ** 2)


def apply_filter(image: Tensor, filter: Tensor) -> Tensor:
    """Multiply the Fourier transform of images or volumes by a filter.

    Parameters
    ----------
    image
        `(..., h, w)`, or `(..., d, h, w)` for a filter of three dimensions.
    filter
        `(h, w // 2 + 1)` or `(d, h, w // 2 + 1)`, real or complex, as `band_pass` makes it.

    Returns
    -------
    Tensor
        of the shape of `image`.

    Raises
    ------
    ImageError
        if the filter was made for another size.
    """
    image = as_float(image)
    rank = filter.ndim
    inner = image.shape[image.ndim - rank :]
    if filter.shape != (*inner[:-1], inner[-1] // 2 + 1):
        raise ImageError(
            f"a filter of shape {tuple(filter.shape)} for images of {tuple(inner)}", mend="make it with their shape"
        )
    axes = tuple(range(-rank, 0))
    return per_image(
        lambda part: torch.fft.irfftn(torch.fft.rfftn(part, dim=axes) * filter, s=tuple(inner), dim=axes), image, rank
    )


def _edge(beyond: Tensor, width: float) -> Tensor:
    """1 where `beyond` ≤ 0, falling as a raised cosine to 0 at `width`."""
    if width <= 0:
        return (beyond <= 0).to(beyond.dtype)
    return 0.5 * (1 + torch.cos(math.pi * (beyond / width).clamp(0, 1)))
