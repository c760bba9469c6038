"""The equations of a bundle adjustment: observations, what may change, and what each number does to the pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from lamella.geometry import TiltGeometry, rotation_x, rotation_y, rotation_z
from lamella.geometry.regauge import normalise_field, normalise_magnification
from lamella.records.tracks import Tracks
from lamella.tilts.local_field import LocalShapes
from lamella.tilts.terms import TERMS, SolveModel, basis

__all__ = ["DEGREE", "Equations", "Group", "Problem", "best_points"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

DEGREE = np.pi / 180
_LEAST_PARALLAX = 1e-3  # curvature of the depth over the steepest: sin² of half the range, about ±2 degrees


@dataclass(eq=False)
class Group:
    """Parameters that share one prior.

    Attributes
    ----------
    name
        the term.
    places
        which of the parameters.
    structure
        ``(k, k)`` prior precision for a width of 1; its null space is not held.
    width
        standard deviation, in internal units (radians, Å).
    bounds
        between which the width may be estimated, or None where it is given.
    untried
        whether the width is still the one that was given.
    """

    name: str
    places: slice
    structure: Array
    width: float
    bounds: tuple[float, float] | None
    untried: bool = True


@dataclass(frozen=True, eq=False)
class Equations:
    """The problem linearised at one geometry, points eliminated.

    Attributes
    ----------
    curvature, gradient
        ``(g, g)`` and ``(g,)`` of half the weighted squares with the priors.
    points, residuals
        ``(p, 3)`` and ``(n, p, 2)`` that fit best.
    jacobian
        ``(n, p, 2, t)`` of the projections by the numbers of their view.
    matrices
        ``(n, 2, 3)`` of the projections by the points.
    half
        ``(p, 3, 3)`` H with Hᵀ H = inverse curvature of a point.
    reach
        ``(g, p, 3)`` curvature between parameters and points, times Hᵀ.
    """

    curvature: Array
    gradient: Array
    points: Array
    residuals: Array
    jacobian: Array
    matrices: Array
    half: Array
    reach: Array


@dataclass(frozen=True, eq=False)
class _Turns:
    """Rotations ``(n, 3, 3)`` about z, y and x at some values, and the projection matrices ``(n, 2, 3)``."""

    values: Array
    about_axes: tuple[Array, Array, Array]
    matrices: Array

    @classmethod
    def at(cls, values: Array) -> _Turns:
        z, y, x = (turn(values[:, 2 + i] / DEGREE) for i, turn in enumerate((rotation_z, rotation_y, rotation_x)))
        return cls(values, (z, y, x), np.exp(values[:, 5, None, None]) * (z @ y @ x)[:, :2])


def best_points(matrices: Array, places: Array, weights: Array) -> tuple[Array, Array]:
    """Points ``(p, 3)`` of least weighted squares, and their curvature ``(p, 3, 3)``."""
    n = len(matrices)
    squares = (matrices.swapaxes(1, 2) @ matrices).reshape(n, 9)
    normal = (weights.T @ squares).reshape(-1, 3, 3)
    weighted = (weights[..., None] * places).swapaxes(0, 1).reshape(-1, 2 * n)
    right = weighted @ matrices.reshape(2 * n, 3)
    ridge = 1e-12 * np.maximum(np.trace(normal, axis1=1, axis2=2), 1e-30)
    curvature = normal + ridge[:, None, None] * np.eye(3)
    return np.linalg.solve(curvature, right[..., None])[..., 0], curvature


class Problem:
    """The observations, what may change, and the equations of both.

    The numbers of a view, ``values`` ``(n, t)``, are its six global terms (shifts in Å, angles in radians, logarithm of
    the magnification) and the coefficients of its local shapes. The parameters are their changes along orthonormal
    `columns`.

    Attributes
    ----------
    usable
        ``(p,)`` points seen in three views at least, and under enough parallax.
    weights
        ``(n, p)`` of mean 1, zero where a point is not usable.
    """

    def __init__(self, tracks: Tracks, geometry: TiltGeometry, model: SolveModel, dose: Array | None = None) -> None:
        self.tracks, self.n = tracks, tracks.views
        self.initial = geometry if model.local is None else geometry.with_terms(field=None)
        self.places = _without_field(tracks, self.initial)
        few = (tracks.weights > 0).sum(axis=0) < 3
        strengths = np.linalg.eigvalsh(best_points(geometry.matrices(), self.places, tracks.weights)[1])
        flat = strengths[:, 0] <= _LEAST_PARALLAX * strengths[:, 2]
        self.rejected = np.where(few, "seen in fewer than three views", np.where(flat, "too little parallax", ""))
        self.rejected = self.rejected.astype(object)
        self.usable = ~few & ~flat
        self.weights = tracks.weights * self.usable
        self.unit = float(np.mean(self.weights[self.weights > 0])) if self.usable.any() else 1.0
        self.weights = self.weights / self.unit
        self.shapes = None
        if model.local is not None:
            self.shapes = LocalShapes.of(model.local, geometry, self.places[self.weights > 0], dose)
        self.start = self._start(geometry)
        self.columns, self.groups = self._parameters(model)
        self.rows, self._by_view = self.columns.T.tocsr(), self.columns.toarray().reshape(*self.start.shape, -1)
        self._turns: _Turns | None = None
        self.displacements: Array | None = None
        self.settle(self.start)

    def _start(self, geometry: TiltGeometry) -> Array:
        """``(n, t)`` values of the geometry, without local deformation."""
        terms = [
            geometry.x_shift_ang,
            geometry.y_shift_ang,
            geometry.z_rot_deg * DEGREE,
            geometry.y_tilt_deg * DEGREE,
            geometry.x_tilt_deg * DEGREE,
            np.log(geometry.magnification),
        ]
        local = 0 if self.shapes is None else self.shapes.nodes.shape[1]
        return np.concatenate([np.stack(terms, axis=-1), np.zeros((self.n, local))], axis=1)

    def _parameters(self, model: SolveModel) -> tuple[scipy.sparse.csr_array, list[Group]]:
        """Orthonormal ``(t n, g)`` columns from parameters to values, and the priors."""
        n, t = self.start.shape
        seen = (self.weights > 0).any(axis=1)
        blocks: list[tuple[int, Array]] = []
        groups: list[Group] = []
        first = 0
        for index, name in enumerate(TERMS):
            if name.endswith("shift"):
                columns = np.eye(n)[:, seen]
            else:
                term = getattr(model, name)
                columns = basis(term, self.initial.y_tilt_deg)
                columns = columns if term.mode == "free" else np.linalg.qr(columns)[0]
                count = columns.shape[1]
                if count and np.isfinite(term.prior):
                    about = columns if term.mode == "common" else columns - columns.mean(axis=0)
                    unit = 1.0 if name == "magnification" else DEGREE
                    # of k numbers for n views each stands for n / k of them
                    structure = about.T @ about * count / n
                    bounds = (term.prior * unit / 100, term.prior * unit * 30) if term.estimated else None
                    groups.append(Group(name, slice(first, first + count), structure, term.prior * unit, bounds))
            blocks.append((index, columns))
            first += columns.shape[1]
        if self.shapes is not None and model.local is not None:
            over, prior = self.shapes.over, model.local.prior_ang
            for degree in np.unique(self.shapes.degree):
                of_degree = np.flatnonzero(self.shapes.degree == degree)
                count = len(of_degree) * over.shape[1]
                # columns are shape by shape, and in each course by course
                held = model.local.fading ** (-2.0 * np.arange(over.shape[1]))
                structure = np.diag(np.tile(held, len(of_degree))) * over.shape[1] / n
                groups.append(
                    Group(f"local{degree}", slice(first, first + count), structure, prior, (prior / 100, 30 * prior))
                )
                blocks += [(len(TERMS) + int(shape), over) for shape in of_degree]
                first += count
        wide = [
            scipy.sparse.coo_array(
                (columns.ravel(), (np.repeat(np.arange(n) * t + index, columns.shape[1]), _tiled(columns))),
                shape=(n * t, columns.shape[1]),
            )
            for index, columns in blocks
        ]
        joined = scipy.sparse.hstack(wide, format="csr")
        joined.eliminate_zeros()
        return joined, groups

    def continued(self, geometry: TiltGeometry) -> Array:
        """``(n, t)`` the values nearest to another geometry that the parameters can reach; no local deformation."""
        change = self._start(geometry) - self.start
        return np.asarray(self.start + np.asarray(self.columns @ (self.rows @ change.ravel())).reshape(change.shape))

    def widths(self) -> dict[str, float]:
        """Width of each prior by term, degrees or Å; local ones by the degree of their polynomials."""
        out: dict[str, float] = {}
        for group in self.groups:
            out[group.name] = group.width / (DEGREE if group.name in TERMS[2:5] else 1.0)
        return out

    def geometry(self, values: Array) -> tuple[TiltGeometry, float]:
        """The geometry of values in the form in which it is stored, and by how much points grow with it."""
        found = self.initial.with_terms(
            x_shift_ang=values[:, 0],
            y_shift_ang=values[:, 1],
            z_rot_deg=values[:, 2] / DEGREE,
            y_tilt_deg=values[:, 3] / DEGREE,
            x_tilt_deg=values[:, 4] / DEGREE,
            magnification=np.exp(values[:, 5]),
        )
        if self.shapes is not None:
            found = normalise_field(found.with_terms(field=self.shapes.field(values[:, 6:])))
        return normalise_magnification(found)

    def settle(self, values: Array) -> None:
        """Evaluate the local shapes where points now appear; their own slope is far too small to matter in a step."""
        if self.shapes is None:
            return
        where = self.places if self.displacements is None else self._projected(values)
        self.displacements = self.shapes.displacements(where)

    def _projected(self, values: Array) -> Array:
        points, _ = self.fit(values, self.weights)
        n = self.n
        return (
            np.asarray((self.matrices(values).reshape(2 * n, 3) @ points.T).reshape(n, 2, -1).swapaxes(1, 2))
            + (values[:, None, :2])
        )

    def reject(self, points: Mask, reason: str) -> None:
        """Leave out whole points."""
        self.rejected[points] = reason
        self.usable = self.usable & ~points
        self.weights = self.weights * self.usable

    def matrices(self, values: Array) -> Array:
        """``(n, 2, 3)`` projection matrices."""
        return self._turned(values).matrices

    def _turned(self, values: Array) -> _Turns:
        """Rotations and matrices at values; those asked for last are kept, for they are asked for several times."""
        if self._turns is None or self._turns.values is not values:
            self._turns = _Turns.at(values)
        return self._turns

    def fit(self, values: Array, weights: Array) -> tuple[Array, Array]:
        """Points ``(p, 3)`` that fit best, and residuals ``(n, p, 2)``."""
        points, residuals, _ = self._fit(values, weights, self.matrices(values))
        return points, residuals

    def _fit(self, values: Array, weights: Array, matrices: Array) -> tuple[Array, Array, Array]:
        shifted = self.places - values[:, None, :2]
        if self.displacements is not None:
            shifted = shifted - (self.displacements @ values[:, None, 6:, None])[..., 0]
        points, curvature = best_points(matrices, shifted, weights)
        projected = (matrices.reshape(-1, 3) @ points.T).reshape(self.n, 2, -1).swapaxes(1, 2)
        return points, shifted - projected, curvature

    def lengths(self, values: Array, robust: Array) -> Array:
        """``(n, p)`` residuals' lengths in units that make each weight 1, points fitted under robust weights."""
        _, residuals = self.fit(values, self.weights * robust)
        return np.asarray(np.sqrt(self.weights) * np.hypot(residuals[..., 0], residuals[..., 1]))

    def precision(self) -> Array:
        """``(g, g)`` of the priors."""
        out = np.zeros((self.columns.shape[1],) * 2)
        for group in self.groups:
            out[group.places, group.places] += group.structure / group.width**2
        return out

    def parameters(self, values: Array) -> Array:
        """``(g,)`` the changes from the start."""
        return np.asarray(self.rows @ (values - self.start).ravel())

    def equations(self, values: Array, weights: Array) -> Equations:
        """The problem linearised at values, points eliminated (Schur complement)."""
        matrices = self.matrices(values)
        points, residuals, of_points = self._fit(values, weights, matrices)
        jacobian = self.jacobian(values, points)
        n, p, _, t = jacobian.shape
        weighted = (weights[..., None, None] * jacobian).reshape(n, 2 * p, t).swapaxes(1, 2)
        own = weighted @ jacobian.reshape(n, 2 * p, t)
        gradient = (weighted @ residuals.reshape(n, 2 * p, 1)).ravel()
        of_points[~self.usable] = np.eye(3)
        half = np.linalg.inv(np.linalg.cholesky(of_points))
        cross = (weighted.reshape(n, t, p, 2) @ matrices[:, None]).reshape(n * t, p, 3)
        halved = (cross.swapaxes(0, 1) @ half.swapaxes(1, 2)).swapaxes(0, 1).reshape(n * t, 3 * p)
        priors = self.precision()
        reach = np.asarray(self.rows @ halved)
        curvature = np.asarray(self.rows @ (own @ self._by_view).reshape(n * t, -1)) - reach @ reach.T + priors
        reduced = np.asarray(self.rows @ gradient) - priors @ self.parameters(values)
        return Equations(curvature, reduced, points, residuals, jacobian, matrices, half, reach.reshape(-1, p, 3))

    def jacobian(self, values: Array, points: Array) -> Array:
        """``(n, p, 2, t)`` derivative of the projections by the numbers of their view."""
        out = np.zeros((self.n, len(points), 2, values.shape[1]))
        out[:, :, 0, 0] = out[:, :, 1, 1] = 1.0
        slopes = np.concatenate([self._turning(values), self.matrices(values)[:, None]], axis=1)
        flat = slopes.reshape(-1, 3) @ points.T  # (n · 4 · 2, p)
        out[..., 2:6] = flat.reshape(self.n, 4, 2, -1).transpose(0, 3, 2, 1)
        if self.displacements is not None:
            out[..., 6:] = self.displacements
        return out

    def _turning(self, values: Array) -> Array:
        """``(n, 3, 2, 3)`` derivatives of the matrices by z_rot, y_tilt and x_tilt."""
        turn_z, turn_y, turn_x = self._turned(values).about_axes
        # dR(φ)/dφ = G R(φ) with the generator G of the rotation
        about_x, about_y, about_z = _GENERATORS
        derivatives = np.stack(
            [
                about_z @ turn_z @ turn_y @ turn_x,
                turn_z @ about_y @ turn_y @ turn_x,
                turn_z @ turn_y @ about_x @ turn_x,
            ],
            axis=1,
        )
        return np.asarray(np.exp(values[:, 5, None, None, None]) * derivatives[:, :, :2])

    def gauge(self, values: Array) -> Array:
        """``(g, k)`` changes of the parameters that change no picture: motions of the specimen's frame, its scale."""
        _, turn_y, turn_x = self._turned(values).about_axes
        turn_yx = turn_y @ turn_x
        # Rᵀ dR = Σ dφ [a]ₓ with a the axes of z_rot, y_tilt and x_tilt seen from the specimen
        axes = np.stack([turn_yx[:, 2], turn_x[:, 1], np.broadcast_to([1.0, 0, 0], (self.n, 3))], axis=-1)
        moves = np.zeros((*values.shape, 7))
        moves[:, :2, :3] = self.matrices(values)
        turned = np.abs(np.linalg.det(axes)) > 1e-6
        moves[turned, 2:5, 3:6] = np.linalg.inv(axes[turned])
        moves[:, 5, 6] = 1.0
        moves[~(self.weights > 0).any(axis=1), :2] = 0.0  # these shifts are no parameters
        flat = moves.reshape(-1, 7)
        flat = flat / np.maximum(np.linalg.norm(flat, axis=0), 1e-30)
        along = np.asarray(self.rows @ flat)
        missed = flat - self.columns @ along
        free = along @ _null_space(missed, 1e-6)
        priors = self.precision()
        stiffness = np.sqrt(np.diag(priors))
        held = priors @ free / np.where(stiffness > 0, stiffness, np.inf)[:, None]
        return np.asarray(
            free @ _null_space(held, 1e-6 * max(float(np.abs(stiffness[:, None] * free).max(initial=0)), 1e-30))
        )


def _null_space(matrix: Array, least: float) -> Array:
    """``(k, r)`` orthonormal combinations of columns that vanish but for `least`."""
    if not matrix.shape[1]:
        return np.zeros((0, 0))
    _, sizes, directions = np.linalg.svd(matrix, full_matrices=False)
    return np.asarray(directions[sizes < least].T)


def _tiled(columns: Array) -> NDArray[np.int64]:
    """Column numbers of a dense block, row by row."""
    return np.tile(np.arange(columns.shape[1]), len(columns))


_GENERATORS = (
    np.array([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    np.array([[0.0, 0, 1], [0, 0, 0], [-1, 0, 0]]),
    np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 0]]),
)


def _without_field(tracks: Tracks, geometry: TiltGeometry) -> Array:
    """``(n, p, 2)`` observations with the local field taken off, 0 where unseen."""
    seen_at = np.nan_to_num(tracks.observations_ang)
    if geometry.field is None:
        return seen_at
    flat = geometry.back_project(seen_at, 0.0)  # (n, p, 3): undone at any height alike
    matrices, shifts = geometry.matrices(), geometry.shifts_ang()
    return np.asarray(np.einsum("nij,npj->npi", matrices, flat) + shifts[:, None])
