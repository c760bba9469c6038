"""Grids of orientations: HEALPix directions times in-plane angles, and local grids about an orientation.

Angles are RELION's (rot, tilt, psi); `euler_matrix` makes their matrices. The direction of view, in the reference's
frame, is Rz(rot) · Ry(tilt) · ẑ, and a HEALPix pixel at colatitude θ and longitude φ is tilt = θ, rot = φ.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import GeometryError
from lamella.geometry.symmetry import axis_rotation, point_group

__all__ = [
    "angular_grid",
    "asymmetric_directions",
    "directions_of",
    "even_directions",
    "grid_spacing_deg",
    "healpix_directions",
    "local_grid",
    "local_rotations",
    "order_for_spacing",
    "rotation_angle_deg",
]

Array = NDArray[np.float64]

# The ring of the southern corner (in units of nside) and the longitude (in units of 45°) of each base pixel.
_FACE_RING = np.array([2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4])
_FACE_LONGITUDE = np.array([1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7])
_HIGHEST_ORDER = 12
# Distance of directions, over the grid's spacing, that still counts as near; a pixel's corners stand up to 0.8 off.
_WIDEST_GAP = 0.7


def healpix_directions(order: int, *, nested: bool = True) -> Array:
    """Centres of the 12 · 4^order HEALPix pixels, all of one area.

    Parameters
    ----------
    order
        nside is 2^order.
    nested
        number them so that the children of pixel i are 4i … 4i + 3 of the next order; else by rings from the north
        pole.

    Returns
    -------
    Array
        ``(12 · 4^order, 2)`` as (rot, tilt) in degrees, rot in [0, 360), tilt in (0, 180).

    Notes
    -----
    Górski et al., ApJ 622, 759 (2005), section 5.
    """
    nside = _nside(order)
    index = np.arange(12 * nside**2, dtype=np.int64)
    face, within = np.divmod(index, nside**2)
    x, y = _every_second_bit(within), _every_second_bit(within >> 1)
    ring = _FACE_RING[face] * nside - x - y - 1  # 1 … 4 nside − 1 from the north pole
    to_pole = np.minimum(np.minimum(ring, 4 * nside - ring), nside)  # pixels in a quarter of the ring
    cap = 1 - to_pole**2 / (3 * nside**2)
    z = np.where(ring < nside, cap, np.where(ring > 3 * nside, -cap, (2 * nside - ring) * 2 / (3 * nside)))
    # place in the ring, in half steps from longitude 0
    half_steps = _FACE_LONGITUDE[face] * to_pole + x - y
    longitude = np.mod(half_steps * 45.0 / to_pole, 360.0)
    directions = np.stack([longitude, np.rad2deg(np.arccos(z))], axis=-1)
    if nested:
        return directions
    return directions[np.lexsort((directions[:, 0], ring))]


def grid_spacing_deg(order: int) -> float:
    """In-plane step of `angular_grid`, 360 / (6 · 2^order); directions stand about as far apart (58.6 / 2^order)."""
    return 60.0 / _nside(order)


def order_for_spacing(spacing_deg: float) -> int:
    """The coarsest order whose spacing is `spacing_deg` or finer."""
    for order in range(_HIGHEST_ORDER + 1):
        if grid_spacing_deg(order) <= spacing_deg * (1 + 1e-9):
            return order
    raise GeometryError(f"an angular spacing of {spacing_deg} degrees", mend="give a spacing of 0.02 degrees or more")


def angular_grid(order: int, symmetry: str = "C1") -> Array:
    """Orientations over the whole rotation group, each once up to the particle's symmetry.

    Parameters
    ----------
    order
        HEALPix order: 12 · 4^order directions and 6 · 2^order in-plane angles without symmetry.
    symmetry
        a name that `point_group` knows.

    Returns
    -------
    Array
        ``(k, 3)`` rot, tilt, psi in degrees, about 72 · 8^order / (order of the group) of them.

    Notes
    -----
    A direction is kept if none of its symmetry mates is nearer to a fixed reference direction: a compact asymmetric
    unit. Where the unit's border cuts the grid so that a direction outside has no kept mate near it, that direction is
    added, so that no gap is left. On an n-fold axis, where the symmetry turns the picture in its plane, psi runs over
    360 / n only.
    """
    directions, fold = asymmetric_directions(healpix_directions(order), point_group(symmetry), grid_spacing_deg(order))
    count = 6 * _nside(order)
    psi = np.arange(count) * (360.0 / count)
    # (kept, psi): whole grid, then without what an axis through the direction repeats
    rot, tilt = (np.repeat(column[:, None], count, axis=1) for column in directions.T)
    angles = np.stack([rot, tilt, np.broadcast_to(psi, rot.shape)], axis=-1)
    return angles[psi[None, :] < 360.0 / fold[:, None] - 1e-9]


def even_directions(sides: int) -> Array:
    """Centres of 12 · sides² HEALPix pixels by rings from the north pole, for any number of sides.

    Only powers of two nest; the others fill the steps between (58.6° / sides is their spacing).

    Parameters
    ----------
    sides
        pixels along the edge of each of the twelve base pixels, from 1.

    Returns
    -------
    Array
        ``(12 · sides², 2)`` (rot, tilt) in degrees, as `healpix_directions`.
    """
    if sides < 1:
        raise GeometryError(f"a sphere of {sides} pixels along an edge", mend="give one or more")
    out = []
    for ring in range(1, 4 * sides):
        to_pole = min(ring, 4 * sides - ring, sides)
        if ring < sides or ring > 3 * sides:
            z = (1 - to_pole**2 / (3 * sides**2)) * (1 if ring < sides else -1)
            start = 0.5
        else:
            z = (2 * sides - ring) * 2 / (3 * sides)
            start = 0.5 * ((ring - sides + 1) % 2)
        count = 4 * to_pole
        longitude = (np.arange(count) + start) * 360.0 / count
        out.append(np.stack([longitude, np.full(count, np.rad2deg(np.arccos(z)))], axis=-1))
    return np.concatenate(out)


def asymmetric_directions(directions: Array, group: Array, spacing_deg: float) -> tuple[Array, NDArray[np.int64]]:
    """Directions of which no two are the same by a symmetry, and that leave no gap.

    Parameters
    ----------
    directions
        ``(n, 2)`` rot, tilt in degrees, even over the sphere.
    group
        ``(g, 3, 3)`` of `point_group`.
    spacing_deg
        of the directions.

    Returns
    -------
    directions, fold
        ``(k, 2)``, and ``(k,)`` the fold of the symmetry axis that passes through each.
    """
    vectors = _unit_vectors(directions)
    kept, fold = _asymmetric_unit(vectors, group)
    kept = _without_gaps(vectors, kept, group, np.deg2rad(_WIDEST_GAP * spacing_deg))
    return directions[kept], fold[kept]


def local_rotations(radius_deg: float, spacing_deg: float) -> Array:
    """Small rotations that fill a ball about the identity evenly.

    Parameters
    ----------
    radius_deg
        largest angle of a rotation, at most 180.
    spacing_deg
        angle between neighbours.

    Returns
    -------
    Array
        ``(k, 3, 3)``, the identity first, then by rising angle.

    Notes
    -----
    A body-centred cubic lattice of rotation vectors, which covers with the fewest points: no rotation of the ball is
    further from the grid than 0.65 · `spacing_deg`, but for the ball's rim. Far from the identity the exponential map
    brings neighbours closer together (by 4% at 60 degrees), never apart.
    """
    if not 0 <= radius_deg <= 180 or spacing_deg <= 0:
        raise GeometryError(
            f"a local search of {radius_deg} degrees in steps of {spacing_deg}",
            mend="give a radius of 0 to 180 degrees and a positive step",
        )
    edge = spacing_deg * 2 / np.sqrt(3)  # neighbours stand half a cube diagonal apart
    reach = int(np.ceil(radius_deg / edge))
    line = np.arange(-reach, reach + 1, dtype=np.float64)
    corners = np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1).reshape(-1, 3)
    vectors = np.concatenate([corners, corners + 0.5]) * edge
    angles = np.linalg.norm(vectors, axis=-1)
    inside = angles <= radius_deg + 1e-9
    vectors, angles = vectors[inside], angles[inside]
    vectors = vectors[np.lexsort((*vectors.T, angles.round(9)))]
    return np.array([_rotation(vector) for vector in vectors])


def local_grid(matrices: ArrayLike, radius_deg: float, spacing_deg: float) -> Array:
    """Orientations within a radius of each given one.

    Parameters
    ----------
    matrices
        ``(..., 3, 3)`` orientations A.
    radius_deg, spacing_deg
        as for `local_rotations`.

    Returns
    -------
    Array
        ``(..., k, 3, 3)``, each A itself first.
    """
    centres = np.asarray(matrices, dtype=np.float64)
    out: Array = local_rotations(radius_deg, spacing_deg) @ centres[..., None, :, :]
    return out


def rotation_angle_deg(a: ArrayLike, b: ArrayLike, symmetry: str = "C1") -> Array:
    """Angle ``(...)`` of the rotation that takes orientation `a` to `b`, ``(..., 3, 3)``; the least over a symmetry."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    # |A − B|² = 4 (1 − cos angle) = 8 sin²(angle / 2): exact for small angles too
    squares = [((first @ same - second) ** 2).sum(axis=(-2, -1)) for same in point_group(symmetry)]
    angle: Array = np.rad2deg(2 * np.arcsin(np.sqrt(np.minimum(np.minimum.reduce(squares) / 8, 1))))
    return angle


