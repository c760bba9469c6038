"""MRC stacks and volumes: read a section or a block at a time, written block by block.

Row 0 of every array is the picture's bottom row, as in the file; files whose row 0 is the top (see `mrc_header`) are
turned over. Pixels come out as float32, frames as they are stored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError, ImageError
from lamella.formats.mrc_extended import read_extended
from lamella.formats.mrc_header import MrcHeader, read_header
from lamella.formats.mrc_writer import MrcWriter
from lamella.formats.nibbles import unpack_nibbles
from lamella.records import Note

__all__ = ["MrcFile", "MrcWriter", "open_mrc", "read_mrc", "write_mrc"]

Array = NDArray[np.float32]

_WASTE = 8192  # bytes that are quicker read in vain than skipped by another call of the system


def open_mrc(path: Path | str) -> MrcFile:
    """Open an MRC file; only its header is read.

    Raises
    ------
    FormatError
        see `lamella.formats.mrc_header.read_header`.
    """
    return MrcFile(read_header(path))


def read_mrc(path: Path | str) -> tuple[Array, float | None]:
    """Read a whole MRC file: ``(z, y, x)`` float32, and the header's pixel size in Å or None."""
    file = open_mrc(path)
    return file.read(), file.pixel_size_ang


def write_mrc(
    path: Path | str,
    array: NDArray[Any],
    pixel_size_ang: float,
    dtype: str = "float32",
    *,
    stack: bool | None = None,
) -> None:
    """Write a volume or a stack ``(z, y, x)``, or one image ``(y, x)``, whole or not at all.

    Parameters are those of `MrcWriter`, which see for errors.
    """
    volume = array[None] if array.ndim == 2 else array
    if volume.ndim != 3:
        raise ImageError(f"{path}: an array of {array.ndim} dimensions", mend="give (z, y, x) or (y, x)")
    nz, ny, nx = volume.shape
    with MrcWriter(path, (nz, ny, nx), pixel_size_ang, dtype, stack=stack) as write:
        for z in range(nz):  # a section at a time, so that another type needs one section of memory
            write(z, 0, 0, volume[z : z + 1])


