"""How the grid lies: heights measured by focus near some of the targets, and the plane through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lamella.acquire.grid_plane import GridPlane, fit_plane
from lamella.acquire.predictor.interface import TargetPlace
from lamella.acquire.routines.autofocus import Focus, measure_focus
from lamella.acquire.routines.desk import Desk
from lamella.acquire.session.events import PlaneFitted
from lamella.acquire.targets import Target, places_of

__all__ = ["levelling_places", "measure_plane"]

_OFF_PLANE_UM = 0.3  # by which heights lie off the plane, with what focus measures wrong

LEVELLING_AREA = -1001
"""Number of the first area near a target whose height is measured; the others follow downwards."""


def levelling_places(
    targets: Sequence[Target], count: int, aside_um: float, most_um: float
) -> tuple[dict[int, TargetPlace], tuple[int, ...]]:
    """Areas along the axis from targets that lie far from each other, so that no target is exposed.

    Parameters
    ----------
    targets
        of the session.
    count
        of areas.
    aside_um
        along the axis from each target, towards the middle.
    most_um
        image shift beyond which no area is chosen.

    Returns
    -------
    places
        by the areas' numbers.
    beside
        numbers of the targets that they lie beside, in the same order.
    """
    places = places_of(targets)
    side = np.where(places[:, 1] > 0, -1.0, 1.0)
    areas = places + np.stack([np.zeros(len(places)), side * aside_um, np.zeros(len(places))], axis=-1)
    reached = np.flatnonzero(np.hypot(areas[:, 0], areas[:, 1]) <= most_um)
    chosen: list[int] = []
    while len(chosen) < min(count, len(reached)):
        if chosen:
            nearest = np.min([np.hypot(*(areas[reached, :2] - areas[one, :2]).T) for one in chosen], axis=0)
        else:
            nearest = np.hypot(areas[reached, 0], areas[reached, 1])
        chosen.append(int(reached[nearest.argmax()]))
    return {
        LEVELLING_AREA - number: TargetPlace(place_um=(float(areas[one, 0]), float(areas[one, 1]), 0.0))
        for number, one in enumerate(chosen)
    }, tuple(chosen)


def measure_plane(desk: Desk, areas: Mapping[int, TargetPlace]) -> tuple[GridPlane, dict[int, Focus]]:
    """Measure the areas' heights and fit the plane, level where none could be measured; and what was measured."""
    measured = {area: measure_focus(desk, area) for area in areas}
    known = {area: focus for area, focus in measured.items() if focus is not None}
    plane = GridPlane()
    if known:
        heights = [focus.height_um for focus in known.values()]
        plane = fit_plane([areas[area].place_um[:2] for area in known], heights, height_sd_um=_OFF_PLANE_UM)
    desk.tell(
        PlaneFitted(pre_tilt_deg=plane.pre_tilt_deg, rotation_deg=plane.rotation_deg, residual_um=plane.residual_um)
    )
    return plane, known
