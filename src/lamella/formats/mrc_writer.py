"""Write an MRC file as its blocks are made: any order, one pass, statistics on the way."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lamella.errors import OutputError, PostconditionError
from lamella.formats.atomic import atomic_path, output_errors
from lamella.formats.mrc_header import HEADER_BYTES, new_header
from lamella.records import ImageSink

__all__ = ["STACK_SUFFIXES", "MrcWriter", "Statistics"]

_CHUNK = 1 << 16  # pixels whose statistics are taken at once: they stay in the cache between the passes
STACK_SUFFIXES = {".mrcs", ".st", ".ali", ".preali"}


class Statistics:
    """Minimum, maximum, mean and standard deviation of numbers that come in pieces."""

    def __init__(self) -> None:
        self.count = 0
        self.minimum = np.inf
        self.maximum = -np.inf
        self.mean = 0.0
        self._squares = 0.0  # sum of squared distances from the mean

    @property
    def rms(self) -> float:
        """Standard deviation."""
        return float(np.sqrt(self._squares / self.count)) if self.count else 0.0

    def add(self, values: NDArray[Any]) -> None:
        """Take a piece, any shape. NaN goes into minimum and maximum, infinities into one of them."""
        flat = values.reshape(-1)
        for start in range(0, flat.size, _CHUNK):
            self._add_chunk(flat[start : start + _CHUNK])

    def _add_chunk(self, chunk: NDArray[Any]) -> None:
        low, high = float(chunk.min()), float(chunk.max())
        self.minimum, self.maximum = float(np.minimum(self.minimum, low)), float(np.maximum(self.maximum, high))
        if not (np.isfinite(low) and np.isfinite(high)):
            return
        # float32 carries 7 digits of the spread once the mean is off; huge values need float64 for their squares
        wide = np.float64 if max(abs(low), abs(high)) > 1e15 else np.float32
        mean = float(chunk.mean(dtype=np.float64 if wide is np.float64 or chunk.dtype.kind in "iu" else None))
        centred = np.subtract(chunk, mean, dtype=wide)
        rest = float(centred.sum(dtype=wide))
        squares = float(np.dot(centred, centred)) - rest**2 / chunk.size
        mean += rest / chunk.size
        self._combine(chunk.size, mean, squares)

    def merge(self, other: Statistics) -> None:
        """Take the numbers that another has seen."""
        self.minimum, self.maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        if other.count:
            self._combine(other.count, other.mean, other._squares)

    def _combine(self, count: int, mean: float, squares: float) -> None:
        """Chan, Golub & LeVeque's pairwise update (COMPSTAT 1982)."""
        total = self.count + count
        apart = mean - self.mean
        self._squares += squares + apart**2 * self.count * count / total
        self.mean += apart * count / total
        self.count = total


