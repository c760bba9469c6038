"""Overlapping tiles: a volume of any size in bounded memory, and no seam in the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import ceil

import numpy as np
from numpy.typing import NDArray

from lamella.errors import SettingsError
from lamella.records import VolumeSource

__all__ = ["Tile", "plan_tiles"]

Slices = tuple[slice, slice, slice]
Size = tuple[int, int, int]


@dataclass(frozen=True)
class Tile:
    """One piece of the work: `padded` is read, `core` is kept; both are zyx slices of the volume."""

    core: Slices
    padded: Slices

    @property
    def voxels(self) -> int:
        """Voxels that are read."""
        return int(np.prod([part.stop - part.start for part in self.padded]))

    def read(self, volume: VolumeSource) -> NDArray[np.float32]:
        """The padded part of a volume, an array of its own."""
        return np.array(volume.block(*self.padded), dtype=np.float32, order="C")

    def crop(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """The core of a padded block."""
        inner = tuple(
            slice(core.start - padded.start, core.stop - padded.start)
            for core, padded in zip(self.core, self.padded, strict=True)
        )
        return np.ascontiguousarray(block[inner])


def plan_tiles(
    shape: Size, halo_px: int, bytes_of: Callable[[Size], float], budget_bytes: float, align: int = 1
) -> list[Tile]:
    """Cut a volume into the fewest tiles that fit a budget.

    Parameters
    ----------
    shape
        (z, y, x) of the volume.
    halo_px
        voxels that a tile reads beyond its core, where the volume has them.
    bytes_of
        memory that the work on a tile of some size takes, halo included.
    budget_bytes
        memory that it may take.
    align
        tiles begin at multiples of it, halo included, if it divides the halo.

    Raises
    ------
    SettingsError
        if not even small tiles fit.
    """
    counts = [1, 1, 1]
    while bytes_of(_largest(shape, counts, halo_px)) > budget_bytes:
        cores = [ceil(n / count) for n, count in zip(shape, counts, strict=True)]
        axis = int(np.argmax(cores))
        if cores[axis] <= max(8, 2 * align, halo_px // 2):
            need = bytes_of(_largest(shape, counts, halo_px)) / 2**30
            raise SettingsError(
                f"denoise needs {need:.2g} GiB for its smallest tiles and has {budget_bytes / 2**30:.2g} GiB",
                mend="raise denoise.memory or free memory, or lower denoise.iterations",
            )
        counts[axis] += 1
    edges = [
        np.append((np.linspace(0, n, count + 1)[:-1] / align).round() * align, n).astype(int)
        for n, count in zip(shape, counts, strict=True)
    ]
    tiles = []
    for index in product(*(range(count) for count in counts)):
        core = [slice(int(e[i]), int(e[i + 1])) for e, i in zip(edges, index, strict=True)]
        padded = [slice(max(0, c.start - halo_px), min(n, c.stop + halo_px)) for c, n in zip(core, shape, strict=True)]
        tiles.append(Tile((core[0], core[1], core[2]), (padded[0], padded[1], padded[2])))
    return tiles


def _largest(shape: Size, counts: list[int], halo_px: int) -> Size:
    """Size of the largest padded tile."""
    z, y, x = (min(n, ceil(n / count) + 2 * halo_px) for n, count in zip(shape, counts, strict=True))
    return z, y, x
