"""Two denoised halves become one volume, in the grey values of the whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.errors import PostconditionError
from lamella.records import VolumeSink, VolumeSource
from lamella.tomograms.survey import Samples, noise_sd

__all__ = ["Merged", "merge_halves"]

_SLAB = 2**22  # voxels that are merged together


@dataclass(frozen=True)
class Merged:
    """Noise of the whole before, and of the merged volume, grey values of the whole; and what the halves' mean took."""

    noise_before: float
    noise_after: float
    scale: float


def merge_halves(
    whole: VolumeSource, raw: tuple[VolumeSource, VolumeSource], denoised: tuple[VolumeSource, VolumeSource],
    sink: VolumeSink,
) -> Merged:  # fmt: skip
    """Write the mean of two denoised halves.

    Parameters
    ----------
    whole, raw
        the reconstruction ``(z, y, x)`` and its halves: a half of the frames has half of the whole's grey values, a
        half of the tilts all of them, and the factor is what makes the raw halves' mean most like the whole.
    denoised
        the halves, denoised.
    sink
        takes the result, section by section.

    Raises
    ------
    PostconditionError
        if the halves' mean has nothing of the whole.
    """
    samples = Samples.of(whole)
    halves = (Samples.of(raw[0]).blocks + Samples.of(raw[1]).blocks) / 2
    level, half_level = float(samples.blocks.mean(dtype=np.float64)), float(halves.mean(dtype=np.float64))
    apart = halves - np.float32(half_level)
    power = float((apart.astype(np.float64) ** 2).sum())
    scale = float(((samples.blocks - level) * apart).sum(dtype=np.float64)) / power if power > 0 else 0.0
    if not scale > 0:
        raise PostconditionError(
            "the halves are not those of the whole reconstruction", mend="run reconstruct again, then denoise"
        )
    after = samples.emptied()
    nz, ny, nx = whole.shape
    step = max(1, _SLAB // (ny * nx))
    for z in range(0, nz, step):
        place = (slice(z, min(z + step, nz)), slice(0, ny), slice(0, nx))
        slab: NDArray[np.float32] = denoised[0].block(*place) + denoised[1].block(*place)
        slab *= np.float32(scale / 2)
        slab += np.float32(level - scale * half_level)
        after.fill((z, 0, 0), slab)
        sink(z, 0, 0, slab)
    return Merged(noise_sd(samples.blocks), noise_sd(after.blocks), scale)
