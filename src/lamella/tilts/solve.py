"""Solve the geometry of a tilt series from tracks of any kind: bundle adjustment, no image in sight.

The observation of point p in view v is q = m_v · [R_v p]_xy + s_v, moved by a local field where there is one, + noise.
Points and views are solved together by Levenberg–Marquardt with robust weights. The points enter linearly, so they are
eliminated: every geometry is judged with the points that fit it best, and its step comes from the Schur complement of
the normal equations (Triggs et al. 2000, "Bundle adjustment: a modern synthesis"). Directions that change no picture
(rigid motions of the specimen, its scale against the magnification) stay as the start had them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import GeometryError
from lamella.geometry import TiltGeometry
from lamella.records.tracks import Tracks
from lamella.tilts.covariance import condition, covariance
from lamella.tilts.descent import TUNING, Loss, State, descend, robust_weights
from lamella.tilts.leave_one_out import LeftOut, leave_one_out
from lamella.tilts.problem import DEGREE, Problem, best_points
from lamella.tilts.terms import TERMS, SolveModel

__all__ = ["Loss", "Solution", "solve", "triangulate"]

Array = NDArray[np.float64]

_WRONG = 5.0  # standard deviations off
_WRONG_SHARE = 1 / 3  # of its views in which a point is that far off, from which it is no point
_MOST_WRONG = 0.3  # of the points; more are no exception, it is the model that is wrong


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """A solved geometry and how far to trust it.

    Attributes
    ----------
    geometry
        the solved geometry, in the gauge of the start (mean magnification 1).
    tracks
        the tracks with their points and residuals; NaN for points that were rejected.
    standard_errors
        per view ``(n,)`` by term (`TERMS`; shifts in Å, angles in degrees); 0 where fixed, infinite where neither the
        tracks nor a prior says anything.
    point_errors_ang
        ``(p, 3)`` standard errors of the points; NaN where not solved.
    robust_weights
        ``(n, p)`` what the robust loss made of each observation, 0…1.
    sigma_ang
        robust standard deviation per axis of an observation of weight 1, Å.
    rms_ang
        root of the mean squared length of all residuals, Å, outliers included.
    left_out_ang
        ``(n, p, 2)`` residuals of each observation against its prediction from all the others; NaN where unseen, or
        where the others do not determine it.
    leave_one_out_ang
        root of their mean squared length, Å, outliers included, as `rms_ang` counts.
    condition
        of the reduced normal equations, scaled to a diagonal of 1, the gauge left out; infinite where a number that is
        no gauge is not determined.
    rejected
        per point the reason why it does not count, in words; empty where it does.
    widths
        standard deviation of each prior by term, estimated or given (degrees, ratio; ``local1`` … Å rms by degree).
    iterations, converged
        steps tried, and whether they came to rest.
    """

    geometry: TiltGeometry
    tracks: Tracks
    standard_errors: dict[str, Array]
    point_errors_ang: Array
    robust_weights: Array
    sigma_ang: float
    rms_ang: float
    left_out_ang: Array
    leave_one_out_ang: float
    condition: float
    rejected: tuple[str, ...]
    widths: dict[str, float]
    iterations: int
    converged: bool

    def leave_one_out_rms_ang(self, axis: int | None = None) -> Array:
        """Root of the mean squared `left_out_ang`: over everything (None), per point (0) or per view (1)."""
        return _rms(self.left_out_ang, axis)


def solve(
    tracks: Tracks,
    geometry: TiltGeometry,
    model: SolveModel | None = None,
    *,
    dose: ArrayLike | None = None,
    loss: Loss = "cauchy",
    max_iterations: int = 60,
    tolerance: float = 1e-6,
    start: Solution | None = None,
) -> Solution:
    """Geometry and points that explain tracks best.

    Parameters
    ----------
    tracks
        observations with missing ones as NaN. Points with fewer than three views, that were seen under too little
        parallax, or that lie far off in over a third of their views, stay unsolved (NaN) and count for nothing;
        `rejected` says why.
    geometry
        the start, of as many views; a field that it has is taken off the observations and kept, unless the model has
        a local term: then it is solved anew.
    model
        the terms that may change (default: shifts, and one axis for all views).
    dose
        ``(n,)`` before each view, e/Å²; where a local term follows it.
    loss
        ``cauchy`` (Cauchy's, scale from the data by the median residual), ``huber``, or ``none`` for least squares.
    max_iterations
        steps at most.
    tolerance
        relative gain of a step below which the work is done.
    start
        an earlier solution of the same tracks from the same `geometry`, where the work then begins.

    Raises
    ------
    GeometryError
        if the numbers of views differ, or fewer than three points can be solved.
    """
    if tracks.views != len(geometry):
        raise GeometryError(f"tracks in {tracks.views} views, a geometry of {len(geometry)}", mend="give as many views")
    problem = Problem(tracks, geometry, model or SolveModel(), None if dose is None else np.asarray(dose, np.float64))
    if problem.usable.sum() < 3:
        flat = int((problem.rejected == "too little parallax").sum())
        raise GeometryError(
            f"only {int(problem.usable.sum())} points were followed through enough views"
            + (f", {flat} more under too little change of tilt to tell their depth" if flat else ""),
            mend="track more points, or through more views" + (" of a wider range of tilts" if flat else ""),
        )
    values, robust = problem.start, np.ones_like(problem.weights)
    if start is not None:
        values = problem.continued(start.geometry)
        robust = np.maximum(start.robust_weights, 1e-3)
    state = State(values=values, robust=robust, sigma=1.0)
    for _ in range(3):
        state = descend(problem, state, loss, max_iterations, tolerance)
        wrong = _misfits(problem, state)
        if not wrong.any():
            break
        problem.reject(wrong, f"more than {_WRONG:g} standard deviations off in over a third of its views")
    return _solution(problem, state, loss)


def triangulate(tracks: Tracks, geometry: TiltGeometry, weights: Array | None = None) -> Array:
    """``(p, 3)`` points that fit the observations best in a given geometry, Å; NaN where undetermined."""
    use = tracks.weights if weights is None else weights
    seen_at = np.nan_to_num(tracks.observations_ang) - geometry.shifts_ang()[:, None]
    points, curvature = best_points(geometry.matrices(), seen_at, use)
    strengths = np.linalg.eigvalsh(curvature)
    points[(strengths[:, 0] <= 1e-3 * strengths[:, 2]) | ((use > 0).sum(axis=0) < 3)] = np.nan
    return points


def _misfits(problem: Problem, state: State) -> NDArray[np.bool_]:
    """``(p,)`` points that are far off in too many of their views; the worst, where they are many."""
    used = problem.weights > 0
    far = used & (problem.lengths(state.values, state.robust) > _WRONG * state.sigma)
    share = far.sum(axis=0) / np.maximum(used.sum(axis=0), 1)
    most = min(int(_MOST_WRONG * problem.usable.size), int(problem.usable.sum()) - 3)
    worst = np.argsort(-share, kind="stable")[: max(most, 0)]
    wrong = np.zeros(len(share), dtype=bool)
    wrong[worst] = share[worst] > _WRONG_SHARE
    return wrong


def _solution(problem: Problem, state: State, loss: Loss) -> Solution:
    """The record of a finished descent."""
    values, used = state.values, problem.weights > 0
    weights = problem.weights * state.robust / state.sigma**2
    equations, gauge = problem.equations(values, weights), problem.gauge(values)
    cover = covariance(equations.curvature, gauge)
    left = leave_one_out(problem, equations, cover, weights)
    points = np.where(problem.usable[:, None], equations.points, np.nan)
    residuals = np.where(used[..., None], equations.residuals, np.nan)
    geometry, mean = problem.geometry(values)
    tracks = problem.tracks.with_solution(points * mean, residuals)
    errors, point_errors = _standard_errors(problem, state, left, loss)
    return Solution(
        geometry=geometry,
        tracks=tracks,
        standard_errors=errors,
        point_errors_ang=point_errors,
        robust_weights=np.where(used, state.robust, 0.0),
        sigma_ang=state.sigma / np.sqrt(problem.unit),
        rms_ang=float(tracks.rms_ang()),
        left_out_ang=left.residuals,
        leave_one_out_ang=float(_rms(left.residuals, None)),
        condition=condition(equations.curvature, gauge),
        rejected=tuple(problem.rejected),
        widths=problem.widths(),
        iterations=state.iterations,
        converged=state.converged,
    )


def _standard_errors(problem: Problem, state: State, left: LeftOut, loss: Loss) -> tuple[dict[str, Array], Array]:
    """Of the views' terms and of the points, for what the robust loss costs in precision (Huber 1981, 7.6)."""
    factor = _robust_variance(problem, state, left, loss)
    equations = problem.equations(state.values, problem.weights * state.robust / state.sigma**2 / factor)
    cover = covariance(equations.curvature, problem.gauge(state.values))
    n, t = state.values.shape
    variance = (np.asarray(problem.columns @ cover.root) ** 2).sum(axis=1).reshape(n, t)[:, :6]
    errors = np.sqrt(variance) / np.array([1, 1, DEGREE, DEGREE, DEGREE, 1])
    if cover.lost.shape[1]:
        open_share = (np.asarray(problem.columns @ cover.lost) ** 2).sum(axis=1).reshape(n, t)[:, :6]
        errors[open_share > 1e-6 * open_share.max()] = np.inf
    errors[~(problem.weights > 0).any(axis=1)] = np.inf
    # a point's own covariance, and what the views' adds to it: A⁻¹ + A⁻¹ Bᵀ C B A⁻¹
    through = np.einsum("gpi,gk->pik", equations.reach, cover.root, optimize=True)
    spread = equations.half.swapaxes(1, 2)
    total = (spread**2).sum(axis=2) + ((spread @ through) ** 2).sum(axis=2)
    point_errors = np.where(problem.usable[:, None], np.sqrt(total), np.nan)
    return {name: errors[:, index] for index, name in enumerate(TERMS)}, point_errors


def _robust_variance(problem: Problem, state: State, left: LeftOut, loss: Loss) -> float:
    """Variance of the robust fit over what its weights alone say: E[w] E[w² r² / 2] / E[∂(w r)/∂r]²."""
    if loss == "none":
        return 1.0
    used = (problem.weights > 0) & np.isfinite(left.leverage)
    ratio = problem.lengths(state.values, state.robust)[used] / state.sigma
    ratio = ratio / np.sqrt(np.maximum(1 - left.leverage[used], 0.05))
    weight = robust_weights(ratio, loss)
    cauchy = loss == "cauchy"
    slope = weight - (ratio * weight / TUNING[loss]) ** 2 if cauchy else np.where(weight < 1, weight / 2, 1.0)
    return float(np.clip(weight.mean() * (weight**2 * ratio**2).mean() / 2 / max(slope.mean(), 0.1) ** 2, 0.25, 10.0))


def _rms(vectors: Array, axis: int | None) -> Array:
    """Root of the mean squared length of vectors ``(n, p, 2)``, NaN left out."""
    squared = (vectors**2).sum(axis=-1)
    count = np.isfinite(squared).sum(axis=axis)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.sqrt(np.nansum(squared, axis=axis) / count))
