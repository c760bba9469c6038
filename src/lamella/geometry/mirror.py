"""The same specimen seen in mirrored images.

Images mirrored left to right (q_x → −q_x) are projections of the same specimen, turned by 180° about y: with
D = diag(−1, 1, −1), which is a rotation, and M = diag(−1, 1),

    M · [Rz(φ) Ry(θ) Rx(ξ) p]_xy = [D Rz(φ) Ry(θ) Rx(ξ) D · D p]_xy = [Rz(−φ) Ry(θ) Rx(−ξ) · p']_xy,   p' = D p.

Rotated z changes its sign with the left D, so that the depth of a point is the opposite and the hand with it. No map
changes its hand: a reconstruction of the mirrored images in the mirrored geometry is the old one, turned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import GeometryError
from lamella.geometry.field import ImageField
from lamella.geometry.projection import TiltGeometry

__all__ = ["Mirrored", "mirror"]

Array = NDArray[np.float64]

_TURN = np.array([-1.0, 1.0, -1.0])


@dataclass(frozen=True, kw_only=True, eq=False)
class Mirrored:
    """What `mirror` gives: the mirrored pictures, described.

    Attributes
    ----------
    geometry
        the projection model.
    hand
        sign by which defocus grows with depth; a point's defocus is what it was.
    astigmatism_deg
        the directions that were passed in, in the mirrored images, −90…90; None where none were.
    points_ang, matrices
        particle positions and orientations that were passed in, turned; None where none were.
    """

    geometry: TiltGeometry
    hand: int
    astigmatism_deg: Array | None
    points_ang: Array | None
    matrices: Array | None


def mirror(
    geometry: TiltGeometry,
    hand: int,
    *,
    astigmatism_deg: ArrayLike | None = None,
    points_ang: ArrayLike | None = None,
    matrices: ArrayLike | None = None,
) -> Mirrored:
    """Describe the images mirrored left to right about their centre pixel: q = (x, y) becomes (−x, y).

    Parameters
    ----------
    geometry
        the projection model of the images as they are.
    hand
        rlnTomoHand, +1 or −1.
    astigmatism_deg
        directions in the images, counted from x towards y.
    points_ang
        ``(..., 3)`` particle positions, Å from the centre voxel.
    matrices
        ``(..., 3, 3)`` particle orientations A (reference to tomogram), or A_sub.

    Returns
    -------
    Mirrored
        everything together. Defocus and tilt angles stay as they are.

    Raises
    ------
    GeometryError
        if `hand` is not ±1.
    """
    if hand not in (-1, 1):
        raise GeometryError(f"a hand of {hand}", mend="state +1 or -1")
    field = geometry.field
    changed = geometry.with_terms(
        x_tilt_deg=-geometry.x_tilt_deg,
        z_rot_deg=-geometry.z_rot_deg,
        x_shift_ang=-geometry.x_shift_ang,
        field=None if field is None else _mirrored_field(field),
    )
    directions = None if astigmatism_deg is None else 90 - (np.asarray(astigmatism_deg, np.float64) + 90) % 180
    return Mirrored(
        geometry=changed,
        hand=-hand,
        astigmatism_deg=directions,
        points_ang=None if points_ang is None else _TURN * np.asarray(points_ang, dtype=np.float64),
        matrices=None if matrices is None else _TURN[:, None] * np.asarray(matrices, dtype=np.float64),
    )


def _mirrored_field(field: ImageField) -> ImageField:
    """Displacement M · u(M · q): the nodes stand symmetrically about the centre pixel."""
    nodes = field.nodes_ang[..., ::-1] * np.array([-1.0, 1.0])[:, None, None]
    return ImageField(nodes, field.half_width_ang)
