"""Tell the predictor what processing measured: a target's height, from the defocus of a view that was recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lamella.acquire.routines.desk import Desk
from lamella.acquire.session.feedback import Measurement
from lamella.acquire.session.recording import TargetState

__all__ = ["take_in"]

_SAME_TILT_DEG = 0.5
_STEEPEST_COSINE = 0.2


def take_in(
    desk: Desk, states: Mapping[int, TargetState], names: Sequence[str], measurements: Sequence[Measurement]
) -> int:
    """Turn defoci of earlier views into heights at the present tilt, and tell the predictor.

    A view's true height was ``hand · (defocus − lens)``. By how much it differs from what the predictor now says of
    that angle is, over the angle's cosine, an error of the target's own height, and so seen at the present tilt.

    Parameters
    ----------
    desk
        of the session.
    states
        of the targets, by number.
    names
        of the targets.
    measurements
        new ones; those of other targets, or of angles that were not recorded, are left out.

    Returns
    -------
    count
        of those that were told.
    """
    numbers = {name: number for number, name in enumerate(names)}
    told = 0
    for one in measurements:
        state = states.get(numbers.get(one.target, -1))
        lens = None if state is None or one.kind != "defocus" else _lens(state, one.tilt_deg)
        if lens is None:
            continue
        number, (angle, lens_um) = numbers[one.target], lens
        now = desk.view(number)
        then = desk.predictor.predict(replace(now, tilt_deg=angle)).height_um
        cosines = np.maximum(np.cos(np.deg2rad([now.tilt_deg, angle])), _STEEPEST_COSINE)
        share = float(cosines[0] / cosines[1])
        height = desk.predictor.predict(now).height_um
        measured = desk.hand * (one.value_um - lens_um)
        desk.observe_height(now, height + share * (measured - then), share * one.sd_um, height)
        told += 1
    return told


def _lens(state: TargetState, tilt_deg: float) -> tuple[float, float] | None:
    """Angle and lens of the recorded view nearest to an angle."""
    if not state.lenses:
        return None
    nearest = min(state.lenses, key=lambda entry: abs(entry[0] - tilt_deg))
    return nearest if abs(nearest[0] - tilt_deg) <= _SAME_TILT_DEG else None
