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
_SINCE_UM = 0.05  # rms by which stage and lens wander in height within a few tilts


def take_in(
    desk: Desk, states: Mapping[int, TargetState], names: Sequence[str], measurements: Sequence[Measurement]
) -> int:
    """Turn defoci of earlier views into heights, and tell the predictor.

    A view's true height was ``hand · (defocus − lens)``: it is told as if the stage stood at the view's angle now, with
    an error by which its height and the lens may have changed since.

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
        angle, lens_um = lens
        view = replace(desk.view(numbers[one.target]), tilt_deg=desk.against_start(angle))
        desk.observe_height(
            view,
            desk.hand * (one.value_um - lens_um),
            float(np.hypot(one.sd_um, _SINCE_UM)),
            desk.hand * (desk.settings.defocus - lens_um),
        )
        told += 1
    return told


def _lens(state: TargetState, tilt_deg: float) -> tuple[float, float] | None:
    """Angle and lens of the recorded view nearest to an angle."""
    if not state.lenses:
        return None
    nearest = min(state.lenses, key=lambda entry: abs(entry[0] - tilt_deg))
    return nearest if abs(nearest[0] - tilt_deg) <= _SAME_TILT_DEG else None
