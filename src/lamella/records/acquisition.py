"""A session of recording many tilt series, as its report and its live page show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Acquisition", "AreaFocus", "AreaTracking"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class AreaTracking:
    """Exposures of the tracking area, ``(n,)`` each, in their order.

    Attributes
    ----------
    tilt
        number of the tilt, −1 before the first.
    low
        whether at the low magnification.
    left_nm
        where the area was against the middle.
    time_s
        by the microscope's clock.
    """

    tilt: NDArray[np.int64]
    low: NDArray[np.bool_]
    left_nm: Array
    time_s: Array

    def last_nm(self, tilts: int) -> Array:
        """``(tilts,)`` what was left in the last exposure of each tilt at high magnification; NaN without one."""
        left = np.full(tilts, np.nan)
        for tilt, low, nm in zip(self.tilt, self.low, self.left_nm, strict=True):
            if tilt >= 0 and not low:
                left[tilt] = nm
        return left


@dataclass(frozen=True, kw_only=True, eq=False)
class AreaFocus:
    """Measurements of focus, ``(n,)`` each: number of the tilt, true defocus, its standard error, µm, and the time."""

    tilt: NDArray[np.int64]
    defocus_um: Array
    sd_um: Array
    time_s: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Acquisition:
    """What a session has done up to now.

    Attributes
    ----------
    name
        of the session.
    predictor
        that it was recorded with.
    targets
        names.
    places_um
        ``(targets, 2)`` at the start tilt, across and along the tilt axis.
    height_um
        ``(targets,)`` above their mean, as the measured places tell it; NaN where they cannot yet.
    plane_um
        ``(targets,)`` of the plane through them.
    tilt_deg
        ``(tilts,)`` as asked, in the order of recording.
    stood_s
        ``(tilts,)`` when the stage stood there, by the microscope's clock; NaN where it did not.
    shift_um, displacement_um
        ``(targets, tilts, 2)`` the image shift as set, and where the target was against the picture's middle as
        measured; NaN where there is no view, or it could not be measured.
    defocus_um
        ``(targets, tilts)`` as set.
    dose
        ``(targets, tilts)`` e/Å².
    time_s
        ``(targets, tilts)`` of the views.
    wanted_um
        defocus.
    tracking, focus
        of the areas beside the targets.
    spent_s
        ``(tilts,)`` by what time went to.
    endings
        ``finished``, ``limit``, ``lost`` of each target; empty while it goes on.
    left_out
        views and tilts that were not recorded: where, and why.
    faults
        that were survived, and how often.
    started_s, now_s
        by the microscope's clock.
    planned_s
        of the whole session, as planned.
    ended
        whether it is over.
    targeting_um, defocus_error_um
        ``(targets, tilts)`` the truth, which only a simulation knows: distance of the target's true place from the
        middle, and its true defocus less what was wanted.
    """

    name: str
    predictor: str
    targets: tuple[str, ...]
    places_um: Array
    height_um: Array
    plane_um: Array
    tilt_deg: Array
    stood_s: Array
    shift_um: Array
    displacement_um: Array
    defocus_um: Array
    dose: Array
    time_s: Array
    wanted_um: float
    tracking: AreaTracking
    focus: AreaFocus
    spent_s: Mapping[str, Array]
    endings: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    faults: Mapping[str, int] = field(default_factory=dict)
    started_s: float = 0.0
    now_s: float = 0.0
    planned_s: float = 0.0
    ended: bool = False
    targeting_um: Array | None = None
    defocus_error_um: Array | None = None

    @property
    def recorded(self) -> NDArray[np.bool_]:
        """``(targets, tilts)`` whether there is a view."""
        return np.isfinite(self.time_s)

    @property
    def off_um(self) -> Array:
        """``(targets, tilts)`` length of the measured displacement; NaN where there is none."""
        return np.hypot(self.displacement_um[..., 0], self.displacement_um[..., 1])

    @property
    def done(self) -> float:
        """Fraction of the tilts that are done."""
        if self.ended:
            return 1.0
        begun = int(np.isfinite(self.stood_s).sum())
        return max(0, begun - 1) / len(self.tilt_deg)

    @property
    def left_s(self) -> float:
        """Time that the tilts left will take: as those before took; as planned while there are none."""
        if self.ended:
            return 0.0
        stood = self.stood_s[np.isfinite(self.stood_s)]
        if len(stood) < 2:
            return max(0.0, self.planned_s - (self.now_s - self.started_s))
        each = float(stood[-1] - stood[0]) / (len(stood) - 1)
        return max(0.0, each * (len(self.tilt_deg) - len(stood) + 1) - (self.now_s - float(stood[-1])))
