"""Views in the order in which they lie side by side: by tilt, axis by axis."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lamella.geometry import TiltGeometry
from lamella.records import TiltSeries

__all__ = ["views_in_order"]

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

_APART_DEG = 20.0  # between the image's turns of two axes


def views_in_order(series: TiltSeries) -> Ints:
    """``(n,)`` views by rising tilt about y, or about x where they tilt so; of two tilt axes one after the other.

    Every second view of this order and the others are two halves of a series, each with views over all its tilts.

    Notes
    -----
    A view's rotation is the least one that brings its beam to z, then a turn of the image. Views of one axis share the
    turn; after the specimen was turned in its plane it is another one. Within an axis the beams lie along a line.
    """
    if series.geometry is None:
        return np.argsort(series.tilt_deg, kind="stable")
    return np.concatenate([group[_along(series.geometry, group)] for group in _axes(series.geometry)])


def _axes(geometry: TiltGeometry) -> list[Ints]:
    """The views of each tilt axis, that of the first view first."""
    rotations = geometry.rotations()
    beam = rotations[:, 2]
    # the least rotation's inverse takes z to the beam; what it makes of x (Rodrigues), the view turns in the image
    first = np.stack(
        [1 - beam[:, 0] ** 2 / (1 + beam[:, 2]), -beam[:, 0] * beam[:, 1] / (1 + beam[:, 2]), -beam[:, 0]], -1
    )
    turned = np.einsum("nij,nj->ni", rotations, first)
    turn = np.rad2deg(np.arctan2(turned[:, 1], turned[:, 0])) % 360
    order = np.argsort(turn, kind="stable")
    after = np.diff(turn[order], append=turn[order[0]] + 360)
    last = int(np.argmax(after))  # the circle is cut at its widest gap
    order, after = np.roll(order, -last - 1), np.roll(after, -last - 1)
    groups = np.split(order, np.flatnonzero(after[:-1] > _APART_DEG) + 1)
    return sorted((np.sort(group).astype(np.int64) for group in groups), key=lambda group: int(group[0]))


def _along(geometry: TiltGeometry, views: Ints) -> Ints:
    """Order of some views along the line on which their beams lie."""
    beam: Array = geometry.rotations()[views, 2]
    tilts = np.stack([-beam[:, 0], beam[:, 1]], axis=-1)  # sines of the tilts about y and x
    _values, vectors = np.linalg.eigh(np.cov(tilts.T)) if len(views) > 1 else (None, np.eye(2))
    line = vectors[:, -1]
    return np.argsort(tilts @ line * np.sign(line[np.argmax(np.abs(line))]), kind="stable")
