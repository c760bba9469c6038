"""What the change of defocus over tilted views tells: the hand, the scale of depth, and how the specimen lies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lamella.geometry import TiltGeometry
from lamella.tilts.ctf_joint import JointFit
from lamella.tilts.ctf_view_fit import ViewFit, ViewState

__all__ = ["Hand", "Surface", "judge_hand", "measure_surface", "surface_depth"]

Array = NDArray[np.float64]

_SLOPES = np.arange(-2.5, 2.51, 0.1)
_LEAST_DEPTH_ANG = 150.0  # rms of depth over a view from which it tells anything
_MOST_LOG_ODDS = 50.0


@dataclass(frozen=True, kw_only=True)
class Hand:
    """Which sign the data give.

    Attributes
    ----------
    sign
        by which defocus grows with depth.
    confidence
        0.5…1, that it is this and not the other.
    log_odds
        natural logarithm of its odds.
    slope, slope_error
        measured over expected growth of defocus with depth, with its sign's size left off; 1 where pixel size and
        voltage are right.
    views
        that tell.
    """

    sign: int
    confidence: float
    log_odds: float
    slope: float
    slope_error: float
    views: int


def judge_hand(
    fits: Sequence[ViewFit],
    joint: JointFit,
    each: Callable[..., list[Any]],
    other: tuple[Sequence[ViewFit], JointFit] | None = None,
) -> Hand | None:
    """The hand, from the scatter over views; None where no view is tilted enough to tell.

    Parameters
    ----------
    fits, joint
        of one hand.
    each
        maps a function over items, side by side.
    other
        the same of the other hand: then each is heard with its own fit.

    Notes
    -----
    For each view the two signs' log-likelihoods are compared. Their sum overstates the odds, since neighbouring terms
    and tiles share noise, and since rings that fit badly are not Gaussian; so the difference's mean over the views is
    set against its own scatter (Student's t). The scale is where the summed log-likelihood has its maximum, its error
    the jackknife's over the views.
    """
    tell = [v for v, fit in enumerate(fits) if _rms(fit.depth, fit.view.tiles) > _LEAST_DEPTH_ANG]
    if not tell:
        return None
    curves = np.stack(each(lambda v: fits[v].depth_gains(joint.states[v], _SLOPES), tell))
    if other is None:
        minus, plus = (int(np.argmin(np.abs(_SLOPES - sign))) for sign in (-1, 1))
        difference = curves[:, plus] - curves[:, minus]
    else:
        mine, theirs = (
            np.array(each(lambda v, one=one: one[0][v].log_likelihood(one[1].states[v]), tell))
            for one in ((fits, joint), other)
        )
        difference = (mine - theirs) * np.sign(fits[0].slope)
    sign = 1 if difference.sum() > 0 else -1
    log_odds = _log_odds(np.abs(difference.sum()), difference)
    total = curves.sum(axis=0)
    slope = sign * _peak(total, sign)
    others = np.array([sign * _peak(total - curve, sign) for curve in curves]) if len(tell) > 1 else np.array([slope])
    error = math.sqrt((len(others) - 1) / len(others) * float(((others - others.mean()) ** 2).sum()))
    return Hand(
        sign=sign, confidence=1 / (1 + math.exp(-log_odds)), log_odds=log_odds, slope=slope,
        slope_error=error if len(tell) > 1 else math.nan, views=len(tell),
    )  # fmt: skip


def _rms(depth: Array, tiles: Array) -> float:
    middle = float(tiles @ depth / tiles.sum())
    return math.sqrt(float(tiles @ (depth - middle) ** 2 / tiles.sum()))


def _log_odds(total: float, difference: Array) -> float:
    """Odds of the sign of a sum, from the scatter of its parts; of one part alone, its own size."""
    n = len(difference)
    if n < 3:
        return min(total / 2, _MOST_LOG_ODDS)
    spread = float(difference.std(ddof=1)) * math.sqrt(n)
    t = total / max(spread, 1e-12)
    wrong = float(stats.t.sf(t, n - 1))
    return min(math.log((1 - wrong) / max(wrong, 1e-300)), _MOST_LOG_ODDS)


def _peak(total: Array, sign: int) -> float:
    """Slope of the largest value among those of a sign, by a parabola through it."""
    allowed = np.where(_SLOPES * sign > 0.2, total, -np.inf)
    place = int(np.clip(np.argmax(allowed), 1, len(total) - 2))
    left, middle, right = total[place - 1 : place + 2]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float(_SLOPES[place] + np.clip(shift, -1, 1) * (_SLOPES[1] - _SLOPES[0]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Surface:
    """How the specimen's mid-plane differs from the plane z = 0 of the alignment.

    Attributes
    ----------
    terms
        z = a x + b y (and + c x² + d x y + e y²), in Å of specimen places in Å: two numbers, or five.
    covariance
        of the terms.
    """

    terms: Array
    covariance: Array

    @property
    def errors(self) -> Array:
        """Standard errors of the terms."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    def height_ang(self, points_ang: Array) -> Array:
        """``(...,)`` height at places ``(..., 3)``."""
        return _monomials(points_ang, len(self.terms)) @ self.terms


def surface_depth(surface: Surface, geometry: TiltGeometry, points_ang: Array) -> Array:
    """Further depth, to first order, of what is seen where places ``(p, 3)`` of z = 0 are, in a single view."""
    return surface.height_ang(points_ang) / float(geometry.rotations()[0, 2, 2])


def measure_surface(
    fits: Sequence[ViewFit],
    states: Sequence[ViewState],
    geometry: TiltGeometry,
    order: int,
    each: Callable[..., list[Array]],
    start: Surface | None = None,
) -> Surface:
    """One step of Fisher scoring towards the surface from which the classes' defoci come, each view's mean free.

    Parameters
    ----------
    order
        1: a plane; 2: bent.
    start
        the surface that the fits' depths already hold.
    """
    count = 2 if order == 1 else 5
    information, gradient = np.zeros((count, count)), np.zeros(count)
    reach = max(float(np.abs(fit.view.points_ang[:, :2]).max()) for fit in fits)
    scale = np.array([1, 1, 1 / reach, 1 / reach, 1 / reach])[:count]
    for fit, rotation, slopes in zip(
        fits, geometry.rotations(), each(lambda v: fits[v].slopes(states[v]), range(len(fits))), strict=True
    ):
        change = fit.slope * _monomials(fit.view.points_ang, count) * scale / float(rotation[2, 2])
        slope, weight = slopes
        mean = weight @ change / max(float(weight.sum()), 1e-30)
        change = change - mean
        information += change.T @ (weight[:, None] * change)
        gradient += change.T @ slope
    # a prior of 10° and a sag of as much: nothing else bounds what no tilted view tells
    information += np.eye(count) / 0.17**2
    before = np.zeros(count)
    if start is not None:
        before[: len(start.terms)] = start.terms
    covariance = np.linalg.inv(information)
    step = covariance @ (gradient - before / scale / 0.17**2)
    return Surface(terms=before + step * scale, covariance=np.asarray(covariance * np.outer(scale, scale), np.float64))


def _monomials(points_ang: Array, count: int) -> Array:
    x, y = points_ang[..., 0], points_ang[..., 1]
    return np.stack([x, y, x * x, x * y, y * y][:count], axis=-1)
