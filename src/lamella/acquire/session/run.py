"""Record many tilt series; go on with a session that was stopped; run a recorded one again with another predictor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import lamella
from lamella.acquire.acquire_settings import AcquireSettings
from lamella.acquire.microscope.port import Microscope
from lamella.acquire.microscope.recorder import PictureSink, RecordingMicroscope
from lamella.acquire.microscope.replay import ReplayMicroscope
from lamella.acquire.plan import plan_session
from lamella.acquire.predictor.factory import make_predictor
from lamella.acquire.session.codec import encode_calibrations, read_calibrations, read_limits
from lamella.acquire.session.controller import MakePredictor, control
from lamella.acquire.session.events import Event, SessionBegun, SessionEnded, Tell, event_json, read_event
from lamella.acquire.session.feedback import Feedback, journalled_feedback, no_feedback
from lamella.acquire.session.log import FORMAT, Journal, LogFile, read_log
from lamella.acquire.session.result import SessionResult
from lamella.acquire.session.steady import SteadyMicroscope
from lamella.acquire.targets import Target
from lamella.errors import FormatError, SettingsError
from lamella.progress import Progress, no_progress

__all__ = ["SessionHead", "read_head", "read_session", "replay_session", "resume_session", "run_session"]


class SessionHead:
    """What a session was begun with.

    Attributes
    ----------
    settings, targets
        of it.
    calibrations, limits
        of its microscope.
    about
        what its beginner wrote beside: which microscope, world and seed.
    feedback
        whether what processing measured is taken in.
    version
        of lamella.
    """

    def __init__(self, line: Mapping[str, Any], where: str) -> None:
        try:
            self.settings = AcquireSettings.model_validate(line["settings"])
            self.targets = tuple(Target(**entry) for entry in line["targets"])
            self.calibrations = read_calibrations(line["calibrations"])
            self.limits = read_limits(line["limits"])
            self.about: dict[str, Any] = dict(line["about"])
            self.feedback = bool(line.get("feedback", False))
            self.version = str(line["version"])
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            raise FormatError(
                f"{where}: the session's head cannot be read ({error})", mend="use the version of lamella that wrote it"
            ) from error


def read_head(folder: Path | str) -> SessionHead:
    """What the session in a folder was begun with.

    Raises
    ------
    ProjectError, FormatError
        if there is none, or its log cannot be read.
    """
    return SessionHead(read_log(folder)[0], str(folder))


def read_session(folder: Path | str) -> SessionResult:
    """What the session in a folder has recorded up to now, from its log alone.

    Raises
    ------
    ProjectError, FormatError
        if there is none, or its log cannot be read.
    """
    head, lines, _ = read_log(folder)
    return _logged(SessionHead(head, str(folder)), lines)


def run_session(
    microscope: Microscope,
    targets: Sequence[Target],
    settings: AcquireSettings,
    folder: Path | str | None = None,
    *,
    about: Mapping[str, Any] | None = None,
    feedback: bool = False,
    durable: bool | None = None,
    pictures: PictureSink | None = None,
    watch: Tell | None = None,
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
    folder
        gets the log, ``events.jsonl``; None: nothing is kept.
    about
        what shall stand in the log's head beside: which microscope, world and seed.
    feedback
        take in at each tilt what processing wrote into the folder's ``feedback.jsonl``.
    durable
        every line of the log is on the disk before the session goes on; left out: on a real microscope.
    pictures
        takes every picture as the camera gave it.
    watch
        is told every event as it happens.
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
    head = {
        "session": FORMAT,
        "version": lamella.__version__,
        "settings": settings.model_dump(mode="json"),
        "targets": [asdict(one) for one in targets],
        **encode_calibrations(microscope.calibrations, microscope.limits),
        "about": dict(about or {}),
        **({"feedback": True} if feedback else {}),
    }
    # Before the folder is made: what the plan refuses leaves nothing behind.
    plan_session(microscope.calibrations, microscope.limits, targets, settings)
    durable = not microscope.repeatable if durable is None else durable
    with LogFile(Path(folder), durable=durable) if folder is not None else nullcontext() as file:
        if file is not None:
            file.append(head)
        return _run(
            microscope, SessionHead(head, "the session"), Journal(file), pictures, watch, make_predictor, progress
        )


def resume_session(
    folder: Path | str,
    microscope: Microscope,
    *,
    durable: bool | None = None,
    pictures: PictureSink | None = None,
    watch: Tell | None = None,
    make_predictor: MakePredictor = make_predictor,
    progress: Progress = no_progress,
) -> SessionResult:
    """Go on with a session that was stopped at any event; the result is that of a session that was not stopped.

    Parameters
    ----------
    folder
        of the session.
    microscope
        the same one; a simulated one as it was at the session's start.
    durable, pictures, watch, make_predictor, progress
        as `run_session`; pictures and events of the time before the stop come to `watch` again, not to `pictures`.

    Raises
    ------
    ProjectError
        if there is no session, it was made by other rules, or the stage was moved since.
    FormatError
        if its log cannot be read.
    MicroscopeError
        as `run_session`.
    """
    head, lines, whole = read_log(folder)
    durable = not microscope.repeatable if durable is None else durable
    with LogFile(Path(folder), durable=durable, whole=whole) as file:
        return _run(
            microscope,
            SessionHead(head, str(folder)),
            Journal(file, lines),
            pictures,
            watch,
            make_predictor,
            progress,
        )


def replay_session(
    folder: Path | str,
    predictor: str | None = None,
    *,
    make_predictor: MakePredictor = make_predictor,
    progress: Progress = no_progress,
) -> SessionResult:
    """Run a recorded session again with another predictor, on the pictures that were taken.

    Parameters
    ----------
    folder
        of the session.
    predictor
        by name; the session's own where left out.
    make_predictor, progress
        as `run_session`.

    Returns
    -------
    SessionResult
        its views' displacements tell how far each target would have been off.

    Raises
    ------
    ProjectError, FormatError
        if there is no session, or its log cannot be read.
    SettingsError
        if there is no such predictor.
    """
    head = read_head(folder)
    settings = head.settings
    if predictor is not None:
        try:
            settings = AcquireSettings.model_validate({**settings.model_dump(), "predictor": predictor})
        except ValidationError as error:
            raise SettingsError(
                f"predictor {predictor!r}: {error.errors()[0]['msg']}", mend="choose one of those"
            ) from error
    return run_session(
        ReplayMicroscope(folder), head.targets, settings, make_predictor=make_predictor, progress=progress
    )


def _run(
    microscope: Microscope,
    head: SessionHead,
    journal: Journal,
    pictures: PictureSink | None,
    watch: Tell | None,
    make_predictor: MakePredictor,
    progress: Progress,
) -> SessionResult:
    plan = plan_session(head.calibrations, head.limits, head.targets, head.settings)
    events: list[Event] = []

    def tell(event: Event) -> None:
        line = event_json(event)
        if journal.earlier(line) is None:
            journal.write(line)
        events.append(event)
        if watch is not None:
            watch(event)

    recorded = RecordingMicroscope(
        microscope, journal, calibrations=head.calibrations, limits=head.limits, pictures=pictures
    )
    scope = SteadyMicroscope(recorded, head.settings, tell)
    started = scope.status().time_s
    tell(SessionBegun(time_s=started))
    taken_in: Feedback = no_feedback
    if head.feedback and journal.file is not None:
        taken_in = journalled_feedback(journal.file.folder, journal)
    control(scope, plan, head.settings, tell, make_predictor, progress, taken_in)
    ended = scope.status().time_s
    tell(SessionEnded(started_s=started, ended_s=ended))
    return SessionResult(plan=plan, events=tuple(events), started_s=started, ended_s=ended)


def _logged(head: SessionHead, lines: Sequence[Mapping[str, Any]]) -> SessionResult:
    """The result that a log tells; its end is that of the last event that has a time, where it has not ended."""
    plan = plan_session(head.calibrations, head.limits, head.targets, head.settings)
    events = tuple(event for event in map(read_event, lines) if event is not None)
    last = events[-1] if events else None
    if isinstance(last, SessionEnded):
        return SessionResult(plan=plan, events=events, started_s=last.started_s, ended_s=last.ended_s)
    times = [float(event.time_s) for event in events if hasattr(event, "time_s")] or [0.0]
    return SessionResult(plan=plan, events=events, started_s=times[0], ended_s=max(times))
