"""In which order, and with what dose, a simulated series is recorded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lamella.records import tilt_scheme
from lamella.simulate.settings import SimulateSettings

__all__ = ["doses_of_tilts", "order_of_tilts"]

Array = NDArray[np.float64]


def order_of_tilts(settings: SimulateSettings) -> Array:
    """``(n,)`` nominal angles in the order in which they are recorded, deg (`lamella.records.recording_order`)."""
    steps = tilt_scheme.steps_of_range(settings.tilt_range, settings.tilt_step)
    order = tilt_scheme.recording_order(settings.scheme, steps, settings.tilt_group)
    return settings.start_tilt + settings.tilt_step * order


def doses_of_tilts(tilt_deg: Array, settings: SimulateSettings) -> Array:
    """``(n,)`` dose of each view, e/Å²."""
    return tilt_scheme.doses_of_tilts(tilt_deg, settings.dose, settings.dose_by_tilt)
