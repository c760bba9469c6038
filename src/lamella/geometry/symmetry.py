"""Point groups of particles, in the settings that RELION uses.

A map of symmetry G is unchanged by each rotation S in G, so the orientations A and A · S are the same.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import GeometryError

__all__ = ["axis_rotation", "point_group"]

Array = NDArray[np.float64]

_GOLDEN = (1 + np.sqrt(5)) / 2


def point_group(name: str) -> Array:
    """Every rotation of a point group.

    Parameters
    ----------
    name
        ``C1``, ``C2``, …: an n-fold axis along z. ``D2``, ``D3``, …: with a two-fold axis along x. ``T``: three-fold
        along z, a two-fold along (0, √2, 1). ``O``: four-fold along x, y and z. ``I1`` … ``I4``: icosahedral, a
        two-fold along x, y and z for I1 and I2 (a five-fold along (φ, 0, −1) for I1, along (1, 0, φ) for I2, with the
        golden ratio φ), a five-fold along z for I3, and for I4 a five-fold along (2, 0, 1). ``I`` is I2. Case does not
        matter.

    Returns
    -------
    Array
        ``(order, 3, 3)``, the identity first.

    Raises
    ------
    GeometryError
        if there is no such group.

    Notes
    -----
    The axes are those of Heymann, Chagoyen & Belnap 2005 as RELION states them.
    """
    return _group(name.strip().upper()).copy()


def axis_rotation(axis: ArrayLike, angle_deg: float) -> Array:
    """Right-handed active rotation ``(3, 3)`` about any axis ``(3,)`` (Rodrigues)."""
    x, y, z = np.asarray(axis, dtype=np.float64) / np.linalg.norm(axis)
    angle = np.deg2rad(angle_deg)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation: Array = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return rotation


def _generators(name: str) -> tuple[int, list[tuple[int, tuple[float, float, float]]]]:
    """The group's order, and (fold, axis) of rotations that generate it."""
    found = re.fullmatch(r"([CD])([1-9]\d{0,2})", name)
    if found:
        fold = int(found[2])
        turn = (fold, (0.0, 0.0, 1.0))
        return (fold, [turn]) if found[1] == "C" else (2 * fold, [turn, (2, (1.0, 0.0, 0.0))])
    x, z = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
    platonic = {
        "T": (12, [(3, z), (2, (0.0, np.sqrt(2), 1.0))]),
        "O": (24, [(3, (1.0, 1.0, 1.0)), (4, z)]),
        "I1": (60, [(2, x), (5, (_GOLDEN, 0.0, -1.0)), (3, (_GOLDEN**2, 1.0, 0.0))]),
        "I2": (60, [(2, z), (5, (1.0, 0.0, _GOLDEN)), (3, (0.0, 1.0, _GOLDEN**2))]),
        "I3": (60, [(2, (-1.0, 0.0, _GOLDEN)), (5, z)]),
        "I4": (60, [(2, (1.0, 0.0, _GOLDEN)), (5, (2.0, 0.0, 1.0))]),
    }
    platonic["I"] = platonic["I2"]
    if name not in platonic:
        raise GeometryError(
            f"no point group is called {name!r}", mend="give C1, C2, …, D2, D3, …, T, O, I1, I2, I3 or I4 (I is I2)"
        )
    return platonic[name]


@lru_cache(maxsize=32)
def _group(name: str) -> Array:
    """Multiply generators until nothing new appears."""
    order, generators = _generators(name)
    rotations = [axis_rotation(axis, 360 / fold) for fold, axis in generators]
    group = [np.eye(3)]
    fresh = group
    while fresh:
        found: list[Array] = []
        for known, rotation in product(fresh, rotations):
            new = rotation @ known
            if not any(np.abs(new - old).max() < 1e-6 for old in (*group, *found)):
                found.append(new)
        group = group + found
        fresh = found
        if len(group) > order:
            break
    if len(group) != order:
        raise GeometryError(f"the generators of {name} make {len(group)} rotations, not {order}", mend="report this")
    return np.array(group)
