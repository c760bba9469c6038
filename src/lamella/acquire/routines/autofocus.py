"""Focus by beam tilt: a beam tilted by β shows a picture displaced by defocus · β (Koster & de Ruijter 1992)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.comparing import AlignedSeries
from lamella.acquire.microscope.port import FOCUS, Picture, Purpose
from lamella.acquire.routines.desk import FOCUS_AREA, Desk
from lamella.acquire.session.events import HeightMeasured
from lamella.errors import ImageError, MicroscopeError

__all__ = ["Focus", "measure_focus"]

Array = NDArray[np.float64]

_LEAST_CONFIDENCE = 0.15
_CALIBRATION = 0.02  # of the defocus: how well a beam tilt is known


@dataclass(frozen=True, kw_only=True)
class Focus:
    """What the beam tilt told of an area: its true defocus and its height, µm, and their standard error."""

    defocus_um: float
    height_um: float
    sd_um: float


def measure_focus(desk: Desk, area: int = FOCUS_AREA, *, shift_um: Array | None = None) -> Focus | None:
    """Measure an area's focus, and tell the predictor the height that follows from it.

    Parameters
    ----------
    desk
        of the session.
    area
        number of the area.
    shift_um
        image shift to measure at, where it is not the area's own: near a target that shall not be exposed.

    Returns
    -------
    Focus
        None where it could not be measured.

    Notes
    -----
    Three pictures, with the beam tilted to +, −, + along the tilt axis: the mean of the outer ones is free of a steady
    drift. The direction along the axis is not foreshortened by the stage's tilt.
    """
    prediction = desk.predict(area)
    lens = desk.settings.defocus - desk.hand * prediction.height_um
    shift = prediction.shift_um if shift_um is None else shift_um
    try:
        pictures = _three(desk, area, shift, lens)
        displacement, sd_um = _displacement(pictures, desk.scope.calibrations.tilt_axis_deg)
    except (ImageError, MicroscopeError):
        return None
    finally:
        desk.scope.tilt_beam(0.0, 0.0)
    # Between the tilts lie 2 β: µm / mrad.
    per_um = 2e-3 * desk.settings.focus_tilt
    defocus = displacement / per_um
    height = desk.hand * (defocus - lens)
    sd = float(np.hypot(sd_um / per_um, _CALIBRATION * defocus))
    time_s = pictures[1].status.time_s
    view = desk.view(area, time_s)
    desk.observe_height(view, height, sd)
    desk.tell(
        HeightMeasured(
            target=area,
            tilt=desk.moment.tilt,
            defocus_um=defocus,
            height_um=height,
            sd_um=sd,
            time_s=time_s,
        )
    )
    return Focus(defocus_um=defocus, height_um=height, sd_um=sd)


def _three(desk: Desk, area: int, shift_um: Array, lens_um: float) -> tuple[Picture, Picture, Picture]:
    purpose = Purpose(kind="focus", target=area, tilt=desk.moment.tilt)
    pictures = []
    for number, sign in enumerate((1, -1, 1)):
        desk.scope.tilt_beam(0.0, sign * desk.settings.focus_tilt)
        pictures.append(desk.expose(FOCUS, replace(purpose, attempt=number), shift_um=shift_um, defocus_um=lens_um))
    return pictures[0], pictures[1], pictures[2]


def _displacement(pictures: tuple[Picture, Picture, Picture], axis_deg: float) -> tuple[float, float]:
    """Along the axis, µm: how far the pictures with + lie beyond the one with −; and its standard error."""
    series = AlignedSeries(axis_deg)
    series.add(pictures[1])
    first, last = series.measure(pictures[0]), series.measure(pictures[2])
    if min(first.confidence, last.confidence) < _LEAST_CONFIDENCE:
        raise ImageError("pictures of the focus area that do not match", mend="choose another focus area")
    sd_um = float(np.sqrt((first.sd_um**2 + last.sd_um**2) / 4))
    return float(first.shift_um[1] + last.shift_um[1]) / 2, sd_um
