"""Volumes as multiscale OME-Zarr, for napari, neuroglancer and the CryoET data portal; written and read block by block.

zarr is an extra (``pip install lamella[viewers]``) and is imported when a store is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError, ImageError, InputError
from lamella.formats.atomic import atomic_folder
from lamella.formats.zarr_metadata import LevelPlan, Version, attributes, is_store, plan_levels, read_finest
from lamella.progress import Progress, no_progress
from lamella.records import Note, VolumeSource

__all__ = ["ZarrVolume", "chunk_edge", "open_zarr", "write_zarr"]

Array = NDArray[np.float32]
Size = tuple[int, int, int]
Place = tuple[slice, slice, slice]

CHUNK = 64
"""Edge of a chunk, voxels; of huge volumes twice that, so that the files stay countable."""
_HUGE = 2**31  # voxels
_SPAN = 4  # chunks along each side of a block that is read at once
_SAMPLED = 4096  # grey values of a block that the contrast window is taken from
_PERCENT = (0.5, 99.5)
_CACHED = 2**29  # bytes of decoded sections that are kept while a store is read section by section
_TYPES = ("float32", "float16", "int16", "uint16", "int8", "uint8")


def write_zarr(
    path: Path | str,
    volume: VolumeSource,
    voxel_size_ang: float,
    *,
    version: Version = "0.4",
    dtype: str = "float32",
    chunk: int | None = None,
    labels: Sequence[str] = (),
    progress: Progress = no_progress,
) -> None:
    """Write a volume with its pyramid, whole or not at all; a store of that name is replaced.

    Parameters
    ----------
    path
        the folder, ``NAME.zarr``.
    volume
        `(z, y, x)`; read once, in blocks of a few chunks.
    voxel_size_ang
        edge of a voxel, Å.
    version
        of OME-Zarr: 0.4 (zarr format 2) is what most viewers and the CryoET data portal read, 0.5 (format 3) the newer.
    dtype
        ``float32``, ``float16``, ``int16``, ``uint16``, ``int8`` or ``uint8``; whole numbers are rounded to the
        nearest.
    chunk
        edge of a chunk, a power of 2; None: 64, or 128 of volumes beyond 2³¹ voxels.
    labels
        lines of text that go with the data.
    progress
        told after each block.

    Raises
    ------
    InputError
        if zarr is not installed, or a size or type cannot be written.
    ImageError
        if a voxel is not finite, or `dtype` cannot hold one.
    OutputError
        if the folder cannot be written, or something else stands there.

    Notes
    -----
    A coarser level is half as fine along each side: every voxel the mean of the 2 × 2 × 2 below it, at an odd side's
    end of those that are there. Chunks are compressed without loss: blosc's lz4 over shuffled bits, which packs
    noise as tightly as zstd over shuffled bytes does, twice as fast.
    """
    zarr = _zarr()
    shape = volume.shape
    if dtype not in _TYPES:
        raise InputError(f"an OME-Zarr of {dtype} numbers", mend=f"choose one of {', '.join(_TYPES)}")
    if min(shape) < 1 or not (np.isfinite(voxel_size_ang) and voxel_size_ang > 0):
        raise InputError(f"{path}: {shape} voxels of {voxel_size_ang} Å", mend="give positive sizes")
    edge = chunk or chunk_edge(shape)
    if edge & (edge - 1):
        raise InputError(f"chunks of {edge} voxels", mend="give a power of 2")
    levels = plan_levels(shape, edge)
    if 2 ** (len(levels) - 1) > _SPAN * edge:
        raise InputError(f"chunks of {edge} voxels for {max(shape)}", mend="give a larger chunk")
    target = Path(path)
    with atomic_folder(target, is_store) as folder:
        group = zarr.open_group(folder, mode="w", zarr_format=2 if version == "0.4" else 3)
        arrays = [_new_array(zarr, group, number, level, dtype, edge, version) for number, level in enumerate(levels)]
        window = _fill(arrays, levels, volume, dtype, edge, progress)
        group.attrs.put(attributes(levels, voxel_size_ang, target.stem, window, version, labels))


def chunk_edge(shape: Size) -> int:
    """Edge of the chunks that a volume is written in where nobody chose one."""
    return CHUNK if np.prod(shape, dtype=np.int64) <= _HUGE else 2 * CHUNK


def open_zarr(path: Path | str) -> ZarrVolume:
    """Open the finest level of an OME-Zarr (0.1 … 0.5); only its metadata is read.

    Raises
    ------
    FormatError
        if it is no OME-Zarr volume that can be read (see `lamella.formats.zarr_metadata.read_finest`).
    InputError
        if zarr is not installed.
    """
    return ZarrVolume(path)


class ZarrVolume:
    """The finest level of an OME-Zarr: a `VolumeSource` and an `ImageSource` of its sections."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        level = read_finest(self.path)
        zarr = _zarr()
        try:
            self._array: Any = zarr.open_array(self.path / level.path, mode="r")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{self.path}: {error}", mend="copy the store again") from error
        self._leading = level.leading
        self.pixel_size_ang = None if level.voxel_ang is None else level.voxel_ang[2]
        self.labels = level.labels
        self.notes = tuple(Note(kind="assumed", where=str(path), text=text) for text in level.assumed)
        self._slab: tuple[int, Array] | None = None

    @property
    def shape(self) -> Size:
        """(z, y, x)."""
        z, y, x = (int(n) for n in self._array.shape[self._leading :])
        return z, y, x

    @property
    def chunk_shape(self) -> Size:
        """(z, y, x) of a chunk."""
        z, y, x = (int(n) for n in self._array.chunks[self._leading :])
        return z, y, x

    def __len__(self) -> int:
        return self.shape[0]

    def view(self, index: int) -> Array:
        """One section `(y, x)`, float32; index from 0."""
        if not 0 <= index < len(self):
            raise ImageError(f"{self.path}: section {index + 1} of {len(self)}", mend="ask for one that is there")
        section: Array = self.block(slice(index, index + 1), slice(None), slice(None))[0]
        return section

    def block(self, z: slice, y: slice, x: slice) -> Array:
        """A part of the volume, float32; slices have no step.

        Sections asked for one after another are decoded a chunk's thickness at a time, where that fits half a GiB.
        """
        first, stop, _ = z.indices(self.shape[0])
        depth, height, width = self.chunk_shape[0], *self.shape[1:]
        if 0 < stop - first < depth and depth * height * width * 4 <= _CACHED and _whole(y, height) & _whole(x, width):
            start = first // depth * depth
            if stop <= start + depth:
                if self._slab is None or self._slab[0] != start:
                    self._slab = (start, self._read(slice(start, min(start + depth, self.shape[0])), y, x))
                return self._slab[1][first - start : stop - start]
        return self._read(z, y, x)

    def _read(self, z: slice, y: slice, x: slice) -> Array:
        try:
            part = self._array[(*(0,) * self._leading, z, y, x)]
        except (OSError, ValueError, RuntimeError) as error:
            raise FormatError(f"{self.path}: a chunk cannot be read: {error}", mend="copy the store again") from error
        return np.ascontiguousarray(part, dtype=np.float32)


