"""The inverse of a reduced curvature, its gauge left out, and the widths of priors that follow from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from lamella.tilts.problem import Group, Problem

__all__ = ["Covariance", "condition", "covariance", "estimate_widths"]

Array = NDArray[np.float64]

_UNSEEN = 1e-12  # curvature over the steepest, of scaled parameters, below which a direction is not determined
_WIDTH_STEPS = 8
_FEWEST_INFORMED = 3.0  # parameters that the data determine under the first width, below which it stays


@dataclass(frozen=True, eq=False)
class Covariance:
    """Inverse curvature of the parameters.

    Attributes
    ----------
    root
        ``(g, k)`` R with R Rᵀ the inverse; what a gauge leaves open is not in it.
    lost
        ``(g, k)`` directions that neither observations nor priors determine although they are no gauge.
    """

    root: Array
    lost: Array


def covariance(curvature: Array, gauge: Array) -> Covariance:
    """Inverse of a curvature ``(g, g)`` without its gauge directions ``(g, r)``."""
    scaled, size, apart = _scaled(curvature, gauge)
    factor = _factor(scaled)
    if factor is not None:
        root, lost = scipy.linalg.lapack.dtrtri(factor, lower=1)[0].T, np.zeros((len(size), 0))
    else:
        strengths, directions = np.linalg.eigh(scaled)
        good = strengths > _UNSEEN * strengths[-1]
        root, lost = directions[:, good] / np.sqrt(strengths[good]), size[:, None] * directions[:, ~good]
    # (1 − A Aᵀ) R: the gauge's directions, of strength 1, taken out again
    return Covariance(size[:, None] * (root - apart @ (apart.T @ root)), lost)


def _inverse(curvature: Array, gauge: Array) -> Array:
    """``(g, g)`` R Rᵀ of `covariance`, in a third of the time."""
    scaled, size, apart = _scaled(curvature, gauge)
    factor = _factor(scaled)
    if factor is None:
        root = covariance(curvature, gauge).root
        return np.asarray(root @ root.T)
    lower = np.tril(scipy.linalg.lapack.dpotri(factor, lower=1)[0])
    whole = lower + np.tril(lower, -1).T - apart @ apart.T
    return np.asarray(size[:, None] * whole * size[None])


def _factor(scaled: Array) -> Array | None:
    """Cholesky's factor, or None where a direction is not determined."""
    factor, failed = scipy.linalg.lapack.dpotrf(scaled, lower=1, clean=1)
    return factor if not failed and np.diag(factor).min() ** 2 > 1e3 * _UNSEEN else None


def condition(curvature: Array, gauge: Array) -> float:
    """Greatest over least curvature of the scaled parameters, the gauge left out; infinite where something is open."""
    strengths = np.linalg.eigvalsh(_scaled(curvature, gauge)[0])
    least = float(strengths[0])
    return float(strengths[-1]) / least if least > _UNSEEN * strengths[-1] else np.inf


def _scaled(curvature: Array, gauge: Array) -> tuple[Array, Array, Array]:
    """The curvature scaled to a diagonal of 1 with the gauge's directions given strength 1, the scale, the directions.

    Parameters without any curvature, which belong to views without observations, have scale 0.
    """
    diagonal = np.diag(curvature)
    seen = diagonal > 0
    size = np.where(seen, 1 / np.sqrt(np.where(seen, diagonal, 1.0)), 0.0)
    scaled = curvature * size[:, None] * size[None]
    scaled[~seen, ~seen] = 1.0
    away = np.where(seen, np.sqrt(np.where(seen, diagonal, 0.0)), 0.0)
    apart = np.linalg.qr(away[:, None] * gauge)[0] if gauge.shape[1] else np.zeros((len(size), 0))
    return scaled + apart @ apart.T, size, apart


def estimate_widths(problem: Problem, values: Array, weights: Array) -> tuple[float, float]:
    """Set the widths of the problem's estimated priors to those under which its observations are likeliest.

    Returns
    -------
    changed, spent
        greatest relative change of a width; degrees of freedom that parameters and points take from the observations.

    Notes
    -----
    Maximum of the marginal likelihood of the linearised problem, shifts and points integrated out, by MacKay's fixed
    point (1992, "Bayesian interpolation", eq. 4.9): width² = gᵀ L g / γ, γ the number of parameters that the data
    determine.
    """
    equations, before = problem.equations(values, weights), problem.precision()
    gauge, at = problem.gauge(values), problem.parameters(values)
    data = equations.curvature - before
    pull = data @ at + equations.gradient + before @ at
    inverse = _inverse(equations.curvature, gauge)
    for group in problem.groups:
        if group.untried and _informed(group, inverse) < _FEWEST_INFORMED:
            group.bounds = None  # the data say nothing of it: what is known of the microscope holds
        group.untried = False
    estimated = [group for group in problem.groups if group.bounds is not None]
    first = [group.width for group in estimated]
    for _ in range(_WIDTH_STEPS if estimated else 0):
        best, largest = inverse @ pull, 0.0
        for group in estimated:
            own = best[group.places]
            ratio = np.sqrt(max(float(own @ group.structure @ own), 0.0) / _informed(group, inverse)) / group.width
            assert group.bounds is not None
            width = float(np.clip(group.width * np.clip(ratio, 0.2, 5.0) ** 1.3, *group.bounds))
            largest = max(largest, abs(np.log(width / group.width)))
            group.width = width
        inverse = _inverse(data + problem.precision(), gauge)
        if largest < 0.02:
            break
    changed = max((abs(np.log(group.width / width)) for group, width in zip(estimated, first, strict=True)), default=0)
    held = float((inverse * problem.precision()).sum())
    return float(changed), problem.columns.shape[1] - held + 3.0 * float(problem.usable.sum())


def _informed(group: Group, inverse: Array) -> float:
    """How many of a group's parameters the data determine rather than its prior."""
    rank = float(np.linalg.matrix_rank(group.structure))
    held = float((group.structure * inverse[group.places, group.places]).sum()) / group.width**2
    return max(rank - held, 1e-3 * rank)
