"""Single series, one target after the other: each tracked and focused at places of its own along the tilt axis.

What lies at one x on the tilt axis moves alike when the stage tilts, so a place beside the target along the axis shows
where the target is and how far out of focus, without a dose on it: the way of single-series recording.
"""

from __future__ import annotations

from collections.abc import Mapping

from lamella.acquire.acquire_settings import AcquireSettings
from lamella.acquire.predictor.interface import TargetPlace
from lamella.acquire.routines.desk import FOCUS_AREA, TRACKING_AREA
from lamella.acquire.targets import Target

__all__ = ["own_areas", "position_places"]

_SD_UM = (0.02, 0.02, 0.3)


def position_places(number: int, target: Target, settings: AcquireSettings, z_um: float) -> dict[int, TargetPlace]:
    """The target's place, and those of its tracking and focus areas to both sides of it along the axis."""
    return {
        area: TargetPlace(place_um=(target.x_um, target.y_um + side * settings.position_distance, z_um), sd_um=_SD_UM)
        for area, side in ((number, 0.0), (TRACKING_AREA, 1.0), (FOCUS_AREA, -1.0))
    }


def own_areas(number: int) -> Mapping[int, int]:
    """The numbers under which the microscope knows these areas of a target; those of the first are the usual ones."""
    return {area: area - 2 * number for area in (TRACKING_AREA, FOCUS_AREA)}
