"""Power spectra and their averages over directions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lamella.errors import ImageError
from lamella.fourier.chunks import as_float, per_image
from lamella.fourier.shells import shell_count, shell_frequency, shell_sums

__all__ = ["power_spectrum", "radial_average"]


def power_spectrum(image: Tensor, *, centred: bool = False) -> Tensor:
    """Power of each frequency, over the number of pixels, the mean left out; white noise has its variance.

    Parameters
    ----------
    image
        `(..., h, w)`.
    centred
        give the whole plane `(..., h, w)` with frequency zero at `[h // 2, w // 2]`, to look at.

    Returns
    -------
    Tensor
        `(..., h, w // 2 + 1)` in the layout of an rfft, or the whole plane.
    """
    image = as_float(image)
    pixels = image.shape[-2] * image.shape[-1]

    def one(part: Tensor) -> Tensor:
        part = part - part.mean(dim=(-2, -1), keepdim=True)
        terms = torch.fft.fft2(part) if centred else torch.fft.rfft2(part)
        power: Tensor = (terms.real**2 + terms.imag**2) / pixels
        if centred:
            power = torch.fft.fftshift(power, dim=(-2, -1))
        return power

    return per_image(one, image, 2)


def radial_average(spectrum: Tensor, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Average values in the layout of an rfft over directions.

    Parameters
    ----------
    spectrum
        `(..., h, w // 2 + 1)` or `(..., d, h, w // 2 + 1)`, real: a power spectrum, a filter.
    shape
        of the real image or volume; its length says which of the two.

    Returns
    -------
    frequency
        `(s,)` cycles/px, 0 … 0.5.
    average
        `(..., s)` float64.
    """
    spectrum = as_float(spectrum)
    rank = len(shape)
    if tuple(spectrum.shape[spectrum.ndim - rank :]) != (*shape[:-1], shape[-1] // 2 + 1):
        raise ImageError(
            f"a spectrum of shape {tuple(spectrum.shape)} is not that of images of {tuple(shape)}",
            mend="state the shape of the real images",
        )
    average = shell_sums(spectrum, shape) / shell_count(shape, spectrum.device)
    return shell_frequency(shape, spectrum.device), average
