"""In which order, and with what dose, a series is recorded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lamella.simulate.settings import SimulateSettings

__all__ = ["doses_of_tilts", "order_of_tilts", "recording_order"]

Array = NDArray[np.float64]


def order_of_tilts(settings: SimulateSettings) -> Array:
    """``(n,)`` nominal angles in the order in which they are recorded, deg.

    dose-symmetric
        0, +3, −3, −6, +6, +9, … (Hagen, Wan & Briggs 2017); with groups of g: g tilts on one side, g on the other, and
        on from there.
    bidirectional
        from the middle to the positive end, then from the middle to the negative one.
    unidirectional
        from the negative end to the positive one.
    """
    steps = int(settings.tilt_range / settings.tilt_step + 1e-9)
    return settings.start_tilt + settings.tilt_step * recording_order(settings.scheme, steps, settings.tilt_group)


def recording_order(scheme: str, steps: int, group: int = 1) -> Array:
    """The same in steps from the middle: ``(2 · steps + 1,)`` whole numbers."""
    if scheme == "unidirectional":
        return np.arange(-steps, steps + 1, dtype=np.float64)
    if scheme == "bidirectional":
        return np.concatenate([np.arange(steps + 1.0), -np.arange(1.0, steps + 1)])
    order: list[int] = [0]
    for number, first in enumerate(range(1, steps + 1, group)):
        block = range(first, min(first + group, steps + 1))
        side = 1 if number % 2 == 0 else -1
        order += [side * step for step in block] + [-side * step for step in block]
    return np.array(order, dtype=np.float64)


def doses_of_tilts(tilt_deg: Array, settings: SimulateSettings) -> Array:
    """``(n,)`` dose of each view, e/Å²."""
    if settings.dose_by_tilt == "uniform":
        return np.full(len(tilt_deg), settings.dose)
    doses: Array = settings.dose / np.cos(np.deg2rad(tilt_deg))
    return doses
