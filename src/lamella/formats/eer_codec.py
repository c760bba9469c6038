"""The run-length code of Electron Event Representation (EER) files, read and written.

A frame is a stream of codes, least significant bit first. A code is the number of empty pixels before the next event in
raster order and where in its pixel the event lies: a few bits of x, then of y, the upper one of each inverted. A run
that is too long for its bits is said by the greatest number, which stands for that many empty pixels, without an event
and without sub-pixel bits; another code follows. The stream ends with a run that reaches the end of the frame. A pixel
holds at most one event.

After Guo et al., IUCrJ 7 (2020) 860, and the readers of Thermo Fisher's EerReaderLib and of RELION (for the inverted
bits). The first 8-bit files spend the sub-pixel bits on every code, those without an event too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.formats.eer_loops import count_bands, list_events, write_codes

__all__ = ["EventCode", "count_events", "decode_events", "encode_events"]

Words = NDArray[np.uint64]
Places = NDArray[np.int64]

QUARTERS = 4  # positions in a pixel, each way, that events are stated in
_BAND_BYTES = 1 << 17


@dataclass(frozen=True)
class EventCode:
    """How many bits a code has.

    Attributes
    ----------
    run_bits
        of the run of empty pixels.
    x_bits, y_bits
        of the position in the pixel.
    wasteful
        whether a code without an event has sub-pixel bits too, which say nothing.
    """

    run_bits: int
    x_bits: int = 2
    y_bits: int = 2
    wasteful: bool = False

    def __post_init__(self) -> None:
        if not (4 <= self.run_bits <= 16 and 0 <= self.x_bits <= 2 and 0 <= self.y_bits <= 2):
            raise ValueError(f"a code of {self.run_bits} + {self.x_bits} + {self.y_bits} bits")

    @property
    def bits(self) -> int:
        """Bits of a code that has an event."""
        return self.run_bits + self.x_bits + self.y_bits

    @property
    def without_event(self) -> int:
        """Bits of a code that has none."""
        return self.bits if self.wasteful else self.run_bits

    @property
    def layout(self) -> Words:
        """For compiled code ``(7,)``: bits of a run, of a code with and without an event; place and mask of the upper
        bits of x and of y in a code, the mask 0 where there is none.
        """
        upper = self.run_bits + self.x_bits
        x = (max(upper - 1, 0), min(self.x_bits, 1))
        y = (max(upper + self.y_bits - 1, 0), min(self.y_bits, 1))
        return np.array([self.run_bits, self.bits, self.without_event, *x, *y], np.uint64)


def count_events(
    strips: Sequence[bytes], code: EventCode, shape: tuple[int, int], upsampling: int, out: NDArray[Any]
) -> NDArray[np.bool_]:
    """Add the events of some raw frames to `out`.

    Parameters
    ----------
    strips
        one stream of codes for each raw frame.
    code
        how they are coded.
    shape
        (height, width) of the detector.
    upsampling
        1, or 2 for pixels of half the size.
    out
        ``(height · upsampling, width · upsampling)`` uint8 or uint16, C-contiguous; it must not overflow.

    Returns
    -------
    sound
        ``(n,)`` whether each stream ended with its frame; where one did not, `out` is spoiled.
    """
    if upsampling not in (1, 2) or out.shape != (shape[0] * upsampling, shape[1] * upsampling):
        raise ValueError(f"counts of {out.shape} for frames of {shape}, {upsampling} times upsampled")
    words, starts, ends = _as_words(strips)
    sound = np.zeros(len(strips), np.bool_)
    band = np.uint64(_BAND_BYTES // (out.itemsize * upsampling**2))
    total, width = np.uint64(shape[0] * shape[1]), np.uint64(shape[1])
    count_bands(words, starts, ends, code.layout, total, width, upsampling, band, out.reshape(-1), sound)
    return sound


def decode_events(strip: bytes, code: EventCode, shape: tuple[int, int]) -> Places | None:
    """The events of one raw frame, in raster order of their pixels.

    Returns
    -------
    events
        ``(n,)`` index on the grid of quarter pixels, ``y · 4 width + x`` with x and y in quarters; None if the stream
        does not end with its frame.
    """
    words, _, ends = _as_words([strip])
    most = len(strip) * 8 // code.bits + 1
    pixels, symbols = np.empty(most, np.int64), np.empty(most, np.int64)
    count = list_events(words, ends[0], np.uint64(shape[0] * shape[1]), code.layout, pixels, symbols)
    if count < 0:
        return None
    pixels, symbols = pixels[:count], symbols[:count]
    x = _quarters(symbols, code.x_bits)
    y = _quarters(symbols >> code.x_bits, code.y_bits)
    row, column = np.divmod(pixels, shape[1])
    places: Places = (row * QUARTERS + y) * (shape[1] * QUARTERS) + column * QUARTERS + x
    return places


def encode_events(events: Places, code: EventCode, shape: tuple[int, int]) -> tuple[bytes, int]:
    """Code the events of one raw frame.

    Parameters
    ----------
    events
        ``(n,)`` index on the grid of quarter pixels, as `decode_events` gives them, in any order. Of several in one
        pixel the one with the least (y, x) is kept, since a frame holds one event per pixel.
    code
        of 2 + 2 sub-pixel bits.
    shape
        (height, width) of the detector.

    Returns
    -------
    strip, merged
        the stream, padded to an even number of bytes, and how many events went into one with another.

    Raises
    ------
    ValueError
        if an event lies outside.
    """
    if (code.x_bits, code.y_bits) != (2, 2):
        raise ValueError("events are written with 2 + 2 sub-pixel bits")
    events = np.asarray(events, np.int64).reshape(-1)
    total = shape[0] * shape[1]
    if len(events) and (events.min() < 0 or events.max() >= total * QUARTERS**2):
        raise ValueError(f"an event outside a frame of {shape[1]} × {shape[0]} pixels")
    y, x = np.divmod(events, shape[1] * QUARTERS)
    pixels = (y // QUARTERS) * shape[1] + x // QUARTERS
    keys = np.sort(pixels * QUARTERS**2 + (y % QUARTERS) * QUARTERS + x % QUARTERS)
    pixels = keys // QUARTERS**2
    first = np.ones(len(keys), np.bool_)
    first[1:] = pixels[1:] != pixels[:-1]
    keys, pixels = keys[first], pixels[first]
    symbols = (keys % QUARTERS**2) ^ 0b1010  # x in the lower two bits, y in the upper two; upper bits inverted
    longest = total // ((1 << code.run_bits) - 1) + len(keys) + 1  # codes without an event, at most
    out = np.zeros((longest * code.without_event + len(keys) * code.bits) // 64 + 2, np.uint64)
    bits = int(write_codes(pixels.view(np.uint64), symbols.view(np.uint64), np.uint64(total), code.layout, out))
    size = (bits + 15) // 16 * 2
    return out.astype("<u8", copy=False).tobytes()[:size], int(len(first) - first.sum())


def _quarters(symbols: Places, bits: int) -> Places:
    """Quarter of a pixel that the lowest `bits` of the symbols say."""
    if bits == 0:
        return np.zeros_like(symbols)
    stored = symbols & ((1 << bits) - 1)
    return (stored ^ (1 << (bits - 1))) << (2 - bits)


def _as_words(strips: Sequence[bytes]) -> tuple[Words, Words, Words]:
    """The streams one after the other, in 64-bit words with some to spare; first bit and end of each."""
    sizes = [-(-len(strip) // 8) for strip in strips]
    words = np.zeros(sum(sizes) + 4, "<u8")
    flat = words.view(np.uint8)
    starts = np.zeros(len(strips), np.uint64)
    place = 0
    for number, (strip, size) in enumerate(zip(strips, sizes, strict=True)):
        flat[place : place + len(strip)] = np.frombuffer(strip, np.uint8)
        starts[number] = place * 8
        place += size * 8
    ends = starts + np.array([8 * len(strip) for strip in strips], np.uint64)
    return words.astype(np.uint64, copy=False), starts, ends
