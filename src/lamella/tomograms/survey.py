"""What a volume is like as a whole, found once, so that every tile is treated alike."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lamella.errors import ImageError
from lamella.records import VolumeSource

__all__ = ["Samples", "Survey", "noise_sd", "survey"]

Array = NDArray[np.float32]

_SLAB = 2**22  # voxels that are looked at together
_EDGE = 40  # voxels along the edge of a sample
_BACKGROUND_PX = 3.0  # what is smoother than this Gaussian is not noise
_MAD_TO_SD = 1.4826


@dataclass(frozen=True)
class Survey:
    """Mean, extremes, and the standard deviation of the noise, all in the volume's grey values."""

    mean: float
    low: float
    high: float
    noise: float


@dataclass(frozen=True, eq=False)
class Samples:
    """Small blocks spread over a volume: up to two along each axis.

    Attributes
    ----------
    corners
        ``(n, 3)`` zyx of each block's first voxel.
    blocks
        ``(n, a, b, c)`` their voxels.
    """

    corners: tuple[tuple[int, int, int], ...]
    blocks: Array

    @classmethod
    def of(cls, volume: VolumeSource) -> Samples:
        """Read the samples of a volume."""
        size = [min(n, _EDGE) for n in volume.shape]
        starts = [
            [0] if n <= 2 * edge else [int(n * part - edge / 2) for part in (1 / 3, 2 / 3)]
            for n, edge in zip(volume.shape, size, strict=True)
        ]
        starts = [
            [(n - edge) // 2] if len(first) == 1 else first
            for first, n, edge in zip(starts, volume.shape, size, strict=True)
        ]
        corners = tuple((z, y, x) for z, y, x in product(*starts))
        blocks = [
            volume.block(*(slice(start, start + edge) for start, edge in zip(corner, size, strict=True)))
            for corner in corners
        ]
        return cls(corners, np.stack(blocks))

    def emptied(self) -> Samples:
        """The same places, to be filled."""
        return Samples(self.corners, np.full_like(self.blocks, np.nan))

    def fill(self, corner: tuple[int, int, int], block: Array) -> None:
        """Take over what a block of the volume shares with the samples."""
        for place, sample in zip(self.corners, self.blocks, strict=True):
            low = np.maximum(place, corner)
            high = np.minimum(np.add(place, sample.shape), np.add(corner, block.shape))
            if (low < high).all():
                into = tuple(slice(a - p, b - p) for a, b, p in zip(low, high, place, strict=True))
                out = tuple(slice(a - c, b - c) for a, b, c in zip(low, high, corner, strict=True))
                sample[into] = block[out]


def noise_sd(samples: Array) -> float:
    """Robust standard deviation of what a Gaussian of 3 voxels takes away, over blocks ``(n, a, b, c)``.

    The median absolute deviation does not see the few voxels on edges. Coloured noise counts in full, unlike in
    estimates from the highest frequencies alone.
    """
    parts = []
    for block in samples:
        residual = block - gaussian_filter(block, _BACKGROUND_PX, mode="nearest")
        step = np.diff(block, axis=2) != 0
        # voxels that equal their neighbours on both sides are padding, not noise
        alive = np.zeros(block.shape, dtype=bool)
        alive[..., :-1] |= step
        alive[..., 1:] |= step
        parts.append(residual[alive])
    residual = np.concatenate(parts)
    if residual.size == 0:
        return 0.0
    return _MAD_TO_SD * float(np.median(np.abs(residual - np.median(residual))))


def survey(volume: VolumeSource, samples: Samples) -> Survey:
    """Look at every voxel once, slab by slab.

    Raises
    ------
    ImageError
        if the volume is empty or constant, or a voxel is not finite (the message names the first such one).
    """
    nz, ny, nx = volume.shape
    total, low, high = 0.0, np.inf, -np.inf
    step = max(1, _SLAB // max(1, ny * nx))
    for z in range(0, nz, step):
        slab = volume.block(slice(z, min(nz, z + step)), slice(0, ny), slice(0, nx))
        if not np.isfinite(slab).all():
            where = np.argwhere(~np.isfinite(slab))[0] + (z, 0, 0)
            raise ImageError(
                f"the volume's voxel z={where[0]}, y={where[1]}, x={where[2]} is not a finite number",
                mend="reconstruct the tomogram again",
            )
        total += float(slab.sum(dtype=np.float64))
        low, high = min(low, float(slab.min())), max(high, float(slab.max()))
    if low == high:
        raise ImageError(f"every voxel of the volume is {low:g}", mend="reconstruct the tomogram again")
    noise = noise_sd(samples.blocks)
    return Survey(total / (nz * ny * nx), low, high, noise if noise > 0 else float(high - low))
