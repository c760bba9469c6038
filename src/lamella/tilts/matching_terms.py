"""What matching may change in a geometry, and how far each change is believed beforehand.

Every term of every view has a Gaussian prior: a covariance over the views that says how large its changes are and how
they go together. Shifts are as good as free; the axis is common with slow changes over the tilt; magnification changes
slowly with the dose; the local field starts from nothing at the first exposure and grows by steps that the dose
orders. What the views tell decides where they tell anything, and the rest stays where it was thought to be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lamella.geometry import ImageField, TiltGeometry

__all__ = ["FIELD_SHAPES", "MatchTerms", "Priors", "field_of", "field_shapes", "prior_covariances"]

Array = NDArray[np.float64]

GLOBAL = ("x_shift", "y_shift", "z_rot", "y_tilt", "magnification")
FIELD_SHAPES = 7
_NODES = 5  # of the field, each way
_DOSE_SCALE = 10.0  # e/Å² within which a specimen moves as much as in each doubling afterwards
_OWN_SHARE = 0.04  # of the field at the end: what a view may have of its own
_DEGREE = np.pi / 180


@dataclass(frozen=True, kw_only=True)
class Priors:
    """Standard deviations of what may change.

    Attributes
    ----------
    shift_ang
        of a view's shift.
    axis_common_deg, axis_slow_deg, axis_view_deg
        of the axis: of all views alike, of its slow change with the tilt, of one view's own.
    tilt_view_deg
        of one view's tilt angle.
    magnification_slow, magnification_view
        of the magnification: its slow change with the dose, one view's own.
    field_ang
        of each of the field's coefficients at the end of the series; 0: no field.
    height_ang
        of a patch's height about the specimen's mid-plane.
    slope
        of the mid-plane.
    """

    shift_ang: float = 1000.0
    axis_common_deg: float = 5.0
    axis_slow_deg: float = 0.15
    axis_view_deg: float = 0.02
    tilt_view_deg: float = 0.03
    magnification_slow: float = 0.0007
    magnification_view: float = 0.0001
    field_ang: float = 5.0
    height_ang: float = 150.0
    slope: float = 0.3


@dataclass(frozen=True, eq=False)
class MatchTerms:
    """The numbers that are solved for.

    Attributes
    ----------
    geometry
        the terms that all points share, without a field.
    field
        ``(n, 2, b)`` coefficients of the field's shapes, Å.
    points_ang
        ``(p, 3)`` the patches' centres.
    """

    geometry: TiltGeometry
    field: Array
    points_ang: Array

    def stepped(self, step: Array) -> MatchTerms:
        """After a step of the views' numbers ``(n, 5 + 2 b)`` and the patches' heights ``(p,)``, in one vector."""
        n, g = len(self.geometry), len(GLOBAL)
        size = g + 2 * self.field.shape[2]
        views, heights = step[: n * size].reshape(n, size), step[n * size :]
        old = self.geometry
        magnification = old.magnification + views[:, 4]
        points = self.points_ang.copy()
        points[:, 2] += heights
        geometry = old.with_terms(
            x_shift_ang=old.x_shift_ang + views[:, 0],
            y_shift_ang=old.y_shift_ang + views[:, 1],
            z_rot_deg=old.z_rot_deg + views[:, 2] / _DEGREE,
            y_tilt_deg=old.y_tilt_deg + views[:, 3] / _DEGREE,
            magnification=magnification,
        )
        return replace(self, geometry=geometry, field=self.field + views[:, g:].reshape(n, 2, -1), points_ang=points)

    def values(self, start: TiltGeometry) -> Array:
        """``(n, 5 + 2 b)`` how far the views' numbers are from a start."""
        now = self.geometry
        parts = [
            now.x_shift_ang - start.x_shift_ang,
            now.y_shift_ang - start.y_shift_ang,
            (now.z_rot_deg - start.z_rot_deg) * _DEGREE,
            (now.y_tilt_deg - start.y_tilt_deg) * _DEGREE,
            now.magnification - start.magnification,
        ]
        return np.concatenate([np.stack(parts, axis=-1), self.field.reshape(len(now), -1)], axis=1)


def field_shapes(half_width_ang: tuple[float, float]) -> ImageField:
    """The shapes of which a field is made: one "view" for each, its x displacement the shape, rms 1 over the nodes."""
    y, x = np.meshgrid(np.linspace(-1, 1, _NODES), np.linspace(-1, 1, _NODES), indexing="ij")
    one = np.ones_like(x).ravel()
    linear = np.stack([one, x.ravel(), y.ravel()], axis=-1)
    raw = np.stack([x**2, x * y, y**2, x**3, x**2 * y, x * y**2, y**3]).reshape(FIELD_SHAPES, -1)
    shapes: list[Array] = []
    for shape in raw:  # free of what shift, rotation and magnification can say, and of each other
        base = np.concatenate([linear, *[done[:, None] for done in shapes]], axis=1)
        rest = shape - base @ np.linalg.lstsq(base, shape, rcond=None)[0]
        shapes.append(rest / np.sqrt((rest**2).mean()))
    nodes = np.zeros((FIELD_SHAPES, 2, _NODES, _NODES))
    nodes[:, 0] = np.stack(shapes).reshape(FIELD_SHAPES, _NODES, _NODES)
    return ImageField(nodes, half_width_ang)


def field_of(coefficients: Array, shapes: ImageField) -> ImageField:
    """The field ``(n, 2, b)`` coefficients make."""
    return ImageField(np.einsum("ncb,bij->ncij", coefficients, shapes.nodes_ang[:, 0]), shapes.half_width_ang)


def prior_covariances(priors: Priors, geometry: TiltGeometry, dose: Array | None) -> list[Array]:
    """``(n, n)`` covariance of each of a view's numbers: x, y, axis, tilt, magnification, one of the field.

    `dose` is what the specimen had received before each view, e/Å²; where nobody knows, the least tilted view is taken
    as the first, and the others in the order of their distance from it.
    """
    n, tilt = len(geometry), geometry.y_tilt_deg
    eye, all_alike = np.eye(n), np.ones((n, n))
    slow = np.exp(-0.5 * ((tilt[:, None] - tilt) / 35.0) ** 2)
    received = 2.0 * np.abs(tilt - tilt[np.argmin(np.abs(tilt))]) if dose is None else dose - dose.min()
    warped = np.log1p(received / _DOSE_SCALE)
    steps = np.minimum(warped[:, None], warped) / max(float(warped.max()), 1e-9)
    ordered = np.exp(-0.5 * ((warped[:, None] - warped) / 1.0) ** 2)
    return [
        priors.shift_ang**2 * eye,
        priors.shift_ang**2 * eye,
        _DEGREE**2
        * (priors.axis_common_deg**2 * all_alike + priors.axis_slow_deg**2 * slow + priors.axis_view_deg**2 * eye),
        (_DEGREE * priors.tilt_view_deg) ** 2 * eye,
        priors.magnification_slow**2 * ordered + priors.magnification_view**2 * eye,
        priors.field_ang**2 * (steps + _OWN_SHARE**2 * eye) + 1e-8 * eye,
    ]
