"""Change the sampling of images and volumes by cropping or padding their Fourier transform."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lamella.errors import ImageError
from lamella.fourier.chunks import as_float, per_image

__all__ = ["crop_image", "crop_spectrum", "crop_volume"]


def crop_image(image: Tensor, shape: Sequence[int]) -> Tensor:
    """Resample images to another size over the same field of view.

    Parameters
    ----------
    image
        `(..., h, w)` real, of any float type.
    shape
        (height, width) wanted; smaller bins, larger interpolates, each axis by itself. Need not divide h and w.

    Returns
    -------
    Tensor
        `(..., *shape)`. Pixel i is the value at i·h/height, so pixel 0 stays where it is; the mean value is kept.

    Notes
    -----
    The image is taken as a trigonometric polynomial of period h × w, from which the terms beyond the new Nyquist
    frequency are dropped: exact for what is band-limited. The new Nyquist term of an even size is the sum of the terms
    at ±, and is split between them when padded, so that padding and cropping back is the identity.
    """
    image = as_float(image)
    return per_image(lambda part: _resample(part, shape), image, 2)


def crop_volume(volume: Tensor, shape: Sequence[int]) -> Tensor:
    """Resample volumes `(..., d, h, w)` to `(..., *shape)`; as `crop_image`."""
    volume = as_float(volume)
    return per_image(lambda part: _resample(part, shape), volume, 3)


def crop_spectrum(terms: Tensor, before: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Crop or pad the spectrum of images that are resampled from one size to another, as `crop_image` does.

    Parameters
    ----------
    terms
        `(..., h, w // 2 + 1)`, the rfft of images of size `before`; or of volumes.
    before, shape
        size of the images now and wanted.

    Returns
    -------
    Tensor
        the rfft of the resampled images, whose mean value is kept.
    """
    rank = len(shape)
    axes = tuple(range(terms.ndim - rank, terms.ndim))
    out = _fit_half_axis(terms, axes, before[-1], shape[-1])
    for axis, old, new in zip(axes[:-1], before[:-1], shape[:-1], strict=True):
        out = _fit_axis(out, axis, old, new)
    scaled: Tensor = out * (math.prod(shape) / math.prod(before))
    return scaled


def _resample(array: Tensor, shape: Sequence[int]) -> Tensor:
    """Resample the last ``len(shape)`` axes."""
    if min(shape) < 1:
        raise ImageError(f"an image cannot have the size {tuple(shape)}", mend="bin less")
    rank = len(shape)
    before = tuple(array.shape[array.ndim - rank :])
    if before == tuple(shape):
        return array.clone()
    axes = tuple(range(array.ndim - rank, array.ndim))
    values: Tensor = torch.fft.irfftn(
        crop_spectrum(torch.fft.rfftn(array, dim=axes), before, shape), s=tuple(shape), dim=axes
    )
    return values


def _fit_half_axis(terms: Tensor, axes: Sequence[int], old: int, new: int) -> Tensor:
    """Crop or pad the last axis, of which a real transform stores the positive half."""
    if old == new:
        return terms
    smaller = min(old, new)
    out = terms.new_zeros(*terms.shape[:-1], new // 2 + 1)
    out[..., : smaller // 2 + 1] = terms[..., : smaller // 2 + 1]
    if smaller % 2 == 0:
        nyquist = out[..., smaller // 2]
        if new < old:
            # The term at −Nyquist is the conjugate at the opposite place of the other axes.
            others = tuple(axes[:-1])
            nyquist += nyquist.flip(others).roll((1,) * len(others), others).conj() if others else nyquist.conj()
        else:
            nyquist *= 0.5
    return out


def _fit_axis(terms: Tensor, axis: int, old: int, new: int) -> Tensor:
    """Crop or pad an axis that is stored whole: positive frequencies first, negative ones at its end."""
    if old == new:
        return terms
    smaller = min(old, new)
    shape = list(terms.shape)
    shape[axis] = new
    out = terms.new_zeros(shape)
    positive, negative = (smaller + 1) // 2, (smaller - 1) // 2
    out.narrow(axis, 0, positive).copy_(terms.narrow(axis, 0, positive))
    out.narrow(axis, new - negative, negative).copy_(terms.narrow(axis, old - negative, negative))
    if smaller % 2 == 0:
        plus, minus = (terms.narrow(axis, place, 1) for place in (smaller // 2, old - smaller // 2))
        if new < old:
            out.narrow(axis, smaller // 2, 1).copy_(plus + minus)
        else:
            out.narrow(axis, smaller // 2, 1).copy_(plus * 0.5)
            out.narrow(axis, new - smaller // 2, 1).copy_(plus * 0.5)
    return out
