"""What moved locally between two tilt series: a smooth displacement in the first tomogram's frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

__all__ = ["Warp", "fit_warp"]

Array = NDArray[np.float64]

_SIGNIFICANT = 3.0  # standard errors of the chi-square, beyond which a warp is believed
_ROUGHNESS = (0.0, 1e2, 10**2.5, 1e3, 10**3.5, 1e4)


@dataclass(frozen=True, kw_only=True, eq=False)
class Warp:
    """A displacement for every point of the first tomogram.

    Attributes
    ----------
    nodes_ang
        ``(gz, gy, gx, 3)`` displacement (x, y, z) at the nodes of a regular grid, Å.
    half_width_ang
        (x, y, z): the outer nodes stand at ±half_width from the centre voxel. Beyond them it is flat.
    error_ang
        ``(3,)`` typical standard error of a node along x, y and z, Å.
    """

    nodes_ang: Array
    half_width_ang: tuple[float, float, float]
    error_ang: Array

    def at(self, points_ang: ArrayLike) -> Array:
        """Displacement ``(..., 3)`` at points ``(..., 3)`` (x, y, z), Å."""
        points = np.asarray(points_ang, np.float64)
        values = _basis(points.reshape(-1, 3), self._counts, self.half_width_ang) @ self.nodes_ang.reshape(-1, 3)
        out: Array = values.reshape(points.shape)
        return out

    def on_grid(self, z: Array, y: Array, x: Array) -> Array:
        """Displacement ``(len(z), len(y), len(x), 3)`` at the crossings of three axes, Å."""
        lines = [
            _line(axis, count, half)
            for axis, count, half in zip((z, y, x), self._counts, self.half_width_ang[::-1], strict=True)
        ]
        out: Array = np.einsum("ai,bj,ck,ijkd->abcd", *lines, self.nodes_ang, optimize=True)
        return out

    @property
    def _counts(self) -> tuple[int, int, int]:
        gz, gy, gx, _ = self.nodes_ang.shape
        return gz, gy, gx

    @property
    def rms_ang(self) -> float:
        """Rms length of the displacement at the nodes, Å."""
        return float(np.sqrt((self.nodes_ang**2).sum(axis=-1).mean()))


def fit_warp(
    points_ang: Array,
    displacements_ang: Array,
    weights: Array,
    half_width_ang: tuple[float, float, float],
    spacing_ang: float,
) -> tuple[Warp | None, float]:
    """The smoothest displacement that measured ones demand, or None where they demand none.

    Parameters
    ----------
    points_ang, displacements_ang
        ``(n, 3)`` places and what was measured there, Å.
    weights
        ``(n,)`` how much is thought of each, 0…1.
    half_width_ang
        (x, y, z) of the tomogram.
    spacing_ang
        about how far apart the nodes stand in the plane.

    Returns
    -------
    warp, gain
        the field, and by which part of their variance it foretells measurements that it was not fitted to.

    Notes
    -----
    Tensor products of cubic B-splines through nodes (Rueckert et al. 1999), the third differences' squares held down;
    their strength is the one under which measurements left out, a fifth at a time, are foretold best (Wahba 1990).
    Measurements that disagree with the field by far count less, round by round. A field is believed if what it
    foretells beats no field at all by three standard errors.
    """
    used = np.flatnonzero(weights > 0)
    counts = _node_counts(half_width_ang, spacing_ang)
    if len(used) < 12:
        return None, 0.0
    places, values, prior = points_ang[used], displacements_ang[used], weights[used]
    basis = _basis(places, counts, half_width_ang)
    penalty = _penalty(counts)
    sigma = np.maximum(1.4826 * np.median(np.abs(values - np.median(values, axis=0)), axis=0), 1e-3)
    strength, gain, error = _choose(basis, values / sigma, prior, penalty)
    if gain < _SIGNIFICANT * error or gain <= 0:
        return None, gain
    nodes, counted = _robust(basis, values / sigma, prior, penalty, strength)
    rest = values - basis @ nodes * sigma
    noise = np.sqrt((counted[:, None] * rest**2).sum(axis=0) / max(counted.sum(), 1e-9))
    inverse = np.linalg.inv(_normal(basis, counted, penalty, strength))
    spread = float(np.sqrt(np.mean(np.diag(inverse @ (basis.T * counted) @ basis @ inverse))))
    shape = (*counts, 3)
    return Warp(nodes_ang=(nodes * sigma).reshape(shape), half_width_ang=half_width_ang, error_ang=noise * spread), gain


def _node_counts(half_width_ang: tuple[float, float, float], spacing_ang: float) -> tuple[int, int, int]:
    x, y, z = (int(np.clip(round(2 * half / spacing_ang) + 1, 2, 12)) for half in half_width_ang)
    return min(z, 3), y, x


def _choose(basis: Array, values: Array, prior: Array, penalty: Array) -> tuple[float, float, float]:
    """Strength of the penalty, the part of the variance foretold with it, and that part's standard error."""
    folds = np.arange(len(values)) * 7 % 5
    best = (_ROUGHNESS[-1], -np.inf, 1.0)
    limit = 3.0  # what one wild measurement may say
    plain = np.clip(np.abs(values), 0, limit) ** 2
    for strength in _ROUGHNESS[1:]:
        gains = np.zeros(values.shape)
        for fold in range(5):
            out = folds == fold
            nodes, _ = _robust(basis[~out], values[~out], prior[~out], penalty, strength, rounds=2)
            gains[out] = plain[out] - np.clip(np.abs(values[out] - basis[out] @ nodes), 0, limit) ** 2
        per_point = gains.sum(axis=1) * prior
        total = (plain.sum(axis=1) * prior).sum()
        gain = float(per_point.sum() / total)
        error = float(per_point.std() * np.sqrt(len(per_point)) / total)
        if gain > best[1]:
            best = (strength, gain, error)
    return best


