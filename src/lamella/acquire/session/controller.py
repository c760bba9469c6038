"""A session from its first call to its last: height, plane, focus, references, then the tilts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from lamella.acquire.acquire_settings import AcquireSettings
from lamella.acquire.microscope.port import Calibrations
from lamella.acquire.plan import Plan
from lamella.acquire.predictor.interface import Predictor, TargetPlace
from lamella.acquire.routines.autofocus import measure_focus
from lamella.acquire.routines.desk import FOCUS_AREA, TRACKING_AREA, Desk, Moment
from lamella.acquire.routines.eucentric import to_eucentric_height
from lamella.acquire.routines.focus_position import own_areas, position_places
from lamella.acquire.routines.levelling import levelling_places, measure_plane
from lamella.acquire.routines.tracking import take_references
from lamella.acquire.session.steady import SteadyMicroscope
from lamella.acquire.session.tilt_loop import TiltLoop
from lamella.acquire.targets import Target
from lamella.progress import Progress

__all__ = ["MakePredictor", "control"]

MakePredictor = Callable[[str, Mapping[int, TargetPlace], Calibrations], Predictor]

_KNOWN_SD_UM = (0.02, 0.02, 0.3)
_AREA_SD_UM = (0.0, 0.0, 0.5)


def control(
    scope: SteadyMicroscope,
    plan: Plan,
    settings: AcquireSettings,
    tell: Callable[..., None],
    make_predictor: MakePredictor,
    progress: Progress,
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

    Raises
    ------
    MicroscopeError
        if the session cannot begin, or the stage does not tilt any more.
    """
    start = settings.start_tilt if not settings.tilts else float(plan.scheme.tilt_deg[0])
    status = scope.tilt(start)
    moment = Moment(tilt=-1, asked_deg=start, tilt_deg=status.tilt_deg, stood_s=status.time_s, branch=0)

    def desk_for(name: str, places: Mapping[int, TargetPlace], areas: Mapping[int, int] | None = None) -> Desk:
        predictor = make_predictor(name, places, scope.calibrations)
        here = replace(moment, stood_s=scope.time_s)
        return Desk(scope=scope, predictor=predictor, settings=settings, tell=tell, moment=here, areas=areas or {})

    targets = _prepared_targets(desk_for, plan, settings, start)
    if settings.tracking == "position":
        for number, target in enumerate(targets):
            if number:
                scope.tilt(start)
            desk = desk_for(settings.predictor, position_places(number, target, settings), own_areas(number))
            _record(desk, plan, (number,), True, _part(progress, number, len(targets)))
        return
    desk = desk_for(settings.predictor, _places(targets, settings))
    _record(desk, plan, tuple(range(len(targets))), _follows_area(desk), progress)


def _prepared_targets(
    desk_for: Callable[[str, Mapping[int, TargetPlace]], Desk],
    plan: Plan,
    settings: AcquireSettings,
    start_deg: float,
) -> Sequence[Target]:
    """Bring the stage to eucentric height and measure the plane: the targets with the heights that follow."""
    desk = desk_for("flat", _places(plan.targets, settings))
    if settings.eucentric:
        to_eucentric_height(desk, start_deg)
    if not settings.level:
        return plan.targets
    areas = levelling_places(plan.targets, settings.level, settings.position_distance, desk.scope.limits.image_shift_um)
    plane = measure_plane(desk_for("flat", areas), areas)
    # The middle stands at eucentric height; what focus says of it is the lens's own error.
    return [
        replace(target, z_um=float(plane.heights((target.x_um, target.y_um)) - plane.height_um))
        for target in plan.targets
    ]


def _places(targets: Sequence[Target], settings: AcquireSettings) -> dict[int, TargetPlace]:
    """The targets' places by their numbers, and those of the tracking and the focus area."""
    places = {
        number: TargetPlace(place_um=(one.x_um, one.y_um, one.z_um or 0.0), sd_um=_KNOWN_SD_UM)
        for number, one in enumerate(targets)
    }
    for area, (x, y) in ((TRACKING_AREA, settings.tracking_place), (FOCUS_AREA, settings.focus_place)):
        places[area] = TargetPlace(place_um=(x, y, 0.0), sd_um=_AREA_SD_UM)
    return places


def _record(desk: Desk, plan: Plan, targets: Sequence[int], follow_area: bool, progress: Progress) -> None:
    step = desk.settings.focus_scale_step if desk.predictor.focuses_on == "tracking-area" else 0.0
    for off in (-step, step) if step else (0.0,):
        measure_focus(desk, desk.focus_area, off_um=off)
    if follow_area:
        take_references(desk)
    TiltLoop(desk=desk, plan=plan, targets=targets, follow_area=follow_area, progress=progress).run()


def _follows_area(desk: Desk) -> bool:
    if desk.settings.tracking == "auto":
        return desk.predictor.tracks_on == "area"
    return desk.settings.tracking == "area"


def _part(progress: Progress, number: int, count: int) -> Progress:
    def tell_part(fraction: float, text: str = "") -> None:
        progress((number + fraction) / count, text)

    return tell_part
