"""Peaks of a score volume: where they are, which stand too close, and how many of them noise alone would make."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import grey_opening, maximum_filter
from scipy.spatial import cKDTree

__all__ = ["NoisePeaks", "local_maxima", "noise_among", "noise_peaks", "strongest_apart", "top_hat"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

_FIT = (0.3, 0.85)
"""Quantiles of the peaks between which noise is fitted: below are borders, above are particles."""
_TAIL = (0.6, 0.98)
"""The same where particles were left out already: near the tail that the fit is drawn out to."""
_FEWEST = 40


def local_maxima(score: Floats) -> tuple[Integers, Array]:
    """Voxels that are higher than their 26 neighbours.

    Parameters
    ----------
    score
        ``(z, y, x)``; −inf where nothing may be found.

    Returns
    -------
    places, scores
        ``(n, 3)`` z, y, x and ``(n,)``.
    """
    known = np.isfinite(score)
    at = np.argwhere(known & (maximum_filter(np.where(known, score, -np.float32(3e38)), 3) == score))
    return at.astype(np.int64), score[tuple(at.T)].astype(np.float64)


def strongest_apart(places: Array, scores: Array, distance: float, limit: int = 0) -> Integers:
    """Indices of points ``(n, 3)`` that have no stronger one (that is kept) nearer than a distance; strongest first."""
    order = np.argsort(-scores, kind="stable")
    if not len(order):
        return order
    tree = cKDTree(places)
    alive = np.ones(len(places), dtype=bool)
    kept: list[int] = []
    for index in order:
        if not alive[index]:
            continue
        kept.append(int(index))
        if limit and len(kept) == limit:
            break
        alive[tree.query_ball_point(places[index], distance * (1 - 1e-9))] = False
    return np.array(kept, dtype=np.int64)


@dataclass(frozen=True)
class NoisePeaks:
    """How high peaks of noise are: exp(−(s² − a) / b) of `count` of them exceed s, in the tail.

    Attributes
    ----------
    count
        number of peaks that were looked at.
    location, scale
        a and b; b is 2 for noise of unit deviation.
    """

    count: int
    location: float
    scale: float

    def expected(self, score: Array | float) -> Array:
        """Number of peaks of noise above a score."""
        value = np.maximum(np.asarray(score, np.float64), 0.0)
        tail: Array = self.count * -np.expm1(-np.exp(-(value**2 - self.location) / self.scale))
        return tail

    def threshold(self, false_positives: float) -> float:
        """Score above which so many peaks of noise are expected."""
        part = min(false_positives / self.count, 0.999)
        reduced = -math.log(-math.log1p(-part))
        return math.sqrt(max(self.location + self.scale * reduced, 0.0))


def noise_peaks(scores: Array, count: float | None = None, quantiles: tuple[float, float] = _FIT) -> NoisePeaks | None:
    """Fit the heights ``(n,)`` of peaks of which most, or a known number, are noise; None where they are too few.

    Parameters
    ----------
    scores
        of peaks.
    count
        how many of them are noise, where that is known: the lowest ones are taken for it. None: all but a few.
    quantiles
        of the noise, between which the line is fitted.

    Notes
    -----
    The greatest of many Gaussian numbers s (orientations, places of one neighbourhood) has P(S > s) ~ exp(−s² / 2): s²
    follows Gumbel's extreme-value distribution, whose quantiles lie on a line against −ln(−ln p). The line is fitted to
    the middle quantiles, where the particles are too few to matter, and drawn out to the tail. A distribution fitted to
    s itself would put the tail too high.
    """
    finite = np.sort(scores[np.isfinite(scores)])
    noise = len(finite) if count is None else min(int(count), len(finite))
    if noise < _FEWEST:
        return None
    finite = finite[:noise]
    part = (np.arange(noise) + 0.5) / noise
    used = (part > quantiles[0]) & (part < quantiles[1])
    reduced = -np.log(-np.log(part[used]))
    square = np.sign(finite[used]) * finite[used] ** 2
    scale, location = np.polyfit(reduced, square, 1)
    return NoisePeaks(noise, float(location), float(max(scale, 1e-6)))


def noise_among(scores: Array, most: float, false_positives: float = 1.0) -> NoisePeaks | None:
    """Fit the noise among the scores ``(n,)`` of chosen peaks, of which any part may be particles.

    Parameters
    ----------
    scores
        of peaks that were chosen because they were high.
    most
        number of peaks of noise that can be among them.
    false_positives
        see Notes.

    Notes
    -----
    Beginning with the lowest quarter, all are taken for noise that lie below the score that so many peaks of noise pass
    (`NoisePeaks.threshold`), until there are no more: up to the gap between noise and particles, where there is one.

    That fit may reach into the gap. Places differ (crowded, empty, beside a membrane), so the middle of such peaks is
    broader than noise of one kind, and a line through it lies above their tail. So the noise found is fitted again by
    its own upper part, and what lies above the lower threshold is left out, until there is no more of it.
    """
    count = max(len(scores) // 4, _FEWEST)
    fit = noise_peaks(scores, count)
    for _ in range(len(scores)):
        if fit is None:
            return None
        grown = min(int((scores <= fit.threshold(false_positives)).sum()), int(most))
        if grown <= count:
            break
        count = grown
        fit = noise_peaks(scores, count)
    return fit if fit is None else _by_the_tail(scores, fit, false_positives)


def _by_the_tail(scores: Array, fit: NoisePeaks, false_positives: float) -> NoisePeaks:
    """The fit of the same noise by its upper part, where that lies lower."""
    for _ in range(len(scores)):
        tail = noise_peaks(scores, fit.count, _TAIL)
        if tail is None or tail.threshold(false_positives) >= fit.threshold(false_positives):
            return fit
        below = int((scores <= tail.threshold(false_positives)).sum())
        if below >= tail.count:
            return tail
        fit = NoisePeaks(below, tail.location, tail.scale)
    return fit


def top_hat(score: Floats, places: Integers, width_px: float) -> Array:
    """How far peaks ``(n, 3)`` (z, y, x) rise above what is as wide as the template's own peak and wider, ``(n,)``.

    The white top hat: the score minus its grey opening by a cube wider than a peak. A ridge, as along a membrane or an
    edge, stays in the opening; a peak is gone from it.
    """
    known = np.isfinite(score)
    filled = np.where(known, score, score[known].min() if known.any() else 0.0).astype(np.float32)
    size = max(3, 2 * math.ceil(width_px / 2) + 1)
    opened = grey_opening(filled, size=(size,) * 3)
    at = tuple(places.T)
    out: Array = (filled[at] - opened[at]).astype(np.float64)
    return out
