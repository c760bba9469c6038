"""Write the frames of a movie as a camera's TIFF file: whole numbers, packed, one directory per frame."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile
from numpy.typing import NDArray

from lamella.errors import InputError, PostconditionError
from lamella.formats.atomic import atomic_path, output_errors

__all__ = ["write_movie_tiff"]

Compression = Literal["lzw", "zstd", "deflate", "none"]

_COMPRESSIONS = {"lzw": "lzw", "zstd": "zstd", "deflate": "adobe_deflate", "none": None}
_DTYPES = ("uint8", "int8", "uint16", "int16", "float32")
_BIG_TIFF = 2**31  # bytes of pixels from which 32-bit offsets might not reach
_STRIP_BYTES = 2**18


def write_movie_tiff(
    path: Path | str,
    frames: Iterable[NDArray[Any]],
    shape: tuple[int, int, int],
    pixel_size_ang: float,
    *,
    compression: Compression = "lzw",
    dtype: str = "uint8",
    title: str | None = None,
) -> None:
    """Write frames as the pages of a TIFF file, row 0 at the top; whole or not at all.

    Parameters
    ----------
    path
        the file.
    frames
        as many frames ``(height, width)`` as `shape` says, row 0 at the bottom; one is held at a time.
    shape
        (frames, height, width).
    pixel_size_ang
        written as pixels per centimetre.
    compression
        ``lzw``, ``zstd``, ``deflate`` or ``none``.
    dtype
        ``uint8``, ``int8``, ``uint16``, ``int16`` or ``float32``.
    title
        description of the first frame, in ASCII.

    Raises
    ------
    InputError
        if `compression`, `dtype` or `pixel_size_ang` is none that can be written.
    PostconditionError
        if a frame is missing, of another size, or holds a number that `dtype` cannot hold exactly.
    OutputError
        if the disk is full or the file cannot be written.
    """
    if compression not in _COMPRESSIONS:
        raise InputError(f"a TIFF file packed by {compression}", mend=f"choose one of {', '.join(_COMPRESSIONS)}")
    if dtype not in _DTYPES:
        raise InputError(f"frames of {dtype} numbers", mend=f"choose one of {', '.join(_DTYPES)}")
    if not (np.isfinite(pixel_size_ang) and pixel_size_ang > 0):
        raise InputError(f"a pixel size of {pixel_size_ang} Å", mend="give a positive pixel size")
    pixel = np.dtype(dtype)
    row_bytes = shape[2] * pixel.itemsize
    layout: dict[str, Any] = {
        "contiguous": False,
        "photometric": "minisblack",
        "metadata": None,
        "software": False,
        "compression": _COMPRESSIONS[compression],
        "rowsperstrip": min(max(_STRIP_BYTES // row_bytes, 1), shape[1]),
        "maxworkers": 1,
        "resolution": (1e8 / pixel_size_ang, 1e8 / pixel_size_ang),
        "resolutionunit": "CENTIMETER",
    }
    count = 0
    with atomic_path(path) as temporary:
        with output_errors(Path(path), every=True):
            file = tifffile.TiffWriter(temporary, bigtiff=row_bytes * shape[0] * shape[1] > _BIG_TIFF)
        with file:
            for count, frame in enumerate(frames, 1):
                page = _as_stored(frame, pixel, shape, f"{path}: frame {count}")
                with output_errors(Path(path), every=True):
                    file.write(page, description=title if count == 1 else None, **layout)
        if count != shape[0]:
            raise PostconditionError(f"{path}: {count} of {shape[0]} frames were written", mend="report this")


def _as_stored(frame: NDArray[Any], pixel: np.dtype[Any], shape: tuple[int, int, int], where: str) -> NDArray[Any]:
    """The frame as it is written: row 0 at the top, numbers unchanged."""
    if frame.shape != shape[1:]:
        raise PostconditionError(f"{where} has {frame.shape} pixels, not {shape[1:]}", mend="report this")
    if frame.dtype == pixel and pixel.kind != "f":
        return np.ascontiguousarray(frame[::-1])
    with np.errstate(invalid="ignore", over="ignore"):  # what does not fit is found below
        stored = np.ascontiguousarray(frame[::-1].astype(pixel))
    exact = np.isfinite(stored).all() if pixel.kind == "f" else np.array_equal(stored, frame[::-1])
    if not exact:
        raise PostconditionError(f"{where} holds numbers that {pixel.name} cannot hold", mend="scale the counts")
    return stored
