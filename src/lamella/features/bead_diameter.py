"""The diameter of the beads in some pictures, when nobody states it.

Spots are looked for at sizes that grow by a sixth. Where several sizes find something at one place, the one that it
is most like stands. The size at which most contrast is explained is that of the beads: they are few beside ribosomes,
yet far heavier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.features.beads import Imaging, find_spots
from lamella.parallel import each

__all__ = ["BeadSize", "find_diameter"]

Array = NDArray[np.float64]

SMALLEST_ANG, LARGEST_ANG = 45.0, 280.0
_STEP = 1.18
_LEAST_PX = 3.0
_WORK_PX = 4.5
_CLEAR = 0.6  # correlation coefficient of a spot that counts


@dataclass(frozen=True, eq=False)
class BeadSize:
    """What size beads have.

    Attributes
    ----------
    diameter_ang
        their diameter, Å; 0 where nothing round was found.
    count
        spots per picture that have it.
    contrast
        the contrast that they share (see `Spots.contrast`).
    likeness
        the median of their correlation coefficients with a ball.
    """

    diameter_ang: float
    count: float
    contrast: float
    likeness: float


@dataclass(frozen=True, eq=False)
class _Found:
    """Spots of one picture at every size: size number, place, likeness, contrast."""

    size: NDArray[np.int64]
    places_px: Array
    likeness: Array
    contrast: Array


def find_diameter(
    pictures: Sequence[NDArray[np.float32]], pixel_size_ang: float, imaging: Imaging = "bright"
) -> BeadSize:
    """The diameter of the heaviest round spots of some pictures, between 4.5 and 28 nm.

    Parameters
    ----------
    pictures
        a few views `(h, w)`, the least tilted best.
    pixel_size_ang
        of the pictures.
    imaging
        whether beads are dark or bright.
    """
    sizes = _sizes(pixel_size_ang, min(min(picture.shape) for picture in pictures))
    if not len(sizes):
        return BeadSize(0.0, 0.0, 0.0, 0.0)
    found = [
        _one_size_each(_everywhere(picture, sizes / pixel_size_ang, imaging), sizes / pixel_size_ang)
        for picture in pictures
    ]
    size = np.concatenate([one.size for one in found])
    likeness = np.concatenate([one.likeness for one in found])
    contrast = np.concatenate([one.contrast for one in found])
    if not len(size):
        return BeadSize(0.0, 0.0, 0.0, 0.0)
    explained = (contrast * likeness**2 * sizes[size]) ** 2  # contrast² × area
    by_size = np.bincount(size, weights=explained, minlength=len(sizes))
    spread = np.convolve(by_size, [0.5, 1.0, 0.5], mode="same")
    best = int(np.argmax(spread))
    near = np.abs(size - best) <= 1
    # the weighted mean over neighbouring sizes, in logarithm
    exact = float(np.exp(np.average(np.log(sizes[size[near]]), weights=explained[near])))
    return BeadSize(
        exact, near.sum() / len(pictures), float(np.median(contrast[near])), float(np.median(likeness[near]))
    )


def _sizes(pixel_size_ang: float, shortest_px: int) -> Array:
    """Diameters to try, Å."""
    first = max(SMALLEST_ANG, _LEAST_PX * pixel_size_ang)
    last = min(LARGEST_ANG, shortest_px * pixel_size_ang / 4)
    steps = int(np.floor(np.log(last / first) / np.log(_STEP))) + 1 if last > first else 0
    return np.asarray(first * _STEP ** np.arange(steps))


def _everywhere(picture: NDArray[np.float32], diameters_px: Array, imaging: Imaging) -> _Found:
    """Spots at all sizes."""
    spots = each(lambda diameter: find_spots(picture, diameter, imaging, _CLEAR, _WORK_PX), list(diameters_px))
    good = [one.select(one.contrast > 0) for one in spots]
    return _Found(
        np.concatenate([np.full(len(one), number) for number, one in enumerate(good)]).astype(np.int64),
        np.concatenate([one.places_px for one in good]),
        np.concatenate([one.likeness for one in good]),
        np.concatenate([one.contrast for one in good]),
    )


def _one_size_each(found: _Found, diameters_px: Array) -> _Found:
    """Where spots of several sizes overlap, the one most like a ball."""
    order = np.argsort(-found.likeness, kind="stable")
    kept: list[int] = []
    for spot in order:
        reach = 0.5 * np.maximum(diameters_px[found.size[spot]], diameters_px[found.size[kept]])
        apart = np.linalg.norm(found.places_px[kept] - found.places_px[spot], axis=-1)
        if (apart > reach).all():
            kept.append(int(spot))
    return _Found(found.size[kept], found.places_px[kept], found.likeness[kept], found.contrast[kept])
