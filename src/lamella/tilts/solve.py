"""Solve the geometry of a tilt series from tracks of any kind: bundle adjustment, no image in sight.

The observation of point p in view v is q = m_v · [R_v p]_xy + s_v + noise. Points and views are solved together by
Levenberg–Marquardt with robust weights. The points enter linearly, so they are eliminated: every geometry is judged
with the points that fit it best, and its step comes from the Schur complement of the normal equations (Triggs et al.
2000, "Bundle adjustment: a modern synthesis"). Directions that change no picture (rigid motions of the specimen, its
scale against the magnification) have no curvature; steps never enter them, so the gauge stays that of the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lamella.errors import GeometryError
from lamella.geometry import TiltGeometry, rotation_x, rotation_y, rotation_z
from lamella.records.tracks import Tracks
from lamella.tilts.terms import TERMS, SolveModel, basis

__all__ = ["Loss", "Solution", "solve", "triangulate"]

Array = NDArray[np.float64]
Loss = Literal["none", "huber", "cauchy"]

_DEGREE = np.pi / 180
_NULL = 1e-8  # curvature of a direction, relative to the steepest, below which it is gauge
_TUNING = {"huber": 2.0, "cauchy": 3.0}  # residual length, in standard deviations per axis, where doubt begins
_RAYLEIGH_MEDIAN = 1.17741  # median length of a 2-D vector whose components have unit variance


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """A solved geometry and how far to trust it.

    Attributes
    ----------
    geometry
        the solved geometry, in the gauge of the start (mean magnification 1).
    tracks
        the tracks with their points and residuals.
    standard_errors
        per view ``(n,)`` by term (`TERMS`; shifts in Å, angles in degrees); 0 where fixed, infinite where the tracks
        say nothing of a view.
    robust_weights
        ``(n, p)`` what the robust loss made of each observation, 0…1.
    sigma_ang
        robust standard deviation per axis of an observation of weight 1, Å.
    rms_ang
        root of the mean squared length of all residuals, Å, outliers included.
    iterations, converged
        steps tried, and whether they came to rest.
    """

    geometry: TiltGeometry
    tracks: Tracks
    standard_errors: dict[str, Array]
    robust_weights: Array
    sigma_ang: float
    rms_ang: float
    iterations: int
    converged: bool


def solve(
    tracks: Tracks,
    geometry: TiltGeometry,
    model: SolveModel | None = None,
    *,
    loss: Loss = "cauchy",
    max_iterations: int = 60,
    tolerance: float = 1e-6,
) -> Solution:
    """Geometry and points that explain tracks best.

    Parameters
    ----------
    tracks
        observations with missing ones as NaN. Points with fewer than three views, or that were seen under too little
        parallax, stay unsolved (NaN) and count for nothing.
    geometry
        the start, of as many views; a field that it has is taken off the observations and kept.
    model
        the terms that may change (default: shifts, and one axis for all views).
    loss
        ``cauchy`` (Cauchy's, scale from the data by the median residual), ``huber``, or ``none`` for least squares.
    max_iterations
        steps at most.
    tolerance
        relative gain of a step below which the work is done.

    Raises
    ------
    GeometryError
        if the numbers of views differ, or fewer than three points can be solved.
    """
    if tracks.views != len(geometry):
        raise GeometryError(f"tracks in {tracks.views} views, a geometry of {len(geometry)}", mend="give as many views")
    problem = _Problem(tracks, geometry, model or SolveModel())
    if problem.usable.sum() < 3:
        raise GeometryError(
            f"only {int(problem.usable.sum())} points were followed through enough views",
            mend="track more points, or through more views",
        )
    values, sigma = problem.start, 1.0
    robust = np.ones_like(problem.weights)
    iterations, converged = 0, False
    for round_number in range(8):
        # The scale is held while steps are taken, or the loss would not be one function.
        sigma = problem.scale(values, robust)
        state = _descend(problem, values, robust, sigma, loss, max_iterations - iterations, tolerance)
        moved = float(np.abs(state.values - values).max())
        values, robust, iterations = state.values, state.robust, iterations + state.iterations
        settled = loss == "none" or abs(problem.scale(values, robust) / sigma - 1) < 0.01
        converged = state.converged and settled
        if (converged and (round_number or moved < 1e-9)) or iterations >= max_iterations:
            break
    return problem.solution(values, sigma, robust, iterations, converged)


def triangulate(tracks: Tracks, geometry: TiltGeometry, weights: Array | None = None) -> Array:
    """``(p, 3)`` points that fit the observations best in a given geometry, Å; NaN where undetermined."""
    use = tracks.weights if weights is None else weights
    seen_at = np.nan_to_num(tracks.observations_ang) - geometry.shifts_ang()[:, None]
    points, solved = _best_points(geometry.matrices(), seen_at, use)
    points[~solved] = np.nan
    return points


def _best_points(matrices: Array, places: Array, weights: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Points ``(p, 3)`` of least weighted squares, and which are determined by at least three views with parallax."""
    normal = np.einsum("np,nij,nik->pjk", weights, matrices, matrices)
    right = np.einsum("np,nij,npi->pj", weights, matrices, places)
    curvature = np.linalg.eigvalsh(normal)
    # the depth's curvature is sin² of the half range of tilts: 1e-3 stands for about ±2 degrees
    solved = (curvature[:, 0] > 1e-3 * curvature[:, 2]) & ((weights > 0).sum(axis=0) >= 3)
    points = np.zeros((len(normal), 3))
    if solved.any():
        points[solved] = np.linalg.solve(normal[solved], right[solved][..., None])[..., 0]
    return points, solved


class _Problem:
    """The observations, and what each number of the geometry does to them."""

    def __init__(self, tracks: Tracks, geometry: TiltGeometry, model: SolveModel) -> None:
        self.tracks, self.initial = tracks, geometry
        self.n = tracks.views
        self.places = _without_field(tracks, geometry)
        self.start = np.stack(
            [
                geometry.x_shift_ang,
                geometry.y_shift_ang,
                geometry.z_rot_deg * _DEGREE,
                geometry.y_tilt_deg * _DEGREE,
                geometry.x_tilt_deg * _DEGREE,
                geometry.magnification,
            ],
            axis=-1,
        )  # (n, 6)
        _, self.usable = _best_points(geometry.matrices(), self.places, tracks.weights)
        self.weights = tracks.weights * self.usable
        unit = np.mean(self.weights[self.weights > 0]) if self.usable.any() else 1.0
        self.weights = self.weights / unit
        self.columns, self.precision = self._parameters(model)

    def _parameters(self, model: SolveModel) -> tuple[Array, Array]:
        """``(6 n, g)`` what each parameter adds to the values, and the ``(6 n, 6 n)`` diagonal of the priors."""
        blocks, precision = [], np.zeros((self.n, 6))
        for index, name in enumerate(TERMS):
            if name.endswith("shift"):
                columns, units = np.eye(self.n), 1.0
            else:
                term = getattr(model, name)
                columns = basis(term, self.initial.y_tilt_deg)
                units = 1.0 if name == "magnification" else _DEGREE
                if term.mode != "fixed":
                    # one common change is one fact, not one per view
                    count = self.n if term.mode == "common" else 1
                    precision[:, index] = 1 / (term.prior * units) ** 2 / count
            block = np.zeros((self.n, 6, columns.shape[1]))
            block[:, index] = columns
            blocks.append(block.reshape(self.n * 6, -1))
        return np.concatenate(blocks, axis=1), precision.ravel()

    def matrices(self, values: Array) -> Array:
        """``(n, 2, 3)`` projection matrices."""
        rotation = rotation_z(values[:, 2] / _DEGREE) @ rotation_y(values[:, 3] / _DEGREE)
        rotation = rotation @ rotation_x(values[:, 4] / _DEGREE)
        return np.asarray(values[:, 5, None, None] * rotation[:, :2])

    def fit(self, values: Array, weights: Array) -> tuple[Array, Array]:
        """Points ``(p, 3)`` that fit best, and residuals ``(n, p, 2)``; zeros where nothing is known."""
        matrices = self.matrices(values)
        shifted = self.places - values[:, None, :2]
        points, _ = _best_points(matrices, shifted, weights)
        residuals = shifted - np.einsum("nij,pj->npi", matrices, points)
        return points, residuals

    def lengths(self, values: Array, robust: Array) -> Array:
        """``(n, p)`` residuals' lengths in units that make each weight 1, points fitted under robust weights."""
        _, residuals = self.fit(values, self.weights * robust)
        return np.asarray(np.sqrt(self.weights) * np.linalg.norm(residuals, axis=-1))

    def scale(self, values: Array, robust: Array) -> float:
        """Robust standard deviation per axis of an observation of weight 1."""
        used = self.weights > 0
        lengths = self.lengths(values, robust)[used]
        spent = self.columns.shape[1] + 3 * int(self.usable.sum())
        freedom = max(1 - spent / (2 * used.sum()), 0.1)
        return float(max(np.median(lengths) / _RAYLEIGH_MEDIAN / np.sqrt(freedom), 1e-9))

    def normal_equations(self, values: Array, weights: Array) -> tuple[Array, Array]:
        """Reduced curvature ``(g, g)`` and gradient ``(g,)`` of half the weighted squares, points eliminated."""
        points, residuals = self.fit(values, weights)
        matrices = self.matrices(values)
        jacobian = self._jacobian(values, points)  # (n, p, 2, 6)
        own = np.einsum("np,npia,npib->nab", weights, jacobian, jacobian, optimize=True)
        gradient = np.einsum("np,npia,npi->na", weights, jacobian, residuals, optimize=True).ravel()
        cross = np.einsum("np,npia,nij->napj", weights, jacobian, matrices, optimize=True)
        of_points = np.einsum("np,nij,nik->pjk", weights, matrices, matrices)
        of_points[~self.usable] = np.eye(3)
        half = np.linalg.inv(np.linalg.cholesky(of_points + 1e-12 * np.eye(3)))  # A⁻¹ = halfᵀ half
        reach = np.einsum("napj,pij->napi", cross, half).reshape(self.n * 6, -1)
        curvature = -reach @ reach.T
        for view in range(self.n):
            place = slice(6 * view, 6 * view + 6)
            curvature[place, place] += own[view]
        change = (values - self.start).ravel()
        curvature[np.diag_indices_from(curvature)] += self.precision
        gradient = gradient - self.precision * change
        return self.columns.T @ curvature @ self.columns, self.columns.T @ gradient

    def _jacobian(self, values: Array, points: Array) -> Array:
        """``(n, p, 2, 6)`` derivative of the projections by the six numbers of their view."""
        angles = values[:, 2:5] / _DEGREE
        turn_z, turn_y, turn_x = rotation_z(angles[:, 0]), rotation_y(angles[:, 1]), rotation_x(angles[:, 2])
        # dR(φ)/dφ = G R(φ) with the generator G of the rotation
        about_x, about_y, about_z = _GENERATORS
        derivatives = np.stack(
            [
                about_z @ turn_z @ turn_y @ turn_x,
                turn_z @ about_y @ turn_y @ turn_x,
                turn_z @ turn_y @ about_x @ turn_x,
            ],
            axis=1,
        )[:, :, :2]  # (n, 3, 2, 3)
        magnification = values[:, 5, None, None]
        out = np.zeros((self.n, len(points), 2, 6))
        out[:, :, 0, 0] = out[:, :, 1, 1] = 1.0
        out[..., 2:5] = np.einsum("naij,pj->npia", magnification[:, None] * derivatives, points)
        out[..., 5] = np.einsum("nij,pj->npi", self.matrices(values) / magnification, points)
        return out

    def cost(self, values: Array, robust: Array, sigma: float, loss: Loss) -> float:
        """The loss, with points that fit best under the robust weights, and the priors."""
        ratio = self.lengths(values, robust) / sigma
        change = (values - self.start).ravel()
        return float(_losses(ratio, loss)[self.weights > 0].sum() + (self.precision * change**2).sum())

    def solution(self, values: Array, sigma: float, robust: Array, iterations: int, converged: bool) -> Solution:
        """The record of a finished solve."""
        weights = self.weights * robust
        points, residuals = self.fit(values, weights)
        residuals = np.where((self.weights > 0)[..., None], residuals, np.nan)
        points = np.where(self.usable[:, None], points, np.nan)
        mean = float(values[:, 5].mean())
        geometry = self.initial.with_terms(
            x_shift_ang=values[:, 0],
            y_shift_ang=values[:, 1],
            z_rot_deg=values[:, 2] / _DEGREE,
            y_tilt_deg=values[:, 3] / _DEGREE,
            x_tilt_deg=values[:, 4] / _DEGREE,
            magnification=values[:, 5] / mean,
        )
        tracks = self.tracks.with_solution(points * mean, residuals)
        return Solution(
            geometry=geometry,
            tracks=tracks,
            standard_errors=self._standard_errors(values, weights / sigma**2),
            robust_weights=np.where(self.weights > 0, robust, 0.0),
            sigma_ang=sigma,
            rms_ang=float(tracks.rms_ang()),
            iterations=iterations,
            converged=converged,
        )

    def _standard_errors(self, values: Array, weights: Array) -> dict[str, Array]:
        curvature, _ = self.normal_equations(values, weights)
        half = _pseudo_root(curvature)  # inverse = half halfᵀ
        variance = ((self.columns @ half) ** 2).sum(axis=1).reshape(self.n, 6)
        errors = np.sqrt(variance) / np.array([1, 1, _DEGREE, _DEGREE, _DEGREE, 1])
        errors[~(weights > 0).any(axis=1)] = np.inf
        return {name: errors[:, index] for index, name in enumerate(TERMS)}


_GENERATORS = (
    np.array([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    np.array([[0.0, 0, 1], [0, 0, 0], [-1, 0, 0]]),
    np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 0]]),
)


