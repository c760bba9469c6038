"""Follow an area: low magnification while it may be far, then the recording one until what is left is small.

The area is exposed, compared with its whole aligned series, and brought back by image shift (never by the stage, which
would begin to settle anew) until the displacement left holds the threshold (Bouvette et al. 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.comparing import Displacement
from lamella.acquire.microscope.port import TRACK, TRACK_LOW, Purpose
from lamella.acquire.predictor.interface import View
from lamella.acquire.routines.desk import TRACKING_AREA, Desk
from lamella.acquire.session.events import Tracked
from lamella.errors import ImageError, MicroscopeError

__all__ = ["Sighting", "take_references", "track"]

Array = NDArray[np.float64]

_AGREE_UM = 0.3  # sightings of one round that lie further from its last one saw something else
_LEAST_CONFIDENCE = 0.15


@dataclass(frozen=True, kw_only=True, eq=False)
class Sighting:
    """One look at an area: the image shift that would have centred it, µm, and what was left to its middle."""

    view: View
    place_um: Array
    left_um: float
    sd_um: float


def take_references(desk: Desk, area: int = TRACKING_AREA) -> None:
    """The first pictures of an area, in both magnifications: they define its middle.

    What the targets' places mean is fixed by these pictures: the points of the specimen that their image shifts bring
    into the middle at this time.

    Raises
    ------
    MicroscopeError
        if there is no such picture.
    """
    prediction = desk.predict(area)
    for preset in (TRACK_LOW, TRACK):
        picture = desk.expose(
            preset,
            Purpose(kind="reference", target=area, tilt=desk.moment.tilt),
            shift_um=prediction.shift_um,
            defocus_um=desk.settings.defocus - desk.hand * prediction.height_um,
        )
        desk.series_of(area, preset).add(picture)
    desk.observe_place(desk.view(area, picture.status.time_s), prediction.shift_um, 0.002)


def track(desk: Desk, *, low: bool, area: int = TRACKING_AREA) -> Sighting | None:
    """Bring an area back into the middle, and tell the predictor of it.

    Parameters
    ----------
    desk
        of the session.
    low
        begin with the low magnification.
    area
        number of the area.

    Returns
    -------
    Sighting
        the last one; None where the area could not be seen, and the predictor was told nothing.
    """
    prediction = desk.predict(area)
    shift = np.array(prediction.shift_um, np.float64)
    defocus = desk.settings.defocus - desk.hand * prediction.height_um
    if low:
        seen = _round(desk, area, TRACK_LOW, shift, defocus, desk.settings.tracking_low_threshold * 1e-3)
        if seen:
            shift = seen[-1].place_um
    seen = _round(desk, area, TRACK, shift, defocus, desk.settings.tracking_threshold * 1e-3)
    if not seen:
        return None
    last = seen[-1]
    for one in seen:
        if np.hypot(*(one.place_um - last.place_um)) <= _AGREE_UM:
            desk.observe_place(one.view, one.place_um, one.sd_um)
    return last


def _round(desk: Desk, area: int, preset: str, shift: Array, defocus_um: float, threshold_um: float) -> list[Sighting]:
    """Exposures in one magnification until the area stands within the threshold, or the attempts are used up."""
    seen: list[Sighting] = []
    series = desk.series_of(area, preset)
    for attempt in range(desk.settings.tracking_attempts):
        if attempt:
            desk.scope.wait(desk.settings.tracking_pause)
        try:
            picture = desk.expose(
                preset,
                Purpose(kind="track", target=area, tilt=desk.moment.tilt, attempt=attempt),
                shift_um=shift,
                defocus_um=defocus_um,
            )
            found = Displacement(shift_um=np.zeros(2), sd_um=0.002, confidence=1.0)
            if not series.empty:
                found = series.measure(picture)
        except (ImageError, MicroscopeError):
            break
        desk.tell(
            Tracked(
                target=area,
                tilt=desk.moment.tilt,
                preset=preset,
                attempt=attempt,
                left_nm=1e3 * found.length_um,
                shift_um=(float(shift[0]), float(shift[1])),
                time_s=picture.status.time_s,
            )
        )
        if found.confidence < _LEAST_CONFIDENCE:
            continue
        place = shift + found.shift_um
        seen.append(
            Sighting(
                view=desk.view(area, picture.status.time_s),
                place_um=place,
                left_um=found.length_um,
                sd_um=found.sd_um,
            )
        )
        if found.length_um <= threshold_um:
            series.add(picture, found.shift_um)
            break
        shift = place
    return seen
