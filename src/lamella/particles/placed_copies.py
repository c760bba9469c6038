"""Copies of an average where its particles are, in the frame of their tomogram."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from lamella.errors import InputError
from lamella.fourier import rescale
from lamella.progress import Progress, no_progress
from lamella.records import VolumeSink

__all__ = ["place_copies"]

Volume = NDArray[np.float32]
Array = NDArray[np.float64]

_SLAB_BYTES = 128 * 2**20
_FAINT = 1e-3  # of the map's highest density: less is not drawn


def place_copies(
    reference: Volume,
    reference_voxel_ang: float,
    matrices: Array,
    positions_ang: Array,
    shape: tuple[int, int, int],
    voxel_size_ang: float,
    sink: VolumeSink,
    progress: Progress = no_progress,
) -> int:
    """Draw a map turned and placed as its particles are; the volume is made and written slab by slab.

    Parameters
    ----------
    reference
        ``(d, d, d)`` masked map, mass positive, 0 around it; its origin is voxel d // 2.
    reference_voxel_ang
        Å.
    matrices, positions_ang
        ``(n, 3, 3)`` and ``(n, 3)``: a point r of the map lies at A · r + position, Å from the tomogram's centre voxel.
    shape, voxel_size_ang
        (z, y, x) of the tomogram.
    sink
        takes every voxel once.
    progress
        told how far it is.

    Returns
    -------
    drawn
        how many copies lie in the tomogram, at least in part.

    Notes
    -----
    The map is first resampled to the tomogram's voxels in Fourier space, which leaves out detail that these cannot
    hold, then interpolated linearly. Where copies meet, the denser one shows.
    """
    if not (reference > 0).any():
        raise InputError("the map to be placed is empty", mend="look at its mask")
    values = torch.from_numpy(np.ascontiguousarray(reference, dtype=np.float32))
    body: Volume = rescale(values, voxel_size_ang / reference_voxel_ang, 3).numpy()
    body = np.where(body > _FAINT * body.max(), body, 0)
    reach = _reach(body)
    places = positions_ang[:, ::-1] / voxel_size_ang + np.array([n // 2 for n in shape])  # z, y, x in voxels
    turns = np.swapaxes(matrices, 1, 2)[:, ::-1, ::-1]  # the inverse, for z, y, x
    depth = max(_SLAB_BYTES // (4 * shape[1] * shape[2]), 1)
    drawn = np.zeros(len(places), bool)
    for start in range(0, shape[0], depth):
        slab = np.zeros((min(depth, shape[0] - start), *shape[1:]), np.float32)
        near = (places[:, 0] + reach > start) & (places[:, 0] - reach < start + len(slab))
        for number in np.flatnonzero(near):
            drawn[number] |= _draw(slab, body, turns[number], places[number] - (start, 0, 0), reach)
        sink(start, 0, 0, slab)
        progress((start + len(slab)) / shape[0], "placing copies")
    return int(drawn.sum())


def _reach(body: Volume) -> float:
    """How far from the origin the body reaches, in voxels."""
    found = np.argwhere(body > 0) - np.array([n // 2 for n in body.shape])
    return float(np.sqrt((found**2).sum(axis=1).max())) + 1


def _draw(slab: Volume, body: Volume, turn: Array, place: Array, reach: float) -> bool:
    """Draw one copy into a slab; whether any of it lies there."""
    box = []
    for middle, size in zip(place, slab.shape, strict=True):
        box.append(slice(max(int(np.ceil(middle - reach)), 0), min(int(np.floor(middle + reach)) + 1, size)))
    if any(part.start >= part.stop for part in box):
        return False
    offset = turn @ (np.array([part.start for part in box]) - place) + np.array([n // 2 for n in body.shape])
    shape = tuple(part.stop - part.start for part in box)
    copy = ndimage.affine_transform(body, turn, offset, output_shape=shape, order=1, mode="constant")
    region = slab[tuple(box)]
    np.maximum(region, copy, out=region)
    return bool((copy > 0).any())
