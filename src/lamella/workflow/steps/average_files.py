"""Files of an average: its map, its halves and their correlation; and maps of others, brought to the pictures' grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.errors import FormatError, InputError, PostconditionError
from lamella.formats.map_fsc import write_map_fsc
from lamella.formats.mrc import open_mrc
from lamella.fourier import rescale
from lamella.particles.map_fsc import half_map_fsc
from lamella.records import Map, ParticleSet
from lamella.records.map_fsc import MapFsc
from lamella.workflow.context import Context

__all__ = ["map_fsc", "on_pictures", "picture_size", "write_average"]

Volume = NDArray[np.float32]
Array = NDArray[np.float64]

_ALIKE = 1e-4  # pixel sizes that differ by a smaller part are one


def picture_size(record: ParticleSet) -> tuple[int, float]:
    """Edge, px, and pixel, Å, of the particles' pictures.

    Raises
    ------
    InputError
        if there are no particles, they have no pictures, or pictures of several sizes.
    """
    holding = [member for member in record.members if len(member)]
    if not holding:
        raise InputError("there are no particles", mend="pick some, or name another --input")
    sizes = set()
    for member in holding:
        if member.images is None:
            raise InputError(
                f"{member.name}: its particles have no pictures", mend="run extract, or name its record with --input"
            )
        sizes.add((member.images.box_px, round(member.images.pixel_size_ang, 5)))
    if len(sizes) > 1:
        listed = ", ".join(f"{box} px of {pixel:g} Å" for box, pixel in sorted(sizes))
        raise InputError(
            f"pictures of several sizes ({listed})",
            mend="extract all particles with one extract.box and binning, from tilt series of one pixel size",
        )
    return sizes.pop()


def on_pictures(path: Path, box_px: int, pixel_size_ang: float, what: str) -> Volume:
    """A map of any sampling on the pictures' pixels and box; its origin n // 2 stays.

    Parameters
    ----------
    path
        of an MRC file: a cube.
    box_px, pixel_size_ang
        of the pictures.
    what
        it is, for messages: ``refine.reference``.

    Raises
    ------
    FormatError
        if it is missing, no volume, or states no voxel size.
    InputError
        if it is no cube, or holds nothing that could be a map.
    """
    file = open_mrc(path)
    if len(set(file.shape)) != 1:
        size = " × ".join(str(number) for number in reversed(file.shape))
        raise InputError(f"{what}: {path} has {size} voxels", mend="give a cube: lamella convert --box")
    if file.pixel_size_ang is None:
        raise FormatError(f"{what}: {path} states no voxel size", mend="state it: lamella convert --input-pixel-size")
    values = np.asarray(file.block(*(slice(0, n) for n in file.shape)), dtype=np.float32)
    if not np.isfinite(values).all() or not np.ptp(values) > 0:
        raise InputError(f"{what}: {path} is constant, or holds numbers that are not finite", mend="give a map")
    ratio = pixel_size_ang / file.pixel_size_ang
    if abs(ratio - 1) < _ALIKE and values.shape[0] == box_px:
        return values
    found: Volume = _in_box(torch.from_numpy(values), ratio, box_px).numpy()
    return found


def _in_box(volume: torch.Tensor, ratio: float, box_px: int) -> torch.Tensor:
    """Sampled anew about voxel n // 2, cut or padded with the mean of its faces to the box."""
    sampled = volume if abs(ratio - 1) < _ALIKE else rescale(volume, ratio, 3)
    size = sampled.shape[0]
    faces = torch.stack([sampled.select(axis, end).mean() for axis in range(3) for end in (0, size - 1)]).mean()
    out = torch.full((box_px,) * 3, float(faces))
    # origin to origin
    first = size // 2 - box_px // 2
    taken, put = slice(max(first, 0), min(first + box_px, size)), max(-first, 0)
    length = taken.stop - taken.start
    where = (slice(put, put + length),) * 3
    out[where] = sampled[(taken,) * 3]
    return out


def map_fsc(correlation: Array, box_px: int, pixel_size_ang: float) -> MapFsc:
    """The curve of half maps, whose shell s is at s / (box × pixel)."""
    return MapFsc(
        frequency_per_ang=np.arange(len(correlation)) / (box_px * pixel_size_ang),
        correlation=np.asarray(correlation, dtype=np.float64),
    )


def write_average(
    context: Context,
    whole: Volume,
    halves: tuple[Volume, Volume] | None,
    voxel_size_ang: float,
    symmetry: str,
    *,
    prefix: str = "",
    dtype: str = "float32",
) -> Map:
    """Write a map, its halves and how far they agree (`half_map_fsc`); the record of them.

    Parameters
    ----------
    prefix
        of the files' names: ``map.mrc``, ``map_half1.mrc``, ``map_half2.mrc`` and ``fsc.star`` come after it.

    Raises
    ------
    PostconditionError
        if a map is not finite or constant.
    """
    names: dict[str, str] = {}
    for ending, volume in zip(("", "_half1", "_half2"), (whole, *(halves or ())), strict=False):
        if not np.isfinite(volume).all():
            raise PostconditionError(f"map{ending} is not finite", mend="look for damaged pictures among the particles")
        with context.new_mrc(f"{prefix}map{ending}.mrc", _shape(volume), voxel_size_ang, dtype) as writer:
            writer(0, 0, 0, volume)
        names[ending] = context.name(context.outputs[-1])
    curve, resolution = None, None
    if halves is not None:
        fsc = half_map_fsc(*halves, voxel_size_ang, symmetry)
        resolution = fsc.resolution_ang() or fsc.finest_ang
        with context.new_file(f"{prefix}fsc.star") as path:
            write_map_fsc(path, fsc)
        curve = context.name(path)
    return Map(
        volume=names[""],
        half1=names.get("_half1"),
        half2=names.get("_half2"),
        fsc=curve,
        voxel_size_ang=voxel_size_ang,
        box_px=whole.shape[0],
        symmetry=symmetry,
        resolution_ang=resolution,
    )


def _shape(volume: Volume) -> tuple[int, int, int]:
    depth, height, width = volume.shape
    return depth, height, width
