"""A session from its first call to its last: height, plane, focus, references, then the tilts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from lamella.acquire.acquire_settings import AcquireSettings
from lamella.acquire.comparing import AlignedSeries
from lamella.acquire.microscope.port import TRACK, TRACK_LOW, Calibrations, Purpose
from lamella.acquire.plan import Plan
from lamella.acquire.predictor.interface import Predictor, TargetPlace
from lamella.acquire.routines.autofocus import measure_focus
from lamella.acquire.routines.desk import TRACKING_AREA, Desk, FocusScales, Moment
from lamella.acquire.routines.eucentric import height_by_tilting
from lamella.acquire.routines.focus_position import own_areas, position_places
from lamella.acquire.routines.tracking import take_references, track
from lamella.acquire.session.beginning import area_places, level, prepare, walk_to_first_tilt
from lamella.acquire.session.feedback import Feedback, no_feedback
from lamella.acquire.session.steady import SteadyMicroscope
from lamella.acquire.session.tilt_loop import TiltLoop
from lamella.acquire.targets import Target
from lamella.errors import MicroscopeError
from lamella.progress import Progress

__all__ = ["MakePredictor", "control"]

MakePredictor = Callable[[str, Mapping[int, TargetPlace], Calibrations], Predictor]

DeskFor = Callable[..., Desk]

_KNOWN_SD_UM = (0.02, 0.02, 0.3)
_AREA_SD_UM = (0.0, 0.0, 0.5)


def control(
    scope: SteadyMicroscope,
    plan: Plan,
    settings: AcquireSettings,
    tell: Callable[..., None],
    make_predictor: MakePredictor,
    progress: Progress,
    feedback: Feedback = no_feedback,
) -> None:
    """Run a session; what happens is told as events.

    Parameters
    ----------
    scope
        the microscope.
    plan
        of the session.
    settings
        of the session.
    tell
        takes events.
    make_predictor
        makes a predictor of a name, for places by their number.
    progress
        told the fraction done.
    feedback
        what processing measured meanwhile; of targets that are recorded at once.

    Raises
    ------
    MicroscopeError
        if the session cannot begin, or the stage does not tilt any more.
    """
    start = settings.start_tilt
    series: dict[tuple[int, str], AlignedSeries] = {}
    brightness: dict[str, list[float]] = {}
    focus_scales = FocusScales()

    def desk_for(name: str, places: Mapping[int, TargetPlace], areas: Mapping[int, int] | None = None) -> Desk:
        status = scope.status()
        return Desk(
            scope=scope,
            predictor=make_predictor(name, places, scope.calibrations),
            settings=settings,
            tell=tell,
            moment=Moment(tilt=-1, asked_deg=start, tilt_deg=status.tilt_deg, stood_s=status.time_s, branch=0),
            areas=areas or {},
            series=series,
            brightness=brightness,
            focus_scales=focus_scales,
        )

    scope.tilt(start)
    focus_scales = prepare(desk_for("flat", area_places(plan.targets, plan.areas)), plan)
    targets, heights = level(desk_for, plan)
    if settings.tracking == "position":
        _record_singly(desk_for, plan, targets, start, progress)
        return
    desk = desk_for(settings.predictor, area_places(targets, plan.areas))
    if desk.predictor.focuses_on == "tracking-area":
        if focus_scales.lens_sd is not None:
            desk.observe_lens(focus_scales.lens, focus_scales.lens_sd)
        # It learns the plane from them; others would take each for the error of focus everywhere.
        for height in heights:
            desk.observe_height(height.view, height.height_um, height.sd_um, height.at_height_um)
    _record(desk, plan, tuple(range(len(targets))), _follows_area(desk), progress, feedback)


def _record_singly(
    desk_for: DeskFor, plan: Plan, targets: Sequence[Target], start_deg: float, progress: Progress
) -> None:
    """One target after the other, each followed at its own place along the axis.

    The places' first pictures, at low magnification, are taken at once, so that what the stage does in one series does
    not shift the next target.
    """
    desk = desk_for("flat", area_places(targets, plan.areas))
    settings = desk.settings
    for number, target in enumerate(targets):
        places = position_places(number, target, settings, target.z_um or 0.0)
        take_references(desk_for("flat", places, own_areas(number)), presets=(TRACK_LOW,))
    moved_um = np.zeros(2)
    for number, target in enumerate(targets):
        place_um = np.array([target.x_um, target.y_um + settings.position_distance])
        purpose = Purpose(kind="track", target=own_areas(number)[TRACKING_AREA])
        z_um = height_by_tilting(desk, start_deg, place_um + moved_um, 2 * settings.eucentric_tilt, purpose)
        desk.scope.tilt(start_deg)
        here = replace(target, x_um=target.x_um + float(moved_um[0]), y_um=target.y_um + float(moved_um[1]))
        own = desk_for(settings.predictor, position_places(number, here, settings, z_um), own_areas(number))
        start = own.moment
        track(own, low=True)
        _record(own, plan, (number,), True, _part(progress, number, len(targets)))
        if number + 1 < len(targets):
            status = desk.scope.tilt(start_deg)
            own.moment = replace(start, stood_s=status.time_s)
            seen = track(own, low=True)
            moved_um = moved_um if seen is None else seen.place_um - place_um


def _record(
    desk: Desk,
    plan: Plan,
    targets: Sequence[int],
    follow_area: bool,
    progress: Progress,
    feedback: Feedback = no_feedback,
) -> None:
    learns = desk.predictor.focuses_on == "tracking-area" and desk.focus_scales.lens_sd is None
    step = desk.settings.focus_scale_step if learns else 0.0
    for off in (-step, step) if step else (0.0,):
        measure_focus(desk, desk.focus_area, off_um=off)
    if follow_area and desk.series_of(TRACKING_AREA, TRACK).empty:
        take_references(desk)
    elif not follow_area and desk.settings.tracking != "none" and desk.series_of(targets[0], TRACK_LOW).empty:
        # In case that the target which the others follow leaves its picture; it may fail as any target may.
        with suppress(MicroscopeError):
            take_references(desk, targets[0], presets=(TRACK_LOW,))
    if follow_area:
        walk_to_first_tilt(desk, desk.moment.asked_deg, float(plan.scheme.tilt_deg[0]))
    TiltLoop(desk=desk, plan=plan, targets=targets, follow_area=follow_area, progress=progress, feedback=feedback).run()


def _follows_area(desk: Desk) -> bool:
    if desk.settings.tracking == "auto":
        return desk.predictor.tracks_on == "area"
    return desk.settings.tracking == "area"


def _part(progress: Progress, number: int, count: int) -> Progress:
    def tell_part(fraction: float, text: str = "") -> None:
        progress((number + fraction) / count, text)

    return tell_part
