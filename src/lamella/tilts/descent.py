"""How a bundle adjustment walks downhill: Levenberg–Marquardt with robust weights.

Every geometry is judged with the points that fit it best (variable projection). Directions that change no picture have
no gradient, and the damping keeps steps out of them, so that the gauge stays that of the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from lamella.tilts.covariance import estimate_widths
from lamella.tilts.problem import Problem

__all__ = ["RAYLEIGH_MEDIAN", "Loss", "State", "descend", "robust_weights", "scale"]

Array = NDArray[np.float64]
Loss = Literal["none", "huber", "cauchy"]

RAYLEIGH_MEDIAN = 1.17741
"""Median length of a 2-D vector whose components have unit variance."""
TUNING = {"huber": 2.0, "cauchy": 3.0}
"""Length of a residual, in standard deviations per axis, where doubt begins."""
_LEAST_DAMPING = 1e-9
_ROUNDS = 12
_SAME_SCALE, _SAME_WIDTH = 0.01, 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """Where a descent stands.

    Attributes
    ----------
    values, robust
        ``(n, t)`` numbers of the views, and ``(n, p)`` robust weights.
    sigma
        standard deviation per axis of an observation of weight 1.
    iterations, converged
        steps tried, and whether they came to rest.
    """

    values: Array
    robust: Array
    sigma: float
    iterations: int = 0
    converged: bool = False


def descend(problem: Problem, start: State, loss: Loss, max_iterations: int, tolerance: float) -> State:
    """Best values from a start, with a scale of the loss and widths of the priors that fit them.

    Scale and widths are held while steps are taken, or the loss would not be one function; then they are estimated
    again, until they stay. What a start's scale is does not matter.
    """
    spent = float(problem.columns.shape[1] + 3 * problem.usable.sum())
    state = start
    for round_number in range(_ROUNDS):
        before = scale(problem, state.values, state.robust, spent)
        after = _descend_held(problem, state, before, loss, max_iterations - state.iterations, tolerance)
        moved = float(np.abs(after.values - state.values).max())
        problem.settle(after.values)
        changed, spent = estimate_widths(problem, after.values, problem.weights * after.robust / before**2)
        sigma = scale(problem, after.values, after.robust, spent)
        settled = changed < _SAME_WIDTH and (loss == "none" or abs(sigma / before - 1) < _SAME_SCALE)
        state = State(
            values=after.values,
            robust=after.robust,
            sigma=sigma,
            iterations=after.iterations,
            converged=after.converged and settled,
        )
        if (state.converged and (round_number or moved < 1e-9)) or state.iterations >= max_iterations:
            break
    return state


def scale(problem: Problem, values: Array, robust: Array, spent: float) -> float:
    """Robust standard deviation per axis of an observation of weight 1, where `spent` degrees of freedom were."""
    used = problem.weights > 0
    lengths = problem.lengths(values, robust)[used]
    freedom = max(1 - spent / (2 * used.sum()), 0.05)
    return float(max(np.median(lengths) / RAYLEIGH_MEDIAN / np.sqrt(freedom), 1e-9))


def _descend_held(
    problem: Problem, start: State, sigma: float, loss: Loss, max_iterations: int, tolerance: float
) -> State:
    """Levenberg–Marquardt at one scale of the loss; robust weights follow the residuals (iterated reweighting)."""
    values, damping, done, iterations = start.values, 1e-4, False, 0
    robust = robust_weights(problem.lengths(values, start.robust) / sigma, loss)
    priors = problem.precision()
    cost = _cost(problem, values, problem.lengths(values, robust) / sigma, priors, loss)
    for _ in range(max(max_iterations, 1)):
        iterations += 1
        equations = problem.equations(values, problem.weights * robust / sigma**2)
        steps = _DampedSteps(equations.curvature, equations.gradient)
        for _ in range(12):
            step = problem.columns @ steps.at(damping)
            trial = values + step.reshape(values.shape)
            # the points' fit under the old weights, then under those that it gives
            trial_robust = robust_weights(problem.lengths(trial, robust) / sigma, loss)
            trial_cost = _cost(problem, trial, problem.lengths(trial, trial_robust) / sigma, priors, loss)
            if trial_cost <= cost * (1 + 1e-12):
                break
            damping *= 8
        else:
            done = True  # no step of any length gains: at rest
            break
        gain = cost - trial_cost
        values, robust, cost, damping = trial, trial_robust, trial_cost, max(damping / 8, _LEAST_DAMPING)
        done = gain <= tolerance * cost
        if done:
            break
    return State(values=values, robust=robust, sigma=sigma, iterations=start.iterations + iterations, converged=done)


def _cost(problem: Problem, values: Array, ratio: Array, priors: Array, loss: Loss) -> float:
    """The loss of residuals given as length / σ, and the priors."""
    change = problem.parameters(values)
    return float(_losses(ratio, loss)[problem.weights > 0].sum() + change @ priors @ change)


class _DampedSteps:
    """Steps that solve the damped normal equations."""

    def __init__(self, curvature: Array, gradient: Array) -> None:
        diagonal = np.diag(curvature)
        self.scale = np.where(diagonal > 0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 0.0)
        self.curvature = curvature * self.scale[:, None] * self.scale[None]
        self.gradient = self.scale * gradient

    def at(self, damping: float) -> Array:
        """``(g,)`` the step under a damping, in units of the scaled curvature."""
        for more in (1.0, 1e3, 1e6):
            damped = self.curvature + damping * more * np.eye(len(self.scale))
            factor, info = scipy.linalg.lapack.dpotrf(damped, lower=1)
            if info == 0:
                return np.asarray(self.scale * scipy.linalg.lapack.dpotrs(factor, self.gradient, lower=1)[0])
        return np.asarray(self.scale * self.gradient / (1 + damping))


def robust_weights(ratio: Array, loss: Loss) -> Array:
    """Weight of each residual given as length / σ, so that weighted squares have the loss's gradient."""
    if loss == "none":
        return np.ones_like(ratio)
    doubt = TUNING[loss]
    if loss == "huber":
        return np.minimum(1.0, doubt / np.maximum(ratio, 1e-12))
    return np.asarray(1 / (1 + (ratio / doubt) ** 2))


def _losses(ratio: Array, loss: Loss) -> Array:
    """The loss of each residual given as length / σ; its square where small."""
    if loss == "none":
        return ratio**2
    doubt = TUNING[loss]
    if loss == "huber":
        return np.where(ratio < doubt, ratio**2, 2 * doubt * ratio - doubt**2)
    return np.asarray(doubt**2 * np.log1p((ratio / doubt) ** 2))