class MrcFile:
    """An MRC file, read where it is asked for: an `ImageSource`, a `VolumeSource` and a `FrameSource` at once.

    The file is opened anew for each read, so that the object can be sent to other processes and needs no closing.
    """

    def __init__(self, header: MrcHeader) -> None:
        self.header = header

    def __enter__(self) -> MrcFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing is open between reads."""

    @property
    def path(self) -> Path:
        """The file."""
        return self.header.path

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x), or (views, height, width)."""
        return self.header.shape

    @property
    def pixel_size_ang(self) -> float | None:
        """What the header says, Å; None where it says nothing usable."""
        return self.header.pixel_size_ang

    @property
    def notes(self) -> tuple[Note, ...]:
        """What was assumed in reading the file."""
        return self.header.notes

    @property
    def labels(self) -> tuple[str, ...]:
        """The header's lines of text."""
        return self.header.labels

    @cached_property
    def extended(self) -> tuple[Mapping[str, float], ...]:
        """What the extended header says of each section, by names with units (see `mrc_extended`); empty if nothing."""
        return read_extended(self.header)

    def __len__(self) -> int:
        return self.shape[0]

    def view(self, index: int) -> Array:
        """One section ``(y, x)``, float32, row 0 at the bottom; index from 0."""
        if not 0 <= index < self.shape[0]:
            raise ImageError(
                f"{self.path}: section {index + 1} of {self.shape[0]}", mend="check the table that names the sections"
            )
        section: Array = self.block(slice(index, index + 1), slice(None), slice(None))[0]
        return section

    def frame(self, index: int) -> NDArray[Any]:
        """One section ``(y, x)`` in the type it is stored in, native byte order, row 0 at the bottom; nibbles as uint8.

        Raises
        ------
        ImageError
            if there is no such section.
        """
        if not 0 <= index < self.shape[0]:
            raise ImageError(f"{self.path}: frame {index + 1} of {self.shape[0]}", mend="ask for a frame that is there")
        section = self._stored(slice(index, index + 1), slice(None), slice(None))[0]
        return np.ascontiguousarray(section, dtype=self.header.pixel.newbyteorder("="))

    def block(self, z: slice, y: slice, x: slice) -> Array:
        """A part of the volume ``(z, y, x)``, float32; slices have no step."""
        # byte order, type and rows in one copy; none where the file holds native float32
        return np.ascontiguousarray(self._stored(z, y, x), dtype=np.float32)

    def _stored(self, z: slice, y: slice, x: slice) -> NDArray[Any]:
        """A part of the volume, rows turned, in the file's type."""
        (z0, z1), (y0, y1), (x0, x1) = (_bounds(part, size) for part, size in zip((z, y, x), self.shape, strict=True))
        if self.header.top_row_first:
            y0, y1 = self.shape[1] - y1, self.shape[1] - y0
        stored = np.empty((z1 - z0, y1 - y0, x1 - x0), self.header.pixel)
        if stored.size and self.header.nibbles:
            self._fill_nibbles(stored, z0, y0, x0)
        elif stored.size:
            self._fill(stored, z0, y0, x0)
        return stored[:, ::-1] if self.header.top_row_first else stored

    def read(self) -> Array:
        """The whole file ``(z, y, x)``, float32."""
        return self.block(slice(None), slice(None), slice(None))

    def _fill(self, stored: NDArray[Any], z0: int, y0: int, x0: int) -> None:
        """Read the block that begins at (z0, y0, x0), in as few and as long pieces as the layout allows."""
        _, ny, nx = self.shape
        size = self.header.pixel.itemsize
        depth, height, width = stored.shape
        whole_rows = (nx - width) * size <= _WASTE
        with self.path.open("rb", buffering=0) as file:
            descriptor = file.fileno()
            if (height, width) == (ny, nx):
                self._read_into(descriptor, stored, z0 * ny * nx)
                return
            scratch = np.empty((height, nx if whole_rows else 0), self.header.pixel)
            for z in range(depth):
                first = ((z0 + z) * ny + y0) * nx
                if width == nx:
                    self._read_into(descriptor, stored[z], first)
                elif whole_rows:
                    self._read_into(descriptor, scratch, first)
                    stored[z] = scratch[:, x0 : x0 + width]
                else:
                    for y in range(height):
                        self._read_into(descriptor, stored[z, y], first + y * nx + x0)

    def _fill_nibbles(self, stored: NDArray[np.uint8], z0: int, y0: int, x0: int) -> None:
        """Read the block that begins at (z0, y0, x0) of a file with two pixels in a byte, whole rows at a time."""
        _, ny, nx = self.shape
        depth, height, width = stored.shape
        row_bytes = self.header.row_bytes
        packed = np.empty((height, row_bytes), np.uint8)
        with self.path.open("rb", buffering=0) as file:
            for z in range(depth):
                self._read_into(file.fileno(), packed, ((z0 + z) * ny + y0) * row_bytes)
                stored[z] = unpack_nibbles(packed, nx)[:, x0 : x0 + width]

    def _read_into(self, descriptor: int, piece: NDArray[Any], first: int) -> None:
        """Fill a contiguous piece with the pixels (of nibbles: the bytes) from number `first` on."""
        offset = self.header.data_offset + first * self.header.pixel.itemsize
        buffer = memoryview(piece.reshape(-1).view(np.uint8).data)
        while len(buffer):
            count = os.preadv(descriptor, [buffer], offset)
            if count == 0:
                raise FormatError(f"{self.path}: the file has become shorter while it was read", mend="run it again")
            buffer, offset = buffer[count:], offset + count


def _bounds(part: slice, size: int) -> tuple[int, int]:
    start, stop, step = part.indices(size)
    if step != 1:
        raise ValueError(f"a block takes slices without a step, not {part}")
    return start, max(stop, start)
