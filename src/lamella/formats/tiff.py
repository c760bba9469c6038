"""TIFF stacks: read a page at a time, with the rows turned to MRC order.

A TIFF's row 0 is the top of the picture, an MRC file's is the bottom: row y of an image is row n − 1 − y of the file.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from lamella.errors import FormatError, ImageError, InputError, PostconditionError
from lamella.formats.atomic import atomic_path, output_errors
from lamella.formats.nibbles import unpack_nibbles
from lamella.formats.tiff_decode import decode_strips, plain_strips
from lamella.formats.tiff_directories import read_directories

__all__ = ["TiffStack", "open_tiff", "write_tiff"]

Array = NDArray[np.float32]

_KINDS = {"uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"}
_DTYPES = ("float32", "float16", "int16", "uint16", "int8", "uint8")
_IMAGEJ_UNITS = {"nm": 10.0, "um": 1e4, "µm": 1e4, "\\u00b5m": 1e4, "micron": 1e4, "a": 1.0, "å": 1.0, "angstrom": 1.0}
_PACKED_TITLE = ("SerialEMCCD", "4 bits packed")  # SerialEM's words for bytes that hold two pixels each
_CENTIMETRE = 3
_BIG_TIFF = 2**31  # bytes of pixels from which 32-bit offsets might not reach


def open_tiff(path: Path | str) -> TiffStack:
    """Open a TIFF file of one or more grey-value pages; only its directories are read.

    Raises
    ------
    FormatError
        if it is no TIFF file, its pages differ in size, or they hold colours or an unknown kind of number.
    """
    return TiffStack(Path(path))


class TiffStack:
    """The pages of a TIFF file: an `ImageSource`, a `VolumeSource` and a `FrameSource` at once.

    LZW, Deflate, Zstd and whatever else tifffile and imagecodecs decode; frame-by-frame files (a series per page) and
    ImageJ's big files (one page for many images) alike; of SerialEM's bytes with two pixels each, the pixels. Several
    threads may read at once: plain strips are decoded side by side, what only tifffile can decode is decoded in turn.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise FormatError(f"{path}: {error.strerror}", mend="check the name and the permissions") from error
        self._close = weakref.finalize(self, os.close, self._descriptor)
        try:
            self._directories = read_directories(path, self._descriptor)
            self._file = tifffile.TiffFile(path)
            self._contiguous, self._shape = self._layout()
            self.pixel_size_ang = _pixel_size(self._file)
            self._strips = [plain_strips(directory) for directory in self._directories]
            if self._contiguous is not None or None not in self._strips:
                self._file.close()  # what it knew is known; many files may be open at a time
        except OSError as error:
            self.close()
            raise FormatError(f"{path}: {error.strerror or error}", mend="check the file") from error
        except FormatError:
            self.close()
            raise
        except (tifffile.TiffFileError, ValueError, KeyError, IndexError, TypeError) as error:
            self.close()
            raise FormatError(f"{path}: its directories are damaged ({error})", mend="copy the file again") from error

    def __enter__(self) -> TiffStack:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]

    def close(self) -> None:
        """Close the file."""
        self._close()
        if hasattr(self, "_file"):
            self._file.close()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(pages, height, width)."""
        return self._shape

    def __len__(self) -> int:
        return self._shape[0]

    def frame(self, index: int) -> NDArray[Any]:
        """One page `(height, width)` in the type it is stored in, native byte order, row 0 at the bottom."""
        stored = self._stored(index)
        return np.ascontiguousarray(stored[::-1], dtype=stored.dtype.newbyteorder("="))

    def view(self, index: int) -> Array:
        """One page `(height, width)`, float32, row 0 at the bottom; index from 0."""
        return np.ascontiguousarray(self._stored(index)[::-1], dtype=np.float32)

    def block(self, z: slice, y: slice, x: slice) -> Array:
        """A part of the stack `(z, y, x)`, float32, z counting pages; each page is decoded whole."""
        pages = range(*z.indices(len(self)))
        height, width = (len(range(*part.indices(size))) for part, size in zip((y, x), self._shape[1:], strict=True))
        out = np.empty((len(pages), height, width), np.float32)
        for place, page in enumerate(pages):
            out[place] = self._stored(page)[::-1][y, x]
        return out

    def _stored(self, index: int) -> NDArray[Any]:
        """One page as it lies in the file."""
        if not 0 <= index < len(self):
            raise ImageError(
                f"{self.path}: page {index + 1} of {len(self)}", mend="check the table that names the pages"
            )
        if not self._close.alive:
            raise ValueError(f"{self.path} is read after it was closed")
        try:
            page = self._decoded(index)
            if self._nibbles:
                page = unpack_nibbles(page, 2 * page.shape[1])
        except (tifffile.TiffFileError, ValueError, RuntimeError, OSError, EOFError) as error:
            raise FormatError(
                f"{self.path}: page {index + 1} of {len(self)} cannot be decoded ({error})", mend="copy the file again"
            ) from error
        if page.shape != self._shape[1:]:
            raise FormatError(
                f"{self.path}: page {index + 1} has {page.shape} pixels, the first {self._shape[1:]}",
                mend="give images of one size",
            )
        return page

    def _decoded(self, index: int) -> NDArray[Any]:
        if self._contiguous is not None:
            offset, kind = self._contiguous
            mapped: NDArray[Any] = np.memmap(self.path, kind, "r", offset, self._shape)[index]
            return mapped
        strips = self._strips[index]
        if strips is not None:
            return decode_strips(strips)
        with self._lock:
            page: NDArray[Any] = self._file.pages[index].asarray()
        return page

    def _layout(self) -> tuple[tuple[int, str] | None, tuple[int, int, int]]:
        """Where a block of plain images lies that has only one page, else None; and (images, height, width)."""
        first = self._file.pages.first
        kind = np.dtype(first.dtype).name if first.dtype is not None else "unknown"
        if first.samplesperpixel != 1 or kind not in _KINDS:
            what = f"{first.samplesperpixel} samples per pixel of {kind} numbers"
            raise FormatError(f"{self.path}: {what}, which is no grey image", mend="write plain grey values")
        self._nibbles = kind == "uint8" and all(words in first.description for words in _PACKED_TITLE)
        height, width = int(first.imagelength), int(first.imagewidth)
        if min(height, width) == 0:
            raise FormatError(f"{self.path}: {width} × {height} pixels: it holds no image", mend="write it again")
        pages = len(self._directories)
        images = int((self._file.imagej_metadata or {}).get("images", 1)) if pages == 1 else 1
        if images > 1:
            offset, stored = int(first.dataoffsets[0]), np.dtype(kind).newbyteorder(self._file.byteorder)
            there = max(self._file.filehandle.size - offset, 0) // (height * width * stored.itemsize)
            if there < images:
                raise FormatError(
                    f"{self.path}: the file ends early: {images - there} of {images} images are missing",
                    mend="copy the file again",
                )
            return (offset, stored.str), (images, height, width)
        return None, (pages, height, 2 * width if self._nibbles else width)


def write_tiff(
    path: Path | str,
    shape: tuple[int, int, int],
    images: Iterable[Array],
    pixel_size_ang: float,
    dtype: str = "float32",
) -> None:
    """Write images as the pages of a TIFF file, row 0 at the top, without compression; whole or not at all.

    Parameters
    ----------
    path
        the file.
    shape
        (images, height, width).
    images
        as many images `(height, width)`, row 0 at the bottom.
    pixel_size_ang
        written as pixels per centimetre.
    dtype
        ``float32``, ``float16``, ``int16``, ``uint16``, ``int8`` or ``uint8``; whole numbers are rounded.

    Raises
    ------
    InputError
        if `dtype` is another.
    PostconditionError
        if an image is missing, of another size, or holds NaN, infinity, or a number that `dtype` cannot hold.
    OutputError
        if the disk is full or the file cannot be written.
    """
    if dtype not in _DTYPES:
        raise InputError(f"a TIFF file of {dtype} numbers", mend=f"choose one of {', '.join(_DTYPES)}")
    pixel = np.dtype(dtype)
    big = int(np.prod(shape, dtype=np.int64)) * pixel.itemsize > _BIG_TIFF
    resolution = (1e8 / pixel_size_ang, 1e8 / pixel_size_ang)
    count = 0
    with atomic_path(path) as temporary:
        with output_errors(Path(path), every=True):
            file = tifffile.TiffWriter(temporary, bigtiff=big)
        with file:
            for count, image in enumerate(images, 1):
                page = _as_stored(image, pixel, f"{path}: image {count}")
                if page.shape != shape[1:]:
                    raise PostconditionError(f"{path}: image {count} has {page.shape} pixels", mend="report this")
                with output_errors(Path(path), every=True):
                    file.write(
                        page[::-1],
                        contiguous=False,
                        photometric="minisblack",
                        metadata=None,
                        resolution=resolution,
                        resolutionunit="CENTIMETER",
                    )
        if count != shape[0]:
            raise PostconditionError(f"{path}: {count} of {shape[0]} images were written", mend="report this")


def _as_stored(image: Array, pixel: np.dtype[Any], where: str) -> NDArray[Any]:
    if pixel.kind in "iu":
        limits = np.iinfo(pixel)
        image = np.rint(image)
        sound = bool(image.min() >= limits.min and image.max() <= limits.max)  # NaN is neither
    else:
        sound = bool(np.abs(image).max() <= np.finfo(pixel).max)
    if not sound:
        raise PostconditionError(f"{where} holds numbers that {pixel.name} cannot hold", mend="scale the grey values")
    return image.astype(pixel)


def _pixel_size(file: tifffile.TiffFile) -> float | None:
    """Å from ImageJ's unit or from pixels per centimetre; None where the file states neither.

    Pixels per inch are left alone: writers put 72 there without having measured anything.
    """
    tags = file.pages.first.tags
    if "XResolution" not in tags:
        return None
    numerator, denominator = tags["XResolution"].value
    if not (numerator and denominator):
        return None
    length = denominator / numerator
    imagej = file.imagej_metadata or {}
    unit = str(imagej.get("unit", "")).lower()
    if unit in _IMAGEJ_UNITS:
        return float(length * _IMAGEJ_UNITS[unit])
    if not imagej and "ResolutionUnit" in tags and int(tags["ResolutionUnit"].value) == _CENTIMETRE:
        return float(length * 1e8)
    return None