def _robust(
    basis: Array, values: Array, prior: Array, penalty: Array, strength: float, rounds: int = 4
) -> tuple[Array, Array]:
    """Nodes ``(k, 3)`` and the weights ``(n,)`` that the measurements had in the end."""
    counted = prior.copy()
    nodes = np.zeros((basis.shape[1], values.shape[1]))
    for _ in range(rounds):
        normal = _normal(basis, counted, penalty, strength)
        nodes = np.asarray(np.linalg.solve(normal, (basis.T * counted) @ values), np.float64)
        rest: Array = np.sqrt(((values - basis @ nodes) ** 2).sum(axis=1))
        typical = max(float(np.median(rest)), 1e-6)
        counted = np.asarray(prior / (1 + (rest / (2 * typical)) ** 2))
    return nodes, counted


def _normal(basis: Array, counted: Array, penalty: Array, strength: float) -> Array:
    scale = counted.sum() / len(penalty) * 1e-3
    out: Array = (basis.T * counted) @ basis + strength * scale * penalty + 1e-6 * np.eye(len(penalty))
    return out


def _penalty(counts: tuple[int, int, int]) -> Array:
    """Squares of second differences along each axis and across each two, ``(k, k)``."""
    total = int(np.prod(counts))
    index = np.arange(total).reshape(counts)
    out = np.zeros((total, total))
    for axis, count in enumerate(counts):
        if count >= 3:
            lines = np.moveaxis(index, axis, -1).reshape(-1, count)
            threes = [np.stack([lines[:, i], lines[:, i + 1], lines[:, i + 2]], -1) for i in range(count - 2)]
            _add(out, np.concatenate(threes), np.array([1.0, -2.0, 1.0]))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        cells = np.moveaxis(index, (a, b), (-2, -1)).reshape(-1, counts[a], counts[b])
        rows = np.stack([cells[:, :-1, :-1], cells[:, :-1, 1:], cells[:, 1:, :-1], cells[:, 1:, 1:]], -1).reshape(-1, 4)
        _add(out, rows, np.sqrt(2) * np.array([1.0, -1.0, -1.0, 1.0]))
    return out


def _add(penalty: Array, rows: NDArray[np.int64], signs: Array) -> None:
    for i in range(len(signs)):
        for j in range(len(signs)):
            np.add.at(penalty, (rows[:, i], rows[:, j]), signs[i] * signs[j])


def _basis(points_ang: Array, counts: tuple[int, int, int], half_width_ang: tuple[float, float, float]) -> Array:
    """``(n, gz · gy · gx)`` weights of the nodes at points (x, y, z)."""
    z, y, x = (
        _line(points_ang[:, axis], count, half_width_ang[axis]) for axis, count in zip((2, 1, 0), counts, strict=True)
    )
    out: Array = np.einsum("ni,nj,nk->nijk", z, y, x).reshape(len(points_ang), -1)
    return out


def _line(place_ang: Array, count: int, half_width_ang: float) -> Array:
    """``(n, count)`` weights of nodes along one axis: a natural cubic spline, of 2 a line; flat beyond."""
    t = np.clip((np.asarray(place_ang, np.float64) / half_width_ang + 1) * (count - 1) / 2, 0, count - 1)
    if count == 2:
        return np.stack([1 - t, t], axis=-1)
    weights: Array = CubicSpline(np.arange(count), np.eye(count), bc_type="natural")(t)
    return weights
