"""How one tomogram lies in the frame of another: a rigid motion, fitted robustly to pairs of points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import GeometryError
from lamella.geometry.symmetry import axis_rotation

__all__ = ["RigidFit", "RigidMotion", "fit_rigid", "nearest_rotation"]

Array = NDArray[np.float64]

_ROUNDS = 20
_OUTLIER = 4.0  # robust standard deviations; Tukey's biweight ends there
_FLOOR_ANG = 1e-3  # a residual below it is as good as none


@dataclass(frozen=True, kw_only=True, eq=False)
class RigidMotion:
    """The point p of the second tomogram is the point ``rotation · p + shift`` of the first.

    Attributes
    ----------
    rotation
        ``(3, 3)``.
    shift_ang
        ``(3,)`` (x, y, z), Å.
    """

    rotation: Array
    shift_ang: Array

    def to_first(self, points_ang: ArrayLike) -> Array:
        """Points ``(..., 3)`` of the second tomogram in the first one's frame."""
        moved: Array = np.asarray(points_ang, np.float64) @ self.rotation.T + self.shift_ang
        return moved

    def to_second(self, points_ang: ArrayLike) -> Array:
        """Points ``(..., 3)`` of the first tomogram in the second one's frame."""
        moved: Array = (np.asarray(points_ang, np.float64) - self.shift_ang) @ self.rotation
        return moved

    @property
    def turn_deg(self) -> float:
        """By how much the specimen was turned in its plane from the first to the second series, −180…180."""
        return float(np.rad2deg(np.arctan2(self.rotation[0, 1], self.rotation[0, 0])))

    @property
    def tilt_deg(self) -> float:
        """Angle between the two tomograms' z axes."""
        return float(np.rad2deg(np.arccos(np.clip(self.rotation[2, 2], -1, 1))))


@dataclass(frozen=True, kw_only=True, eq=False)
class RigidFit:
    """A motion, and how well it is known.

    Attributes
    ----------
    motion
        the fit.
    scale, scale_error
        by how much the second tomogram's distances would have to be multiplied, and its standard error. It is reported,
        never applied.
    weights
        ``(n,)`` how much each pair counted, 0…1.
    residual_ang
        ``(3,)`` rms of what is left along x, y and z, Å, of the pairs that counted.
    angle_error_deg, shift_error_ang
        standard errors: ``(3,)`` of small rotations about x, y and z, ``(3,)`` of the shift.
    """

    motion: RigidMotion
    scale: float
    scale_error: float
    weights: Array
    residual_ang: Array
    angle_error_deg: Array
    shift_error_ang: Array


def fit_rigid(second_ang: Array, first_ang: Array, weights: Array | None = None, shared: float = 1.0) -> RigidFit:
    """The rigid motion that takes points ``(n, 3)`` of the second tomogram to those of the first.

    Parameters
    ----------
    second_ang, first_ang
        pairs, Å.
    weights
        ``(n,)`` how much is thought of each pair; None: all alike.
    shared
        how many pairs say the same (cubes that overlap); the errors are those of so many fewer.

    Raises
    ------
    GeometryError
        if fewer than three pairs are given, or all lie on one line.

    Notes
    -----
    Begins with Kabsch's rotation (1976) and goes on by least squares on small rotations, each axis weighted by its own
    scatter (z is measured less well than x and y), pairs by Tukey's biweight, until nothing changes.
    """
    second, first = np.asarray(second_ang, np.float64), np.asarray(first_ang, np.float64)
    prior = np.ones(len(second)) if weights is None else np.asarray(weights, np.float64)
    if len(second) < 3 or np.linalg.matrix_rank(second - second.mean(axis=0), tol=1.0) < 2:
        raise GeometryError(
            f"{len(second)} points cannot fix a rigid motion", mend="give three or more that lie on no line"
        )
    motion, used = _kabsch(second, first, prior), prior
    sigma = np.ones(3)
    for _ in range(_ROUNDS):
        residual = first - motion.to_first(second)
        sigma = np.maximum(1.4826 * np.median(np.abs(residual), axis=0), _FLOOR_ANG)
        distance = np.sqrt(((residual / sigma) ** 2).sum(axis=1) / 3)
        used = prior * np.clip(1 - (distance / _OUTLIER) ** 2, 0, None) ** 2
        step = _step(motion, second, residual, used, sigma)
        motion = _moved(motion, step[:3], step[3:])
        if np.abs(step[:3]).max() < 1e-8 and np.abs(step[3:]).max() < 1e-5:
            break
    return _judged(motion, second, first, used, shared)


