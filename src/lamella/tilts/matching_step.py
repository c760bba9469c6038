"""One step of matching: all views and patches at once, by the information that the patches give and the priors."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from lamella.geometry import ImageField, TiltGeometry
from lamella.tilts.matching_terms import FIELD_SHAPES, GLOBAL, Priors, prior_covariances

__all__ = ["Normal", "view_jacobian"]

Array = NDArray[np.float64]


def view_jacobian(geometry: TiltGeometry, point_ang: Array, shapes: ImageField) -> tuple[Array, Array]:
    """Derivative of a point's places by its views' numbers ``(n, 2, 5 + 2 b)``, and by its height ``(n, 2)``."""
    matrices = geometry.matrices()
    seen = matrices @ point_ang  # (n, 2)
    turned = np.stack([-seen[:, 1], seen[:, 0]], axis=-1)
    # d/dt of Rz · Ry(t) · Rx · p: what lies deep moves across the axis
    turn = np.deg2rad(geometry.z_rot_deg)
    across = np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    by_tilt = (geometry.magnification * geometry.depth_ang(point_ang))[:, None] * across
    out = np.zeros((len(geometry), 2, len(GLOBAL) + 2 * FIELD_SHAPES))
    out[:, 0, 0] = out[:, 1, 1] = 1
    out[:, :, 2] = turned
    out[:, :, 3] = by_tilt
    out[:, :, 4] = seen / geometry.magnification[:, None]
    places = seen + geometry.shifts_ang()
    values = np.stack([shapes.displacement(shape, places)[:, 0] for shape in range(FIELD_SHAPES)], axis=-1)
    out[:, 0, 5 : 5 + FIELD_SHAPES] = values
    out[:, 1, 5 + FIELD_SHAPES :] = values
    return out, matrices[:, :, 2]


class Normal:
    """The normal equations of all numbers: ``n · (5 + 2 b)`` of the views, then one height per patch."""

    def __init__(self, geometry: TiltGeometry, points_ang: Array, dose: Array | None, priors: Priors) -> None:
        self.n, self.p = len(geometry), len(points_ang)
        self.size = len(GLOBAL) + 2 * FIELD_SHAPES
        total = self.n * self.size + self.p
        self.curvature, self.gradient = np.zeros((total, total)), np.zeros(total)
        covariances = prior_covariances(priors, geometry, dose)
        kinds = [*range(5), *[5] * (2 * FIELD_SHAPES)]
        inverses = [np.linalg.inv(covariance) for covariance in covariances]
        self.prior = np.zeros_like(self.curvature)
        for number, kind in enumerate(kinds):
            place = np.arange(self.n) * self.size + number
            self.prior[np.ix_(place, place)] = inverses[kind]
        design = np.column_stack([points_ang[:, :2] * priors.slope, np.full(self.p, priors.shift_ang)])
        heights = design @ design.T + priors.height_ang**2 * np.eye(self.p)
        self.prior[self.n * self.size :, self.n * self.size :] = np.linalg.inv(heights)

    def add(
        self, patch: int, jacobian: Array, by_height: Array, plane: Array, slope: Array, information: Array
    ) -> None:
        """Add a patch's gradient ``(n, 2)`` and information ``(n, 2, n, 2)`` in its own plane."""
        inverse = np.linalg.inv(plane)
        own = inverse @ jacobian  # (n, 2, m)
        deep = (inverse @ by_height[..., None])[..., 0]
        n, size = self.n, self.size
        half = np.einsum("viwj,wjb->viwb", information, own, optimize=True)
        self.curvature[: n * size, : n * size] += np.einsum("via,viwb->vawb", own, half, optimize=True).reshape(
            n * size, n * size
        )
        cross = np.einsum("viwb,vi->wb", half, deep).ravel()
        at = n * size + patch
        self.curvature[: n * size, at] += cross
        self.curvature[at, : n * size] += cross
        self.curvature[at, at] += np.einsum("vi,viwj,wj->", deep, information, deep, optimize=True)
        self.gradient[: n * size] += np.einsum("via,vi->va", own, slope).ravel()
        self.gradient[at] += float((deep * slope).sum())

    def step(self, values: Array, heights: Array) -> Array:
        """The step from where the numbers are: `values` from their start, and the patches' heights."""
        now = np.concatenate([values.ravel(), heights])
        whole = self.curvature + self.prior
        scale = 1 / np.sqrt(np.diag(whole))
        factor = scipy.linalg.cho_factor(whole * scale[:, None] * scale + 1e-9 * np.eye(len(scale)))
        right = self.gradient - self.prior @ now
        return np.asarray(scale * scipy.linalg.cho_solve(factor, scale * right))
