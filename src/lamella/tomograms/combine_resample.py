"""The second tomogram in the first one's frame, block by block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import spline_filter

from lamella.kernels.spline import sample_spline
from lamella.records import VolumeSource
from lamella.tomograms.combine_rigid import RigidMotion
from lamella.tomograms.combine_warp import Warp

__all__ = ["Grid", "resample"]

Array = NDArray[np.float64]
Voxels = NDArray[np.float32]

_HALO_PX = 10  # the spline's coefficients forget what lies farther away
_WARP_STEP_PX = 8
_MARGIN_PX = 8.0


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Voxels of a tomogram.

    Attributes
    ----------
    shape
        (z, y, x).
    voxel_ang
        edge of a voxel, Å.
    origin_px
        (z, y, x) index of the centre; None: n // 2 each.
    """

    shape: tuple[int, int, int]
    voxel_ang: float
    origin_px: tuple[float, float, float] | None = None

    @property
    def origin(self) -> Array:
        """``(3,)`` (z, y, x) index of the point 0."""
        return np.array([n // 2 for n in self.shape] if self.origin_px is None else self.origin_px, np.float64)


def resample(
    source: VolumeSource,
    source_grid: Grid,
    motion: RigidMotion,
    warp: Warp | None,
    grid: Grid,
    block: tuple[slice, slice, slice],
) -> tuple[Voxels, Voxels]:
    """A block of the first tomogram's grid, filled from the second tomogram.

    Parameters
    ----------
    source, source_grid
        the second tomogram, and where its voxels lie.
    motion, warp
        the point p of the first tomogram is the point ``motion.to_second(p + warp(p))`` of the second.
    grid
        of the first tomogram.
    block
        (z, y, x) of its voxels; may reach beyond it.

    Returns
    -------
    samples, inside
        ``(z, y, x)`` float32: 0 where the second tomogram has nothing, and a soft 0…1 that says where it has.
    """
    first = np.array([part.start for part in block], np.float64)
    shape = tuple(part.stop - part.start for part in block)
    matrix, offset = _affine(source_grid, motion, grid)
    nodes, step = _nodes(warp, grid, first, shape)
    # where the block's corners lie in the source, and the warp's farthest nodes
    far = float(np.abs(nodes).max(initial=0.0))
    ends = np.array(np.meshgrid(*[(a - far, a + n - 1 + far) for a, n in zip(first, shape, strict=True)])).reshape(
        3, -1
    )
    places = matrix @ ends + offset[:, None]
    limits = np.array(source_grid.shape)
    start = np.clip(np.floor(places.min(axis=1)).astype(int) - _HALO_PX, 0, limits)
    stop = np.clip(np.ceil(places.max(axis=1)).astype(int) + _HALO_PX + 1, 0, limits)
    out, inside = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    if (stop - start < 4).any():
        return out, inside
    coefficients = np.array(
        source.block(*(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))), np.float32
    )
    spline_filter(coefficients, order=3, mode="mirror", output=coefficients)
    sample_spline(
        coefficients, matrix, matrix @ first + offset - start, nodes, step, 1.0 - start, limits - 3.0 - start,
        _MARGIN_PX, out, inside,
    )  # fmt: skip
    return out, inside


def _affine(source_grid: Grid, motion: RigidMotion, grid: Grid) -> tuple[Array, Array]:
    """Index (z, y, x) in the source of an index in the first tomogram: matrix · index + offset."""
    back = motion.rotation.T[::-1, ::-1]  # zyx
    scale = grid.voxel_ang / source_grid.voxel_ang
    matrix = np.ascontiguousarray(back * scale)
    offset = -matrix @ grid.origin - back @ motion.shift_ang[::-1] / source_grid.voxel_ang + source_grid.origin
    return matrix, offset


def _nodes(warp: Warp | None, grid: Grid, first: Array, shape: tuple[int, ...]) -> tuple[Voxels, Array]:
    """The warp in voxels on a grid fine enough for straight lines between its nodes, ``(3, gz, gy, gx)`` as zyx."""
    step = np.full(3, float(_WARP_STEP_PX))
    if warp is None:
        return np.zeros((3, 1, 1, 1), np.float32), step
    axes = [
        (a + _WARP_STEP_PX * np.arange(-(-(n - 1) // _WARP_STEP_PX) + 1) - o) * grid.voxel_ang
        for a, n, o in zip(first, shape, grid.origin, strict=True)
    ]
    moved = warp.on_grid(*axes)[..., ::-1] / grid.voxel_ang  # (gz, gy, gx, zyx)
    return np.ascontiguousarray(np.moveaxis(moved, -1, 0), dtype=np.float32), step
