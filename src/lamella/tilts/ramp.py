"""Weighting of views before back-projection inside alignment: by the frequency across the tilt axis."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lamella.fourier import frequency_axes

__all__ = ["ramped"]


def ramped(image: Tensor, axis_deg: float, fall_off: float = np.inf) -> Tensor:
    """An image ``(h, w)`` weighted by its frequency across the axis, which lies at `axis_deg` from the image's y.

    `fall_off` is the standard deviation, cycles per pixel, of a Gaussian across the axis.
    """
    shape = (int(image.shape[0]), int(image.shape[1]))
    k_y, k_x = frequency_axes(shape)
    turn = np.deg2rad(axis_deg)
    across = (k_x * np.cos(turn) + k_y * np.sin(turn)).abs()
    # at the origin the ramp's sampled kernel leaves a little (Kak & Slaney 1988, eq. 61)
    weight = across.clamp_min(0.25 / max(shape)) * torch.exp(-0.5 * (across / fall_off) ** 2)
    out: Tensor = torch.fft.irfft2(torch.fft.rfft2(image) * weight, s=shape)
    return out.float()
