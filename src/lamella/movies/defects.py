"""Find hot and dead pixels, columns and rows from the counts of many frames together.

A pixel's counts summed over many frames of a moving, tilting specimen are Poisson numbers about a smooth background.
What departs from it beyond chance belongs to the camera, and, since it stands still, would hold a motion's estimate at
zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from lamella.errors import ImageError
from lamella.kernels.counts import add_capped, judge_counts, local_mean
from lamella.movies.reading import read_ahead
from lamella.progress import Progress, no_progress
from lamella.records import FrameSource
from lamella.runtime import threads

__all__ = ["Defects", "Survey", "find_defects", "survey"]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Array = NDArray[np.float64]

ENOUGH_COUNTS = 80.0
"""Counts per pixel at which a survey stops."""
FEWEST_MOVIES = 6
"""A survey takes at least so many movies, so that no single view's specimen stands out."""

_CAP_DEVIATIONS = 8.0  # above its frame's mean, and 4 counts: what an X-ray may add at most
_Z_PIXEL = 5.5  # one pixel in 5e7 by chance
_Z_LINE = 5.5
_Z_PART = 7.0
_LEAST_LINE_EXCESS = 0.004  # of the background: gain references err by that much
_BLOCK = 64  # px, of the coarse background
_SPARSE = 3  # px between those that its medians are taken of
_NEAR = 11  # px, of the fine background
_WIDE = 31  # px, of the background that lines are compared with: a line is little of it
_PARTS = 8  # a line is judged as a whole and in so many parts
_AROUND_LINE = 31  # lines whose median a line is compared with
_MOST_BAD = 0.02


@dataclass(frozen=True, eq=False)
class Survey:
    """Counts of many frames, added up as they are stored.

    Attributes
    ----------
    total
        ``(h, w)`` sum, float32.
    frames, movies
        how many went in.
    are_counts
        whether the frames hold whole numbers.
    """

    total: Image
    frames: int
    movies: int
    are_counts: bool

    @property
    def mean(self) -> float:
        """Mean sum per pixel."""
        return float(self.total.mean(dtype=np.float64))


@dataclass(frozen=True, eq=False)
class Defects:
    """What a survey shows of the camera.

    Attributes
    ----------
    mask
        ``(h, w)`` True where a pixel should be replaced.
    hot, dead
        single pixels of either kind, outside bad columns and rows.
    columns, rows
        ``(k,)`` places of columns and rows of which all or a part is bad.
    note
        in words; empty where nothing was found.
    """

    mask: Mask
    hot: int
    dead: int
    columns: NDArray[np.int64]
    rows: NDArray[np.int64]
    note: str = ""


def survey(
    movies: Sequence[FrameSource],
    *,
    enough: float = ENOUGH_COUNTS,
    fewest: int = FEWEST_MOVIES,
    progress: Progress = no_progress,
) -> Survey:
    """Add up frames of some movies, spread over the series, until there are enough counts.

    Parameters
    ----------
    movies
        of one camera, all of one size.
    enough
        counts per pixel.
    fewest
        movies that are read even so (or all, where there are fewer).

    Raises
    ------
    ImageError
        if there is no movie, their sizes differ, or not one pixel counted anything.
    """
    if not movies:
        raise ImageError("there is no movie to look at", mend="check the frame files")
    shape = movies[0].shape[1:]
    total = np.zeros(shape, np.float32)
    frames = used = 0
    are_counts = True
    level = 0.0
    for number, place in enumerate(spread_order(len(movies))):
        if number >= fewest and level >= enough:
            break
        movie = movies[place]
        if movie.shape[1:] != shape:
            raise ImageError(
                f"frames of {movie.shape[2]} × {movie.shape[1]} and of {shape[1]} × {shape[0]} pixels in one series",
                mend="take movies of one camera mode",
            )
        for frame in read_ahead(movie, range(len(movie)), threads()):
            are_counts = are_counts and frame.dtype.kind in "iu"
            frame = np.ascontiguousarray(frame, dtype=frame.dtype.newbyteorder("="))
            add_capped(frame, float(_cap(frame)), total)
        frames, used = frames + len(movie), used + 1
        level = float(total[::8, ::8].mean(dtype=np.float64))
        progress(min(1.0, max(level / enough, 0) if number + 1 >= fewest else number / fewest), "look at the camera")
    if not np.isfinite(level) or not (total > 0).any():
        raise ImageError("the frames counted nothing, or hold NaN", mend="check the frame files")
    return Survey(total, frames, used, are_counts)


def spread_order(count: int) -> list[int]:
    """0 … count − 1 in an order whose every beginning is spread evenly (van der Corput's)."""
    bits = max(count - 1, 1).bit_length()
    reversed_bits = (int(format(i, f"0{bits}b")[::-1], 2) for i in range(2**bits))
    return [place for place in reversed_bits if place < count]


