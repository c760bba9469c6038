"""One view of one target: predicted, exposed, measured against its own series, learned from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.comparing import Displacement
from lamella.acquire.microscope.port import RECORD, Picture, Purpose
from lamella.acquire.predictor.interface import Prediction, View
from lamella.acquire.routines.desk import TRACKING_AREA, DarkPicture, Desk
from lamella.acquire.routines.tracking import find_again
from lamella.acquire.session.events import ViewLeftOut, ViewRecorded
from lamella.errors import ImageError, Interruption, LimitError, MicroscopeError

__all__ = ["FirstView", "RecordedView", "TargetState", "predicted_sd_um", "record_view"]

Array = NDArray[np.float64]

_LEAST_CONFIDENCE = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordedView:
    """What is kept of a view, for what processing will tell of it.

    Attributes
    ----------
    view
        as predictors know it.
    tilt_deg, lens_um, shift_um
        the stage's angle, the lens and the image shift ``(2,)`` with which it was recorded.
    learned
        whether the predictor was told where the target was in it, or need not be: in the first view.
    """

    view: View
    tilt_deg: float
    lens_um: float
    shift_um: Array
    learned: bool


@dataclass(eq=False)
class TargetState:
    """How far a target's series is.

    Attributes
    ----------
    views
        recorded.
    failed
        views that failed one after the other, up to now.
    dose
        that it had, e/Å².
    lost
        why it was given up; empty while it was not.
    thick
        why it was ended early; empty while it was not.
    taken
        its views, in the order of recording.
    """

    views: int = 0
    failed: int = 0
    dose: float = 0.0
    lost: str = ""
    thick: str = ""
    taken: list[RecordedView] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, eq=False)
class FirstView:
    """A target's first picture, and where the tracking area was thought to be then: its origin is settled later."""

    target: int
    picture: Picture
    area_um: Array | None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Taken:
    picture: Picture
    prediction: Prediction
    view: View
    displacement: Displacement | None = None
    learned: bool = False
    first: FirstView | None = field(default=None)


def predicted_sd_um(prediction: Prediction) -> tuple[float, float]:
    """Standard deviations of a prediction: of the place (both ways together) and of the height, µm."""
    variances = np.diag(np.asarray(prediction.covariance_um2, np.float64))
    return float(np.sqrt(max(variances[0] + variances[1], 0.0))), float(np.sqrt(max(variances[2], 0.0)))


def record_view(
    desk: Desk, target: int, shot: int, dose: float, state: TargetState, *, follow_area: bool, leads: bool = False
) -> FirstView | None:
    """Record a target at the present tilt; whatever goes wrong is told and stays with this target.

    Parameters
    ----------
    desk
        of the session.
    target, shot
        its number, and that within its hole.
    dose
        of the view, e/Å².
    state
        of the target; changed.
    follow_area
        whether a tracking area tells by how far the first picture is off.
    leads
        whether the others follow this target: its displacement has no limit then.

    Returns
    -------
    FirstView
        where this was the target's first picture; the caller adds it to the series once its origin is known.
    """
    prediction = desk.predict(target)
    try:
        taken = _take(desk, target, shot, dose, prediction, follow_area, leads)
    except Interruption:
        raise
    except LimitError as error:
        desk.tell(ViewLeftOut(target=target, tilt=desk.moment.tilt, kind="limit", reason=str(error)))
        return None
    except MicroscopeError as error:
        state.failed += 1
        kind = "dark" if isinstance(error, DarkPicture) else "fault"
        desk.tell(ViewLeftOut(target=target, tilt=desk.moment.tilt, kind=kind, reason=str(error)))
        if state.failed >= desk.settings.give_up:
            state.lost = f"{state.failed} views failed one after the other, the last: {error}"
        return None
    _tell(desk, taken, shot, state)
    state.views += 1
    state.failed = 0
    state.dose += taken.picture.dose
    status = taken.picture.status
    state.taken.append(
        RecordedView(
            view=taken.view,
            tilt_deg=status.tilt_deg,
            lens_um=status.defocus_um,
            shift_um=np.array(taken.prediction.shift_um, np.float64),
            learned=taken.learned or taken.first is not None,
        )
    )
    return taken.first


def _take(
    desk: Desk,
    target: int,
    shot: int,
    dose: float,
    prediction: Prediction,
    follow_area: bool,
    leads: bool,
) -> _Taken:
    preset = desk.scope.calibrations.presets[RECORD]
    picture = desk.expose(
        RECORD,
        Purpose(kind="record", target=target, tilt=desk.moment.tilt, shot=shot),
        shift_um=prediction.shift_um,
        defocus_um=desk.settings.defocus - desk.hand * prediction.height_um,
        exposure_s=preset.exposure_s * dose / preset.dose,
    )
    view = desk.view(target, picture.status.time_s)
    series = desk.series_of(target, RECORD)
    if series.empty:
        area = None
        if follow_area:
            area = np.array(desk.predictor.predict(desk.view(TRACKING_AREA, view.time_s)).shift_um, np.float64)
        first = FirstView(target=target, picture=picture, area_um=area)
        return _Taken(picture=picture, prediction=prediction, view=view, first=first)
    try:
        found = series.measure(picture)
    except ImageError:
        return _Taken(picture=picture, prediction=prediction, view=view)
    if leads and found.confidence < _LEAST_CONFIDENCE:
        again = find_again(desk, target)
        if again is not None:
            desk.observe_place(view, again.place_um, again.sd_um)
            return _Taken(picture=picture, prediction=prediction, view=view, displacement=found, learned=True)
    near = leads or found.length_um <= desk.settings.max_displacement
    sound = near and found.confidence >= _LEAST_CONFIDENCE
    if sound:
        series.add(picture, found.shift_um)
        desk.observe_place(view, np.asarray(prediction.shift_um) + found.shift_um, found.sd_um)
    return _Taken(picture=picture, prediction=prediction, view=view, displacement=found, learned=sound)


def _tell(desk: Desk, taken: _Taken, shot: int, state: TargetState) -> None:
    found, picture, shift = taken.displacement, taken.picture, taken.prediction.shift_um
    place = None if found is None else (float(found.shift_um[0]), float(found.shift_um[1]))
    desk.tell(
        ViewRecorded(
            target=taken.view.target,
            tilt=taken.view.tilt,
            shot=shot,
            attempt=0,
            asked_deg=desk.moment.asked_deg,
            tilt_deg=picture.status.tilt_deg,
            shift_um=(float(shift[0]), float(shift[1])),
            defocus_um=picture.status.defocus_um,
            predicted_sd_um=predicted_sd_um(taken.prediction),
            displacement_um=place,
            displacement_sd_um=0.0 if found is None else found.sd_um,
            confidence=0.0 if found is None else found.confidence,
            learned=taken.learned,
            dose=picture.dose,
            dose_before=state.dose,
            mean_counts=picture.mean_counts,
            files=picture.files,
            time_s=picture.status.time_s,
        )
    )
