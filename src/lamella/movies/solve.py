"""The motion of one view that its maps and its prior together make likeliest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lamella.movies.course import Course, contrasts
from lamella.movies.pair_maps import PairMaps

__all__ = ["ModePrior", "most_likely", "observed", "posterior_variance"]

Array = NDArray[np.float64]

_STEPS = 60
_CLOSE_PX = 1e-4
_HALVINGS = 12

ModePrior = tuple[Course, tuple[int, int]]
"""Prior of one mode: a course, and which of its groups are the mode's x and y."""


def most_likely(maps: PairMaps, modes: Array, priors: Sequence[ModePrior], start_px: Array) -> tuple[Array, float]:
    """Strengths of the modes of greatest posterior probability, and its logarithm up to a constant.

    Parameters
    ----------
    maps
        of the tiles.
    modes
        ``(tiles, modes)`` how each mode moves each tile; the first, 1 everywhere, is the whole field.
    priors
        of each mode.
    start_px
        ``(modes, frames, 2)`` where to begin, movie pixels; the climb ends at the nearest summit.

    Returns
    -------
    strengths_px, log_probability
        ``(modes, frames, 2)`` (x, y), each with mean 0 over the frames.

    Notes
    -----
    Fisher scoring with step halving: the curvature is the one that is expected, so that a rough map cannot throw it.
    """
    rows = contrasts(maps.frames)
    means = np.stack([course.means[list(groups)].T for course, groups in priors])  # (modes, F − 1, 2)
    inverse = np.stack([np.linalg.inv(course.covariance) for course, _ in priors])
    eye = np.eye(len(rows))
    scoring = [np.linalg.inv(inverse + maps.frames * maps.curvature_px[axis] * eye) for axis in (0, 1)]

    def posterior(places: Array) -> tuple[float, Array]:
        shifts = np.einsum("tm,mac,af->tfc", modes, places, rows, optimize=True)
        value, gradient = maps.likelihood(shifts)
        off = places - means
        pull = inverse @ off
        slope = np.einsum("tm,tfc,af->mac", modes, gradient, rows, optimize=True) - pull
        return value - 0.5 * float((off * pull).sum()), slope

    places = np.einsum("af,mfc->mac", rows, start_px)
    value, slope = posterior(places)
    for _ in range(_STEPS):
        step = np.stack([(scoring[axis] @ slope[..., axis, None])[..., 0] for axis in (0, 1)], axis=-1)
        largest = float(np.abs(step).max())
        if largest < _CLOSE_PX:
            break
        step *= min(1.0, max(maps.step) / largest)  # no further than a sample of the map at a time
        for _ in range(_HALVINGS):
            tried, tried_slope = posterior(places + step)
            if tried >= value:
                break
            step = step / 2
        else:
            break
        places, value, slope = places + step, tried, tried_slope
    return np.einsum("mac,af->mfc", places, rows), value


def observed(maps: PairMaps, modes: Array, strengths_px: Array) -> tuple[Array, Array]:
    """What a view says by itself near these strengths, its likelihood taken as a Gaussian of the expected width.

    Returns
    -------
    places, variance
        ``(modes, 2, F − 1)`` contrasts of each mode's x and y, px; ``(2,)`` variance of each along x and y, px².
    """
    rows = contrasts(maps.frames)
    _, gradient = maps.likelihood(np.einsum("tm,mfc->tfc", modes, strengths_px))
    slope = np.einsum("tm,tfc,af->mca", modes, gradient, rows, optimize=True)
    with np.errstate(divide="ignore"):
        variance = 1 / (maps.frames * maps.curvature_px)
    step = np.where(np.isfinite(variance), variance, 0.0)[:, None]
    return np.einsum("af,mfc->mca", rows, strengths_px) + slope * step, variance


def posterior_variance(maps: PairMaps, course: Course) -> Array:
    """``(frames, 2)`` variance of the shifts (x, y) of the whole field about their mean over the frames, px²."""
    rows = contrasts(maps.frames)
    inverse = np.linalg.inv(course.covariance)
    out = []
    for axis in (0, 1):
        left = np.linalg.inv(inverse + maps.frames * maps.curvature_px[axis] * np.eye(len(rows)))
        out.append(np.einsum("af,ab,bf->f", rows, left, rows))
    return np.stack(out, axis=-1)