def _cap(frame: NDArray[Any]) -> float | int:
    some = frame[::4, ::4].astype(np.float32)
    middle = float(np.median(some))
    width = max(float(np.median(np.abs(some - middle))) * 1.4826, float(np.sqrt(max(some.mean(), 0.0))))
    limit = max(middle, float(some.mean())) + _CAP_DEVIATIONS * width + 4
    return int(np.ceil(min(limit, np.iinfo(frame.dtype).max))) if frame.dtype.kind in "iu" else limit


def find_defects(found: Survey, gain: Image | None, known_bad: Mask | None = None) -> Defects:
    """Judge every pixel, column and row of a survey.

    Parameters
    ----------
    found
        counts; no dark was subtracted.
    gain
        ``(h, w)`` factor of each pixel, or None.
    known_bad
        pixels that are bad for certain: they take no part, and are not counted again.

    Notes
    -----
    A pixel whose background is µ counts in units of the camera's noise (variance over mean, measured from all
    pixels robustly) is hot or dead beyond µ ± z√µ + (z² − 1)/6, a Poisson number's quantile to the second
    order of Cornish and Fisher. Columns and rows are judged by the mean of their clipped residuals beside those of
    their neighbours: over h pixels its error is √(µ/h), so that 5 % more than its neighbours is seen from about
    10 counts per pixel on.
    """
    shape = found.total.shape
    factor = np.ones(shape, np.float32) if gain is None else gain
    good = np.isfinite(factor) & (factor > 0)
    if known_bad is not None:
        good &= ~known_bad
    factor = np.where(good, factor, np.float32(1))
    level = found.total * factor
    background = _background(level, good)
    noise = _noise(found.total, factor, background, good)
    hot, dead = np.empty(shape, bool), np.empty(shape, bool)
    judge_counts(found.total, factor, background, good, noise, _Z_PIXEL, hot, dead)
    usable = good & ~hot & ~dead
    root = np.sqrt(np.maximum(background / (factor * np.float32(noise)), np.float32(1e-6)))
    del factor
    wide = np.empty(shape, np.float32)
    local_mean(level, usable, _WIDE, 0.01, background, wide)
    level /= np.maximum(wide, np.float32(1e-6))
    level -= 1
    level *= root
    residual = np.clip(level, -3.0, 3.0, out=level)  # of good pixels, in standard deviations of a pixel
    residual[~usable] = 0
    columns, column_mask = _lines(residual, usable, root)
    rows, row_mask = _lines(residual.T, usable.T, root.T)
    lines = column_mask | row_mask.T
    mask = hot | dead | (lines & good)
    hot, dead = hot & ~lines, dead & ~lines
    return _judged(mask, int(hot.sum()), int(dead.sum()), columns, rows)


def _judged(mask: Mask, hot: int, dead: int, columns: NDArray[np.int64], rows: NDArray[np.int64]) -> Defects:
    share = float(mask.mean())
    if share > _MOST_BAD:
        note = (
            f"warning: {share:.1%} of the pixels stand out from their surroundings, which no camera's defects do: none "
            "was replaced (is the gain reference missing, or another camera's?)"
        )
        none = np.empty(0, np.int64)
        return Defects(np.zeros_like(mask), 0, 0, none, none, note)
    parts = [
        f"{count} {name}{'s' if count != 1 else ''}"
        for count, name in (
            (hot, "hot pixel"),
            (dead, "dead pixel"),
            (len(columns), "bad column"),
            (len(rows), "bad row"),
        )
        if count
    ]
    listed = [
        f"{name} {', '.join(map(str, places[:6]))}{', …' if len(places) > 6 else ''}"
        for name, places in (("x =", columns), ("y =", rows))
        if len(places)
    ]
    note = f"found in the data and replaced: {', '.join(parts)}" if parts else ""
    return Defects(mask, hot, dead, columns, rows, note + (f" ({'; '.join(listed)})" if listed else ""))


def _background(level: Image, good: Mask) -> Image:
    """Smooth part of an image: a mean over near pixels that are good and near the median of a wider field."""
    coarse = _coarse(np.where(good, level, np.float32(np.nan)))
    inside = np.abs(level - coarse) < 6 * np.sqrt(np.maximum(coarse, 1)) + 3
    inside &= good
    background = np.empty(level.shape, np.float32)
    local_mean(level, inside, _NEAR, 0.3, coarse, background)
    return np.maximum(background, np.float32(0))


