"""Points laid over a sphere, along a filament or over a surface, each with the direction of a particle there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from lamella.errors import InputError
from lamella.geometry import angles_from_matrix, rotation_z
from lamella.particles.peak_poses import orient_points
from lamella.particles.pick_settings import PickSettings
from lamella.particles.search_plan import plan_search
from lamella.particles.template import Template
from lamella.particles.template_weights import SearchWeights
from lamella.progress import Progress, no_progress
from lamella.records import PARTICLE_DIAMETER, Particles, Tomogram, VolumeSource

__all__ = ["LaidPoints", "fit_sphere", "lay_points", "orientations_along", "pick_shape"]

Array = NDArray[np.float64]

_LEAST = {"sphere": 4, "filament": 2, "surface": 6}


@dataclass(frozen=True)
class LaidPoints:
    """Places ``(n, 3)`` Å from the tomogram's centre voxel, and unit directions ``(n, 3)``.

    The direction is the outward normal of a sphere, the way along a filament, the normal of a surface (towards +z, or
    where that is level, +x).
    """

    places_ang: Array
    directions: Array


def lay_points(method: str, points_ang: Array, spacing_ang: float) -> LaidPoints:
    """Lay points over the shape that some points describe.

    Parameters
    ----------
    method
        ``sphere``: the sphere fitted to four points or more; ``filament``: the line through the points in their order;
        ``surface``: the quadratic surface fitted to six points or more, as far as they reach.
    points_ang
        ``(k, 3)``.
    spacing_ang
        distance of neighbours.

    Raises
    ------
    InputError
        if there are too few points, they are not finite, or they do not describe the shape.
    """
    points = np.asarray(points_ang, np.float64).reshape(-1, 3)
    if method not in _LEAST:
        raise InputError(f"a shape called {method!r}", mend="choose sphere, filament or surface")
    if len(points) < _LEAST[method] or not np.isfinite(points).all():
        raise InputError(
            f"{len(points)} points for a {method}", mend=f"give {_LEAST[method]} points or more, all of them numbers"
        )
    return {"sphere": _over_sphere, "filament": _along_filament, "surface": _over_surface}[method](points, spacing_ang)


def pick_shape(
    tomogram: Tomogram,
    points_ang: Array,
    settings: PickSettings,
    *,
    objects: NDArray[np.int64] | None = None,
    spacing_ang: float,
    volume: VolumeSource | None = None,
    template: Template | None = None,
    weights: SearchWeights | None = None,
    progress: Progress = no_progress,
) -> Particles:
    """Particles over the shapes that a tomogram's points describe, with priors of their orientation.

    Parameters
    ----------
    tomogram
        the record.
    points_ang
        ``(k, 3)`` xyz, Å from the centre voxel.
    settings
        ``method`` names the shape; ``tilt_range``, how far orientations may lean from the shape's direction.
    objects
        ``(k,)`` which object each point belongs to; None: all to one.
    spacing_ang
        distance of the particles.
    volume, template, weights
        where all are given, each point's orientation is the template's best within the range, its place moves to the
        score's maximum nearby, and its score is kept (`PickScore`). Otherwise the rotation about the direction is
        random, so that the missing wedge has no favourite.
    """
    labels = np.zeros(len(points_ang), np.int64) if objects is None else np.asarray(objects)
    laid = [lay_points(settings.method, points_ang[labels == label], spacing_ang) for label in np.unique(labels)]
    places = np.concatenate([part.places_ang for part in laid])
    directions = np.concatenate([part.directions for part in laid])
    numbers = np.repeat(np.unique(labels), [len(part.places_ang) for part in laid])
    spins = np.random.default_rng(settings.seed).uniform(0, 360, len(places))
    matrices = orientations_along(directions, spins)
    _rot, tilt, psi = angles_from_matrix(matrices)
    scores: dict[str, Array] = {"PickObject": numbers.astype(np.float64)}
    if volume is not None and template is not None and weights is not None:
        plan = plan_search(template, settings)
        middle = np.array(volume.shape[::-1]) // 2
        found = orient_points(
            volume, template, weights, places / template.voxel_size_ang + middle, directions,
            plan=plan, symmetry=settings.symmetry, range_deg=settings.tilt_range, progress=progress,
        )  # fmt: skip
        places, matrices = (found.places_px - middle) * template.voxel_size_ang, found.matrices
        scores["PickScore"] = found.scores
    return Particles(
        tomogram=tomogram,
        coordinates_ang=places,
        angles_deg=np.stack(angles_from_matrix(matrices), axis=-1).reshape(-1, 3),
        prior_deg=np.stack([tilt, psi], axis=-1),
        scores=scores,
        quality={} if template is None else {PARTICLE_DIAMETER: template.diameter_ang},
    )


def orientations_along(directions: Array, spin_deg: Array) -> Array:
    """Orientations ``(n, 3, 3)`` with the reference's z axis along directions ``(n, 3)``, turned about it by spins."""
    axis = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    other = np.where(np.abs(axis[:, 2:]) < 0.9, np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0]))
    x = np.cross(other, axis)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    frame = np.stack([x, np.cross(axis, x), axis], axis=-1)
    out: Array = frame @ rotation_z(spin_deg)
    return out


