"""Sharpening: what the detector, motion and errors of poses damped is brought back as far as the signal goes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.fourier import apply_filter, band_pass, frequency_grid

__all__ = ["radial_filter", "sharpen"]

Volume = NDArray[np.float32]
Curve = NDArray[np.float64]

_EDGE_SHELLS = 2.0  # width of the low-pass filter's raised-cosine edge


def sharpen(
    volume: Volume,
    voxel_size_ang: float,
    *,
    b_factor_ang2: float,
    weight: Curve | None = None,
    transfer: Curve | None = None,
    low_pass_ang: float | None = None,
) -> Volume:
    """Undo a map's falloff, weighted by its signal.

    Parameters
    ----------
    volume
        ``(n, n, n)`` mean of the half maps.
    voxel_size_ang
        Å.
    b_factor_ang2
        amplitudes are multiplied by exp(−B / (4 d²)): negative sharpens.
    weight
        ``(s,)`` factor of each shell (`signal_weight` of the corrected correlation), or None.
    transfer
        ``(s,)`` the detector's modulation transfer, which is divided out, or None.
    low_pass_ang
        finest detail that is kept; None: all.
    """
    size = volume.shape[0]
    frequency = np.arange(size // 2 + 1) / (size * voxel_size_ang)
    factor = np.exp(-b_factor_ang2 * frequency**2 / 4)
    if transfer is not None:
        factor /= transfer
    if weight is not None:
        factor *= weight
    response = radial_filter(factor, size)
    if low_pass_ang is not None and voxel_size_ang / low_pass_ang < 0.5:
        response = response * band_pass(volume.shape, None, voxel_size_ang / low_pass_ang, _EDGE_SHELLS / size)
    values = torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32))
    out: Volume = apply_filter(values, response).numpy()
    return out


def radial_filter(factor: Curve, size: int) -> torch.Tensor:
    """A factor per shell as a filter ``(n, n, n // 2 + 1)``, interpolated between shells; the last one's beyond."""
    place = frequency_grid((size,) * 3).numpy() * size
    return torch.from_numpy(np.interp(place, np.arange(len(factor)), factor).astype(np.float32))
