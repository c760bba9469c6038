"""Lipid bilayers: closed spheres, and steep sheets that cross the slab and end at its surfaces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lamella.geometry import angles_from_matrix, rotation_z
from lamella.simulate.gaussians import Gaussians
from lamella.simulate.matter import (
    BILAYER_SPACING_ANG,
    HEAD_GROUP_POTENTIAL_ANG,
    HEAD_GROUP_SIGMA_ANG,
    HEAD_GROUP_SPACING_ANG,
    bilayer_sphere,
    fibonacci_sphere,
)

__all__ = ["HALF_BILAYER_ANG", "Surface", "hexagonal_sphere", "membrane_angles", "sheet_surface", "sphere_surface"]

Array = NDArray[np.float64]

HALF_BILAYER_ANG = 30.0
"""From the middle of a bilayer to where its head groups end."""


@dataclass(frozen=True, eq=False)
class Surface:
    """The middle of a bilayer.

    Attributes
    ----------
    points_ang, normals
        ``(n, 3)`` evenly spread points and the unit normals there, outwards.
    area_ang2
        of the whole.
    """

    points_ang: Array
    normals: Array
    area_ang2: float

    def select(self, chosen: NDArray[np.bool_]) -> Surface:
        """Some of the points and their part of the area."""
        part = float(chosen.mean()) if len(chosen) else 0.0
        return Surface(self.points_ang[chosen], self.normals[chosen], self.area_ang2 * part)

    def leaflets(self) -> Gaussians:
        """Head groups of both leaflets of a surface that is nearly flat."""
        weight = HEAD_GROUP_POTENTIAL_ANG * self.area_ang2 / max(1, len(self.points_ang))
        places = [self.points_ang + side * BILAYER_SPACING_ANG / 2 * self.normals for side in (-1, 1)]
        count = 2 * len(self.points_ang)
        return Gaussians(np.concatenate(places), np.full(count, weight), np.array(HEAD_GROUP_SIGMA_ANG))

    def filling(self, step_ang: float) -> Array:
        """Points through the bilayer's thickness, for a grid of this step."""
        layers = np.linspace(-1, 1, int(np.ceil(2 * HALF_BILAYER_ANG / (0.7 * step_ang))) + 1) * HALF_BILAYER_ANG
        return np.concatenate([self.points_ang + layer * self.normals for layer in layers])


def sphere_surface(centre_ang: Array, radius_ang: float) -> tuple[Surface, Gaussians]:
    """A vesicle's middle surface, and its head groups."""
    points = fibonacci_sphere(radius_ang, HEAD_GROUP_SPACING_ANG)
    surface = Surface(points + centre_ang, points / radius_ang, 4 * np.pi * radius_ang**2)
    return surface, bilayer_sphere(radius_ang).moved(np.eye(3), centre_ang)


def sheet_surface(
    rng: np.random.Generator,
    field_ang: tuple[float, float],
    extent_ang: tuple[float, float],
    thickness_ang: float,
    midplane: Callable[[Array], Array],
    spacing_ang: float = HEAD_GROUP_SPACING_ANG,
) -> Surface:
    """A gently waved sheet through a random point of the field, within 25° of upright, cut off at the slab's surfaces.

    Parameters
    ----------
    rng
        draws the same numbers whatever the spacing.
    field_ang, extent_ang
        (x, y) of the field of view, and of all that is filled.
    thickness_ang
        of the slab.
    midplane
        its height at points ``(n, 2)``.
    spacing_ang
        between the surface's points.
    """
    through = np.array([*(rng.uniform(-0.4, 0.4, 2) * field_ang), 0.0])
    along = rotation_z(rng.uniform(0, 180)) @ [1.0, 0.0, 0.0]
    across = np.array([-along[1], along[0], 0.0])
    lean = np.deg2rad(rng.uniform(-25, 25))
    up = np.array([0.0, 0.0, 1.0]) * np.cos(lean) + across * np.sin(lean)
    normal = np.cross(along, up)
    length = float(np.hypot(*extent_ang))
    height = (thickness_ang + 400.0) / np.cos(lean)
    wave, phase, rise = rng.uniform(2000, 4500), rng.uniform(0, 2 * np.pi), rng.uniform(30, 120)
    s, t = np.meshgrid(
        np.arange(-length, length, spacing_ang), np.arange(-height / 2, height / 2, spacing_ang), indexing="ij"
    )
    s, t = s.ravel(), t.ravel()
    turn = 2 * np.pi * s / wave + phase
    points = through + s[:, None] * along + t[:, None] * up + (rise * np.sin(turn))[:, None] * normal
    slope = rise * np.cos(turn) * 2 * np.pi / wave
    normals = normal - slope[:, None] * along
    area = spacing_ang**2 * len(points)
    normals /= np.linalg.norm(normals, axis=1)[:, None]
    inside = (np.abs(points[:, :2]) < np.array(extent_ang) / 2).all(axis=1)
    inside &= np.abs(points[:, 2] - midplane(points[:, :2])) < thickness_ang / 2
    return Surface(points, normals, area).select(inside)


