"""A session's folder: what was planned, on which microscope, and running it from there.

::

    SESSION/
      session.toml     tables [microscope] and [session]: every setting, with its unit and meaning
      targets.csv      name, x_um, y_um, z_um, group
      plan.png         where targets, areas and beams lie at the start tilt and at the highest ones
      events.jsonl     the log: what was asked and answered, and what was decided; only ever appended to
      world.toml       of a simulated microscope: the world that the session began in
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

from lamella.acquire.acquire_settings import AcquireSettings
from lamella.acquire.microscope.simulated import SimulatedCrash
from lamella.acquire.plan import Plan, plan_session
from lamella.acquire.session.events import Event, Tell
from lamella.acquire.session.files import LEFT_OUT_NAME, SessionFiles
from lamella.acquire.session.log import LOG_NAME
from lamella.acquire.session.result import SessionResult
from lamella.acquire.session.run import read_head, read_session, resume_session, run_session
from lamella.acquire.simulated_session import session_settings
from lamella.acquire.targets import Target, read_targets, write_targets
from lamella.acquire.world import load_world, world_text
from lamella.checked_settings import validate
from lamella.errors import LamellaError, MicroscopeError, ProjectError, SettingsError
from lamella.formats.atomic import atomic_text
from lamella.progress import Progress, no_progress
from lamella.workflow.acquisition_microscope import known_of, open_microscope, simulated_microscope
from lamella.workflow.acquisition_report import LivePage, draw_plan, make_session_report
from lamella.workflow.acquisition_settings import MicroscopeSettings
from lamella.workflow.settings_file import settings_table

__all__ = [
    "PlannedSession",
    "crashes_told",
    "go_on",
    "plan_folder",
    "read_folder",
    "record",
    "report",
]

SESSION_FILE, TARGETS_FILE, WORLD_FILE = "session.toml", "targets.csv", "world.toml"

_HEADER = "A session of `lamella acquire`; edit it before `lamella acquire run`, which checks it again."


@dataclass(frozen=True, kw_only=True, eq=False)
class PlannedSession:
    """A session's folder before it is run.

    Attributes
    ----------
    folder
        of the session.
    microscope
        which one.
    settings, targets
        of the session.
    plan
        what they come to on that microscope.
    """

    folder: Path
    microscope: MicroscopeSettings
    settings: AcquireSettings
    targets: tuple[Target, ...]
    plan: Plan


def plan_folder(
    folder: Path | str,
    microscope: MicroscopeSettings,
    overrides: Mapping[str, Any],
    targets: Sequence[Target] | int,
) -> PlannedSession:
    """Plan a session and write its folder.

    Parameters
    ----------
    folder
        made where it is not; a session that was planned there and not begun is planned anew.
    microscope
        which one.
    overrides
        settings that are not to stand at their defaults (or, on a simulated microscope, at its world's values).
    targets
        or how many of those that a simulated grid has.

    Raises
    ------
    ProjectError
        if a session has begun in the folder.
    InputError
        what the plan finds wrong.
    """
    folder = Path(folder)
    if (folder / LOG_NAME).exists():
        raise ProjectError(f"{folder}: a session has begun here", mend="resume it, or plan in another folder")
    if microscope.microscope == "simulated":
        settings = session_settings(load_world(microscope.world), overrides)
    else:
        settings = validate(AcquireSettings, overrides, "the session")
    calibrations, limits, chosen = known_of(microscope, targets)
    plan = plan_session(calibrations, limits, chosen, settings)
    folder.mkdir(parents=True, exist_ok=True)
    write_targets(folder / TARGETS_FILE, chosen)
    _write(folder / SESSION_FILE, microscope, settings)
    draw_plan(folder, plan)
    return PlannedSession(folder=folder, microscope=microscope, settings=settings, targets=chosen, plan=plan)


def read_folder(folder: Path | str) -> PlannedSession:
    """The session planned in a folder, checked again as it stands now.

    Raises
    ------
    ProjectError
        if none was planned there.
    InputError
        what the plan finds wrong.
    """
    folder = Path(folder)
    tables = _tables(folder / SESSION_FILE)
    microscope = validate(MicroscopeSettings, tables["microscope"], f"{SESSION_FILE}: [microscope]")
    settings = validate(AcquireSettings, tables["session"], f"{SESSION_FILE}: [session]")
    targets = read_targets(folder / TARGETS_FILE)
    calibrations, limits, targets = known_of(microscope, targets)
    plan = plan_session(calibrations, limits, targets, settings)
    return PlannedSession(folder=folder, microscope=microscope, settings=settings, targets=targets, plan=plan)


def record(session: PlannedSession, progress: Progress = no_progress) -> SessionResult:
    """Record a planned session into its folder.

    Raises
    ------
    ProjectError
        if it has begun.
    MicroscopeError
        if it cannot begin, or the stage does not tilt any more.
    """
    if (session.folder / LOG_NAME).exists():
        raise ProjectError(f"{session.folder}: this session has begun", mend="go on with `lamella acquire resume`")
    if session.microscope.microscope == "simulated":
        atomic_text(session.folder / WORLD_FILE, world_text(load_world(session.microscope.world)))
    scope = open_microscope(session.microscope, session.plan.targets, session.folder)
    files = SessionFiles(session.folder, session.plan.targets, session.settings, scope.calibrations)
    with crashes_told(session.folder), _finished(files):
        return run_session(
            scope,
            session.targets,
            session.settings,
            session.folder,
            about=session.microscope.model_dump(mode="json"),
            feedback=True,
            pictures=files.picture,
            watch=_both(files.watch, LivePage(session.folder, session.plan).watch),
            progress=progress,
        )


def go_on(folder: Path | str, progress: Progress = no_progress) -> SessionResult:
    """Go on with a session that was stopped; one that has ended is read, and nothing changes.

    Raises
    ------
    ProjectError
        if none has begun there, or its microscope is not where it was.
    """
    folder = Path(folder)
    # A session that ended but was killed before its files were whole is asked again, all from the log.
    if (logged := read_session(folder)).ended and (folder / LEFT_OUT_NAME).is_file():
        return logged
    head = read_head(folder)
    microscope = validate(MicroscopeSettings, head.about, "the log's microscope")
    if microscope.microscope == "simulated":
        microscope = microscope.model_copy(update={"world": str(folder / WORLD_FILE)})
    plan = plan_session(head.calibrations, head.limits, head.targets, head.settings)
    targets = plan.targets
    scope = open_microscope(microscope, targets, folder, crashes=False)
    files = SessionFiles(folder, targets, head.settings, scope.calibrations)
    with _finished(files):
        return resume_session(
            folder,
            scope,
            pictures=files.picture,
            watch=_both(files.watch, LivePage(folder, plan).watch),
            progress=progress,
        )


def report(folder: Path | str) -> Path:
    """Write the page of a session, with the truth beside where it is a simulated one: ``report/index.html``.

    Raises
    ------
    ProjectError, FormatError
        if there is no session, or its log cannot be read.
    """
    folder = Path(folder)
    head = read_head(folder)
    microscope = validate(MicroscopeSettings, head.about, "the log's microscope")
    if microscope.microscope != "simulated":
        return make_session_report(folder)
    # Whatever its pictures show, the truth is the same; landmarks are the cheapest.
    again = microscope.model_copy(update={"world": str(folder / WORLD_FILE), "pictures": "landmarks"})
    targets = plan_session(head.calibrations, head.limits, head.targets, head.settings).targets
    return make_session_report(folder, lambda: simulated_microscope(again, targets, crashes=False))


def _both(first: Tell, second: Tell) -> Tell:
    def tell(event: Event) -> None:
        first(event)
        second(event)

    return tell


@contextmanager
def _finished(files: SessionFiles) -> Iterator[None]:
    """However a session ends, its files are made whole; a program that is killed leaves that to resume."""
    try:
        yield
    except SimulatedCrash:
        raise
    except LamellaError:
        files.finish()
        raise
    files.finish()


@contextmanager
def crashes_told(folder: Path | None = None) -> Iterator[None]:
    """What a simulated world's script says shall kill the program ends it with one line instead.

    Raises
    ------
    MicroscopeError
        in place of the crash.
    """
    try:
        yield
    except SimulatedCrash as crash:
        mend = "take the crash out of the world's script"
        if folder is not None:
            mend = f"go on with `lamella acquire resume {folder}`"
        raise MicroscopeError(f"the world's script ended the session: {crash}", mend=mend) from crash


def _write(path: Path, microscope: MicroscopeSettings, settings: AcquireSettings) -> None:
    document = tomlkit.document()
    document.add(tomlkit.comment(_HEADER))
    document.add("microscope", settings_table(MicroscopeSettings, values=microscope.model_dump(mode="json")))
    document.add("session", settings_table(AcquireSettings, values=settings.model_dump(mode="json")))
    atomic_text(path, tomlkit.dumps(document))


def _tables(path: Path) -> dict[str, Any]:
    try:
        tables = tomlkit.parse(path.read_text(encoding="utf-8")).unwrap()
    except FileNotFoundError:
        raise ProjectError(
            f"{path.parent}: no session is planned here", mend="make one with `lamella acquire plan`"
        ) from None
    except (tomlkit.exceptions.TOMLKitError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}", mend="mend the TOML") from None
    unknown = set(tables) - {"microscope", "session"}
    if unknown:
        raise SettingsError(f"{path}: there is no table [{min(unknown)}]", mend="it has [microscope] and [session]")
    return {name: tables.get(name, {}) for name in ("microscope", "session")}
