"""Record many tilt series: the public verb."""

from __future__ import annotations

from collections.abc import Sequence

from lamella.acquire.acquire_settings import AcquireSettings
from lamella.acquire.microscope.port import Microscope
from lamella.acquire.plan import plan_session
from lamella.acquire.predictor.factory import make_predictor
from lamella.acquire.session.controller import MakePredictor, control
from lamella.acquire.session.events import Event
from lamella.acquire.session.result import SessionResult
from lamella.acquire.session.steady import SteadyMicroscope
from lamella.acquire.targets import Target
from lamella.progress import Progress, no_progress

__all__ = ["run_session"]


def run_session(
    microscope: Microscope,
    targets: Sequence[Target],
    settings: AcquireSettings,
    *,
    make_predictor: MakePredictor = make_predictor,
    progress: Progress = no_progress,
) -> SessionResult:
    """Record tilt series of many targets at once.

    Parameters
    ----------
    microscope
        real, simulated or replayed.
    targets
        their places at the start tilt.
    settings
        of the session.
    make_predictor
        makes the predictor; the one of the settings' name where left out.
    progress
        told the fraction done.

    Raises
    ------
    InputError
        what the plan finds wrong, before anything is asked of the microscope.
    MicroscopeError
        if the session cannot begin, or the stage does not tilt any more.
    """
    plan = plan_session(microscope.calibrations, microscope.limits, targets, settings)
    events: list[Event] = []
    scope = SteadyMicroscope(microscope, settings, events.append)
    started = scope.status().time_s
    control(scope, plan, settings, events.append, make_predictor, progress)
    ended = scope.status().time_s
    return SessionResult(plan=plan, events=tuple(events), started_s=started, ended_s=ended)
