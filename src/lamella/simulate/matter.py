"""Matter without atoms: a particle without symmetry, spheres of bilayer, and the potentials of what there is."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.geometry import rotation_z
from lamella.simulate.gaussians import Gaussians

__all__ = [
    "BILAYER_SPACING_ANG",
    "GOLD_POTENTIAL",
    "HEAD_GROUP_POTENTIAL_ANG",
    "HEAD_GROUP_SIGMA_ANG",
    "HEAD_GROUP_SPACING_ANG",
    "MATTER_POTENTIAL",
    "bilayer_sphere",
    "fibonacci_sphere",
    "two_lobed_particle",
]

Array = NDArray[np.float64]

MATTER_POTENTIAL = 2.5
"""Mean inner potential of protein and nucleic acid above that of ice, V."""

GOLD_POTENTIAL = 25.0
"""Mean inner potential of gold, V."""

HEAD_GROUP_POTENTIAL_ANG = 30.0
"""Potential of one leaflet's head groups integrated across it, above that of ice, V·Å."""

BILAYER_SPACING_ANG = 40.0
"""Between the head groups of the two leaflets."""

HEAD_GROUP_SPACING_ANG = 14.0
"""Between the Gaussians that stand for a leaflet's head groups."""
HEAD_GROUP_SIGMA_ANG = 8.0

# The built-in particle: centre, half axes and turn about z of ellipsoids (Å, deg), and rods from one point to another.
_LOBES = (
    ((0.0, 0.0, -38.0), (112.0, 98.0, 74.0), 0.0),  # the large half
    ((12.0, 4.0, 66.0), (100.0, 58.0, 42.0), 25.0),  # the small half, turned against it
    ((78.0, -44.0, 88.0), (30.0, 18.0, 24.0), -30.0),  # a beak on it
)
_RODS = (
    ((90.0, 10.0, -45.0), (140.0, 30.0, -5.0), 17.0),
    ((-70.0, 50.0, -40.0), (-110.0, 88.0, 0.0), 14.0),
    ((-10.0, -80.0, -30.0), (-34.0, -118.0, 10.0), 13.0),
)
_SPACING_ANG = 22.0
_ATOM_SIGMA_ANG = 8.0


def two_lobed_particle() -> Gaussians:
    """A particle of about 260 Å and 600 Gaussians without symmetry or a copy in nature.

    Two unequal lobes with a cleft between them, a beak and three stalks, denser and lighter domains. The same for every
    seed. Its centre of mass is the origin.
    """
    rng = np.random.default_rng(7)
    grid = _close_packing(_SPACING_ANG, reach_ang=170.0) + np.array([3.0, 5.0, 7.0])
    inside = np.zeros(len(grid), dtype=bool)
    for centre, half_axes, turn_deg in _LOBES:
        local = (grid - centre) @ rotation_z(turn_deg)
        inside |= ((local / half_axes) ** 2).sum(axis=1) <= 1
    for start, end, radius in _RODS:
        inside |= _distance_to_rod(grid, np.array(start), np.array(end)) <= radius
    cleft = (np.abs(grid[:, 2] - 30.0) < 9.0) & (np.abs(grid[:, 1]) > 22.0)
    places = grid[inside & ~cleft]
    places = places + rng.normal(scale=2.0, size=places.shape)
    # Domains: a smooth random field makes some parts as dense as nucleic acid and others light.
    waves = rng.normal(scale=1 / 45.0, size=(12, 3))
    field = np.cos(places @ waves.T + rng.uniform(0, 2 * np.pi, 12)).sum(axis=1) / np.sqrt(6)
    density = np.clip(1.0 + 0.35 * field, 0.3, 1.9)
    weights = MATTER_POTENTIAL * density * _SPACING_ANG**3 / np.sqrt(2)
    places = places - np.average(places, axis=0, weights=weights)
    return Gaussians(places, weights, np.full(len(places), _ATOM_SIGMA_ANG))


def bilayer_sphere(radius_ang: float) -> Gaussians:
    """A closed bilayer: head groups of two leaflets about a sphere, evenly spread on it."""
    return Gaussians.joined([_leaflet(radius_ang + side * BILAYER_SPACING_ANG / 2) for side in (-1, 1)])


def _leaflet(radius_ang: float) -> Gaussians:
    """Head groups spread evenly over a sphere, 14 Å apart."""
    places = fibonacci_sphere(radius_ang, HEAD_GROUP_SPACING_ANG)
    weights = np.full(len(places), HEAD_GROUP_POTENTIAL_ANG * 4 * np.pi * radius_ang**2 / len(places))
    return Gaussians(places, weights, np.array(HEAD_GROUP_SIGMA_ANG))


def fibonacci_sphere(radius_ang: float, spacing_ang: float) -> Array:
    """``(n, 3)`` points of Fibonacci's lattice on a sphere, about this far from each other."""
    count = max(12, round(4 * np.pi * radius_ang**2 / spacing_ang**2))
    index = np.arange(count)
    z = 1 - (2 * index + 1) / count
    turn = np.pi * (3 - np.sqrt(5)) * index
    around = np.sqrt(1 - z**2)
    return np.asarray(radius_ang * np.stack([around * np.cos(turn), around * np.sin(turn), z], axis=1))


def _close_packing(spacing_ang: float, reach_ang: float) -> Array:
    """Points of a face-centred cubic lattice with this nearest distance, within a cube of ± reach."""
    edge = spacing_ang / np.sqrt(2)
    steps = np.arange(-int(reach_ang / edge) - 1, int(reach_ang / edge) + 2)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    grid = grid[grid.sum(axis=1) % 2 == 0] * edge
    kept: Array = grid[(np.abs(grid) <= reach_ang).all(axis=1)].astype(np.float64)
    return kept


def _distance_to_rod(points: ArrayLike, start: Array, end: Array) -> Array:
    offset = np.asarray(points) - start
    along = np.clip(offset @ (end - start) / ((end - start) ** 2).sum(), 0, 1)
    distance: Array = np.linalg.norm(offset - along[:, None] * (end - start), axis=1)
    return distance
