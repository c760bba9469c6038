"""Loops over the codes of EER files (`eer_codec`), compiled.

Events are counted straight into the sum of many frames, a band of rows at a time: the band stays in the processor's
cache while the frames' events for it come in. Codes are taken from words of 64 bits, several from each, by sums in
place of branches: whether a code has an event is a coin's throw at usual doses, which no processor foresees.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["count_bands", "list_events", "write_codes"]

Words = NDArray[np.uint64]
Places = NDArray[np.int64]
Unsigned = Any  # a number inside compiled code: an unsigned one indexes arrays without a test of its sign

_ZERO, _ONE, _SIX, _LAST_BIT = np.uint64(0), np.uint64(1), np.uint64(6), np.uint64(63)


@njit(cache=True, nogil=True, inline="always")
def _peek(words: Words, bit: Unsigned) -> Unsigned:
    """The 64 bits from number `bit` on."""
    shift = bit & _LAST_BIT
    low = words[bit >> _SIX] >> shift
    return low | ((words[(bit >> _SIX) + _ONE] << _ONE) << (_LAST_BIT - shift))


@njit(cache=True, nogil=True)
def count_bands(
    words: Words,
    starts: Words,
    ends: Words,
    layout: Words,
    total: Unsigned,
    width: Unsigned,
    upsampling: int,
    band: Unsigned,
    out: NDArray[Any],
    sound: NDArray[np.bool_],
) -> None:
    """Count band by band, with codes taken several at a time; then what is near the end of the frame, one by one."""
    group = np.uint64(64) // layout[1]
    spare = group << layout[0]  # pixels that a group might run over
    safe = total - spare if total > spare else _ZERO
    bits, pixels = starts.copy(), np.zeros(len(starts), np.uint64)
    edge = _ZERO
    while edge < safe:
        edge = min(edge + band, safe)
        for frame in range(len(starts)):
            bit, end, pixel = bits[frame], ends[frame], pixels[frame]
            if upsampling == 1:
                bits[frame], pixels[frame] = _run(words, bit, end, pixel, edge, layout, group, out)
            else:
                bits[frame], pixels[frame] = _run_twice(words, bit, end, pixel, edge, layout, group, width, out)
    for frame in range(len(starts)):
        sound[frame] = _finish(words, bits[frame], ends[frame], pixels[frame], total, layout, upsampling, width, out)


@njit(cache=True, nogil=True)
def _run(
    words: Words,
    bit: Unsigned,
    end: Unsigned,
    pixel: Unsigned,
    edge: Unsigned,
    layout: Words,
    group: Unsigned,
    out: NDArray[Any],
) -> tuple[Unsigned, Unsigned]:
    """Count events up to about pixel `edge`; where the stream goes on, and at which pixel. No branch per event."""
    run_bits, with_event, without_event = layout[0], layout[1], layout[2]
    full, saved = (_ONE << run_bits) - _ONE, with_event - without_event
    while pixel < edge and bit < end:
        word = _peek(words, bit)
        for _ in range(group):
            run = word & full
            empty = (run + _ONE) >> run_bits  # 1 for a code without an event, else 0: sums in place of branches
            used = with_event - (saved & (_ZERO - empty))
            event = empty ^ _ONE
            pixel += run
            out[pixel] += np.uint8(event)
            pixel += event
            word >>= used
            bit += used
    return bit, pixel


@njit(cache=True, nogil=True)
def _run_twice(
    words: Words,
    bit: Unsigned,
    end: Unsigned,
    pixel: Unsigned,
    edge: Unsigned,
    layout: Words,
    group: Unsigned,
    width: Unsigned,
    out: NDArray[Any],
) -> tuple[Unsigned, Unsigned]:
    """What `_run` does, for pixels of half the size."""
    run_bits, with_event, without_event, x_place, x_mask, y_place, y_mask = layout
    full, saved = (_ONE << run_bits) - _ONE, with_event - without_event
    row = pixel // width
    row_end = (row + _ONE) * width
    while pixel < edge and bit < end:
        word = _peek(words, bit)
        for _ in range(group):
            run = word & full
            empty = (run + _ONE) >> run_bits  # 1 for a code without an event, else 0: sums in place of branches
            used = with_event - (saved & (_ZERO - empty))
            event = empty ^ _ONE
            pixel += run
            while pixel >= row_end:
                row_end += width
                row += _ONE
            out[_half_place(word, pixel, row, width, x_place, x_mask, y_place, y_mask)] += np.uint8(event)
            pixel += event
            word >>= used
            bit += used
    return bit, pixel


@njit(cache=True, nogil=True, inline="always")
def _half_place(
    word: Unsigned,
    pixel: Unsigned,
    row: Unsigned,
    width: Unsigned,
    x_place: Unsigned,
    x_mask: Unsigned,
    y_place: Unsigned,
    y_mask: Unsigned,
) -> Unsigned:
    """Index on the grid of half pixels of the event whose code begins the word; of no sub-pixel bits, the lower one."""
    x = ((word >> x_place) & x_mask) ^ x_mask
    y = ((word >> y_place) & y_mask) ^ y_mask
    return ((pixel + (row + y) * width) << _ONE) + x


@njit(cache=True, nogil=True)
def _finish(
    words: Words,
    bit: Unsigned,
    end: Unsigned,
    pixel: Unsigned,
    total: Unsigned,
    layout: Words,
    upsampling: int,
    width: Unsigned,
    out: NDArray[Any],
) -> bool:
    """Count the last events; whether the stream's last run reaches the end of the frame and no further."""
    run_bits, with_event, without_event, x_place, x_mask, y_place, y_mask = layout
    full = (_ONE << run_bits) - _ONE
    while bit + run_bits <= end:
        word = _peek(words, bit)
        run = word & full
        pixel += run
        if pixel >= total:
            return bool(pixel == total)
        if run == full:
            bit += without_event
            continue
        if upsampling == 2:
            out[_half_place(word, pixel, pixel // width, width, x_place, x_mask, y_place, y_mask)] += np.uint8(1)
        else:
            out[pixel] += np.uint8(1)
        pixel += _ONE
        bit += with_event
    return False


@njit(cache=True, nogil=True)
def list_events(words: Words, end: Unsigned, total: Unsigned, layout: Words, pixels: Places, symbols: Places) -> int:
    """List pixel and sub-pixel symbol of each event of one frame; how many, or −1 if the stream ends elsewhere."""
    run_bits, with_event, without_event = layout[0], layout[1], layout[2]
    full = (_ONE << run_bits) - _ONE
    sub_mask = (_ONE << (with_event - run_bits)) - _ONE
    bit, pixel, count = _ZERO, _ZERO, 0
    while bit + run_bits <= end:
        word = _peek(words, bit)
        run = word & full
        pixel += run
        if pixel >= total:
            return count if pixel == total else -1
        if run == full:
            bit += without_event
            continue
        pixels[count] = np.int64(pixel)
        symbols[count] = np.int64((word >> run_bits) & sub_mask)
        count += 1
        pixel += _ONE
        bit += with_event
    return -1


@njit(cache=True, nogil=True)
def _put(out: Words, bit: Unsigned, value: Unsigned) -> None:
    """Set the bits of a value that begins at number `bit`; those there must be 0."""
    shift = bit & _LAST_BIT
    out[bit >> _SIX] |= value << shift
    out[(bit >> _SIX) + _ONE] |= (value >> _ONE) >> (_LAST_BIT - shift)


@njit(cache=True, nogil=True)
def write_codes(pixels: Words, symbols: Words, total: Unsigned, layout: Words, out: Words) -> Unsigned:
    """Write a code for each event and a run to the end of the frame; how many bits they take."""
    run_bits, with_event, without_event = layout[0], layout[1], layout[2]
    full = (_ONE << run_bits) - _ONE
    bit, pixel = _ZERO, _ZERO
    for event in range(len(pixels)):
        run = pixels[event] - pixel
        while run >= full:
            _put(out, bit, full)
            bit += without_event
            run -= full
        _put(out, bit, run | (symbols[event] << run_bits))
        bit += with_event
        pixel = pixels[event] + _ONE
    run = total - pixel
    while run > full:
        _put(out, bit, full)
        bit += without_event
        run -= full
    _put(out, bit, run)  # reaches the end; 0 where the last event lies on the last pixel
    return bit + without_event
