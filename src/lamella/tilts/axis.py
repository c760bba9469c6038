"""Find the tilt axis in the image: the direction across which stretching brings neighbouring views to match best.

With the axis wrong by δ, views whose widths differ by the ratio r are left sheared by about (r − 1) · δ against each
other. The search correlates pairs of views whose ratio is far from 1, first over the whole range, then finely.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.geometry import TiltGeometry
from lamella.progress import Progress, no_progress
from lamella.tilts.coarse import PairCorrelator, telling_pairs
from lamella.tilts.working import WorkingImages

__all__ = ["AxisSearch", "search_axis"]

Array = NDArray[np.float64]

_COARSE_DEG, _FINE_DEG = 9.0, 1.5
_NEAR_DEG = 12.0  # an axis this far from the nominal one is believed on the highest score alone
_SIGNIFICANT = 4.0  # standard errors by which one farther off must beat the best near one


@dataclass(frozen=True, eq=False)
class AxisSearch:
    """What a search for the axis found.

    Attributes
    ----------
    change_deg
        best change of the axis from where it was.
    tried_deg, score
        every change tried, in rising order, and the pairs' mean correlation there.
    refused_deg
        a change far off that scored higher but not significantly, or None.
    """

    change_deg: float
    tried_deg: Array
    score: Array
    refused_deg: float | None = None


def search_axis(
    images: WorkingImages, geometry: TiltGeometry, range_deg: float, *, progress: Progress = no_progress
) -> AxisSearch:
    """Search for the axis around the one that a geometry has.

    Parameters
    ----------
    images
        working images of about 192 px.
    geometry
        angles, the axis to begin with, and coarse shifts.
    range_deg
        how far to either side to look, at most 90.
    progress
        told the fraction done.
    """
    pairs = telling_pairs(geometry)
    reach = 0.06 * max(images.field_ang)
    correlator = PairCorrelator(images)
    heights: dict[float, Array] = {}

    def score(change: float) -> None:
        change = round(change, 6)
        if change not in heights and abs(change) <= range_deg + 1e-9:
            turned = geometry.with_terms(z_rot_deg=geometry.z_rot_deg + change)
            heights[change] = np.array([one.height for one in correlator.pairs(turned, pairs, reach)])

    wide = np.arange(0, range_deg + 1e-9, _COARSE_DEG)
    for number, change in enumerate(wide):
        score(change)
        score(-change)
        progress(0.7 * (number + 1) / len(wide), "searching for the tilt axis")
    best, refused = _believed(heights)
    best = _vertex({change: value for change, value in heights.items() if abs(change - best) <= _COARSE_DEG})
    for change in best + np.arange(-4 * _FINE_DEG, 4.5 * _FINE_DEG, _FINE_DEG):
        score(float(change))
    progress(1.0, "searching for the tilt axis")
    near = {change: value for change, value in heights.items() if abs(change - best) <= 4 * _FINE_DEG + 1e-9}
    tried = np.array(sorted(heights))
    means = np.array([heights[change].mean() for change in tried])
    return AxisSearch(_vertex(near), tried, means, refused)


def _believed(heights: dict[float, Array]) -> tuple[float, float | None]:
    """The best change, and the one that was refused for being far off and not clearly better."""
    best = max(heights, key=lambda change: float(heights[change].mean()))
    if abs(best) <= _NEAR_DEG:
        return best, None
    near = max((change for change in heights if abs(change) <= _NEAR_DEG), key=lambda c: float(heights[c].mean()))
    gain = heights[best] - heights[near]
    error = float(gain.std() / np.sqrt(max(len(gain) - 1, 1)))
    if float(gain.mean()) > _SIGNIFICANT * max(error, 1e-12):
        return best, None
    return near, best


def _vertex(heights: dict[float, Array]) -> float:
    """Highest place of a parabola through the scores about the best one, never outside of what was tried."""
    changes = np.array(sorted(heights))
    means = np.array([heights[change].mean() for change in changes])
    top = float(changes[np.argmax(means)])
    steps = np.diff(changes)
    close = np.abs(changes - top) <= 3 * float(steps.min(initial=_COARSE_DEG)) + 1e-9
    if close.sum() < 3:
        return top
    bend, slope, _ = np.polyfit(changes[close] - top, means[close], 2)
    if bend >= 0:
        return top
    return float(np.clip(top - slope / (2 * bend), changes[close].min(), changes[close].max()))
