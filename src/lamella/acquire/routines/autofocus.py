"""Focus by beam tilt: a beam tilted by β shows a picture displaced by defocus · β (Koster & de Ruijter 1992)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.comparing import AlignedSeries
from lamella.acquire.microscope.port import FOCUS, Picture, Purpose
from lamella.acquire.predictor.interface import View
from lamella.acquire.routines.desk import FOCUS_AREA, Desk
from lamella.acquire.session.events import HeightMeasured
from lamella.errors import ImageError, MicroscopeError

__all__ = ["Defocus", "Focus", "defocus_at", "measure_focus"]

Array = NDArray[np.float64]

_LEAST_CONFIDENCE = 0.15


@dataclass(frozen=True, kw_only=True)
class Defocus:
    """A defocus and its standard error, µm, before the beam tilt's scale is taken off; and the pictures it is from."""

    defocus_um: float
    sd_um: float
    pictures: tuple[Picture, Picture, Picture]


@dataclass(frozen=True, kw_only=True)
class Focus:
    """What the beam tilt told of an area: its true defocus and its height, µm, and their standard error.

    `at_height_um` is the height that the lens was set for, `view` that of the measurement.
    """

    defocus_um: float
    height_um: float
    sd_um: float
    at_height_um: float
    view: View


def measure_focus(desk: Desk, area: int, *, off_um: float = 0.0) -> Focus | None:
    """Measure an area's focus, and tell the predictor the height, and the place, that follow from it.

    Parameters
    ----------
    desk
        of the session.
    area
        number of the area.
    off_um
        height beside the area's own that the lens is set for: measured at two of them, focus tells the lens's scale.

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
    at_height = prediction.height_um + off_um
    lens = desk.settings.defocus - desk.hand * at_height
    shift = np.asarray(prediction.shift_um, np.float64)
    try:
        found = defocus_at(desk, area, shift, lens)
    except (ImageError, MicroscopeError):
        desk.scope.tilt_beam(0.0, 0.0)
        return None
    beam, beam_sd = desk.focus_scales.beam, desk.focus_scales.beam_sd
    defocus = found.defocus_um / beam
    height = desk.hand * (defocus - lens)
    sd = found.sd_um / beam
    pictures = found.pictures
    view = desk.view(area, pictures[1].status.time_s)
    desk.observe_height(view, height, sd, at_height)
    if area == FOCUS_AREA:
        _follow(desk, view, pictures[1], shift, -found.defocus_um * _per_um(desk) / 2)
    desk.tell(
        HeightMeasured(
            target=area,
            tilt=desk.moment.tilt,
            defocus_um=defocus,
            height_um=height,
            sd_um=float(np.hypot(sd, beam_sd * defocus)),
            time_s=view.time_s,
        )
    )
    return Focus(defocus_um=defocus, height_um=height, sd_um=sd, at_height_um=at_height, view=view)


def defocus_at(desk: Desk, area: int, shift_um: Array, lens_um: float) -> Defocus:
    """An area's defocus as the beam tilt shows it, where the image shift and the lens are set as told.

    Raises
    ------
    ImageError, MicroscopeError
        if it could not be measured; the beam may be left tilted.
    """
    pictures = _three(desk, area, shift_um, lens_um)
    apart, sd_um = _apart(pictures, desk.scope.calibrations.tilt_axis_deg)
    # Not in a `finally`: where the program is stopped, the log must not get a call that a resumed run won't make.
    desk.scope.tilt_beam(0.0, 0.0)
    return Defocus(defocus_um=apart / _per_um(desk), sd_um=sd_um / _per_um(desk), pictures=pictures)


def _per_um(desk: Desk) -> float:
    """µm / µm: by how much pictures of the two beams, 2 β apart, lie apart for a defocus."""
    return 2e-3 * desk.settings.focus_tilt


def _follow(desk: Desk, view: View, picture: Picture, shift: Array, beam_um: float) -> None:
    """Tell the predictor where the focus area is: it is followed by its own pictures, or it would be lost in time.

    `beam_um` is what the beam's tilt alone moves the picture by, along the axis.
    """
    series = desk.series_of(view.target, FOCUS)
    by_beam = np.array([0.0, beam_um])
    if series.empty:
        series.add(picture, by_beam)
        return
    found = series.measure(picture)
    moved = found.shift_um - by_beam
    if found.confidence >= _LEAST_CONFIDENCE and np.hypot(*moved) <= desk.settings.max_displacement:
        series.add(picture, found.shift_um)
        desk.observe_place(view, shift + moved, found.sd_um)


def _three(desk: Desk, area: int, shift_um: Array, lens_um: float) -> tuple[Picture, Picture, Picture]:
    purpose = Purpose(kind="focus", target=area, tilt=desk.moment.tilt)
    pictures = []
    for number, sign in enumerate((1, -1, 1)):
        desk.scope.tilt_beam(0.0, sign * desk.settings.focus_tilt)
        pictures.append(desk.expose(FOCUS, replace(purpose, attempt=number), shift_um=shift_um, defocus_um=lens_um))
    return pictures[0], pictures[1], pictures[2]


def _apart(pictures: tuple[Picture, Picture, Picture], axis_deg: float) -> tuple[float, float]:
    """Along the axis, µm: how far the pictures with + lie beyond the one with −; and its standard error."""
    series = AlignedSeries(axis_deg)
    series.add(pictures[1])
    first, last = series.measure(pictures[0]), series.measure(pictures[2])
    if min(first.confidence, last.confidence) < _LEAST_CONFIDENCE:
        raise ImageError("pictures of the focus area that do not match", mend="choose another focus area")
    sd_um = float(np.sqrt((first.sd_um**2 + last.sd_um**2) / 4))
    return float(first.shift_um[1] + last.shift_um[1]) / 2, sd_um
