"""Bodies made up from known dimensions, where no structure travels with the package.

Each is filled with Gaussians of protein's potential above ice; shapes and helices are as published, details are not.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.geometry import rotation_z
from lamella.simulate.gaussians import Gaussians

__all__ = [
    "ACTIN_SEGMENT_ANG",
    "ACTIN_SEGMENT_TURN_DEG",
    "MICROTUBULE_SEGMENT_ANG",
    "actin_segment",
    "capsomer",
    "ice_crystal",
    "microtubule_segment",
    "spike",
]

Array = NDArray[np.float64]

PROTEIN_POTENTIAL_ANG3_PER_KDA = 1210.0 * 3.2
"""V·Å³ above ice: 1.21 Å³/Da of 3.2 V."""

PROTOFILAMENTS = 13
PROTOFILAMENT_RADIUS_ANG = 112.0
DIMER_ANG = 82.0
MONOMERS_PER_TURN = 3
"""The lattice's main helix climbs by three monomers in a turn (B lattice, with a seam)."""
MICROTUBULE_SEGMENT_ANG = 3 * DIMER_ANG

ACTIN_RISE_ANG = 27.6
ACTIN_TWIST_DEG = -166.7
ACTIN_PER_SEGMENT = 13
ACTIN_SEGMENT_ANG = ACTIN_PER_SEGMENT * ACTIN_RISE_ANG
ACTIN_SEGMENT_TURN_DEG = ACTIN_PER_SEGMENT * ACTIN_TWIST_DEG


def microtubule_segment() -> Gaussians:
    """Three dimers of each of 13 protofilaments about z, plus end up; segments follow each other without a turn.

    Neighbouring protofilaments are staggered by 3 monomers / 13 = 9.5 Å; β-tubulin, above α in its dimer, is made a
    little denser so that the 82 Å repeat shows.
    """
    parts = []
    for strand in range(PROTOFILAMENTS):
        turn = rotation_z(360.0 / PROTOFILAMENTS * strand)
        rise = MONOMERS_PER_TURN * DIMER_ANG / 2 / PROTOFILAMENTS * strand
        for monomer in range(6):
            kda = 50.0 if monomer % 2 else 46.0
            z = (monomer - 2.5) * DIMER_ANG / 2 + rise
            # The stagger is folded back, so that the segment's ends stay near their planes.
            z = (z + MICROTUBULE_SEGMENT_ANG / 2) % MICROTUBULE_SEGMENT_ANG - MICROTUBULE_SEGMENT_ANG / 2
            blob = _ellipsoid((PROTOFILAMENT_RADIUS_ANG, 0.0, z), (23.0, 26.0, 20.0), kda)
            bump = _ellipsoid((PROTOFILAMENT_RADIUS_ANG + 20.0, -8.0, z - 6.0), (9.0, 9.0, 12.0), 5.0)
            parts.append(Gaussians.joined([blob, bump]).moved(turn, np.zeros(3)))
    return Gaussians.joined(parts)


def actin_segment() -> Gaussians:
    """13 subunits of F-actin about z (rise 27.6 Å, twist −166.7°), pointed end up."""
    parts = []
    for number in range(ACTIN_PER_SEGMENT):
        height = (number - (ACTIN_PER_SEGMENT - 1) / 2) * ACTIN_RISE_ANG
        outer = _ellipsoid((30.0, 5.0, -4.0), (14.0, 16.0, 24.0), 19.0)
        inner = _ellipsoid((9.0, -3.0, 5.0), (15.0, 15.0, 26.0), 23.0)
        turn = rotation_z(ACTIN_TWIST_DEG * number)
        parts.append(Gaussians.joined([outer, inner]).moved(turn, (0.0, 0.0, height)))
    return Gaussians.joined(parts)


def spike() -> Gaussians:
    """A trimer on a stalk through the membrane at z = 0, its heads outside at z > 0; C3 about z."""
    stalk = _ellipsoid((0.0, 0.0, 20.0), (11.0, 11.0, 55.0), 30.0)
    lobes = [
        Gaussians.joined(
            [
                _ellipsoid((27.0, 4.0, 95.0), (22.0, 20.0, 34.0), 75.0),
                _ellipsoid((42.0, -14.0, 120.0), (15.0, 13.0, 18.0), 25.0),
            ]
        ).moved(rotation_z(120.0 * number), np.zeros(3))
        for number in range(3)
    ]
    return Gaussians.joined([stalk, *lobes])


def capsomer() -> Gaussians:
    """A hexamer of two-domain subunits, C6 about z, its outer side at z > 0; mates with neighbours 75 Å away."""
    units = [
        Gaussians.joined(
            [
                _ellipsoid((30.0, 5.0, 14.0), (14.0, 12.0, 18.0), 15.0),
                _ellipsoid((22.0, -7.0, -18.0), (12.0, 12.0, 12.0), 9.0),
                _ellipsoid((9.0, 0.0, -42.0), (6.0, 6.0, 16.0), 2.5),
            ]
        ).moved(rotation_z(60.0 * number), np.zeros(3))
        for number in range(6)
    ]
    return Gaussians.joined(units)


def ice_crystal(radius_ang: float, voxel_size_ang: float, size: int, seed: int) -> NDArray[np.float32]:
    """``(size, size, size)`` 1 inside a convex body of 14 random facets, 0 outside, soft over two voxels."""
    rng = np.random.default_rng([seed, 17])
    normals = rng.normal(size=(14, 3))
    normals /= np.linalg.norm(normals, axis=1)[:, None]
    out = np.zeros((size, size, size), dtype=np.float32)
    facets = rng.uniform(0.7, 1.05, 14) * radius_ang / voxel_size_ang
    _cut(normals, facets, 1.2 * radius_ang / voxel_size_ang, out)
    return out


@numba.njit(nogil=True, cache=True)
def _cut(normals, facets, reach, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """1 inside all facets and a ball, 0 outside, falling over two voxels."""
    size = out.shape[0]
    for k in range(size):
        for j in range(size):
            for i in range(size):
                x, y, z = i - size // 2, j - size // 2, k - size // 2
                beyond = np.sqrt(x * x + y * y + z * z) - reach
                for facet in range(len(facets)):
                    if beyond > 1:
                        break
                    normal = normals[facet]
                    beyond = max(beyond, normal[0] * x + normal[1] * y + normal[2] * z - facets[facet])
                out[k, j, i] = min(max(0.5 - beyond / 2, 0.0), 1.0)


def _ellipsoid(centre_ang: ArrayLike, half_axes_ang: ArrayLike, kda: float) -> Gaussians:
    """Protein of this mass spread over an ellipsoid, as Gaussians about 9 Å apart."""
    half = np.asarray(half_axes_ang, dtype=np.float64)
    spacing = 9.0
    line = np.arange(-np.ceil(half.max() / spacing), np.ceil(half.max() / spacing) + 1) * spacing
    points = np.stack(np.meshgrid(line, line, line), axis=-1).reshape(-1, 3)
    points = points[((points / half) ** 2).sum(axis=1) <= 1]
    weight = PROTEIN_POTENTIAL_ANG3_PER_KDA * kda / len(points)
    return Gaussians(points + np.asarray(centre_ang), np.full(len(points), weight), np.array(5.0))
