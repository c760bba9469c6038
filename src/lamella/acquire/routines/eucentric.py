"""Eucentric height: the stage's z at which a tilt does not move the specimen across the axis."""

from __future__ import annotations

import numpy as np

from lamella.acquire.comparing import AlignedSeries
from lamella.acquire.microscope.port import TRACK_LOW, Picture, Purpose
from lamella.acquire.routines.desk import Desk
from lamella.acquire.session.events import StageLifted
from lamella.errors import ImageError, MicroscopeError

__all__ = ["to_eucentric_height"]

_ROUNDS = 4


def to_eucentric_height(desk: Desk, start_deg: float) -> float:
    """Move the stage's z until the height measured is small, and come back to the start tilt.

    Parameters
    ----------
    desk
        of the session.
    start_deg
        angle about which the stage is tilted, and to which it returns.

    Returns
    -------
    height_um
        the last height measured.

    Notes
    -----
    A point at height z above the axis appears at z · sin θ; between two tilts it moves by z (sin θ₁ − sin θ₂). A
    point of the axis's neighbourhood moves across by its x (cos θ₁ − cos θ₂) too, which is nothing for tilts to both
    sides of 0° alike.
    """
    reach = desk.settings.eucentric_tilt
    height = 0.0
    for attempt in range(_ROUNDS):
        pictures = [_picture(desk, start_deg + side * reach, attempt) for side in (-1, 1)]
        series = AlignedSeries(desk.scope.calibrations.tilt_axis_deg)
        series.add(pictures[0])
        angles = np.deg2rad([one.status.tilt_deg for one in pictures])
        height = float(series.measure(pictures[1]).shift_um[0] / (np.sin(angles[1]) - np.sin(angles[0])))
        moved = 0.0 if abs(height) <= desk.settings.eucentric_threshold else -height
        desk.tell(StageLifted(height_um=height, moved_um=moved))
        if not moved:
            break
        x, y, z = desk.scope.status().stage_um
        desk.scope.move_stage(x, y, z + moved)
    desk.scope.tilt(start_deg)
    if abs(height) > desk.settings.eucentric_threshold:
        raise MicroscopeError(
            f"the specimen stays {height:.2f} µm off the tilt axis", mend="set eucentric height by hand, then resume"
        )
    return height


def _picture(desk: Desk, angle_deg: float, attempt: int) -> Picture:
    desk.scope.tilt(angle_deg)
    try:
        return desk.expose(
            TRACK_LOW,
            Purpose(kind="eucentric", attempt=attempt),
            shift_um=np.zeros(2),
            defocus_um=desk.settings.defocus,
        )
    except ImageError as error:
        raise MicroscopeError(error.problem, mend=error.mend) from error