@dataclass(frozen=True, eq=False)
class _Descent:
    values: Array
    robust: Array
    iterations: int
    converged: bool


def _descend(
    problem: _Problem,
    values: Array,
    robust: Array,
    sigma: float,
    loss: Loss,
    max_iterations: int,
    tolerance: float,
) -> _Descent:
    """Levenberg–Marquardt at one scale of the loss; robust weights follow the residuals (iterated reweighting)."""
    damping, done = 1e-4, False
    robust = _robust_weights(problem.lengths(values, robust) / sigma, loss)
    cost = problem.cost(values, robust, sigma, loss)
    for iteration in range(max(max_iterations, 1)):
        weights = problem.weights * robust / sigma**2
        steps = _DampedSteps(*problem.normal_equations(values, weights))
        for _ in range(12):
            step = problem.columns @ steps.at(damping)
            trial = values + step.reshape(values.shape)
            trial_robust = _robust_weights(problem.lengths(trial, robust) / sigma, loss)
            trial_cost = problem.cost(trial, trial_robust, sigma, loss)
            if trial_cost <= cost * (1 + 1e-12) and (trial[:, 5] > 0.1).all():
                break
            damping *= 8
        else:
            return _Descent(values, robust, iteration + 1, True)  # no step of any length gains: at rest
        gain = cost - trial_cost
        values, robust, cost, damping = trial, trial_robust, trial_cost, max(damping / 8, 1e-12)
        done = gain <= tolerance * cost
        if done:
            break
    return _Descent(values, robust, iteration + 1, done)


