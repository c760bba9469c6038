"""Eucentric height: the stage's z at which a tilt does not move the specimen across the axis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.comparing import AlignedSeries
from lamella.acquire.microscope.port import TRACK_LOW, Picture, Purpose
from lamella.acquire.routines.desk import Desk
from lamella.acquire.session.events import FaultSurvived, StageLifted
from lamella.errors import ImageError, MicroscopeError

__all__ = ["height_by_tilting", "to_eucentric_height"]

Array = NDArray[np.float64]

_ROUNDS = 5
_FAILED = 1  # rounds of which a picture may show something else
_PICTURES = 3  # of each round
_HOPELESS_UM = 10.0
_LARGE = 2.0  # of the tilt, once the specimen is near: far from the height it would leave the picture


def to_eucentric_height(desk: Desk, start_deg: float, place_um: Array) -> float:
    """Move the stage's z until the height measured is small, and come back to the start tilt.

    Parameters
    ----------
    desk
        of the session.
    start_deg
        angle about which the stage is tilted, and to which it returns.
    place_um
        ``(2,)`` of the specimen that shall be at the height: what is tracked.

    Returns
    -------
    height_um
        the last height measured. What is left where the rounds are used up is told, and is learned by the predictor
        as every target's height.

    Raises
    ------
    MicroscopeError
        if the specimen cannot be followed, or stays more than 10 µm off.
    """
    # Heights as the stage stood at first: what it does for itself at each tilt averages out over the rounds.
    at_first, weights, lifted, height = 0.0, 0.0, 0.0, 0.0
    failed = 0
    for attempt in range(_ROUNDS):
        reach = desk.settings.eucentric_tilt * (_LARGE if attempt else 1.0)
        purpose = Purpose(kind="eucentric", attempt=_PICTURES * attempt)
        try:
            height = height_by_tilting(desk, start_deg, place_um, reach, purpose)
        except MicroscopeError as error:
            failed += 1
            if failed > _FAILED:
                raise
            time_s = desk.scope.time_s
            desk.tell(FaultSurvived(verb="height", problem=str(error), attempt=attempt, waited_s=0.0, time_s=time_s))
            continue
        weight = float(np.sin(np.deg2rad(reach)) ** 2)
        at_first = (weights * at_first + weight * (height - lifted)) / (weights + weight)
        weights += weight
        done = abs(height) <= desk.settings.eucentric_threshold and (attempt > 0 or height == 0)
        moved = 0.0 if done else -at_first - lifted
        desk.tell(StageLifted(height_um=height, moved_um=moved))
        if done:
            break
        x, y, z = desk.scope.status().stage_um
        desk.scope.move_stage(x, y, z + moved)
        lifted += moved
    desk.scope.tilt(start_deg)
    if abs(height) > _HOPELESS_UM:
        raise MicroscopeError(
            f"the specimen stays {height:.2f} µm off the tilt axis", mend="set eucentric height by hand, then resume"
        )
    return height


def height_by_tilting(desk: Desk, start_deg: float, shift_um: Array, reach_deg: float, purpose: Purpose) -> float:
    """Height of the specimen above the tilt axis where an image shift shows it, from tilts to both sides.

    Parameters
    ----------
    desk
        of the session.
    start_deg, reach_deg
        middle of the tilts, and how far each lies from it.
    shift_um
        ``(2,)`` of the place.
    purpose
        of the pictures.

    Raises
    ------
    MicroscopeError
        if the pictures do not match.

    Notes
    -----
    A point at height z above the axis appears at z · sin θ, θ against the start tilt; between two tilts it moves by
    z (sin θ₁ − sin θ₂). The place across the axis counts with cos θ₁ − cos θ₂, which is 0 for tilts to both sides
    alike. Three pictures,
    −, +, −, are free of a steady drift; what the stage makes at each tilt is left, and counts less at larger ones.
    """
    least, most = desk.scope.limits.tilt_deg
    reach = min(reach_deg, most - start_deg, start_deg - least)
    pictures = [
        _picture(desk, start_deg + side * reach, shift_um, replace(purpose, attempt=purpose.attempt + number))
        for number, side in enumerate((-1, 1, -1))
    ]
    series = AlignedSeries(desk.scope.calibrations.tilt_axis_deg)
    try:
        series.add(pictures[0])
        middle, last = series.measure(pictures[1]), series.measure(pictures[2])
    except ImageError as error:
        raise MicroscopeError(f"no eucentric height: {error.problem}", mend=error.mend) from error
    angles = np.deg2rad([one.status.tilt_deg - start_deg for one in pictures])
    sines, cosines = np.sin(angles), np.cos(angles)
    moved = float(middle.shift_um[0] - last.shift_um[0] / 2) - float(shift_um[0]) * float(
        cosines[1] - (cosines[0] + cosines[2]) / 2
    )
    return moved / float(sines[1] - (sines[0] + sines[2]) / 2)


def _picture(desk: Desk, angle_deg: float, shift_um: Array, purpose: Purpose) -> Picture:
    desk.scope.tilt(angle_deg)
    return desk.expose(TRACK_LOW, purpose, shift_um=shift_um, defocus_um=desk.settings.defocus)