def _coarse(level: Image) -> Image:
    """Medians of blocks, linear between."""
    height, width = level.shape
    ny, nx = max(1, round(height / _BLOCK)), max(1, round(width / _BLOCK))
    by, bx = height // ny, width // nx
    blocks = level[: by * ny, : bx * nx].reshape(ny, by, nx, bx)[:, ::_SPARSE, :, ::_SPARSE]
    blocks = blocks.swapaxes(1, 2).reshape(ny, nx, -1)
    empty: Mask = np.asarray(~np.isfinite(blocks).any(axis=2))
    if empty.any():
        blocks = np.where(empty[..., None], np.nanmedian(level), blocks)
    # integers at low counts have coarse medians: the mean of the middle half is as robust, and finer
    blocks = np.sort(blocks, axis=2)  # NaN last
    low, high = (_quantile(blocks, part) for part in (0.25, 0.75))
    inside = (blocks >= low) & (blocks <= high)
    middle = np.where(inside, blocks, 0).sum(axis=2, dtype=np.float64) / inside.sum(axis=2)
    middle = median_filter(middle, size=3, mode="nearest")
    return _between(ny, height) @ middle.astype(np.float32) @ _between(nx, width).T


def _between(blocks: int, size: int) -> Image:
    """``(size, blocks)`` weights of values at the middles of blocks: straight between them, held beyond."""
    places = (np.arange(size) + 0.5) * blocks / size - 0.5
    middles = np.arange(blocks)
    weights: Image = np.stack([np.interp(places, middles, one) for one in np.eye(blocks)], axis=1).astype(np.float32)
    return weights


def _quantile(ordered: Image, part: float) -> Image:
    """Quantile along the last axis, kept, of ascending values with NaN at their end."""
    place = part * (np.isfinite(ordered).sum(axis=-1, keepdims=True) - 1)
    below = np.floor(place).astype(np.int64)
    low = np.take_along_axis(ordered, below, axis=-1)
    high = np.take_along_axis(ordered, np.ceil(place).astype(np.int64), axis=-1)
    between: Image = low + (place - below).astype(np.float32) * (high - low)
    return between


def _noise(total: Image, factor: Image, background: Image, good: Mask) -> float:
    """Variance over mean of the counts, of the bulk of the pixels; at least a hair."""
    chosen = np.flatnonzero((good & (background > 0)).ravel())
    chosen = chosen[:: max(1, len(chosen) // 1_000_000)]
    if len(chosen) == 0:
        return 1.0
    expected = background.ravel()[chosen] / factor.ravel()[chosen]
    scaled = (total.ravel()[chosen] - expected) ** 2 / expected
    # the mean of squares below their 99 % quantile: for counts it is that of a normal variable, nearly, times 0.92
    trimmed = float(scaled[scaled <= np.quantile(scaled, 0.99)].mean()) / 0.92
    return max(trimmed, 1e-6)


def _lines(residual: Image, usable: Mask, root: Image) -> tuple[NDArray[np.int64], Mask]:
    """Columns that are bad as a whole or in a part, and their pixels."""
    height, width = residual.shape
    mask = np.zeros((height, width), bool)
    parts = min(_PARTS, max(1, height // 64))
    edges = np.linspace(0, height, parts + 1).astype(int)
    sums, counts, strengths = (np.zeros((parts, width)) for _ in range(3))
    for part, (a, b) in enumerate(pairwise(edges)):
        sums[part] = np.where(usable[a:b], residual[a:b], 0).sum(axis=0, dtype=np.float64)
        counts[part] = usable[a:b].sum(axis=0)
        strengths[part] = root[a:b].mean(axis=0)
    if width < 8:
        return np.empty(0, np.int64), mask
    z_part, excess_part = _scores(sums, counts, strengths)
    z_line, excess_line = _scores(
        sums.sum(0, keepdims=True), counts.sum(0, keepdims=True), strengths.mean(0, keepdims=True)
    )
    agree = np.abs(np.sign(z_part).sum(axis=0)) >= parts // 2
    whole = (np.abs(z_line[0]) > _Z_LINE) & (np.abs(excess_line[0]) > _LEAST_LINE_EXCESS) & agree
    single = (np.abs(z_part) > _Z_PART) & (np.abs(excess_part) > 2 * _LEAST_LINE_EXCESS) & ~whole
    mask[:, whole] = True
    for part, (a, b) in enumerate(pairwise(edges)):
        mask[a:b, single[part]] = True
    return np.flatnonzero(whole | single.any(axis=0)), mask


def _scores(sums: Array, counts: Array, root: Array) -> tuple[Array, Array]:
    """How far each line departs from its neighbours: in standard errors, and relative to the background."""
    mean = sums / np.maximum(counts, 1)
    window = min(_AROUND_LINE, mean.shape[1] // 2 * 2 - 1)
    apart = mean - median_filter(mean, size=(1, window), mode="nearest")
    chance = 1 / np.sqrt(np.maximum(counts, 1))
    seen = 1.4826 * np.median(np.abs(apart), axis=1, keepdims=True)
    return apart / np.maximum(chance, seen), apart / np.maximum(root, 1e-6)
