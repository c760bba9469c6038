"""The projection model: where a point of the specimen appears in each view.

A specimen point p (xyz, Å from the tomogram's centre voxel) projects in view v to

    q = m · [Rz(z_rot) · Ry(y_tilt) · Rx(x_tilt) · p]_xy + (x_shift, y_shift)

in Å from the tilt image's centre pixel, then moves by the view's local field, if there is one. It is the model of
RELION-5 with a magnification. With y = row index, the tilt axis lies in the image along Rz(z_rot)·ŷ.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import GeometryError
from lamella.geometry.field import ImageField
from lamella.geometry.rotations import rotation_x, rotation_y, rotation_z

__all__ = ["TiltGeometry"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class TiltGeometry:
    """Geometry of a tilt series: one number per view and term, float64.

    Attributes
    ----------
    x_tilt_deg, y_tilt_deg, z_rot_deg
        ``(n,)`` rotations of the specimen, in the order x, y (the tilt), z (the axis in the image).
    x_shift_ang, y_shift_ang
        ``(n,)`` where the centre voxel appears, Å from the image's centre pixel.
    magnification
        ``(n,)`` m of each view, mean 1.
    field
        local deformation of the images, or None.

    Raises
    ------
    GeometryError
        if lengths differ, a number is not finite, or a magnification is not positive.
    """

    x_tilt_deg: Array
    y_tilt_deg: Array
    z_rot_deg: Array
    x_shift_ang: Array
    y_shift_ang: Array
    magnification: Array
    field: ImageField | None = None

    def __post_init__(self) -> None:
        n = np.size(self.y_tilt_deg)
        for name in _TERMS:
            values = np.atleast_1d(np.array(getattr(self, name), dtype=np.float64))
            if values.shape != (n,):
                raise GeometryError(
                    f"{name} has {values.size} numbers for {n} tilt angles", mend="give one number per view"
                )
            if not np.isfinite(values).all():
                bad = int(np.flatnonzero(~np.isfinite(values))[0]) + 1
                raise GeometryError(f"{name} of view {bad} is not a finite number", mend="exclude the view or set it")
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        if (self.magnification <= 0).any():
            raise GeometryError("a magnification is not positive", mend="state 1 where nothing was solved")
        if self.field is not None and len(self.field) != n:
            raise GeometryError(f"a field of {len(self.field)} views for {n} tilt angles", mend="give one per view")

    @classmethod
    def from_angles(cls, y_tilt_deg: ArrayLike, z_rot_deg: ArrayLike = 0.0, **terms: Any) -> TiltGeometry:
        """Geometry from tilt angles; any other term may be one number for all views, a list, or left out (0; m = 1)."""
        tilt = np.atleast_1d(np.asarray(y_tilt_deg, dtype=np.float64))
        field = terms.pop("field", None)
        values = {"x_tilt_deg": 0.0, "x_shift_ang": 0.0, "y_shift_ang": 0.0, "magnification": 1.0} | terms
        spread = {
            name: np.broadcast_to(np.asarray(value, dtype=np.float64), tilt.shape) for name, value in values.items()
        }
        return cls(
            y_tilt_deg=tilt,
            z_rot_deg=np.broadcast_to(np.asarray(z_rot_deg, np.float64), tilt.shape),
            field=field,
            **spread,
        )

    def __len__(self) -> int:
        return len(self.y_tilt_deg)

    def rotations(self) -> Array:
        """``(n, 3, 3)`` rotation of the specimen in each view, magnification left out."""
        rotations: Array = rotation_z(self.z_rot_deg) @ rotation_y(self.y_tilt_deg) @ rotation_x(self.x_tilt_deg)
        return rotations

    def matrices(self) -> Array:
        """``(n, 2, 3)`` matrices of the global model: q = matrix · p + shift."""
        matrices: Array = self.magnification[:, None, None] * self.rotations()[:, :2]
        return matrices

    def shifts_ang(self) -> Array:
        """``(n, 2)`` shift (x, y) of each view, Å."""
        return np.stack([self.x_shift_ang, self.y_shift_ang], axis=-1)

    def project(self, points_ang: ArrayLike) -> Array:
        """Image points ``(n, ..., 2)`` in Å from the centre pixel, of specimen points ``(..., 3)`` in Å."""
        points = np.asarray(points_ang, dtype=np.float64)
        flat = points.reshape(-1, 3)
        q = np.einsum("nij,pj->npi", self.matrices(), flat) + self.shifts_ang()[:, None]
        if self.field is not None:
            q = np.stack([q_view + self.field.displacement(view, q_view) for view, q_view in enumerate(q)])
        projected: Array = q.reshape(len(self), *points.shape[:-1], 2)
        return projected

    def depth_ang(self, points_ang: ArrayLike) -> Array:
        """Depth ``(n, ...)`` of points ``(..., 3)``: rotated z minus the centre's, Å; defocus grows by hand × depth."""
        depth: Array = np.einsum("nj,...j->n...", self.rotations()[:, 2], np.asarray(points_ang, dtype=np.float64))
        return depth

    def back_project(self, q_ang: ArrayLike, z_ang: ArrayLike) -> Array:
        """Specimen points ``(n, ..., 3)`` at specimen height z that project to image points ``(n, ..., 2)``.

        The inverse of `project` where z is known. The local field is undone by fixed-point iteration, which converges
        where it is smoother than the identity.

        Raises
        ------
        GeometryError
            if a view looks along the specimen's plane (tilted by ±90°), or a field folds the image.
        """
        q = np.asarray(q_ang, dtype=np.float64)
        z = np.broadcast_to(np.asarray(z_ang, dtype=np.float64), q.shape[:-1])
        flat_q, flat_z = q.reshape(len(self), -1, 2), z.reshape(len(self), -1)
        matrices = self.matrices()
        out = np.empty((*flat_q.shape[:2], 3))
        for view in range(len(self)):
            plane = matrices[view][:, :2]
            if abs(np.linalg.det(plane)) < 1e-9:
                raise GeometryError(
                    f"view {view + 1} looks along the specimen's plane", mend="exclude views tilted by 90 degrees"
                )
            place = self._without_field(view, flat_q[view]) - self.shifts_ang()[view]
            place = place - flat_z[view][:, None] * matrices[view][:, 2]
            out[view, :, :2] = place @ np.linalg.inv(plane).T
            out[view, :, 2] = flat_z[view]
        return out.reshape(*q.shape[:-1], 3)

    def _without_field(self, view: int, q: Array) -> Array:
        """Solve q = u + displacement(u) for u."""
        if self.field is None:
            return q
        u = q
        for _ in range(100):
            u_next = q - self.field.displacement(view, u)
            moved = float(np.abs(u_next - u).max(initial=0.0))
            u = u_next
            if moved < 1e-9:
                return u
        raise GeometryError(f"the local field of view {view + 1} folds the image", mend="use a smoother field")

    def select(self, views: ArrayLike) -> TiltGeometry:
        """The geometry of some views, in the order given."""
        chosen = np.asarray(views)
        terms = {name: getattr(self, name)[chosen] for name in _TERMS}
        return TiltGeometry(**terms, field=None if self.field is None else self.field.select(chosen))

    def joined(self, other: TiltGeometry) -> TiltGeometry:
        """The geometry of these views, then of another's that are described in the same frame."""
        terms: dict[str, Any] = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in _TERMS}
        known = other.field if self.field is None else self.field
        if known is None:
            return TiltGeometry(**terms)
        fields = [
            ImageField(np.zeros((len(part), *known.nodes_ang.shape[1:])), known.half_width_ang)
            if part.field is None
            else part.field
            for part in (self, other)
        ]
        return TiltGeometry(**terms, field=fields[0].joined(fields[1]))

    def with_terms(self, **terms: Any) -> TiltGeometry:
        """A copy with some terms replaced; one number stands for all views."""
        spread: dict[str, Any] = {
            name: value if name == "field" else np.broadcast_to(np.asarray(value, np.float64), (len(self),))
            for name, value in terms.items()
        }
        return replace(self, **spread)


_TERMS = tuple(entry.name for entry in fields(TiltGeometry) if entry.name != "field")
