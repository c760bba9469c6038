"""What comes before the first tilt: eucentric height, the plane, and the way to where the tilts begin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.beams import Areas
from lamella.acquire.grid_plane import GridPlane, fit_plane
from lamella.acquire.plan import Plan
from lamella.acquire.predictor.interface import TargetPlace, View
from lamella.acquire.routines.desk import FOCUS_AREA, TRACKING_AREA, Desk, FocusScales
from lamella.acquire.routines.eucentric import to_eucentric_height
from lamella.acquire.routines.focus_scales import measure_focus_scales
from lamella.acquire.routines.levelling import levelling_places, measure_plane
from lamella.acquire.routines.tracking import track
from lamella.acquire.targets import Target
from lamella.errors import MicroscopeError

__all__ = ["Levelled", "area_places", "level", "prepare", "walk_to_first_tilt"]

Array = NDArray[np.float64]

_KNOWN_SD_UM = (0.02, 0.02, 0.3)
_AREA_SD_UM = (0.0, 0.0, 0.5)
_STEP_DEG = 10.0  # between looks at the tracking area on the way to the first tilt
_OFF_PLANE_UM = 0.3  # by which a target may lie off the plane, and the area beside it too


@dataclass(frozen=True, kw_only=True, eq=False)
class Levelled:
    """A target's height as it follows from focus beside it; `at_height_um` is what the lens was set for."""

    view: View
    height_um: float
    sd_um: float
    at_height_um: float


def area_places(targets: Sequence[Target], areas: Areas) -> dict[int, TargetPlace]:
    """The targets' places at the start tilt by their numbers, and those of the tracking and the focus area.

    The areas lie on the plane through the targets whose heights are known: what is measured there else passes for an
    error of the focus of all.
    """
    known = [(one.x_um, one.y_um, one.z_um) for one in targets if one.z_um is not None]
    plane = fit_plane([one[:2] for one in known], [one[2] for one in known]) if known else GridPlane()
    places = {
        number: TargetPlace(place_um=(one.x_um, one.y_um, one.z_um or 0.0), sd_um=_KNOWN_SD_UM)
        for number, one in enumerate(targets)
    }
    for area, (x, y) in ((TRACKING_AREA, areas.tracking_um), (FOCUS_AREA, areas.focus_um)):
        places[area] = TargetPlace(place_um=(x, y, float(plane.heights((x, y)))), sd_um=_AREA_SD_UM)
    return places


def prepare(desk: Desk, plan: Plan) -> FocusScales:
    """Bring the stage to eucentric height, and measure the scales of focus where they are asked for.

    Raises
    ------
    MicroscopeError
        if the height cannot be measured.
    """
    settings = desk.settings
    if settings.eucentric:
        to_eucentric_height(desk, settings.start_tilt, _middle(plan))
    return measure_focus_scales(desk, plan.targets) if settings.focus_scales_deg else desk.focus_scales


def level(desk_for: Callable[..., Desk], plan: Plan) -> tuple[Sequence[Target], Sequence[Levelled]]:
    """Measure the plane.

    Parameters
    ----------
    desk_for
        makes the desk of a predictor, by its name, with places.
    plan
        of the session.

    Returns
    -------
    targets
        with the heights that follow.
    heights
        of some of them, as measured; none where the plane is not measured.
    """
    settings, count = plan.settings, plan.settings.levelled
    if not count:
        return plan.targets, ()
    reach_um = plan.limits.image_shift_um
    areas, chosen = levelling_places(plan.targets, count, settings.position_distance, reach_um)
    plane, measured = measure_plane(desk_for("flat", areas), areas)
    # The middle stands at eucentric height; what focus says of it is the lens's own error.
    at_middle = float(plane.heights(_middle(plan)))
    targets = [
        replace(target, z_um=float(plane.heights((target.x_um, target.y_um))) - at_middle) for target in plan.targets
    ]
    heights = []
    for (area, place), number in zip(areas.items(), chosen, strict=True):
        if area in measured:
            focus, target = measured[area], plan.targets[number]
            beside = float(plane.heights((target.x_um, target.y_um)) - plane.heights(place.place_um[:2]))
            heights.append(
                Levelled(
                    view=replace(focus.view, target=number),
                    height_um=focus.height_um + beside,
                    sd_um=float(np.hypot(focus.sd_um, np.sqrt(2.0) * _OFF_PLANE_UM)),
                    at_height_um=focus.at_height_um + beside,
                )
            )
    return targets, heights


def _middle(plan: Plan) -> Array:
    """``(2,)`` what is brought to eucentric height: the tracking area, or the middle."""
    return np.array(plan.areas.tracking_um if plan.settings.tracking in ("auto", "area") else (0.0, 0.0))


def walk_to_first_tilt(desk: Desk, start_deg: float, first_deg: float) -> None:
    """Turn from the start tilt towards the first one, looking at the tracking area so often that it is not lost.

    Its places on the way tell the predictor its height. A place where the stage does not stand is passed over.
    """
    steps = int(np.ceil(round(abs(first_deg - start_deg) / _STEP_DEG, 6)))
    for angle in np.linspace(start_deg, first_deg, steps + 1)[1:-1]:
        try:
            status = desk.scope.tilt(float(angle))
        except MicroscopeError:
            continue
        desk.moment = replace(
            desk.moment,
            asked_deg=float(angle),
            tilt_deg=status.tilt_deg,
            stood_s=status.time_s,
            branch=int(np.sign(first_deg - start_deg)),
        )
        track(desk, low=True)