class _DampedSteps:
    """Least steps that solve the damped normal equations; none along directions without curvature."""

    def __init__(self, curvature: Array, gradient: Array) -> None:
        self.scale = 1 / np.sqrt(np.maximum(np.diag(curvature), 1e-300))
        self.strengths, self.directions = np.linalg.eigh(curvature * self.scale[:, None] * self.scale[None])
        keep = self.strengths > _NULL * self.strengths[-1]
        self.strengths = np.where(keep, self.strengths, np.inf)
        self.along = self.directions.T @ (self.scale * gradient)

    def at(self, damping: float) -> Array:
        """``(g,)`` the step under a damping, in units of the scaled curvature."""
        return np.asarray(self.scale * (self.directions @ (self.along / (self.strengths + damping))))


def _pseudo_root(curvature: Array) -> Array:
    """Matrix H with H Hᵀ = pseudo-inverse of a symmetric curvature."""
    scale = 1 / np.sqrt(np.maximum(np.diag(curvature), 1e-300))
    scale[np.diag(curvature) <= 0] = 0.0
    strengths, directions = np.linalg.eigh(curvature * scale[:, None] * scale[None])
    keep = strengths > _NULL * strengths[-1]
    return np.asarray(scale[:, None] * directions[:, keep] / np.sqrt(strengths[keep]))


