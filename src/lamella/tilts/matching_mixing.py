"""From the rounds made so far to where they lead: Anderson mixing of geometries.

A view is predicted by reconstructions that lean on its neighbours, so an error that changes slowly from view to view is
carried over from round to round: each round mends a tenth of it. But rounds are a fixed-point iteration x ← g(x), and
how g(x) − x changed between rounds tells where it vanishes (Anderson 1965; Walker & Ni 2011).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lamella.geometry import ImageField, TiltGeometry

__all__ = ["Mixing"]

Array = NDArray[np.float64]

_NODES = 5  # of the field, each way
_EARLIER = 3  # rounds that are looked back to
_DOUBT = 0.02  # of the changes' squares: what noise may make of them
_FARTHEST = 8.0  # times as far as the last round went


class Mixing:
    """The history of a fixed-point iteration over geometries of the same views in the same frame.

    Parameters
    ----------
    half_width_ang
        (x, y) of the field of view: what turns and scales move there is how far they count.
    """

    def __init__(self, half_width_ang: tuple[float, float]) -> None:
        self.half_width_ang = half_width_ang
        self.before: list[Array] = []
        self.after: list[Array] = []

    def next(self, before: TiltGeometry, after: TiltGeometry) -> TiltGeometry:
        """Where to go on, from a round's geometry before and after; `after` itself in the first round."""
        self.before.append(self._vector(before))
        self.after.append(self._vector(after))
        if len(self.after) < 2:
            return after
        last = slice(-_EARLIER - 1, None)
        inputs, outputs = np.stack(self.before[last], axis=-1), np.stack(self.after[last], axis=-1)
        went = outputs - inputs
        changes, now = np.diff(went, axis=-1), went[:, -1]
        normal = changes.T @ changes
        normal += _DOUBT * np.diag(np.diag(normal)) + 1e-12 * np.eye(len(normal))
        back = np.linalg.solve(normal, changes.T @ now)
        step = now - np.diff(outputs, axis=-1) @ back
        farthest = _FARTHEST * float(np.linalg.norm(now))
        step *= min(1.0, farthest / max(float(np.linalg.norm(step)), 1e-12))
        return self._geometry(inputs[:, -1] + step, after)

    def _vector(self, geometry: TiltGeometry) -> Array:
        """What of a geometry may change, as displacements of the picture, Å, root mean square over the field."""
        reach = float(np.hypot(*self.half_width_ang)) / np.sqrt(3)
        parts = [
            geometry.x_shift_ang,
            geometry.y_shift_ang,
            np.deg2rad(geometry.z_rot_deg) * reach,
            geometry.magnification * reach,
        ]
        return np.concatenate([*parts, self._nodes(geometry).ravel() / _NODES])

    def _nodes(self, geometry: TiltGeometry) -> Array:
        """``(n, 2, 5, 5)`` the field on a grid of its own."""
        if geometry.field is None:
            return np.zeros((len(geometry), 2, _NODES, _NODES))
        x, y = (np.linspace(-half, half, _NODES) for half in self.half_width_ang)
        grid = np.stack(np.meshgrid(x, y), axis=-1)
        field = geometry.field
        return np.stack([np.moveaxis(field.displacement(view, grid), -1, 0) for view in range(len(geometry))])

    def _geometry(self, vector: Array, like: TiltGeometry) -> TiltGeometry:
        n = len(like)
        reach = float(np.hypot(*self.half_width_ang)) / np.sqrt(3)
        x, y, turn, scale = vector[: 4 * n].reshape(4, n)
        nodes = vector[4 * n :].reshape(n, 2, _NODES, _NODES) * _NODES
        return like.with_terms(
            x_shift_ang=x,
            y_shift_ang=y,
            z_rot_deg=np.rad2deg(turn / reach),
            magnification=scale / reach,
            field=None if like.field is None else ImageField(nodes, self.half_width_ang),
        )
