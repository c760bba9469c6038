"""Move images by fractions of a pixel without interpolation error."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lamella.errors import ImageError
from lamella.fourier.chunks import as_float, per_image
from lamella.fourier.grids import frequency_axes

__all__ = ["shift_image"]


def shift_image(image: Tensor, shift_px: Tensor | Sequence[float]) -> Tensor:
    """Shift images, periodically: what was at pixel y appears at y + shift.

    Parameters
    ----------
    image
        `(..., h, w)`, or `(..., d, h, w)` where a shift has three numbers.
    shift_px
        `(..., 2)` as (y, x), or `(..., 3)` as (z, y, x), pixels; its leading axes broadcast with the image's.

    Returns
    -------
    Tensor
        the images, with the leading axes that both broadcast to.

    Notes
    -----
    Exact for the trigonometric polynomial through the pixels; whole shifts equal `torch.roll`. The Nyquist term of an
    even size becomes cos(π shift) times itself, which keeps the result real.
    """
    image = as_float(image)
    shift = torch.as_tensor(shift_px, dtype=torch.float64, device=image.device)
    rank = shift.shape[-1]
    if rank not in (1, 2, 3) or image.ndim < rank:
        raise ImageError(
            f"a shift of {rank} numbers for an array of {image.ndim} axes", mend="give (y, x), or (z, y, x) for volumes"
        )
    inner = tuple(image.shape[image.ndim - rank :])
    leading = np.broadcast_shapes(tuple(image.shape[: image.ndim - rank]), tuple(shift.shape[:-1]))
    if not leading:
        return per_image(lambda part: _shift(part, shift), image, rank)
    image = image.expand(*leading, *inner)
    shift = shift.expand(*leading, rank).reshape(-1, rank)
    images = image.reshape(-1, *inner)
    out = [per_image(lambda part, by=by: _shift(part, by), one, rank) for one, by in zip(images, shift, strict=True)]  # type: ignore[misc]
    return torch.stack(out).reshape(*leading, *inner)


def _shift(array: Tensor, shift: Tensor) -> Tensor:
    """Shift the last axes of one array by one vector."""
    inner = tuple(array.shape[array.ndim - len(shift) :])
    axes = tuple(range(-len(inner), 0))
    terms = torch.fft.rfftn(array, dim=axes)
    for line, size, by in zip(frequency_axes(inner, array.device), inner, shift, strict=True):
        turns = line * by
        phase = torch.polar(torch.ones_like(turns), -2 * math.pi * (turns - turns.round()))
        if size % 2 == 0:
            phase.view(-1)[size // 2] = torch.cos(math.pi * by)
        terms = terms * phase.to(terms.dtype)
    moved: Tensor = torch.fft.irfftn(terms, s=inner, dim=axes)
    return moved
