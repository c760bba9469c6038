"""A stack that grows image by image, as a microscope's computer writes it: whole at every moment.

An image's pixels are written behind those that the header speaks of; then the header counts it. A program that is
killed in between leaves a stack of one image less, and the pixels of the next one behind its end.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError, InputError
from lamella.formats.atomic import atomic_path, output_errors
from lamella.formats.mrc_header import HEADER_BYTES, new_header, read_header
from lamella.formats.mrc_writer import Statistics
from lamella.formats.warnings import FormatWarning

__all__ = ["GrowingStack"]


class GrowingStack:
    """One stack; the file appears with its first image.

    Parameters
    ----------
    path
        of the stack; one that is there already is gone on with.
    shape_px
        (height, width) of the images.
    pixel_size_ang
        edge of a pixel.
    dtype
        of the stored numbers, of a new stack: ``int16`` or ``float32``. Whole numbers beyond it are cut, as a camera
        saturates.

    Raises
    ------
    FormatError
        if a file of that name is there and is no such stack.
    """

    def __init__(self, path: Path, shape_px: tuple[int, int], pixel_size_ang: float, dtype: str) -> None:
        self.path, self.shape_px, self._pixel_size_ang = path, shape_px, pixel_size_ang
        self._dtype = dtype
        self._kept = 0
        self._statistics: list[Statistics] = []
        if path.exists():
            self._go_on()

    def __len__(self) -> int:
        """Images that the header counts."""
        return self._kept

    def put(self, section: int, image: NDArray[Any]) -> None:
        """Write an image's pixels, ``(height, width)``; the header does not count it yet, but for the first.

        Raises
        ------
        InputError
            if it has another size or holds no numbers, or images before it are gone.
        OutputError
            if the file cannot be written.
        """
        if image.shape != self.shape_px or not np.isfinite(image).all():
            raise InputError(
                f"{self.path}: an image of {image.shape} pixels, or with numbers that are none, for a stack of "
                f"{self.shape_px}",
                mend="look at the camera",
            )
        if not self.path.exists():
            if section:
                raise InputError(f"{self.path}: {section} images are gone", mend="record the series again")
            with atomic_path(self.path) as temporary, output_errors(self.path, every=True), temporary.open("wb") as new:
                self._write(new.fileno(), 0, image)
                self._write_header(new.fileno(), 1, [_statistics(self._stored(image))])
            self._kept, self._statistics = 1, [_statistics(self._stored(image))]
            return
        with output_errors(self.path, every=True), self.path.open("r+b") as file:
            if section < self._kept:
                self._keep(file.fileno(), section)
            self._write(file.fileno(), section, image)

    def holds(self, section: int) -> bool:
        """Whether the pixels of an image are there, counted or not."""
        return self.path.exists() and self.path.stat().st_size >= HEADER_BYTES + (section + 1) * self._section_bytes

    def keep(self, sections: int) -> None:
        """Let the header count so many images; what lies behind them is cut off."""
        if sections < 1 or not self.holds(sections - 1):
            raise InputError(f"{self.path}: image {sections} is not there", mend="record the series again")
        with output_errors(self.path, every=True), self.path.open("r+b") as file:
            self._keep(file.fileno(), sections)
            os.ftruncate(file.fileno(), HEADER_BYTES + sections * self._section_bytes)

    def image(self, section: int) -> NDArray[Any]:
        """``(height, width)`` pixels of an image."""
        height, width = self.shape_px
        pixels = np.fromfile(
            self.path, self._pixel, height * width, offset=HEADER_BYTES + section * self._section_bytes
        )
        return pixels.reshape(height, width)

    def extremes(self, section: int) -> tuple[float, float, float]:
        """Least, largest and mean number of an image that the header counts."""
        one = self._statistics[section]
        return one.minimum, one.maximum, one.mean

    @property
    def dtype(self) -> str:
        """Of the stored numbers."""
        return self._dtype

    @property
    def _pixel(self) -> np.dtype[Any]:
        return np.dtype(self._dtype).newbyteorder("<")

    @property
    def _section_bytes(self) -> int:
        return int(np.prod(self.shape_px)) * self._pixel.itemsize

    def _go_on(self) -> None:
        with warnings.catch_warnings(action="ignore", category=FormatWarning):  # an image behind the end is no fault
            header = read_header(self.path)
        if header.shape[1:] != self.shape_px or header.data_offset != HEADER_BYTES:
            raise FormatError(f"{self.path}: another stack stands here", mend="name another folder, or move it away")
        self._dtype = header.pixel.newbyteorder("=").name
        self._kept = header.shape[0]
        self._statistics = [_statistics(self.image(section)) for section in range(self._kept)]

    def _keep(self, file: int, sections: int) -> None:
        statistics = self._statistics[:sections]
        statistics += [_statistics(self.image(section)) for section in range(len(statistics), sections)]
        if sections:
            self._write_header(file, sections, statistics)
        self._kept, self._statistics = sections, statistics

    def _write(self, file: int, section: int, image: NDArray[Any]) -> None:
        buffer = memoryview(self._stored(image).reshape(-1).view(np.uint8).data)
        offset = HEADER_BYTES + section * self._section_bytes
        while len(buffer):
            count = os.pwrite(file, buffer, offset)
            buffer, offset = buffer[count:], offset + count

    def _stored(self, image: NDArray[Any]) -> NDArray[Any]:
        if self._pixel.kind == "f":
            return np.ascontiguousarray(image, self._pixel)
        limits = np.iinfo(self._pixel)
        return np.ascontiguousarray(np.clip(np.rint(image), limits.min, limits.max).astype(self._pixel))

    def _write_header(self, file: int, sections: int, statistics: list[Statistics]) -> None:
        fields = new_header((sections, *self.shape_px), self._pixel_size_ang, self._dtype, stack=True)
        whole = Statistics()
        for one in statistics:
            whole.merge(one)
        fields["dmin"], fields["dmax"] = whole.minimum, whole.maximum
        fields["dmean"], fields["rms"] = whole.mean, whole.rms
        os.pwrite(file, fields.tobytes(), 0)


def _statistics(image: NDArray[Any]) -> Statistics:
    numbers = Statistics()
    numbers.add(image)
    return numbers
