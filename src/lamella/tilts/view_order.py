"""Whether views show the specimen, and whether the stated tilt angles belong to them in that order.

A view that is like no other shows nothing. Near angles must show near pictures.

A wrong sign of all angles cannot be told: the mirrored specimen gives the same pictures. Angles of other views can: the
picture that is most like a view's is then not that of its neighbour in angle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.geometry import TiltGeometry
from lamella.progress import Progress, no_progress
from lamella.tilts.coarse import PairCorrelator
from lamella.tilts.working import WorkingImages

__all__ = ["CLEAR", "OrderCheck", "check_order"]

Array = NDArray[np.float64]

_SIZE_PX = 128
_NEAR = 2  # places in the order of angles
_LEAST_AGREEING = 0.85  # of the views whose best match is near; in the right order nearly all are
CLEAR = 6.5
"""Standard deviations of the correlation elsewhere, or a view matches nothing: the best of 40 of noise reaches 6.3; of
41 simulated views of 3 e/Å² the poorest has 12, and 7.5 where every second view beside it is noise."""
_FEWEST = 8  # views that say something
_USUAL_STEP = 1.5  # of the median step of tilt: neighbours farther apart may be unlike
_BROKEN = 0.5  # of what nearly all neighbours' correlations exceed, in standard deviations


@dataclass(frozen=True, kw_only=True, eq=False)
class OrderCheck:
    """What the pictures say of the order of the angles.

    Attributes
    ----------
    best_match
        ``(n,)`` the view that each view is most like.
    telling
        ``(n,)`` whether that match is clear.
    agreeing
        fraction of the telling views whose best match is at most two places away in the order of angles; 1 where too
        few views say anything.
    broken
        ``(k, 2)`` views that are neighbours in tilt by their angles, and are not alike although each is like another.
    """

    best_match: NDArray[np.int64]
    telling: NDArray[np.bool_]
    agreeing: float
    broken: NDArray[np.int64]

    @property
    def unlike(self) -> NDArray[np.int64]:
        """Views, counted from 0, that are like no other."""
        return np.flatnonzero(~self.telling)

    @property
    def note(self) -> str | None:
        """What to tell the user of the order, or None where angles and pictures agree."""
        if self.agreeing >= _LEAST_AGREEING:
            pairs = " and ".join(f"views {a + 1} and {b + 1}" for a, b in self.broken)
            told = f"{pairs} are neighbours by their tilt angles, but not alike: the angles seem to be in another order"
            return told if pairs else None
        return (
            f"{100 * (1 - self.agreeing):.0f} % of the views are most like a view that is not their neighbour in tilt: "
            "the angles seem to be in another order than the images (of recording instead of angle?)"
        )


def check_order(images: WorkingImages, geometry: TiltGeometry, progress: Progress = no_progress) -> OrderCheck:
    """Compare every view with every other, not stretched, wherever the peak lies.

    Parameters
    ----------
    images
        working images; brought down to 128 px.
    geometry
        whose order of tilt angles is checked. The angles themselves are not used.
    progress
        told the fraction done.
    """
    n = len(geometry)
    level = TiltGeometry.from_angles(np.zeros(n))
    pairs = np.stack(np.triu_indices(n, 1), axis=-1)
    found = PairCorrelator(images.binned(_SIZE_PX)).pairs(level, pairs, None, progress)
    height, clear = np.full((n, n), -np.inf), np.zeros((n, n))
    for (first, second), one in zip(pairs, found, strict=True):
        height[first, second] = height[second, first] = one.height
        clear[first, second] = clear[second, first] = one.significance
    best = height.argmax(axis=1)
    telling = clear[np.arange(n), best] > CLEAR
    place = np.argsort(np.argsort(geometry.y_tilt_deg, kind="stable"))
    near = np.abs(place[best] - place) <= _NEAR
    agreeing = float(near[telling].mean()) if telling.sum() >= _FEWEST else 1.0
    broken = _broken(geometry.y_tilt_deg, clear, telling) if telling.sum() >= _FEWEST else np.zeros((0, 2), np.int64)
    return OrderCheck(best_match=best, telling=telling, agreeing=agreeing, broken=broken)


def _broken(tilt_deg: Array, clear: Array, telling: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Neighbours in tilt that are far less alike than nearly all others are."""
    order = np.argsort(tilt_deg, kind="stable")
    order = order[telling[order]]
    pairs = np.stack([order[:-1], order[1:]], axis=-1)
    steps = np.diff(tilt_deg[order])
    alike = clear[pairs[:, 0], pairs[:, 1]]
    apart = (alike < CLEAR) & (alike < _BROKEN * np.quantile(alike, 0.1))
    return np.asarray(pairs[apart & (steps <= _USUAL_STEP * np.median(steps))])
