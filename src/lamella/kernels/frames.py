"""Loops over the pixels of movie frames: detector correction, replacement of bad pixels, local warps, shifted sums.

All of them release the interpreter and work on rows ``first … last − 1`` only, so that `in_bands` may share a frame out
to threads, and several frames may be worked on at once.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "add_shifted",
    "correct_rows",
    "fill_around",
    "in_bands",
    "replace_pixels",
    "ring_sums",
    "warp_columns",
    "warp_rows",
]

Array = NDArray[np.float32]

_FAST: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
    "error_model": "numpy",
}
_TRIES = 240
_TRIES_PER_RING = 6
_EDGE_BAND = 16  # pixels from a frame's edge that stand for what lies beyond it


def in_bands(work: Callable[[int, int], None], rows: int, threads: int) -> None:
    """Call ``work(first, last)`` for bands of rows, on that many threads."""
    if threads <= 1 or rows < 2 * threads:
        work(0, rows)
        return
    edges = np.linspace(0, rows, threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, int(a), int(b)) for a, b in pairwise(edges)]:
            done.result()


@njit(**_FAST)
def correct_rows(frame: Any, dark: Array, gain: Array, out: Array, first: int, last: int) -> int:
    """``out = (frame − dark) · gain`` in some rows; arrays of size 0 stand for no dark and no gain.

    Returns how many of the frame's pixels are no finite numbers.
    """
    width = frame.shape[1]
    has_dark, has_gain = dark.size > 0, gain.size > 0
    wrong = 0
    for y in range(first, last):
        for x in range(width):
            out[y, x] = frame[y, x]
        for x in range(width):
            if not abs(out[y, x]) < 3e38:
                wrong += 1
        if has_dark:
            for x in range(width):
                out[y, x] -= dark[y, x]
        if has_gain:
            for x in range(width):
                out[y, x] *= gain[y, x]
    return wrong


@njit(inline="always")
def _mix(state: Any) -> Any:
    """One step of splitmix64 (Steele, Lea & Flood 2014): a well-mixed 64-bit number of a counter."""
    z = state * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(inline="always")
def _below(bits: Any, limit: int) -> Any:
    """A number in 0 … limit − 1 from 32 random bits."""
    return np.int64((bits * np.uint64(limit)) >> np.uint64(32))


@njit(**_FAST)
def replace_pixels(image: Array, bad: NDArray[np.bool_], places: NDArray[np.int64], seed: int) -> None:
    """Give each bad pixel the value of a good one near it, drawn at random: by `seed` and the pixel's place.

    Parameters
    ----------
    places
        ``(n,)`` flat indices of the pixels that are True in `bad`.
    """
    height, width = image.shape
    start = _mix(np.uint64(seed))
    low = np.uint64(0xFFFFFFFF)
    for i in range(len(places)):
        y, x = places[i] // width, places[i] % width
        reach = 2
        for attempt in range(_TRIES):
            bits = _mix(start + np.uint64(places[i]) * np.uint64(_TRIES) + np.uint64(attempt))
            yy = y + _below(bits & low, 2 * reach + 1) - reach
            xx = x + _below(bits >> np.uint64(32), 2 * reach + 1) - reach
            if 0 <= yy < height and 0 <= xx < width and not bad[yy, xx]:
                image[y, x] = image[yy, xx]
                break
            if attempt % _TRIES_PER_RING == _TRIES_PER_RING - 1:
                reach += 1 + reach // 4
    # a pixel with no good one within reach keeps its value


@njit(**_FAST)
def fill_around(buffer: Array, top: int, left: int, height: int, width: int, seed: int, first: int, last: int) -> None:
    """Fill what surrounds the frame at (top, left) with pixels drawn at random from the band along its nearest edge.

    Beyond its edge the frame goes on with the mean and the noise that it has there, and with no pattern.
    """
    columns = buffer.shape[1]
    start = _mix(np.uint64(seed) ^ np.uint64(0x5851F42D4C957F2D))
    low = np.uint64(0xFFFFFFFF)
    band_y, band_x = min(_EDGE_BAND, height), min(_EDGE_BAND, width)
    for y in range(first, last):
        inside_y = top <= y < top + height
        for x in range(columns):
            if inside_y and left <= x < left + width:
                continue
            bits = _mix(start + np.uint64(y * columns + x))
            yy = min(max(y - top - band_y // 2, 0), height - band_y) + _below(bits & low, band_y)
            xx = min(max(x - left - band_x // 2, 0), width - band_x) + _below(bits >> np.uint64(32), band_x)
            buffer[y, x] = buffer[top + yy, left + xx]


@njit(inline="always")
def _field_row(field: Array, y: int, step: int, row: Array) -> None:
    """Row `y` of a field that is known at every `step`-th pixel, linear between: ``(columns,)`` into `row`."""
    k = min(y // step, field.shape[0] - 2)
    t = np.float32((y - k * step) / step)
    for i in range(field.shape[1]):
        row[i] = field[k, i] + t * (field[k + 1, i] - field[k, i])


@njit(inline="always")
def _weights(moved: Any, base: int, taps: Array, out: Array) -> None:
    """Seven weights for places ``base − 2 … base + 4`` that read at `moved`, which is in base … base + 2."""
    phases = taps.shape[0] - 1
    whole = min(max(int(np.floor(moved)), base), base + 1)
    part = min(max(moved - np.float32(whole), np.float32(0)), np.float32(1))
    phase = int(part * np.float32(phases) + np.float32(0.5))
    out[:] = 0
    for j in range(6):
        out[whole - base + j] = taps[phase, j]


@njit(inline="always")
def _clamped(place: int, size: int) -> int:
    return min(max(place, 0), size - 1)


@njit(**_FAST)
def warp_rows(image: Array, field: Array, step: int, taps: Array, out: Array, first: int, last: int) -> None:
    """``out[y, x] = image[y, x + field(y, x)]``, by filters of six taps along x.

    Parameters
    ----------
    field
        displacement in px at every `step`-th row and column, ``(rows, columns)``, reaching beyond the image's end; it
        changes by less than 1 from one of its columns to the next. The weights are linear between them.
    taps
        ``(phases + 1, 6)`` filters that read at 0 … 1 of the way from tap 2 to tap 3.
    """
    width = image.shape[1]
    row = np.empty(field.shape[1], np.float32)
    w, v = np.empty(7, np.float32), np.empty(7, np.float32)
    for y in range(first, last):
        _field_row(field, y, step, row)
        for k in range((width + step - 1) // step):
            x0 = k * step
            count = min(step, width - x0)
            base = int(np.floor(min(row[k], row[k + 1])))
            _weights(row[k], base, taps, w)
            _weights(row[k + 1], base, taps, v)
            for j in range(7):
                v[j] = (v[j] - w[j]) / np.float32(step)
            begin = x0 + base - 2
            if begin >= 0 and begin + count + 6 <= width:
                source, target = image[y, begin : begin + count + 6], out[y, x0 : x0 + count]
                for i in range(count):
                    t = np.float32(i)
                    total = (w[0] + t * v[0]) * source[i] + (w[1] + t * v[1]) * source[i + 1]
                    total += (w[2] + t * v[2]) * source[i + 2] + (w[3] + t * v[3]) * source[i + 3]
                    total += (w[4] + t * v[4]) * source[i + 4] + (w[5] + t * v[5]) * source[i + 5]
                    target[i] = total + (w[6] + t * v[6]) * source[i + 6]
            else:
                for i in range(count):
                    total = np.float32(0)
                    for j in range(7):
                        total += (w[j] + np.float32(i) * v[j]) * image[y, _clamped(begin + i + j, width)]
                    out[y, x0 + i] = total


@njit(**_FAST)
def warp_columns(image: Array, field: Array, step: int, taps: Array, out: Array, first: int, last: int) -> None:
    """``out[y, x] = image[y + field(y, x), x]``; as `warp_rows`, along y."""
    height, width = image.shape
    row = np.empty(field.shape[1], np.float32)
    w, v = np.empty(7, np.float32), np.empty(7, np.float32)
    for y in range(first, last):
        _field_row(field, y, step, row)
        for k in range((width + step - 1) // step):
            x0 = k * step
            count = min(step, width - x0)
            base = int(np.floor(min(row[k], row[k + 1])))
            _weights(row[k], base, taps, w)
            _weights(row[k + 1], base, taps, v)
            for j in range(7):
                v[j] = (v[j] - w[j]) / np.float32(step)
            target = out[y, x0 : x0 + count]
            target[:] = 0
            for j in range(7):
                source = image[_clamped(y + base - 2 + j, height), x0 : x0 + count]
                for i in range(count):
                    target[i] += (w[j] + np.float32(i) * v[j]) * source[i]


@njit(**_FAST)
def add_shifted(
    terms: NDArray[np.complex64],
    along_y: NDArray[np.complex64],
    along_x: NDArray[np.complex64],
    total: NDArray[np.complex64],
    first: int,
    last: int,
) -> None:
    """Add a frame's transform, cropped and shifted, to rows of a sum: ``total[k, l] += terms[k', l] · y[k] · x[l]``.

    Row k of the sum is the same frequency in row k' of `terms`, negative ones counted from the end. The highest
    frequency of a cropped axis, where two terms fall together, is the caller's business: its phases are 0.
    """
    rows, columns = total.shape
    more = terms.shape[0] - rows
    for k in range(first, last):
        source = k if k < (rows + 1) // 2 else k + more
        turn = along_y[k]
        for i in range(columns):
            total[k, i] += terms[source, i] * (turn * along_x[i])


@njit(**_FAST)
def ring_sums(
    a: NDArray[np.complex64],
    b: NDArray[np.complex64],
    frequency_y: Array,
    frequency_x: Array,
    scale: float,
    sums: NDArray[np.float64],
    first: int,
    last: int,
) -> None:
    """Add to ``sums[ring]`` Re(a b*), |a|² and |b|², for rows of two transforms; ring = scale · |k|, rounded.

    ``sums`` is ``(rings, 3)``; samples beyond its last ring are left out.
    """
    for k in range(first, last):
        for i in range(a.shape[1]):
            square = frequency_y[k] * frequency_y[k] + frequency_x[i] * frequency_x[i]
            ring = int(np.sqrt(square) * scale + 0.5)
            if ring < sums.shape[0]:
                p, q = a[k, i], b[k, i]
                sums[ring, 0] += p.real * q.real + p.imag * q.imag
                sums[ring, 1] += p.real * p.real + p.imag * p.imag
                sums[ring, 2] += q.real * q.real + q.imag * q.imag
