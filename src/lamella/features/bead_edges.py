"""Centres of beads by their edges: where the slopes of a picture match those of an average bead.

The length of the slope (Sobel's operator on the picture, smoothed a little) is a ring round each bead, whatever lies
under it: a ground that rises or falls slowly over the bead has hardly any slope, and moves the ring's middle little.
IMOD's beadtrack offers the same (its option SobelFilterCentering); here the average bead is the radial profile that all
beads of a view gave, so that its middle is a bead's, and it is drawn at each bead's own place between the pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from lamella.features.bead_profile import RadialProfile, Windows
from lamella.fourier import find_peak

__all__ = ["edge_centres", "slope_lengths"]

Array = NDArray[np.float64]

_SIGMA = 0.12  # of the diameter, over which pictures are smoothed first: what IMOD recommends for noisy pictures
_LEAST_SIGMA_PX = 0.5
_ROUNDS = 2  # from the second on a bead lies at its template's place, and nothing is read between pixels
_FARTHEST = 0.3  # of the diameter, from where a bead was thought to be


def edge_centres(
    windows: Windows, start_px: Array, profile: RadialProfile, diameter_px: float, reach_px: float
) -> tuple[Array, NDArray[np.bool_]]:
    """Centres of the beads of one view, each where its edges match the average bead's best.

    Parameters
    ----------
    windows
        the cut-outs, other beads taken off.
    start_px
        ``(p, 2)`` (x, y) centres to a quarter of the diameter, pixels of the picture.
    profile
        the look of the view's beads.
    diameter_px
        of the beads.
    reach_px
        radius up to which edges are compared.

    Returns
    -------
    centres_px, found
        ``(p, 2)``, and ``(p,)`` whether a peak was found near the start; the start stands where none was.
    """
    centres = start_px.copy()
    if not len(windows):
        return centres, np.zeros(0, dtype=bool)
    sigma = max(_SIGMA * diameter_px, _LEAST_SIGMA_PX)
    seen = torch.fft.rfft2(slope_lengths(windows.pixels, sigma))
    size = windows.size
    found = np.ones(len(windows), dtype=bool)
    for _ in range(_ROUNDS):
        x, y = windows.offsets(centres)
        distance = torch.hypot(x, y)
        template = slope_lengths(profile.at(distance)[0], sigma)
        inside = (distance < reach_px) & windows.inside
        count = inside.sum(dim=(1, 2), keepdim=True).clamp_min(1)
        # of mean 0: an even slope or noise all over the window matches nothing
        template = (template - (template * inside).sum(dim=(1, 2), keepdim=True) / count) * inside
        correlation = torch.fft.irfft2(seen * torch.fft.rfft2(template).conj(), s=(size, size))
        shift, _ = find_peak(correlation, _FARTHEST * diameter_px)
        centres = centres + shift.double().numpy()[:, ::-1]
        found &= np.linalg.norm(centres - start_px, axis=1) < _FARTHEST * diameter_px
        centres = np.where(found[:, None], centres, start_px)
    return centres, found


def slope_lengths(pixels: Tensor, sigma_px: float) -> Tensor:
    """Length of the slope ``(p, h, w)`` by Sobel's operator, of pictures smoothed by a Gaussian; edges are repeated."""
    reach = int(np.ceil(3 * sigma_px))
    smooth = ndimage.gaussian_filter(pixels.numpy(), (0, sigma_px, sigma_px), mode="nearest", radius=(0, reach, reach))
    slopes = []
    for steep, even in ((-1, -2), (-2, -1)):
        slope = ndimage.correlate1d(smooth, [-0.5, 0.0, 0.5], axis=steep, mode="nearest")
        slopes.append(ndimage.correlate1d(slope, [0.25, 0.5, 0.25], axis=even, mode="nearest"))
    return torch.from_numpy(np.hypot(*slopes))
