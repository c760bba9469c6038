"""Pixels of plain TIFF pages, decoded strip by strip into one array.

What every camera writes: grey values in strips, stored as they are or packed by LZW, Deflate or Zstd. Nothing here
holds a lock, and the decoders let other threads run, so several pages can be decoded at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from lamella.formats.tiff_directories import TILE_OFFSETS, Directory, read_exactly

__all__ = ["Strips", "decode_strips", "plain_strips"]

WIDTH, HEIGHT, BITS, COMPRESSION, FILL_ORDER, SAMPLES, ROWS_PER_STRIP, PREDICTOR, SAMPLE_FORMAT = (
    *(256, 257, 258, 259, 266, 277, 278, 317, 339),
)

_NUMBERS = {1: "u", 2: "i", 3: "f"}
_KINDS = {"u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8"}
_Unpack = Callable[..., Any]
_inflate = imagecodecs.deflate_decode if imagecodecs.DEFLATE.available else imagecodecs.zlib_decode  # 3 × as fast
_UNPACK: dict[int, _Unpack | None] = {
    1: None,
    5: imagecodecs.lzw_decode,
    8: _inflate,
    32946: _inflate,
    34926: imagecodecs.zstd_decode,
    50000: imagecodecs.zstd_decode,
}


@dataclass(frozen=True, eq=False)
class Strips:
    """A page of plain strips.

    Attributes
    ----------
    shape
        (height, width).
    pixel
        type of the stored pixels, with the file's byte order.
    compression
        number of the standard.
    rows
        rows of a strip.
    offsets, sizes
        ``(n,)`` where each strip lies, bytes.
    descriptor
        the open file.
    """

    shape: tuple[int, int]
    pixel: np.dtype[Any]
    compression: int
    rows: int
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    descriptor: int


def plain_strips(directory: Directory) -> Strips | None:
    """The page's strips; None where it is laid out or packed in a way that needs a more general reader."""
    if TILE_OFFSETS in directory.tags or directory.number(PREDICTOR, 1) != 1 or directory.number(FILL_ORDER, 1) != 1:
        return None
    bits, kind = directory.number(BITS, 1), _NUMBERS.get(directory.number(SAMPLE_FORMAT, 1), "?")
    compression = directory.number(COMPRESSION, 1)
    if (
        directory.number(SAMPLES, 1) != 1
        or f"{kind}{bits // 8}" not in _KINDS
        or bits % 8
        or compression not in _UNPACK
    ):
        return None
    height, width = directory.number(HEIGHT, 0), directory.number(WIDTH, 0)
    offsets, sizes = directory.segments()
    rows = min(directory.number(ROWS_PER_STRIP, height), height)
    if min(height, width, rows) < 1 or len(offsets) != -(-height // rows) or len(sizes) != len(offsets):
        return None
    if (offsets == 0).any():  # strips that were never written
        return None
    pixel = np.dtype(f"{kind}{bits // 8}").newbyteorder(directory.order)
    return Strips((height, width), pixel, compression, rows, offsets, sizes, directory.descriptor)


def decode_strips(strips: Strips) -> NDArray[Any]:
    """The page ``(height, width)`` as it lies in the file: row 0 at the top, the file's byte order.

    Raises
    ------
    EOFError
        if the file ends within it.
    ValueError
        if a strip is damaged or holds too few pixels.
    """
    height, width = strips.shape
    page = np.empty(strips.shape, strips.pixel)
    flat = page.reshape(-1).view(np.uint8)
    row_bytes = width * strips.pixel.itemsize
    for number, (offset, size) in enumerate(zip(strips.offsets.tolist(), strips.sizes.tolist(), strict=True)):
        first = number * strips.rows * row_bytes
        wanted = (min((number + 1) * strips.rows, height) - number * strips.rows) * row_bytes
        data = read_exactly(strips.descriptor, offset, size)
        done = _unpack(strips.compression, data, flat[first : first + wanted])
        if done < wanted:
            raise ValueError(f"strip {number + 1} of {len(strips.offsets)} holds {done} of {wanted} bytes")
    return page


def _unpack(compression: int, data: bytes, out: NDArray[np.uint8]) -> int:
    """Unpack a strip into `out`, and say how many of its bytes are filled."""
    unpack = _UNPACK[compression]
    try:
        if unpack is None:
            piece = np.frombuffer(data, np.uint8)[: out.size]
            out[: piece.size] = piece
            return piece.size
        try:
            return len(unpack(data, out=out))
        except RuntimeError:  # a strip with more rows than the page needs, as some writers fill up the last one
            piece = np.frombuffer(unpack(data), np.uint8)[: out.size]
            out[: piece.size] = piece
            return piece.size
    except RuntimeError as error:
        raise ValueError(str(error)) from error
