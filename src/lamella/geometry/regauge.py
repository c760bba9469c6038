"""Changes of frame that leave every picture as it is.

A rigid motion of the specimen's frame moves angles, shifts, defocus and particles together, and no projected point.
Levelling, shifting or cropping a tomogram is `regauge` and nothing else. `normalise_magnification` and
`normalise_field` bring what a solver found into the one form in which it is stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import GeometryError
from lamella.geometry.field import ImageField
from lamella.geometry.projection import TiltGeometry
from lamella.geometry.rotations import rotation_x, rotation_y, rotation_z, tilt_angles_from_matrix

__all__ = ["Regauged", "normalise_field", "normalise_magnification", "regauge"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Regauged:
    """What `regauge` gives: the same pictures, described in the new frame.

    Attributes
    ----------
    geometry
        the projection model.
    hand
        sign by which defocus grows with depth.
    defocus_change_ang
        ``(n,)`` to be added to the defocus of the centre voxel in each view, Å.
    defocus_ang
        the defocus that was passed in, with the change added; None where none was.
    points_ang, matrices
        particle positions and orientations that were passed in, moved; None where none were.
    """

    geometry: TiltGeometry
    hand: int
    defocus_change_ang: Array
    defocus_ang: Array | None
    points_ang: Array | None
    matrices: Array | None


def regauge(
    geometry: TiltGeometry,
    rotation: ArrayLike | None = None,
    shift_ang: ArrayLike = (0.0, 0.0, 0.0),
    *,
    x_tilt_deg: float = 0.0,
    y_tilt_deg: float = 0.0,
    invert: bool = False,
    hand: int = -1,
    defocus_ang: ArrayLike | None = None,
    points_ang: ArrayLike | None = None,
    matrices: ArrayLike | None = None,
) -> Regauged:
    """Describe the same pictures in another frame of the specimen: the point p becomes p' = R · p + shift.

    Parameters
    ----------
    geometry
        the projection model in the old frame.
    rotation
        ``(3, 3)`` R. Left out, it is Ry(y_tilt_deg) · Rx(x_tilt_deg): to level a specimen whose plane is
        z = z0 + a·x + b·y, give x_tilt_deg = −atan(b), y_tilt_deg = atan(a / √(1 + b²)) and a shift of
        −R · (0, 0, z0).
    shift_ang
        ``(3,)`` (x, y, z) Å, in the new frame. Cropping a tomogram whose new centre stands at c is a shift of −c.
    invert
        first invert the specimen through its centre (p → −p): every z_rot turns by 180 degrees and the hand changes
        its sign. No picture and no defocus tells the two apart.
    hand
        rlnTomoHand, +1 or −1.
    defocus_ang
        ``(..., n)`` defocus of the centre voxel in each view, Å: u, v, or both stacked.
    points_ang
        ``(..., 3)`` particle positions, Å from the centre voxel.
    matrices
        ``(..., 3, 3)`` particle orientations A (reference to tomogram). Where an orientation is the product
        A_sub · A_ang, pass A_sub: origins, which it turns, then stay as they are.

    Returns
    -------
    Regauged
        everything moved together. The local field stays: it lives in the images, and no point's place there changes.

    Raises
    ------
    GeometryError
        if `rotation` is not a rotation, `hand` is not ±1, or particles with orientations shall be inverted (an inverted
        particle has the other hand, and no rotation describes it).
    """
    turn = _checked_rotation(rotation, x_tilt_deg, y_tilt_deg)
    shift = np.broadcast_to(np.asarray(shift_ang, dtype=np.float64), (3,))
    if not np.isfinite(shift).all():
        raise GeometryError("a shift of the specimen is not finite", mend="give three numbers in Å")
    if hand not in (-1, 1):
        raise GeometryError(f"a hand of {hand}", mend="state +1 or -1")
    if invert and matrices is not None:
        raise GeometryError(
            "particles with orientations cannot be inverted through the tomogram's centre",
            mend="fix the tilt axis and the hand before particles are picked and oriented, or pick them again",
        )
    start = _inverted(geometry) if invert else geometry
    new_hand = -hand if invert else hand

    rotations = start.rotations() @ turn.T
    x_tilt, y_tilt, z_rot = tilt_angles_from_matrix(rotations, (start.x_tilt_deg, start.y_tilt_deg, start.z_rot_deg))
    moved = rotations @ shift  # (n, 3): what the new origin's place adds in each view
    in_image = start.shifts_ang() - start.magnification[:, None] * moved[:, :2]
    changed = start.with_terms(
        x_tilt_deg=x_tilt, y_tilt_deg=y_tilt, z_rot_deg=z_rot, x_shift_ang=in_image[:, 0], y_shift_ang=in_image[:, 1]
    )
    change = -new_hand * moved[:, 2]
    sign = -1.0 if invert else 1.0
    return Regauged(
        geometry=changed,
        hand=new_hand,
        defocus_change_ang=change,
        defocus_ang=None if defocus_ang is None else np.asarray(defocus_ang, dtype=np.float64) + change,
        points_ang=None if points_ang is None else sign * np.asarray(points_ang, dtype=np.float64) @ turn.T + shift,
        matrices=None if matrices is None else turn @ np.asarray(matrices, dtype=np.float64),
    )


def normalise_magnification(geometry: TiltGeometry) -> tuple[TiltGeometry, float]:
    """Make the mean magnification 1, as it is stored.

    Returns
    -------
    geometry, scale
        with m / mean(m), and the mean(m) by which every specimen point has to be multiplied so that it projects to
        where it did. Depths grow by the same scale: it is the pixel size that is in question.
    """
    scale = float(geometry.magnification.mean())
    return geometry.with_terms(magnification=geometry.magnification / scale), scale


def normalise_field(geometry: TiltGeometry) -> TiltGeometry:
    """Take out of the local field what the view's global terms can say: shift, rotation and magnification.

    The field's best similarity over its nodes, per view, goes into x_shift, y_shift, z_rot and the magnification; the
    rest is sampled again on the same nodes, so that the nodes' pictures stay exactly and what lies between them up to
    the spline's own interpolation. What remains of a linear part is a stretch along one direction: it stays in the
    field, because a tilt would mimic it only for points of one plane. The mean magnification is not 1 afterwards unless
    `normalise_magnification` follows.

    Raises
    ------
    GeometryError
        if a field turns or scales its image so much that no similarity remains.
    """
    if geometry.field is None:
        return geometry
    nodes = geometry.field.nodes_ang.copy()
    places = _node_places(geometry.field)
    scale, turn, offset = np.ones(len(geometry)), np.zeros(len(geometry)), np.zeros((len(geometry), 2))
    for view in range(len(geometry)):
        matrix, shift = np.eye(2), np.zeros(2)
        current = nodes[view].reshape(2, -1).T  # (nodes, 2)
        # The field is carried along to the moved points, which changes its similarity a little: a few rounds suffice.
        for _ in range(20):
            step_matrix, step_shift = _similarity(places, places + current)
            matrix, shift = step_matrix @ matrix, step_matrix @ shift + step_shift
            before = (places - shift) @ np.linalg.inv(matrix).T
            current = before + geometry.field.displacement(view, before) - places
            if max(np.abs(step_shift).max(), np.abs(step_matrix - np.eye(2)).max() * np.abs(places).max()) < 1e-8:
                break
        else:
            raise GeometryError(f"the local field of view {view + 1} folds the image", mend="use a smoother field")
        nodes[view] = current.T.reshape(nodes[view].shape)
        scale[view] = np.sqrt(np.linalg.det(matrix))
        turn[view] = np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0]))
        offset[view] = shift
    shifts = np.einsum("nij,nj->ni", scale[:, None, None] * rotation_z(turn)[:, :2, :2], geometry.shifts_ang()) + offset
    return geometry.with_terms(
        magnification=geometry.magnification * scale,
        z_rot_deg=geometry.z_rot_deg + turn,
        x_shift_ang=shifts[:, 0],
        y_shift_ang=shifts[:, 1],
        field=ImageField(nodes, geometry.field.half_width_ang),
    )


def _checked_rotation(rotation: ArrayLike | None, x_tilt_deg: float, y_tilt_deg: float) -> Array:
    if rotation is None:
        turn: Array = rotation_y(y_tilt_deg) @ rotation_x(x_tilt_deg)
        return turn
    if x_tilt_deg or y_tilt_deg:
        raise GeometryError("a rotation and a tilt are given", mend="give one of them")
    turn = np.asarray(rotation, dtype=np.float64)
    if turn.shape != (3, 3) or not np.allclose(turn @ turn.T, np.eye(3), atol=1e-6) or np.linalg.det(turn) < 0:
        raise GeometryError("the matrix given is not a rotation", mend="give an orthonormal (3, 3) of determinant +1")
    left, _stretch, right = np.linalg.svd(turn)
    return np.asarray(left @ right, dtype=np.float64)


def _inverted(geometry: TiltGeometry) -> TiltGeometry:
    """The same pictures of the specimen inverted through its centre."""
    turned = geometry.z_rot_deg + 180
    # One multiple of 360 for all views: the axis stays continuous from view to view.
    return geometry.with_terms(z_rot_deg=turned - 360 * np.ceil((turned.mean() - 180) / 360))


def _node_places(field: ImageField) -> Array:
    """Where the nodes stand in the image, ``(gy · gx, 2)`` as (x, y) Å."""
    rows, columns = field.nodes_ang.shape[2:]
    x = np.linspace(-1, 1, columns) * field.half_width_ang[0]
    y = np.linspace(-1, 1, rows) * field.half_width_ang[1]
    return np.stack([axis.ravel() for axis in np.meshgrid(x, y)], axis=-1)


def _similarity(source: Array, target: Array) -> tuple[Array, Array]:
    """Least-squares target ≈ matrix · source + shift, the matrix a rotation times a scale (Umeyama 1991)."""
    middle, goal = source.mean(axis=0), target.mean(axis=0)
    a, b = source - middle, target - goal
    dot = (a * b).sum()
    cross = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()
    if np.hypot(dot, cross) < 1e-6 * (a**2).sum():
        raise GeometryError("a local field collapses its image", mend="use a smoother field")
    matrix = np.array([[dot, -cross], [cross, dot]]) / (a**2).sum()
    return matrix, goal - matrix @ middle
