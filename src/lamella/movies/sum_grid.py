"""Sizes of sums: how much is put around a frame, and what of its transform is kept, so that binning is exact."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from lamella.errors import ImageError

__all__ = ["SumGrid", "exact_binning", "plan_grid", "sum_shape"]

_LARGEST_DENOMINATOR = 24
_MARGIN = 24  # px beyond the farthest motion: filters reach, and the seam's ripples die


@dataclass(frozen=True)
class SumGrid:
    """The arrays of one sum.

    Attributes
    ----------
    frame
        (height, width) of a corrected frame.
    padded
        of the frame with what is put around it; transforms have this size.
    place
        (row, column) of the frame's pixel 0 in it.
    cropped
        size of the transform that is kept: `padded` divided by the binning, exactly.
    binning
        movie pixels per pixel of the sum.
    image
        (height, width) of the sum; its pixel i lies at binning · i of the frame.
    """

    frame: tuple[int, int]
    padded: tuple[int, int]
    place: tuple[int, int]
    cropped: tuple[int, int]
    binning: Fraction
    image: tuple[int, int]


def exact_binning(binning: float) -> Fraction:
    """The binning that is done when `binning` is asked for: the nearest fraction of a denominator up to 24.

    A transform can only be cropped to whole sizes; a fraction lets both axes have the very same factor, so that pixels
    stay square. It differs from what was asked by less than 1 in 1100; the pixel size that is stated is exact.
    """
    return max(Fraction(1), Fraction(binning).limit_denominator(_LARGEST_DENOMINATOR))


def sum_shape(frame: tuple[int, int], binning: Fraction | float) -> tuple[int, int]:
    """(height, width) of a sum: that of the frames, or, binned, the even numbers nearest to size / binning."""
    factor = exact_binning(binning) if not isinstance(binning, Fraction) else binning
    if factor == 1:
        return frame
    height, width = (2 * math.ceil(Fraction(side, 1) / factor / 2 - Fraction(1, 2)) for side in frame)
    if min(height, width) < 2:
        raise ImageError(
            f"frames of {frame[1]} × {frame[0]} pixels binned by {float(factor):g}", mend="set motion.binning lower"
        )
    return height, width


def plan_grid(frame: tuple[int, int], binning: float, motion_px: tuple[float, float]) -> SumGrid:
    """The arrays of a sum.

    Parameters
    ----------
    frame
        (height, width) of a corrected frame.
    binning
        as asked for.
    motion_px
        farthest motion along y and x, either way, px.
    """
    factor = exact_binning(binning)
    padded, place, cropped = [], [], []
    for side, motion in zip(frame, motion_px, strict=True):
        before = math.ceil(motion) + _MARGIN
        size, kept = _fast_multiple(side + 2 * before, factor)
        padded.append(size)
        cropped.append(kept)
        place.append((size - side) // 2)
    return SumGrid(
        frame=frame,
        padded=(padded[0], padded[1]),
        place=(place[0], place[1]),
        cropped=(cropped[0], cropped[1]),
        binning=factor,
        image=sum_shape(frame, factor),
    )


def _fast_multiple(least: int, factor: Fraction) -> tuple[int, int]:
    """The smallest even size from `least` on that transforms fast, and divided by the factor is even."""
    step = 2 * factor.numerator  # size / factor = size · q / p is even
    size = -(-least // step) * step
    own = factor.numerator
    while not _is_smooth(size // (own if not _is_smooth(own) else 1)):
        size += step
    return size, int(size / factor)


def _is_smooth(size: int) -> bool:
    """Whether no prime factor is above 7."""
    for prime in (2, 3, 5, 7):
        while size % prime == 0:
            size //= prime
    return size == 1
