"""Each view against the reprojection of a tomogram made without it.

Linear prediction (`lamella.tilts.held_out`) knows of a specimen that it is a slab: far views then share coarse detail
only, and what changes that little, an error of tilt angles, costs little. Single objects stand in one place, which all
views must agree on. Where a geometry is wrong they are smeared, in whatever way it is wrong, and the reprojection of
what stands out of a tomogram (`lamella.tilts.matching_volume`) shows them in the wrong places or not at all.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.fourier import frequency_axes
from lamella.geometry.regauge import regauge
from lamella.parallel import each, one_thread_per_operation
from lamella.tilts.held_out import RINGS, RingSums
from lamella.tilts.matching_volume import flattened, reproject_others, without_background
from lamella.tilts.score_spectra import ViewSpectra
from lamella.tilts.score_tiles import TileFrame
from lamella.tilts.working import WorkingImages

__all__ = ["reprojected_sums"]

Array = NDArray[np.float64]

_LONGEST_PX = 192  # of the views that are reprojected
_FINEST = 0.3  # cycles per pixel of them
_BACKGROUND_PX = 8.0  # standard deviation of the local mean that is taken off


def reprojected_sums(
    images: WorkingImages, spectra: ViewSpectra, frame: TileFrame, depth_ang: float, thickness_ang: float
) -> tuple[RingSums, RingSums]:
    """Agreement of every view with its reprojection, and what the views' own spectra promise.

    Parameters
    ----------
    images
        masked working images.
    spectra
        theirs.
    frame
        of the geometry that is scored.
    depth_ang
        of the specimen's mid-plane in that frame.
    thickness_ang
        of the specimen, about.

    Notes
    -----
    Promised is a prediction without error: in each ring FRC² is the part of the view's power that is signal.
    """
    small = images.binned(_LONGEST_PX)
    shape = (int(small.stack.shape[-2]), int(small.stack.shape[-1]))
    mask = torch.ones_like(small.stack) if small.valid is None else small.valid
    with one_thread_per_operation():
        even = flattened(without_background(small.stack, mask, _BACKGROUND_PX), mask, _FINEST)
        views = WorkingImages(even, small.pixel_ang, small.origin_px)
        centred = regauge(frame.geometry, shift_ang=(0.0, 0.0, -depth_ang)).geometry
        deep = min(thickness_ang, *small.field_ang)
        predictions = reproject_others(views, mask, centred, deep, _FINEST, neighbours=False).predictions
    ring, twice = _rings(shape)
    share = (mask**2).mean(dim=(-2, -1)).double().numpy()

    def one(view: int) -> tuple[Array, ...]:
        seen, told = (torch.fft.rfft2(image[view] * mask[view]) for image in (even, predictions))
        return tuple(
            _summed(values, ring, twice) for values in ((seen * told.conj()).real, seen.abs() ** 2, told.abs() ** 2)
        )

    product, view, prediction = (np.stack(parts) for parts in zip(*each(one, range(len(even))), strict=True))
    terms = _summed(torch.ones(ring.shape), ring, twice) * share[:, None]
    k_y, k_x = frequency_axes(shape)
    finer = max(images.pixel_ang) / max(small.pixel_ang)
    frequency = torch.sqrt(k_x**2 + k_y**2).numpy() * finer
    signal = spectra.coherence(np.broadcast_to(frequency, (len(even), *frequency.shape)))
    part = np.stack([_summed(torch.from_numpy(one), ring, twice) for one in signal]) * share[:, None]
    return RingSums(product, view, prediction, terms), RingSums(part, terms, part, terms)


def _rings(shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ring of each frequency, the last one beyond the finest; and how many terms each stands for."""
    k_y, k_x = frequency_axes(shape)
    ring = (torch.sqrt(k_x**2 + k_y**2) / _FINEST * RINGS).long().clamp(max=RINGS)
    twice = torch.where(k_x == 0, 1.0, 2.0).expand(ring.shape)
    return ring, twice


def _summed(values: torch.Tensor, ring: torch.Tensor, twice: torch.Tensor) -> Array:
    weighted = (values * twice).double().flatten()
    return np.asarray(torch.bincount(ring.flatten(), weights=weighted, minlength=RINGS + 1)[:RINGS].numpy())