class MrcWriter:
    """Write an MRC file block by block: called, it is a `VolumeSink`.

    The file appears under its name when the ``with`` block ends without an error and every voxel was written; else
    nothing is left. Blocks may come in any order and from several threads.

    Parameters
    ----------
    path
        the file; its folder is made where it is missing.
    shape
        (z, y, x).
    pixel_size_ang
        edge of a pixel, Å.
    dtype
        ``float32``, ``float16``, ``int16``, ``uint16``, ``int8`` or ``uint8``. Whole numbers are rounded to
        the nearest.
    stack
        whether the sections are images (space group 0) rather than one volume (1); None goes by the name: ``.mrcs``,
        ``.st`` and IMOD's ``.ali``, ``.preali`` are stacks.
    label
        a further line of the header's text, up to 80 characters of ASCII.
    origin_ang
        (x, y, z) where viewers put the centre of the first voxel, Å.

    Raises
    ------
    OutputError
        if the file cannot be written, at once where the disk has no room for all of it.
    PostconditionError
        if a block holds NaN, infinity or a number that `dtype` cannot hold, lies outside, comes twice, or is missing.
    """

    def __init__(
        self,
        path: Path | str,
        shape: tuple[int, int, int],
        pixel_size_ang: float,
        dtype: str = "float32",
        *,
        stack: bool | None = None,
        label: str = "",
        origin_ang: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> None:
        self.path = Path(path)
        self.shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        as_stack = self.path.suffix in STACK_SUFFIXES if stack is None else stack
        self._new_header = partial(
            new_header,
            pixel_size_ang=pixel_size_ang,
            dtype=dtype,
            stack=as_stack,
            label=label,
            origin_ang=origin_ang,
        )
        self._fields = self._new_header(self.shape)
        self._pixel = np.dtype(dtype).newbyteorder("<")
        self.statistics = Statistics()
        self._written = np.zeros(self.shape[:2], np.int32)  # pixels of each row that have come
        self._lock = Lock()
        self._exit = ExitStack()
        self._file: IO[bytes] | None = None

    def __enter__(self) -> MrcWriter:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            with output_errors(self.path, every=True):
                self._file = stack.enter_context(temporary.open("wb", buffering=0))
                self._make_room()
            self._exit = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if error is None:
                with self._exit:  # closes the file, then gives it its name; removes it where `_finish` fails
                    self._finish()
            else:
                self._exit.__exit__(kind, error, at)
        finally:
            self._file = None

    def __call__(self, z: int, y: int, x: int, block: NDArray[Any]) -> None:
        """Take the block ``(z, y, x)`` whose first voxel is (z, y, x)."""
        depth, height, width = block.shape
        nz, ny, nx = self.shape
        if min(z, y, x) < 0 or z + depth > nz or y + height > ny or x + width > nx:
            raise PostconditionError(
                f"{self.path}: a block of {block.shape} voxels at {(z, y, x)} lies outside the file's {self.shape}",
                mend="report this: it is a mistake in lamella",
            )
        stored = self._as_stored(block, (z, y, x))
        part = self._measure(block, stored)
        if not (np.isfinite(part.minimum) and np.isfinite(part.maximum)) and block.size:
            raise PostconditionError(
                f"{self.path}: the block of {block.shape} voxels at {(z, y, x)} holds NaN or infinity",
                mend="look for bad pixels in the input with `lamella check`",
            )
        with output_errors(self.path, every=True):
            self._put(z, y, x, stored)
        with self._lock:
            self._written[z : z + depth, y : y + height] += width
            self.statistics.merge(part)

    def keep_first(self, sections: int) -> None:
        """Make the file shorter than was planned: only its first `sections` are to be written.

        For stacks whose number of images is known only once the last one has come.
        """
        if self._file is None or not 0 < sections <= self.shape[0]:
            raise ValueError(f"{sections} of {self.shape[0]} sections of {self.path}")
        self.shape = (sections, *self.shape[1:])
        self._written = self._written[:sections]
        self._fields = self._new_header(self.shape)
        with output_errors(self.path, every=True):
            self._file.truncate(HEADER_BYTES + int(np.prod(self.shape, dtype=np.int64)) * self._pixel.itemsize)

    def image_sink(self) -> ImageSink:
        """The same file as a sink of images: section `index` is image `index`."""

        def take(index: int, image: NDArray[np.float32]) -> None:
            self(index, 0, 0, image[None])

        return take

    def _make_room(self) -> None:
        """Give the file its full size, and fail now where the disk is too small for it."""
        assert self._file is not None
        size = HEADER_BYTES + int(np.prod(self.shape, dtype=np.int64)) * self._pixel.itemsize
        free = shutil.disk_usage(self.path.parent).free
        if size > free:
            raise OutputError(
                f"{self.path}: {size / 2**20:.0f} MiB are needed and {free / 2**20:.0f} MiB are free on the disk",
                mend="make room and run it again",
            )
        self._file.truncate(size)

    def _measure(self, block: NDArray[Any], stored: NDArray[Any]) -> Statistics:
        """Statistics of what is stored; of float16, those of the numbers before they lost digits: far faster."""
        part = Statistics()
        if self._pixel.itemsize == 2 and self._pixel.kind == "f" and block.dtype.kind == "f":
            part.add(block)
            with np.errstate(over="ignore"):
                part.minimum, part.maximum = (float(np.float16(edge)) for edge in (part.minimum, part.maximum))
        else:
            part.add(stored)
        return part

    def _as_stored(self, block: NDArray[Any], place: tuple[int, int, int]) -> NDArray[Any]:
        if block.dtype == self._pixel:
            return np.ascontiguousarray(block)
        if self._pixel.kind == "f":
            with np.errstate(over="ignore"):  # what overflows is infinite, and found below
                return np.ascontiguousarray(block, dtype=self._pixel)
        limits = np.iinfo(self._pixel)
        lowest, highest = (float(block.min()), float(block.max())) if block.size else (0.0, 0.0)
        if not (limits.min - 0.5 <= lowest and highest < limits.max + 0.5):  # NaN fails too
            raise PostconditionError(
                f"{self.path}: the block at {place} reaches from {lowest:g} to {highest:g}, "
                f"which {self._pixel.name} cannot hold",
                mend="scale the grey values, or write float32",
            )
        rounded: NDArray[Any] = np.rint(block).astype(self._pixel)
        return rounded

    def _put(self, z: int, y: int, x: int, stored: NDArray[Any]) -> None:
        """Write a block in as few and as long pieces as the layout allows."""
        _, ny, nx = self.shape
        depth, height, width = stored.shape
        if (height, width) == (ny, nx):
            self._write_at((z * ny) * nx, stored)
        elif width == nx:
            for i in range(depth):
                self._write_at(((z + i) * ny + y) * nx, stored[i])
        else:
            for i in range(depth):
                for j in range(height):
                    self._write_at(((z + i) * ny + y + j) * nx + x, stored[i, j])

    def _write_at(self, first: int, piece: NDArray[Any]) -> None:
        if self._file is None:
            raise ValueError(f"{self.path} is written outside its `with` block")
        offset = HEADER_BYTES + first * self._pixel.itemsize
        buffer = memoryview(piece.reshape(-1).view(np.uint8).data)
        while len(buffer):
            count = os.pwrite(self._file.fileno(), buffer, offset)
            buffer, offset = buffer[count:], offset + count

    def _finish(self) -> None:
        assert self._file is not None
        wrong = self._written != self.shape[2]
        if wrong.any():
            z, y = (int(i) for i in np.argwhere(wrong)[0])
            raise PostconditionError(
                f"{self.path}: {int(wrong.sum())} of {wrong.size} rows are not written exactly once, "
                f"the first is row {y} of section {z}",
                mend="report this: it is a mistake in lamella",
            )
        self._fields["dmin"], self._fields["dmax"] = self.statistics.minimum, self.statistics.maximum
        self._fields["dmean"], self._fields["rms"] = self.statistics.mean, self.statistics.rms
        with output_errors(self.path, every=True):
            os.pwrite(self._file.fileno(), self._fields.tobytes(), 0)
