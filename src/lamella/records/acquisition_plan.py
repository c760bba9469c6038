"""A session of recording many tilt series before it begins, as its picture shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["AcquisitionPlan", "PlannedTilt"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class PlannedTilt:
    """Where everything lies at one tilt.

    Attributes
    ----------
    tilt_deg
        of the stage.
    targets_um
        ``(targets, 2)`` image shifts that centre the targets, across and along the tilt axis.
    areas_um
        ``(n, 2)`` of the tracking and of the focus area, or areas, by name.
    reached
        ``(targets,)`` whether the image shift reaches them.
    struck
        ``(targets,)`` whether another target's or area's beam touches theirs.
    """

    tilt_deg: float
    targets_um: Array
    areas_um: Mapping[str, Array]
    reached: NDArray[np.bool_]
    struck: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class AcquisitionPlan:
    """What is planned.

    Attributes
    ----------
    targets
        names.
    tilts
        the first one at the start tilt, then the lowest and the highest one.
    beam_um
        diameter of the beam on targets and on each area, by name (``targets``, and those of `PlannedTilt.areas_um`).
    limit_um
        longest image shift.
    axis_um
        x of the tilt axis, as calibrated.
    order
        numbers of the targets in the order of visiting at the first tilt.
    """

    targets: tuple[str, ...]
    tilts: tuple[PlannedTilt, ...]
    beam_um: Mapping[str, float]
    limit_um: float
    axis_um: float
    order: tuple[int, ...]
