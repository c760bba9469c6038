"""Loops over the counts of many frames together: capped sums, local means of good pixels, Poisson judgement."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["add_capped", "judge_counts", "local_mean"]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

_FAST: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


@njit(**_FAST)
def add_capped(frame: Any, cap: float, total: Image) -> None:
    """Add a frame to a sum, no pixel by more than `cap`."""
    most = np.float32(cap)
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            total[y, x] += min(np.float32(frame[y, x]), most)


@njit(**_FAST)
def local_mean(image: Image, good: Mask, size: int, fewest: float, other: Image, out: Image) -> None:
    """Mean of the good pixels within a square of odd side `size` about each pixel.

    Where less than the share `fewest` of the square's pixels is good, `out` takes the value of `other`.
    """
    height, width = image.shape
    reach = size // 2
    sums, counts = np.zeros(width), np.zeros(width)
    for y in range(-reach, height):
        enters, leaves = y + reach, y - reach - 1
        if enters < height:
            for x in range(width):
                if good[enters, x]:
                    sums[x] += image[enters, x]
                    counts[x] += 1
        if leaves >= 0:
            for x in range(width):
                if good[leaves, x]:
                    sums[x] -= image[leaves, x]
                    counts[x] -= 1
        if y < 0:
            continue
        rows = min(y + reach, height - 1) - max(y - reach, 0) + 1
        total, count = 0.0, 0.0
        for x in range(-reach, width):
            if x + reach < width:
                total += sums[x + reach]
                count += counts[x + reach]
            if x - reach - 1 >= 0:
                total -= sums[x - reach - 1]
                count -= counts[x - reach - 1]
            if x >= 0:
                columns = min(x + reach, width - 1) - max(x - reach, 0) + 1
                out[y, x] = total / count if count > fewest * rows * columns else other[y, x]


@njit(**_FAST)
def judge_counts(
    total: Image, factor: Image, background: Image, good: Mask, noise: float, z: float, hot: Mask, dead: Mask
) -> None:
    """Mark pixels whose counts are beyond a Poisson number's quantile at z standard deviations.

    The quantile of mean µ is µ ± z√µ + (z² − 1)/6, to the second order of Cornish & Fisher; below µ = z²/2 not even
    0 is too few.

    Parameters
    ----------
    total, factor, background
        counts, the gain's factor, and the background of counts times factor.
    noise
        variance over mean of the counts.
    """
    skew = (z * z - 1) / 6
    for y in range(total.shape[0]):
        for x in range(total.shape[1]):
            hot[y, x] = dead[y, x] = False
            if not good[y, x]:
                continue
            expected = background[y, x] / factor[y, x]
            units = max(expected / noise, 1e-6)
            off = (total[y, x] - expected) / noise
            wide = z * np.sqrt(units)
            hot[y, x] = off > wide + skew + 1
            dead[y, x] = off < skew - wide and units > z * z / 2
