"""Whether the stated tilt angles belong to the views in that order: near angles must show near pictures.

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

__all__ = ["OrderCheck", "check_order"]

Array = NDArray[np.float64]

_SIZE_PX = 128
_NEAR = 2  # places in the order of angles
_LEAST_AGREEING = 0.85  # of the views whose best match is near; in the right order nearly all are
_CLEAR = 6.0  # standard deviations of the correlation elsewhere, or a view matches nothing and says nothing
_FEWEST = 8  # views that say something


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
    """

    best_match: NDArray[np.int64]
    telling: NDArray[np.bool_]
    agreeing: float

    @property
    def note(self) -> str | None:
        """What to tell the user, or None where angles and pictures agree."""
        if self.agreeing >= _LEAST_AGREEING:
            return None
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
    telling = clear[np.arange(n), best] > _CLEAR
    place = np.argsort(np.argsort(geometry.y_tilt_deg, kind="stable"))
    near = np.abs(place[best] - place) <= _NEAR
    agreeing = float(near[telling].mean()) if telling.sum() >= _FEWEST else 1.0
    return OrderCheck(best_match=best, telling=telling, agreeing=agreeing)