def directions_of(matrices: ArrayLike) -> Array:
    """Direction of view ``(..., 3)`` in the reference's frame of orientations A: Aᵀ · ẑ."""
    return np.asarray(matrices, dtype=np.float64)[..., 2, :]


def _nside(order: int) -> int:
    if not 0 <= order <= _HIGHEST_ORDER:
        raise GeometryError(f"a HEALPix order of {order}", mend=f"give an order of 0 to {_HIGHEST_ORDER}")
    return 1 << order


def _every_second_bit(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bits 0, 2, 4, … of each number, closed up."""
    out = np.zeros_like(numbers)
    for bit in range(_HIGHEST_ORDER):
        out |= ((numbers >> (2 * bit)) & 1) << bit
    return out


def _unit_vectors(directions: Array) -> Array:
    rot, tilt = np.deg2rad(directions).T
    vectors: Array = np.stack([np.sin(tilt) * np.cos(rot), np.sin(tilt) * np.sin(rot), np.cos(tilt)], axis=-1)
    return vectors


def _asymmetric_unit(vectors: Array, group: Array) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which directions to keep, and the fold of the symmetry axis that passes through each."""
    kept = np.ones(len(vectors), dtype=bool)
    fold = np.ones(len(vectors), dtype=np.int64)
    # Ties on the border of the unit are broken by two further directions.
    references = (_reference_direction(group), np.array([0.36, 0.48, 0.8]), np.array([0.8, -0.6, 0.0]))
    for rotation in group[1:]:
        moved = vectors @ rotation.T
        fold += np.abs(moved - vectors).max(axis=-1) < 1e-9
        undecided = np.ones(len(vectors), dtype=bool)
        for reference in references:
            ahead = (moved - vectors) @ reference
            kept &= ~(undecided & (ahead > 1e-9))
            undecided &= np.abs(ahead) <= 1e-9
    return kept, fold


def _without_gaps(vectors: Array, kept: NDArray[np.bool_], group: Array, gap: float) -> NDArray[np.bool_]:
    """Keep also directions that stand further than `gap` (on the unit sphere) from every kept one and its mates."""
    from scipy.spatial import cKDTree  # late: records must load without scipy

    kept = kept.copy()
    if kept.any():
        mates = (vectors[kept] @ np.swapaxes(group, 1, 2)).reshape(-1, 3)
        far, _nearest = cKDTree(mates).query(vectors, distance_upper_bound=gap)
        lonely = np.flatnonzero(~np.isfinite(far))
    else:
        lonely = np.arange(len(vectors))
    mates = np.empty((0, 3))
    for index in lonely:
        if len(mates) and (mates @ vectors[index]).max() > 1 - gap**2 / 2:
            continue
        kept[index] = True
        mates = np.concatenate([mates, group @ vectors[index]])
    return kept


def _reference_direction(group: Array) -> Array:
    """A direction far from its own symmetry mates: the middle of a compact asymmetric unit."""
    number = np.arange(400) + 0.5
    spiral = np.stack([np.mod(number * 137.50776405, 360.0), np.rad2deg(np.arccos(1 - number / 200))], axis=-1)
    candidates = _unit_vectors(spiral)
    mates = np.einsum("gij,cj->gci", group[1:], candidates)
    nearest = np.einsum("gci,ci->gc", mates, candidates).max(axis=0, initial=-1.0)
    reference: Array = candidates[int(nearest.argmin())]
    return reference


def _rotation(vector: Array) -> Array:
    """Rotation by |vector| degrees about the vector."""
    angle = float(np.linalg.norm(vector))
    return axis_rotation(vector, angle) if angle > 0 else np.eye(3)
