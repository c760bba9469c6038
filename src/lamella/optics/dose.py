"""How radiation damage fades an image, and the filter that allows for it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lamella.errors import InputError
from lamella.fourier.grids import frequency_grid
from lamella.optics.electrons import relative_speed

__all__ = ["critical_exposure", "dose_filter"]

# Ne(k) = a·k^b + c at 300 kV, k in 1/Å, Ne in e/Å² (Grant & Grigorieff 2015, equation 3)
_A, _B, _C = 0.24499, -1.6649, 2.8141


def critical_exposure(frequency_per_ang: Tensor, voltage_kv: float) -> Tensor:
    """Exposure Ne in e/Å² after which an amplitude has fallen to exp(−1/2), at spatial frequencies in 1/Å.

    Notes
    -----
    The curve measured at 300 kV by Grant & Grigorieff, eLife 2015, and 0.8 of it at 200 kV as they state. Between and
    beyond, damage per electron is taken to follow the inelastic cross-section, nearly β⁻² (0.802 at 200 kV).
    """
    ratio = (relative_speed(voltage_kv) / relative_speed(300.0)) ** 2
    exponent = math.log(0.8) / math.log((relative_speed(200.0) / relative_speed(300.0)) ** 2)
    exposure: Tensor = _A * frequency_per_ang**_B + _C
    scale: float = ratio**exponent
    return exposure * scale


def dose_filter(
    shape: Sequence[int],
    pixel_size_ang: float,
    pre_exposure: float,
    dose: float,
    voltage_kv: float,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The amplitude that is left in an image taken from a specimen that was exposed before.

    Weighting views with it where they are combined gives each frequency the views that still hold it.

    Parameters
    ----------
    shape
        `(h, w)` of the image, or `(d, h, w)`.
    pixel_size_ang
        of the image.
    pre_exposure
        what the specimen had before the image, e/Å².
    dose
        of the image itself, e/Å²; 0 where it is unknown or negligible.
    voltage_kv
        acceleration voltage.

    Returns
    -------
    Tensor
        `(h, w // 2 + 1)`, float32, 1 at frequency 0.

    Notes
    -----
    exp(−N / 2 Ne) (Grant & Grigorieff 2015, equation 5), averaged over the exposures N from `pre_exposure` to
    `pre_exposure + dose` that the image integrates.
    """
    if pre_exposure < 0 or dose < 0 or not math.isfinite(pre_exposure + dose):
        raise InputError(
            f"an exposure of {dose} e/Å² after {pre_exposure} e/Å²", mend="give doses that are not negative"
        )
    k = frequency_grid(shape, device).double() / pixel_size_ang  # cycles px⁻¹ / (Å px⁻¹) = cycles Å⁻¹
    zero = k == 0
    rate = 0.5 / critical_exposure(torch.where(zero, 1.0, k), voltage_kv)
    spread = rate * dose
    mean_over_image = torch.where(spread > 1e-9, -torch.expm1(-spread) / spread.clamp_min(1e-30), 1.0)
    filter = torch.exp(-rate * pre_exposure) * mean_over_image
    return torch.where(zero, 1.0, filter).float()
