"""Warp's grids: natural cubic splines through values on regular nodes, along x, y and the views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["WarpGrid"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class WarpGrid:
    """Values at nodes that span 0…1 in each direction from the first node to the last.

    A direction with one node is constant.

    Attributes
    ----------
    nodes
        ``(depth, height, width)``: views (or z), y, x.
    """

    nodes: Array

    @classmethod
    def constant(cls, value: float) -> WarpGrid:
        """One node."""
        return cls(np.full((1, 1, 1), float(value)))

    @property
    def is_zero(self) -> bool:
        """Whether it moves nothing."""
        return not np.any(self.nodes)

    def planes(self, count: int) -> Array:
        """``(count, height, width)`` nodes in each of `count` views, which are evenly spaced along the depth."""
        if len(self.nodes) == count:
            return self.nodes
        at = np.arange(count) / max(count - 1, 1)
        planes: Array = np.einsum("vd,dyx->vyx", _weights(len(self.nodes), at), self.nodes)
        return planes

    @staticmethod
    def values(plane: Array, u: Array, v: Array) -> Array:
        """Values ``(k,)`` of one plane of nodes ``(height, width)`` at x = u, y = v.

        Beyond 0…1, where no image is, they go on straight instead: a natural spline's smoothest way.
        """
        rows, columns = _straight(plane.shape[0], v), _straight(plane.shape[1], u)
        return np.asarray(((rows @ plane) * columns).sum(axis=-1))


def _straight(count: int, at: Array) -> Array:
    """The same as `_weights` within 0…1; beyond, the tangent at the end."""
    inside = np.clip(at, 0, 1)
    weights = _weights(count, inside)
    if (inside == at).all():
        return weights
    small = 1e-4
    ends = np.array([0.0, small, 1.0 - small, 1.0])
    low, near, far, high = _weights(count, ends)
    slopes = np.where((at < 0)[:, None], near - low, high - far) / small
    return np.asarray(weights + (at - inside)[:, None] * slopes)


def _weights(count: int, at: Array) -> Array:
    """``(k, count)`` weight of every node at places in 0…1 of the natural spline through them."""
    from scipy.interpolate import CubicSpline  # late: the list of formats must load without scipy

    if count == 1:
        return np.ones((len(at), 1))
    spline = CubicSpline(np.linspace(0, 1, count), np.eye(count), bc_type="natural")
    return np.asarray(spline(at))
