"""What a specimen is made of: a particle without symmetry, spheres of bilayer, gold beads, maps of the user's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import ImageError
from lamella.formats.mrc import read_mrc
from lamella.geometry import rotation_z
from lamella.simulate.gaussians import Gaussians

__all__ = ["bilayer_sphere", "gold_bead", "particle_from_map", "two_lobed_particle"]

Array = NDArray[np.float64]

MATTER_POTENTIAL = 2.5
"""Mean inner potential of protein and nucleic acid above that of ice, V."""

GOLD_POTENTIAL = 25.0
"""Mean inner potential of gold, V."""

HEAD_GROUP_POTENTIAL_ANG = 30.0
"""Potential of one leaflet's head groups integrated across it, above that of ice, V·Å."""

BILAYER_SPACING_ANG = 40.0
"""Between the head groups of the two leaflets."""

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


def particle_from_map(path: Path | str, pixel_size_ang: float) -> Gaussians:
    """A user's map as Gaussians at its voxels.

    A map finer than the images is binned to their pixel size first. Voxels below a tenth of the map's highest (99.9th
    percentile) are left out; the rest is scaled to the mean potential of matter. Each Gaussian is 0.75 voxels wide,
    which low-passes the map; the truth beside the raw data is what was imaged. The map's voxel ``n // 2`` is the
    particle's centre.

    Raises
    ------
    FormatError, ImageError
        if the map cannot be read, states no voxel size, or holds no positive matter.
    """
    values, voxel = read_mrc(Path(path))
    if not voxel:
        raise ImageError(f"{path}: no voxel size in the header", mend="set the map's voxel size with `lamella convert`")
    if values.ndim != 3 or not np.isfinite(values).all():
        raise ImageError(f"{path}: not a volume of finite numbers", mend="give a three-dimensional map")
    centre = np.array([n // 2 for n in reversed(values.shape)]) * voxel
    if pixel_size_ang / voxel > 1.25:
        values, voxel = _binned(values, voxel, pixel_size_ang)
    top = float(np.percentile(values, 99.9))
    kept = np.argwhere(values > 0.1 * top) if top > 0 else np.empty((0, 3))
    if len(kept) == 0:
        raise ImageError(f"{path}: no positive matter", mend="give a map whose mass is positive (white), or invert it")
    levels = values[tuple(kept.T)].astype(np.float64)
    weights = MATTER_POTENTIAL * levels / levels.mean() * voxel**3
    return Gaussians(kept[:, ::-1] * voxel - centre, weights, np.full(len(kept), 0.75 * voxel))


def bilayer_sphere(radius_ang: float) -> Gaussians:
    """A closed bilayer: head groups of two leaflets about a sphere, evenly spread on it."""
    return Gaussians.joined([_leaflet(radius_ang + side * BILAYER_SPACING_ANG / 2) for side in (-1, 1)])


def gold_bead(diameter_ang: float) -> Gaussians:
    """A ball of gold as a close packing of Gaussians, about 250 whatever its size."""
    spacing = diameter_ang / 7
    places = _close_packing(spacing, reach_ang=diameter_ang / 2)
    places = places[np.linalg.norm(places, axis=1) <= diameter_ang / 2]
    volume = np.pi / 6 * diameter_ang**3
    return Gaussians(places, np.full(len(places), GOLD_POTENTIAL * volume / len(places)), np.array(0.45 * spacing))


def _leaflet(radius_ang: float) -> Gaussians:
    """Fibonacci's lattice on a sphere, its points 14 Å apart."""
    count = max(12, round(4 * np.pi * radius_ang**2 / 14.0**2))
    index = np.arange(count)
    z = 1 - (2 * index + 1) / count
    turn = np.pi * (3 - np.sqrt(5)) * index
    around = np.sqrt(1 - z**2)
    places = radius_ang * np.stack([around * np.cos(turn), around * np.sin(turn), z], axis=1)
    weights = np.full(count, HEAD_GROUP_POTENTIAL_ANG * 4 * np.pi * radius_ang**2 / count)
    return Gaussians(places, weights, np.array(8.0))


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


def _binned(values: NDArray[np.float32], voxel_ang: float, wanted_ang: float) -> tuple[NDArray[np.float32], float]:
    """Fourier-crop to about the wanted voxel size; a common factor for all axes keeps voxels cubic."""
    import torch

    from lamella.fourier import crop_volume

    # The largest factor not above the wanted one that every (padded) axis can take exactly.
    factor = wanted_ang / voxel_ang
    longest = max(values.shape)
    small = max(2, 2 * round(longest / factor / 2))
    edge = 2 * ((longest + 1) // 2)
    padded = np.zeros((edge, edge, edge), dtype=np.float32)
    padded[tuple(slice(0, n) for n in values.shape)] = values
    binned = crop_volume(torch.from_numpy(padded), (small, small, small)).numpy()
    return binned, voxel_ang * edge / small