def _whole(part: slice, size: int) -> bool:
    return part.indices(size) == (0, size, 1)


def _zarr() -> ModuleType:
    try:
        return import_module("zarr")
    except ModuleNotFoundError as error:
        raise InputError("OME-Zarr needs the package zarr", mend="pip install lamella[viewers]") from error


def _new_array(
    zarr: ModuleType, group: Any, number: int, level: LevelPlan, dtype: str, edge: int, version: Version
) -> Any:
    is_v2 = version == "0.4"
    if is_v2:
        blosc = import_module("numcodecs").Blosc
        compressor = blosc(cname="lz4", clevel=5, shuffle=blosc.BITSHUFFLE)
    else:
        size = np.dtype(dtype).itemsize
        compressor = zarr.codecs.BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle", typesize=size)
    return group.create_array(
        str(number),
        shape=level.shape,
        chunks=tuple(min(edge, n) for n in level.shape),
        dtype=np.dtype(dtype).newbyteorder("<"),
        compressors=compressor,
        fill_value=0,
        chunk_key_encoding={"name": "v2" if is_v2 else "default", "separator": "/"},
        dimension_names=None if is_v2 else ["z", "y", "x"],
    )


def _fill(
    arrays: list[Any], levels: Sequence[LevelPlan], volume: VolumeSource, dtype: str, edge: int, progress: Progress
) -> tuple[float, float, float, float]:
    """Write every level, block by block; the grey values' least, greatest, and those to show as black and white."""
    blocks = list(_blocks(volume.shape, edge))
    low, high, samples = np.inf, -np.inf, []
    for done, place in enumerate(blocks):
        block = volume.block(*place)
        least, greatest = float(block.min()), float(block.max())
        if not np.isfinite(least + greatest):
            _refuse_infinite(block, place)
        low, high = min(low, least), max(high, greatest)
        samples.append(block.reshape(-1)[:: max(block.size // _SAMPLED, 1)].copy())  # a view would keep the block
        for level, array in zip(levels, arrays, strict=True):
            array[_at(place, level.factors)] = _as_stored(block, dtype)
            block = _halved(block, axes=tuple(n > 1 for n in level.shape))
        progress((done + 1) / len(blocks), "writing OME-Zarr")
    start, end = (float(value) for value in np.percentile(np.concatenate(samples), _PERCENT))
    if not start < end:
        start, end = low - 0.5, high + 0.5  # a constant volume; viewers want a window of some width
    return low, high, start, end


def _blocks(shape: Size, edge: int) -> Iterator[Place]:
    """Blocks of 4 chunks along each side, so that those of the finest three levels are written as a whole."""
    side = _SPAN * edge
    starts = [range(0, n, side) for n in shape]
    for corner in product(*starts):
        z, y, x = (slice(at, min(at + side, n)) for at, n in zip(corner, shape, strict=True))
        yield z, y, x


def _at(place: Place, factors: Size) -> Place:
    """Where a block of the finest level lies in a coarser one."""
    z, y, x = (slice(part.start // f, -(-part.stop // f)) for part, f in zip(place, factors, strict=True))
    return z, y, x


def _halved(block: Array, axes: tuple[bool, ...]) -> Array:
    """Means over pairs along each axis; a last voxel without a partner stays as it is."""
    for axis, halve in enumerate(axes):
        n = block.shape[axis]
        if not halve or n == 1:
            continue
        lines = np.moveaxis(block, axis, 0)
        halved = np.empty((-(-n // 2), *lines.shape[1:]), np.float32)
        np.add(lines[: n - 1 : 2], lines[1::2], out=halved[: n // 2])
        halved[: n // 2] *= np.float32(0.5)
        if n % 2:
            halved[-1] = lines[-1]
        block = np.moveaxis(halved, 0, axis)
    return np.ascontiguousarray(block)


def _as_stored(block: Array, dtype: str) -> NDArray[Any]:
    if dtype == "float32":
        return block
    if dtype == "float16":
        with np.errstate(over="ignore"):
            half = block.astype(np.float16)
        if not np.isfinite(half).all():
            raise ImageError("a grey value that float16 cannot hold", mend="write float32")
        return half
    limits = np.iinfo(dtype)
    rounded = np.rint(block)
    if rounded.min() < limits.min or rounded.max() > limits.max:
        raise ImageError(
            f"grey values from {block.min():g} to {block.max():g}, which {dtype} cannot hold",
            mend="scale them with --grey, or write float32",
        )
    return rounded.astype(dtype)


def _refuse_infinite(block: Array, place: Place) -> None:
    z, y, x = np.argwhere(~np.isfinite(block))[0] + [part.start for part in place]
    raise ImageError(f"voxel z={z}, y={y}, x={x} is not a finite number", mend="make the volume again without it")