def membrane_angles(normals: Array, spin_deg: Array) -> tuple[Array, Array]:
    """RELION angles ``(n, 3)`` and matrices of bodies whose z is a membrane's normal, turned about it by `spin_deg`."""
    helper = np.where(np.abs(normals[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    first = np.cross(helper, normals)
    first /= np.linalg.norm(first, axis=1)[:, None]
    frame = np.stack([first, np.cross(normals, first), normals], axis=-1)
    matrices = frame @ rotation_z(spin_deg)
    return np.stack(angles_from_matrix(matrices), axis=1), np.asarray(matrices)


def hexagonal_sphere(radius_ang: float, spacing_ang: float) -> tuple[Array, Array]:
    """A lattice of hexagons (and twelve pentagons) on a sphere: ``(n, 3)`` places and ``(n, 3)`` unit directions to a
    neighbour of each.

    The corners of an icosahedron whose faces are divided into f² triangles, f chosen for the spacing.
    """
    corners, faces = _icosahedron()
    edge = radius_ang * 2 * np.arcsin(np.linalg.norm(corners[faces[0, 0]] - corners[faces[0, 1]]) / 2)
    parts = max(1, round(edge / spacing_ang))
    i, j = np.meshgrid(np.arange(parts + 1), np.arange(parts + 1))
    inside = i + j <= parts
    i, j = i[inside] / parts, j[inside] / parts
    points = np.concatenate(
        [np.outer(1 - i - j, corners[a]) + np.outer(i, corners[b]) + np.outer(j, corners[c]) for a, b, c in faces]
    )
    points /= np.linalg.norm(points, axis=1)[:, None]
    _, first = np.unique(np.round(points, 6), axis=0, return_index=True)
    points = points[np.sort(first)]
    neighbour = np.asarray(cKDTree(points).query(points, k=2)[1])[:, 1]
    towards = points[neighbour] - points
    towards -= (towards * points).sum(axis=1)[:, None] * points
    return radius_ang * points, towards / np.linalg.norm(towards, axis=1)[:, None]


def _icosahedron() -> tuple[Array, NDArray[np.int64]]:
    """Unit corners ``(12, 3)`` and faces ``(20, 3)``."""
    golden = (1 + np.sqrt(5)) / 2
    corners = np.array([(0, a, b * golden) for a in (-1, 1) for b in (-1, 1)], dtype=np.float64)
    corners = np.concatenate([np.roll(corners, shift, axis=1) for shift in range(3)])
    distance = np.linalg.norm(corners[:, None] - corners[None], axis=-1)
    near = np.isclose(distance, 2.0)
    faces = [
        (a, b, c)
        for a in range(12)
        for b in range(a + 1, 12)
        for c in range(b + 1, 12)
        if near[a, b] and near[b, c] and near[a, c]
    ]
    return corners / np.linalg.norm(corners[0]), np.array(faces)
