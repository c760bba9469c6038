"""Targets found on a montage: the holes of a holey film, those with ice that is good to record.

A hole is where the mean inside a circle of its diameter differs most from that of a ring around it, against the noise
of both; its place is refined between pixels by the peak's parabola. Holes of a regular film lie on a lattice, which is
fitted to them: what does not lie on it is no hole. A hole much darker than the others has thick ice, one much brighter
none, one that is uneven is broken or dirty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.acquire.targets import Target
from lamella.errors import ImageError, InputError

__all__ = ["Hole", "find_holes", "hole_targets"]

Array = NDArray[np.float64]

_PIXELS = 24.0  # across a hole, as searched
_INSIDE, _RING = 0.5, 0.68  # of a hole's diameter: radius of the hole, outer radius of the ring about it
_CORE = 0.4  # of the diameter: radius within which brightness is judged, away from the rim
_CONTRAST = 0.35  # of the strongest hole's match, below which nothing is one
_OFF_LATTICE = 0.15  # of the spacing
_LEAST = 6  # holes that show a lattice


@dataclass(frozen=True, kw_only=True)
class Hole:
    """One hole of a film.

    Attributes
    ----------
    x_px, y_px
        its middle in pixels from the image's first one (row 0 the bottom one).
    brightness
        its mean over that of the median hole.
    unevenness
        spread of its brightness over that of the median hole.
    good
        whether ice and film are as they should be.
    fault
        why it is not: ``"thick"``, ``"empty"``, ``"broken"``; empty where it is good.
    """

    x_px: float
    y_px: float
    brightness: float
    unevenness: float
    fault: str = ""

    @property
    def good(self) -> bool:
        """Whether it is one to record."""
        return not self.fault


def find_holes(
    image: ArrayLike,
    pixel_size_ang: float,
    diameter_um: float,
    *,
    brightness: tuple[float, float] = (0.85, 1.15),
    unevenness: float = 2.0,
) -> tuple[Hole, ...]:
    """Find the whole holes of an image.

    Parameters
    ----------
    image
        ``(h, w)`` counts, holes brighter than the film.
    pixel_size_ang
        of it.
    diameter_um
        of the holes.
    brightness
        least and greatest of a good hole, over the median hole.
    unevenness
        greatest of a good hole, over the median hole.

    Raises
    ------
    ImageError
        if it is no image, or shows no hole.
    InputError
        if the pixel size or the diameter is none, or a hole has less than 6 pixels, or does not fit into the image.
    """
    counts = np.asarray(image, np.float64)
    if counts.ndim != 2 or not np.isfinite(counts).all() or not counts.std() > 0:
        raise ImageError("a montage that is no image", mend="give one (height, width) image of finite counts")
    if not (pixel_size_ang > 0 and diameter_um > 0):
        raise InputError(
            f"holes of {diameter_um} µm in pixels of {pixel_size_ang} Å", mend="give the diameter and the pixel size"
        )
    across = diameter_um * 1e4 / pixel_size_ang
    if not 6 <= across <= 0.7 * min(counts.shape):
        raise InputError(
            f"holes {across:.0f} pixels wide in an image of {counts.shape[0]} × {counts.shape[1]}",
            mend="check the holes' diameter and the pixel size",
        )
    binning = max(1, int(across / _PIXELS))
    small = _binned(counts, binning)
    places = _on_lattice(_candidates(small, across / binning))
    if not len(places):
        raise ImageError("no hole in the montage", mend="check the holes' diameter, or name targets by hand")
    return _judged(small, places, across / binning, binning, brightness, unevenness)


def hole_targets(
    holes: Sequence[Hole],
    shape_px: tuple[int, int],
    pixel_size_ang: float,
    tilt_axis_deg: float,
    *,
    most: int | None = None,
    reach_um: float | None = None,
) -> tuple[Target, ...]:
    """The good holes as targets about the image's middle, the nearest first.

    Parameters
    ----------
    holes
        of the image.
    shape_px
        its height and width.
    pixel_size_ang
        of it.
    tilt_axis_deg
        the tilt axis in it, as `Calibrations.tilt_axis_deg`.
    most
        how many; all where left out.
    reach_um
        how far from the middle; any where left out.

    Raises
    ------
    InputError
        if none is left.
    """
    middle = np.array(shape_px[::-1]) // 2
    at = np.array([(one.x_px, one.y_px) for one in holes if one.good], np.float64).reshape(-1, 2) - middle
    angle = np.deg2rad(-tilt_axis_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    places = at @ turn.T * (pixel_size_ang * 1e-4)
    distance = np.hypot(places[:, 0], places[:, 1])
    order = [
        number for number in np.argsort(distance, kind="stable") if reach_um is None or distance[number] <= reach_um
    ]
    if not order:
        raise InputError("no good hole within reach", mend="widen the limits, or name targets by hand")
    return tuple(
        Target(name=f"H{number:02d}", x_um=float(places[one, 0]), y_um=float(places[one, 1]))
        for number, one in enumerate(order[:most], start=1)
    )


def _binned(image: Array, binning: int) -> Array:
    rows, columns = (side // binning for side in image.shape)
    cut = image[: rows * binning, : columns * binning]
    mean: Array = cut.reshape(rows, binning, columns, binning).mean(axis=(1, 3))
    return mean


def _distance(shape: tuple[int, ...]) -> Array:
    """From pixel (0, 0), around the edges."""
    y, x = (np.fft.fftfreq(side) * side for side in shape)
    away: Array = np.hypot(y[:, None], x[None, :])
    return away


def _candidates(image: Array, across: float) -> Array:
    """``(n, 2)`` x, y of the places where a hole matches best, the strongest first."""
    away = _distance(image.shape)
    inside = away <= _INSIDE * across
    ring = (away > _INSIDE * across) & (away <= _RING * across)
    kernels = np.fft.rfft2(np.stack([inside / inside.sum(), ring / ring.sum()]))
    # Outliers (hot pixels, ice) weigh no more than the film's own spread.
    low, high = np.percentile(image, (1, 99))
    cut = np.clip(image, low, high)
    means = np.fft.irfft2(np.fft.rfft2(cut) * kernels, s=image.shape)
    squares = np.fft.irfft2(np.fft.rfft2(cut**2) * kernels, s=image.shape)
    noise = np.sqrt(np.clip((squares - means**2).mean(axis=0), 1e-12 * float(cut.var()) + 1e-30, None))
    match = (means[0] - means[1]) / (noise + 0.2 * cut.std())
    margin = int(np.ceil(_INSIDE * across))
    match[:margin], match[-margin:], match[:, :margin], match[:, -margin:] = (-np.inf,) * 4
    return _peaks(match, 0.8 * across)


def _peaks(match: Array, apart: float) -> Array:
    """Maxima at least `apart` from each other, between pixels."""
    left, found, strongest = match.copy(), [], float(match.max())
    y, x = np.indices(match.shape)
    while float(left.max()) > max(_CONTRAST * strongest, 0.0):
        row, column = np.unravel_index(int(left.argmax()), left.shape)
        around = match[row - 1 : row + 2, column - 1 : column + 2]
        if around.shape == (3, 3) and np.isfinite(around).all() and around.max() == match[row, column]:
            found.append((column + _vertex(around[1]), row + _vertex(around[:, 1])))
        left[(y - row) ** 2 + (x - column) ** 2 < apart**2] = -np.inf
    return np.array(found, np.float64).reshape(-1, 2)


def _vertex(three: Array) -> float:
    """Of the parabola through three values, from the middle one."""
    bend = three[0] - 2 * three[1] + three[2]
    return float(np.clip(0.5 * (three[0] - three[2]) / bend, -0.5, 0.5)) if bend < 0 else 0.0


def _on_lattice(places: Array) -> Array:
    """The places that lie on the lattice of most of them; all where they are too few to show one."""
    if len(places) < _LEAST:
        return places
    steps = (places[None] - places[:, None]).reshape(-1, 2)
    length = np.hypot(steps[:, 0], steps[:, 1])
    spacing = float(np.median(np.sort(length.reshape(len(places), -1), axis=1)[:, 1]))
    near = steps[(length > 0.5 * spacing) & (length < 1.6 * spacing)]
    first = _commonest(near, spacing)
    sine = np.abs(near @ np.array([-first[1], first[0]])) / (np.hypot(near[:, 0], near[:, 1]) * np.hypot(*first))
    if not (sine > 0.7).any():
        return places
    basis = np.stack([first, _commonest(near[sine > 0.7], spacing)])
    middle = places[int(np.argmin(np.hypot(*(places - np.median(places, axis=0)).T)))]
    for reach in (2.5, 5.0, np.inf, np.inf):
        numbers = np.round((places - middle) @ np.linalg.inv(basis))
        off = np.hypot(*(places - middle - numbers @ basis).T)
        kept = (off < _OFF_LATTICE * spacing) & (np.hypot(*numbers.T) <= reach)
        design = np.column_stack([numbers[kept], np.ones(int(kept.sum()))])
        if np.linalg.matrix_rank(design) < 3:
            return places
        fit = np.linalg.lstsq(design, places[kept], rcond=None)[0]
        basis, middle = fit[:2], fit[2]
    on: Array = places[kept]
    return on


def _commonest(steps: Array, spacing: float) -> Array:
    """The step that most others are like."""
    like = np.hypot(*(steps[None] - steps[:, None]).transpose(2, 0, 1)) < _OFF_LATTICE * spacing
    mean: Array = steps[like[int(like.sum(axis=1).argmax())]].mean(axis=0)
    return mean


def _judged(
    image: Array, places: Array, across: float, binning: int, brightness: tuple[float, float], unevenness: float
) -> tuple[Hole, ...]:
    """Each hole's brightness and evenness against the median hole's."""
    y, x = np.indices(image.shape)
    cores = [image[np.hypot(x - column, y - row) <= _CORE * across] for column, row in places]
    means = np.array([core.mean() for core in cores])
    spreads = np.array([core.std() for core in cores])
    means, spreads = means / np.median(means), spreads / max(float(np.median(spreads)), 1e-30)
    holes = []
    for place, mean, spread in zip(places, means, spreads, strict=True):
        fault = "broken" if spread > unevenness else ""
        fault = "thick" if mean < brightness[0] else "empty" if mean > brightness[1] else fault
        # The middle of a binned pixel lies between those that it holds.
        column, row = place * binning + (binning - 1) / 2
        holes.append(
            Hole(x_px=float(column), y_px=float(row), brightness=float(mean), unevenness=float(spread), fault=fault)
        )
    return tuple(holes)