def nearest_rotation(matrix: Array) -> Array:
    """The rotation nearest to a matrix ``(3, 3)``."""
    left, _stretch, right = np.linalg.svd(matrix)
    sign = np.diag([1.0, 1.0, np.linalg.det(left @ right)])
    rotation: Array = left @ sign @ right
    return rotation


def _kabsch(second: Array, first: Array, weights: Array) -> RigidMotion:
    weights = weights / weights.sum()
    middle, goal = weights @ second, weights @ first
    rotation = nearest_rotation((first - goal).T @ (weights[:, None] * (second - middle)))
    return RigidMotion(rotation=rotation, shift_ang=goal - rotation @ middle)


def _jacobian(placed: Array, centre: Array) -> Array:
    """``(n, 3, 6)`` what small rotations about the centre (rad) and shifts do to points that are placed already."""
    x, y, z = (placed - centre).T
    zero = np.zeros_like(x)
    about = np.stack([np.stack([zero, z, -y], -1), np.stack([-z, zero, x], -1), np.stack([y, -x, zero], -1)], axis=1)
    return np.concatenate([about, np.broadcast_to(np.eye(3), (len(placed), 3, 3))], axis=2)


def _step(motion: RigidMotion, second: Array, residual: Array, used: Array, sigma: Array) -> Array:
    placed = motion.to_first(second)
    lines = _jacobian(placed, motion.shift_ang) * (np.sqrt(used)[:, None] / sigma)[:, :, None]
    wanted = residual * np.sqrt(used)[:, None] / sigma
    return np.asarray(np.linalg.lstsq(lines.reshape(-1, 6), wanted.reshape(-1), rcond=1e-12)[0], np.float64)


def _moved(motion: RigidMotion, turn_rad: Array, shift: Array) -> RigidMotion:
    angle = float(np.linalg.norm(turn_rad))
    turn = axis_rotation(turn_rad, np.rad2deg(angle)) if angle > 0 else np.eye(3)
    return RigidMotion(rotation=nearest_rotation(turn @ motion.rotation), shift_ang=motion.shift_ang + shift)


def _judged(motion: RigidMotion, second: Array, first: Array, used: Array, shared: float) -> RigidFit:
    placed = motion.to_first(second)
    residual = first - placed
    count = used.sum() ** 2 / (used**2).sum()
    freedom = max(1 - 2 / count, 0.1)  # 6 parameters of 3 numbers per pair
    sigma = np.maximum(np.sqrt(used @ residual**2 / used.sum() / freedom), _FLOOR_ANG)
    lines = _jacobian(placed, motion.shift_ang) / sigma[:, None]
    inverse = np.linalg.pinv(np.einsum("n,nij,nik->jk", used, lines, lines))
    # what the scatter of the pairs makes of the parameters, whatever their weights mean (White 1980)
    slopes = np.einsum("n,nij,ni->nj", used, lines, residual / sigma)
    errors = np.sqrt(np.maximum(np.diag(inverse @ (slopes.T @ slopes) @ inverse), 0) * shared / freedom)
    middle, goal = used @ placed / used.sum(), used @ first / used.sum()
    spread = (used[:, None] * (placed - middle) ** 2 / sigma**2).sum()
    each = used * ((placed - middle) * (first - goal - placed + middle) / sigma**2).sum(axis=1)
    return RigidFit(
        motion=motion,
        scale=float(1 + each.sum() / spread),
        scale_error=float(np.sqrt((each**2).sum() * shared / freedom) / spread),
        weights=used,
        residual_ang=sigma,
        angle_error_deg=np.rad2deg(errors[:3]),
        shift_error_ang=errors[3:],
    )