def fit_sphere(points: Array) -> tuple[Array, float]:
    """Centre ``(3,)`` and radius of the sphere of least squares through points ``(k, 3)``.

    Raises
    ------
    InputError
        if the points lie in a plane.
    """
    middle = points.mean(axis=0)
    centred = points - middle
    matrix = np.column_stack([2 * centred, np.ones(len(points))])
    solution, _rest, rank, _values = np.linalg.lstsq(matrix, (centred**2).sum(axis=1), rcond=1e-6)
    square = float(solution[3] + solution[:3] @ solution[:3])
    if rank < 4 or square <= 0:
        raise InputError("points in one plane describe no sphere", mend="give points all around the sphere")
    return middle + solution[:3], math.sqrt(square)


def _over_sphere(points: Array, spacing: float) -> LaidPoints:
    """A spiral of equal areas (Rakhmanov, Saff & Zhou 1994)."""
    centre, radius = fit_sphere(points)
    count = max(4, round(4 * math.pi * radius**2 / (spacing**2 * math.sqrt(3) / 2)))
    number = np.arange(count) + 0.5
    z, turn = 1 - 2 * number / count, number * math.pi * (3 - math.sqrt(5))
    ring = np.sqrt(1 - z**2)
    directions = np.stack([ring * np.cos(turn), ring * np.sin(turn), z], axis=-1)
    return LaidPoints(centre + radius * directions, directions)


def _along_filament(points: Array, spacing: float) -> LaidPoints:
    """Points at even distances along a smooth line."""
    from scipy.interpolate import CubicSpline, make_interp_spline

    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    if (steps == 0).any():
        raise InputError("two successive points of a filament are at one place", mend="remove one of them")
    at = np.concatenate([[0.0], np.cumsum(steps)])
    line = make_interp_spline(at, points, k=1) if len(points) == 2 else CubicSpline(at, points)
    fine = np.linspace(0, at[-1], max(2, math.ceil(at[-1] / spacing) * 20 + 1))
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line(fine), axis=0), axis=1))])
    wanted = np.arange(0.0, length[-1] + 1e-6 * spacing, spacing)
    where = np.interp(wanted, length, fine)
    along = line.derivative()(where)
    return LaidPoints(line(where), along / np.linalg.norm(along, axis=1, keepdims=True))


def _over_surface(points: Array, spacing: float) -> LaidPoints:
    """A quadratic height over the plane that lies closest to the points."""
    middle = points.mean(axis=0)
    _u, values, axes = np.linalg.svd(points - middle)
    if values[1] < 1e-6 * values[0]:
        raise InputError("points on one line describe no surface", mend="give points all over the surface")
    normal = axes[2] * (1 if (axes[2, 2], axes[2, 0]) >= (0, 0) else -1)
    frame = np.stack([axes[0], np.cross(normal, axes[0]), normal])
    u, v, w = ((points - middle) @ frame.T).T
    terms, *_ = np.linalg.lstsq(_quadratic(u, v), w, rcond=1e-9)
    rows = np.arange(v.min(), v.max() + spacing, spacing * math.sqrt(3) / 2)
    columns = np.arange(u.min(), u.max() + spacing, spacing)
    grid_u = (columns[None] + (np.arange(len(rows)) % 2)[:, None] * spacing / 2).ravel()
    grid_v = np.repeat(rows, len(columns))
    inside = Delaunay(np.stack([u, v], axis=-1)).find_simplex(np.stack([grid_u, grid_v], axis=-1)) >= 0
    grid_u, grid_v = grid_u[inside], grid_v[inside]
    places = np.stack([grid_u, grid_v, _quadratic(grid_u, grid_v) @ terms], axis=-1)
    slope_u = terms[1] + 2 * terms[3] * grid_u + terms[4] * grid_v
    slope_v = terms[2] + terms[4] * grid_u + 2 * terms[5] * grid_v
    normals = np.stack([-slope_u, -slope_v, np.ones(len(grid_u))], axis=-1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return LaidPoints(middle + places @ frame, normals @ frame)


def _quadratic(u: Array, v: Array) -> Array:
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=-1)
