"""IMOD's alignment as a projection model, and back.

IMOD keeps a view's alignment as a line ``A11 A12 A21 A22 DX DY`` of an ``.xf`` file, a tilt angle and a tilt about x.

- ``newstack`` takes a point u of the image to a = A · u + d in the aligned image. Both are counted in pixels from the
  images' centres, which lie at n / 2 where the first pixel covers 0…1: at index n / 2 − 1/2 if the first pixel is 0.
  (newstack's ``backXform``: centre ``nxb / 2. + 0.5`` with the first pixel 1.) Ours is index n // 2.
- ``tilt`` projects a point (X, Y, Z), from the tilt axis, to a = (X cos t + (Y sin x + Z cos x) sin t,
  Y cos x − Z sin x): that is Ry(t) · Rx(x), as in lamella. Its slices, though, count z the other way,
  Z = −(slice − centre), which is why volumes of ``tilt -PERPENDICULAR`` are mirrored in z against lamella's.
- The tilt about x is the line of ``XTILTFILE`` *less* ``XAXISTILT``, the tilt that of ``TILTFILE`` plus ``OFFSET``.
- ``FULLIMAGE`` and ``SUBSETSTART`` say where the axis lies in an aligned image that was cut or widened, ``SHIFT`` how
  the volume lies to the axis; all in unbinned pixels.

Sources: IMOD's tilt.f90 (`project`, and the set-up of sines and centres) and newstack's documentation; the x-tilt's
sign and the equation of the projection also hold for IMOD's solutions of real bead series.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.image_maps import image_grid
from lamella.geometry import TiltGeometry, rotation_x, rotation_y, rotation_z

__all__ = ["ImodAlignment", "alignment_from_geometry", "geometry_from_alignment", "half_pixel"]

Array = NDArray[np.float64]

_SAMPLES = 33


@dataclass(frozen=True, kw_only=True, eq=False)
class ImodAlignment:
    """One row per view, in pixels of the stack that the transforms were made for.

    Attributes
    ----------
    linear, shift_px
        ``(n, 2, 2)`` A and ``(n, 2)`` d of the transforms.
    tilt_deg, x_tilt_deg
        ``(n,)`` total tilt about y and about x.
    axis_px
        (x, y) where the tilt axis's centre lies in the aligned image, from its centre.
    volume_px
        (x, y, z) where the reconstruction's centre lies, from the tilt axis's centre.
    """

    linear: Array
    shift_px: Array
    tilt_deg: Array
    x_tilt_deg: Array
    axis_px: tuple[float, float] = (0.0, 0.0)
    volume_px: tuple[float, float, float] = (0.0, 0.0, 0.0)


def half_pixel(image_shape_px: tuple[int, int]) -> Array:
    """(x, y) from IMOD's image centre to lamella's centre pixel: ½ along an even side, 0 along an odd one."""
    height, width = image_shape_px
    return np.array([width // 2 - width / 2 + 0.5, height // 2 - height / 2 + 0.5])


def geometry_from_alignment(
    alignment: ImodAlignment, pixel_size_ang: float, image_shape_px: tuple[int, int], where: str
) -> tuple[TiltGeometry, Array]:
    """The projection model of an alignment.

    The specimen's origin is the centre of IMOD's reconstruction, SHIFT included. The linear part of a transform becomes
    a rotation and a magnification; what is left of it (stretch, shear) has no place in the model.

    Parameters
    ----------
    alignment
        IMOD's, one row per view.
    pixel_size_ang
        pixel of the transforms, Å.
    image_shape_px
        (height, width) of the stack, in those pixels.
    where
        the file, for messages.

    Returns
    -------
    geometry, leftover
        the model, and ``(n,)`` how far the left-out stretch moves the image's corners, in pixels.

    Raises
    ------
    FormatError
        if a transform is singular or mirrors the image; its line is named.
    """
    determinant = np.linalg.det(alignment.linear)
    for row in np.flatnonzero(~(determinant > 1e-6)).tolist():
        raise FormatError(
            f"{where}: the transform of view {row + 1} {'mirrors' if determinant[row] < 0 else 'flattens'} the image",
            mend="align the stack itself, without flips",
        )
    back = np.linalg.inv(alignment.linear)  # (n, 2, 2) aligned -> image
    cos = (back[:, 0, 0] + back[:, 1, 1]) / 2
    sin = (back[:, 1, 0] - back[:, 0, 1]) / 2
    magnification = np.hypot(cos, sin)
    similar = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    height, width = image_shape_px
    corners = np.array([[width, height], [-width, height]]) / 2  # the other two move alike
    leftover = np.linalg.norm((back - similar) @ corners.T, axis=1).max(axis=-1)
    turned = rotation_y(alignment.tilt_deg) @ rotation_x(alignment.x_tilt_deg)
    origin = (turned @ np.array(alignment.volume_px))[:, :2] + np.array(alignment.axis_px) - alignment.shift_px
    shift_px = np.einsum("nij,nj->ni", back, origin) - half_pixel(image_shape_px)
    geometry = TiltGeometry.from_angles(
        alignment.tilt_deg,
        np.rad2deg(np.arctan2(sin, cos)),
        x_tilt_deg=alignment.x_tilt_deg,
        x_shift_ang=shift_px[:, 0] * pixel_size_ang,
        y_shift_ang=shift_px[:, 1] * pixel_size_ang,
        magnification=magnification,
    )
    return geometry, leftover


def alignment_from_geometry(
    geometry: TiltGeometry, pixel_size_ang: float, image_shape_px: tuple[int, int]
) -> tuple[ImodAlignment, float]:
    """The alignment that IMOD needs for a projection model.

    Of a local field, the linear part in each view becomes stretch of its transform.

    Returns
    -------
    alignment, left_px
        and what of the field is left out, px at most over the images.
    """
    linear = rotation_z(-geometry.z_rot_deg)[:, :2, :2] / geometry.magnification[:, None, None]
    stretch, shift_ang, left_ang = _linear_part(geometry, pixel_size_ang, image_shape_px)
    whole = linear @ np.linalg.inv(stretch)
    centre_px = shift_ang / pixel_size_ang + half_pixel(image_shape_px)
    from_centre = np.einsum("nij,nj->ni", linear, geometry.shifts_ang() / pixel_size_ang)
    alignment = ImodAlignment(
        linear=whole,
        shift_px=-np.einsum("nij,nj->ni", whole, centre_px) - from_centre,
        tilt_deg=geometry.y_tilt_deg,
        x_tilt_deg=geometry.x_tilt_deg,
    )
    return alignment, left_ang / pixel_size_ang


def _linear_part(
    geometry: TiltGeometry, pixel_size_ang: float, image_shape_px: tuple[int, int]
) -> tuple[Array, Array, float]:
    """The affine maps ``(n, 2, 2)``, ``(n, 2)`` Å that follow a field best over the images, and what they miss, Å."""
    n = len(geometry)
    matrices, shifts = np.broadcast_to(np.eye(2), (n, 2, 2)).copy(), np.zeros((n, 2))
    if geometry.field is None:
        return matrices, shifts, 0.0
    q = image_grid(image_shape_px, pixel_size_ang, (_SAMPLES, _SAMPLES)).reshape(-1, 2)
    columns = np.column_stack([q, np.ones(len(q))])
    missed = 0.0
    for view in range(n):
        moved = q + geometry.field.displacement(view, q)
        solved = np.linalg.lstsq(columns, moved, rcond=None)[0]
        matrices[view], shifts[view] = solved[:2].T, solved[2]
        missed = max(missed, float(np.linalg.norm(columns @ solved - moved, axis=1).max()))
    return matrices, shifts, missed