def _robust_weights(ratio: Array, loss: Loss) -> Array:
    """Weight of each residual given as length / σ, so that weighted squares have the loss's gradient."""
    if loss == "none":
        return np.ones_like(ratio)
    doubt = _TUNING[loss]
    if loss == "huber":
        return np.minimum(1.0, doubt / np.maximum(ratio, 1e-12))
    return 1 / (1 + (ratio / doubt) ** 2)


def _losses(ratio: Array, loss: Loss) -> Array:
    """The loss of each residual given as length / σ; its square where small."""
    if loss == "none":
        return ratio**2
    doubt = _TUNING[loss]
    if loss == "huber":
        return np.where(ratio < doubt, ratio**2, 2 * doubt * ratio - doubt**2)
    return np.asarray(doubt**2 * np.log1p((ratio / doubt) ** 2))


def _without_field(tracks: Tracks, geometry: TiltGeometry) -> Array:
    """``(n, p, 2)`` observations with the local field taken off, 0 where unseen."""
    seen_at = np.nan_to_num(tracks.observations_ang)
    return seen_at if geometry.field is None else _undeform(seen_at, geometry)


def _undeform(places: Array, geometry: TiltGeometry) -> Array:
    """Undo the field: back-project to z = 0 and project again without it."""
    flat = geometry.back_project(places, 0.0)  # (n, p, 3)
    matrices, shifts = geometry.matrices(), geometry.shifts_ang()
    return np.asarray(np.einsum("nij,npj->npi", matrices, flat) + shifts[:, None])
