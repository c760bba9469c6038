"""What a session never sees: where its targets really are, were when it recorded them, and what dose they had."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.microscope.port import Preset, Purpose
from lamella.acquire.microscope.simulated.column import Column
from lamella.acquire.microscope.simulated.dose import DoseBook

__all__ = ["TRACKING_AREA", "TrueView", "Truth"]

Array = NDArray[np.float64]

TRACKING_AREA = -1

_AT_START = ("focus", "reference")  # kinds of pictures that are taken before the first tilt at the start tilt alone


@dataclass(frozen=True, kw_only=True, eq=False)
class TrueView:
    """One exposure of a target, or of the tracking area.

    Attributes
    ----------
    purpose, preset
        of the picture.
    time_s
        of the middle of the exposure.
    tilt_deg
        the true angle.
    offset_um
        ``(2,)`` where its true place appeared from the image's middle, across and along the axis.
    defocus_um
        true, of that place.
    """

    purpose: Purpose
    preset: str
    time_s: float
    tilt_deg: float
    offset_um: Array
    defocus_um: float


class Truth:
    """Kept beside a simulated microscope.

    A target's coordinates are an image shift at the start tilt; its true place is the point of the grid that this shift
    centres when the last reference picture of the tracking area is taken before the first tilt. Where there is none, it
    is that at the first view; where the stage is turned away from the start tilt before that (a scheme that begins at
    one end), that at the last picture for focus or reference before. The tracking area's is the point in the middle of
    its reference picture.

    Parameters
    ----------
    column
        the microscope.
    targets_um
        ``(n, 2)`` the targets' image shifts.
    radius_um
        of the area of a target whose dose is counted.

    Attributes
    ----------
    views
        exposures of targets and of the tracking area, in order.
    places_um
        ``(3,)`` true places on the grid, by number.
    dose
        of the targets' areas.
    """

    def __init__(self, column: Column, targets_um: Array, radius_um: float) -> None:
        self._column = column
        self._targets_um = targets_um
        self._fixed = False
        self._begun_deg: float | None = None  # angle of the last picture that tells where the session begins
        self.views: list[TrueView] = []
        self.places_um: dict[int, Array] = {}
        self.dose = DoseBook(len(targets_um), radius_um)
        self._fix(np.zeros(2), 0.0)

    def exposed(self, preset: Preset, purpose: Purpose, dose: float, time_s: float) -> None:
        """The beam was on."""
        column = self._column
        shift = column.lenses.shift_um
        if purpose.kind == "record" and not self._fixed:
            if self._begun_deg in (None, column.stage.told_deg):
                self._fix(np.zeros(2), time_s)
            self._fixed = True
        self.dose.expose(
            lambda points: column.stage.placed(points, time_s), (shift, preset.beam_um), dose, purpose.target
        )

    def seen(self, preset: Preset, purpose: Purpose, time_s: float) -> None:
        """A picture of it was kept."""
        if (purpose.kind, purpose.target) == ("reference", TRACKING_AREA) and purpose.tilt < 0:
            self._fix(self._column.lenses.shift_um, time_s)
            self._fixed = True
        elif purpose.kind in _AT_START and purpose.tilt < 0 and not self._fixed:
            self._fix(np.zeros(2), time_s)
            self._begun_deg = self._column.stage.told_deg
        if purpose.target not in self.places_um or purpose.kind not in ("record", "track"):
            return
        place = self.places_um[purpose.target]
        placed = self._column.placed(place, purpose.target, time_s)
        self.views.append(
            TrueView(
                purpose=purpose,
                preset=preset.name,
                time_s=time_s,
                tilt_deg=self._column.stage.true_deg,
                offset_um=placed[:2] - self._column.lenses.shift_um,
                defocus_um=float(self._column.defocus_um(place, purpose.target, time_s)),
            )
        )

    def _fix(self, tracking_um: Array, time_s: float) -> None:
        """Say which points of the grid the coordinates mean at this time; `tracking_um`: a true image shift."""
        column = self._column
        places = [
            column.seen(column.lenses.shift_of(shift), target, time_s) for target, shift in enumerate(self._targets_um)
        ]
        self.places_um = dict(enumerate(places)) | {TRACKING_AREA: column.seen(tracking_um, TRACKING_AREA, time_s)}
        if places:
            self.dose.place(np.array(places), column.grid.height_um)
