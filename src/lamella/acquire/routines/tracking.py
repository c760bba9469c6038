"""Follow an area: low magnification while it may be far, then the recording one until what is left is small.

The area is exposed, compared with its whole aligned series, and brought back by image shift (never by the stage, which
would begin to settle anew) until the displacement left holds the threshold (Bouvette et al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.comparing import AlignedSeries, Displacement
from lamella.acquire.microscope.port import TRACK, TRACK_LOW, Picture, Purpose
from lamella.acquire.predictor.interface import View
from lamella.acquire.routines.desk import TRACKING_AREA, Desk
from lamella.acquire.session.events import Tracked
from lamella.errors import ImageError, MicroscopeError

__all__ = ["Sighting", "find_again", "take_references", "track"]

Array = NDArray[np.float64]

_AGREE_UM = 0.3  # sightings of one round that lie further from its last one saw something else
_LEAST_CONFIDENCE = 0.15
_PLAUSIBLE_SD = 5.0  # predicted standard deviations that a displacement is believed at once
_PLAUSIBLE_UM = 0.3
_REPEATED = 0.015  # of the field, within which a second faint match must lie for the first one to be no chance
_UNSEEN = 1  # pictures of one place without the area, before it is looked for around
_OVERLAP = 0.7  # of the field, from one place to the next
_REFERENCE_SD_UM = 0.002
_IN_THE_MIDDLE = Displacement(shift_um=np.zeros(2), sd_um=_REFERENCE_SD_UM, confidence=1.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sighting:
    """One look at an area: the image shift that would have centred it, µm, and what was left to its middle."""

    view: View
    place_um: Array
    left_um: float
    sd_um: float


def take_references(desk: Desk, area: int = TRACKING_AREA, *, presets: Sequence[str] = (TRACK_LOW, TRACK)) -> None:
    """The first pictures of an area, in both magnifications or those given: they define its middle.

    What the targets' places mean is fixed by these pictures: the points of the specimen that their image shifts bring
    into the middle at this time.

    Raises
    ------
    MicroscopeError
        if there is no such picture.
    """
    prediction = desk.predict(area)
    for preset in presets:
        picture = desk.expose(
            preset,
            Purpose(kind="reference", target=area, tilt=desk.moment.tilt),
            shift_um=prediction.shift_um,
            defocus_um=desk.settings.defocus - desk.hand * prediction.height_um,
        )
        try:
            desk.series_of(area, preset).add(picture)
        except ImageError as error:
            raise MicroscopeError(f"no reference picture: {error.problem}", mend=error.mend) from error
    desk.observe_place(desk.view(area, picture.status.time_s), prediction.shift_um, _REFERENCE_SD_UM)


def track(desk: Desk, *, low: bool, area: int = TRACKING_AREA) -> Sighting | None:
    """Bring an area back into the middle, and tell the predictor of it.

    Parameters
    ----------
    desk
        of the session.
    low
        begin with the low magnification; otherwise it is gone back to where the recording one does not show the area.
    area
        number of the area.

    Returns
    -------
    Sighting
        the last one; None where the area could not be seen, and the predictor was told nothing.
    """
    prediction = desk.predict(area)
    shift = np.array(prediction.shift_um, np.float64)
    lens = desk.settings.defocus - desk.hand * prediction.height_um
    variance = np.diag(np.asarray(prediction.covariance_um2))[:2].max()
    plausible = max(_PLAUSIBLE_SD * float(np.sqrt(max(variance, 0.0))), _PLAUSIBLE_UM)
    if low:
        seen = _Round(desk, area, TRACK_LOW, lens, plausible).run(shift, desk.settings.tracking_low_threshold * 1e-3)
        if seen:
            shift = seen[-1].place_um
    seen = _Round(desk, area, TRACK, lens, plausible).run(shift, desk.settings.tracking_threshold * 1e-3)
    if not seen and not desk.series_of(area, TRACK_LOW).empty:
        # Out of the picture: not looked for yet, or gone since it was found (a refill lasts minutes, and disturbs).
        found = _Round(desk, area, TRACK_LOW, lens, plausible).run(shift, desk.settings.tracking_low_threshold * 1e-3)
        if not found:
            return None
        seen = _Round(desk, area, TRACK, lens, plausible).run(
            found[-1].place_um, desk.settings.tracking_threshold * 1e-3
        )
    if not seen:
        return None
    last = seen[-1]
    for one in seen:
        if np.hypot(*(one.place_um - last.place_um)) <= _AGREE_UM:
            desk.observe_place(one.view, one.place_um, one.sd_um)
    return last


def find_again(desk: Desk, area: int) -> Sighting | None:
    """Where a target is that is not in its picture, by the low magnification; None where it is not seen there.

    The targets that follow one of them would stay where it was otherwise: a stage can jump further than a picture.
    """
    if desk.series_of(area, TRACK_LOW).empty:
        return None
    prediction = desk.predict(area)
    lens = desk.settings.defocus - desk.hand * prediction.height_um
    field_um = max(desk.scope.calibrations.presets[TRACK_LOW].field_um)
    seen = _Round(desk, area, TRACK_LOW, lens, field_um).run(
        np.array(prediction.shift_um, np.float64), desk.settings.tracking_low_threshold * 1e-3
    )
    return seen[-1] if seen else None


@dataclass(eq=False)
class _Round:
    """Exposures of an area in one magnification."""

    desk: Desk
    area: int
    preset: str
    lens_um: float
    plausible_um: float

    def run(self, shift: Array, threshold_um: float) -> list[Sighting]:
        """Expose until the area stands within the threshold, or the attempts are used up; what was seen, in order.

        A displacement that is hard to believe is believed once a second picture shows it too: on a lattice of holes a
        correlation may find the next hole. A match too faint to be believed is, where a second picture shows it at the
        same place and that is near: chance does not repeat itself.
        """
        seen: list[Sighting] = []
        doubted: Array | None = None
        faint: Array | None = None
        same_um = _REPEATED * min(self.desk.scope.calibrations.presets[self.preset].field_um)
        unseen = 0
        around = self._around(shift)
        series = self.desk.series_of(self.area, self.preset)
        for attempt in range(self.desk.settings.tracking_attempts + len(around)):
            if attempt:
                self.desk.scope.wait(self.desk.settings.tracking_pause)
            begun_s = self.desk.scope.time_s
            try:
                picture, found = self._look(series, shift, attempt)
            except (ImageError, MicroscopeError):
                break
            if found.confidence < _LEAST_CONFIDENCE:
                again = faint is not None and np.hypot(*(shift + found.shift_um - faint)) <= same_um
                if not again or found.length_um > self.plausible_um:
                    faint = shift + found.shift_um
                    unseen += 1
                    if not seen and unseen > _UNSEEN and around:
                        shift = around.pop(0)
                    continue
            known = doubted is not None and np.hypot(*(found.shift_um - doubted)) <= _AGREE_UM
            if found.length_um > self.plausible_um and not known:
                doubted = found.shift_um
                continue
            seen.append(self._sighting(picture, shift, found))
            if found.length_um <= threshold_um:
                series.add(picture, found.shift_um)
                break
            shift, doubted = shift + found.shift_um + self._meanwhile(picture.status.time_s - begun_s), None
        return seen

    def _meanwhile(self, seconds: float) -> Array:
        """``(2,)`` by how much the predictor expects the area to move until the next exposure, as long after this one.

        A stage that settles by 10 nm/s would else be behind at every exposure by what it does in the meantime.
        """
        now = self.desk.view(self.area)
        then = replace(now, time_s=now.time_s + seconds, since_tilt_s=now.since_tilt_s + seconds)
        before, after = (np.asarray(self.desk.predictor.predict(view).shift_um) for view in (now, then))
        return np.asarray(after - before)

    def _around(self, shift: Array) -> list[Array]:
        """Places about one where the area is not seen, in the low magnification; it overlaps with each."""
        if self.preset != TRACK_LOW:
            return []
        height, width = self.desk.scope.calibrations.presets[TRACK_LOW].field_um
        step = _OVERLAP * min(height, width)
        # Across the axis first, and further: that is where heights not known yet move an area.
        ring = [np.array([i, j]) * step for i in (-2, -1, 0, 1, 2) for j in (-1, 0, 1) if (i, j) != (0, 0)]
        ring.sort(key=lambda off: (abs(off[1]), abs(off[0])))
        furthest = self.desk.scope.limits.image_shift_um
        return [shift + off for off in ring if np.hypot(*(shift + off)) <= furthest]

    def _look(self, series: AlignedSeries, shift: Array, attempt: int) -> tuple[Picture, Displacement]:
        desk = self.desk
        picture = desk.expose(
            self.preset,
            Purpose(kind="track", target=self.area, tilt=desk.moment.tilt, attempt=attempt),
            shift_um=shift,
            defocus_um=self.lens_um,
        )
        found = _IN_THE_MIDDLE if series.empty else series.measure(picture)
        desk.tell(
            Tracked(
                target=self.area,
                tilt=desk.moment.tilt,
                preset=self.preset,
                attempt=attempt,
                left_nm=1e3 * found.length_um,
                shift_um=(float(shift[0]), float(shift[1])),
                time_s=picture.status.time_s,
            )
        )
        return picture, found

    def _sighting(self, picture: Picture, shift: Array, found: Displacement) -> Sighting:
        return Sighting(
            view=self.desk.view(self.area, picture.status.time_s),
            place_um=shift + found.shift_um,
            left_um=found.length_um,
            sd_um=found.sd_um,
        )
