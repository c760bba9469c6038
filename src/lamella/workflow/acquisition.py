"""A session's folder: what was planned, on which microscope, and running it from there.

::

    SESSION/
      session.toml     tables [microscope] and [session]: every setting, with its unit and meaning
      targets.csv      name, x_um, y_um, z_um, group
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
from lamella.acquire.microscope.port import Calibrations, Limits, Microscope
from lamella.acquire.microscope.serialem import SerialEMMicroscope
from lamella.acquire.microscope.serialem_calibration import SerialEMCalibration, read_serialem_calibration
from lamella.acquire.microscope.simulated import SimulatedCrash, SimulatedMicroscope
from lamella.acquire.microscope.simulated.full_settings import FullSettings, full_settings
from lamella.acquire.montage import find_holes, hole_targets
from lamella.acquire.navigator_targets import STAGE_TO_SPECIMEN, navigator_targets
from lamella.acquire.pacetomo_targets import is_pacetomo, pacetomo_targets
from lamella.acquire.plan import Plan, plan_session
from lamella.acquire.session.events import Event, Tell
from lamella.acquire.session.files import LEFT_OUT_NAME, SessionFiles
from lamella.acquire.session.log import LOG_NAME
from lamella.acquire.session.result import SessionResult
from lamella.acquire.session.run import read_head, read_session, resume_session, run_session
from lamella.acquire.simulated_session import simulated_targets
from lamella.acquire.targets import Target, places_of, read_targets, write_targets
from lamella.acquire.world import load_world, world_text
from lamella.errors import ImageError, LamellaError, MicroscopeError, ProjectError, SettingsError
from lamella.formats.atomic import atomic_text
from lamella.formats.mrc import read_mrc
from lamella.progress import Progress, no_progress
from lamella.workflow.acquisition_report import LivePage, make_session_report
from lamella.workflow.acquisition_settings import MicroscopeSettings
from lamella.workflow.settings_file import settings_table, validate

__all__ = [
    "PlannedSession",
    "crashes_told",
    "go_on",
    "plan_folder",
    "read_folder",
    "record",
    "report",
    "targets_of",
]

SESSION_FILE, TARGETS_FILE, WORLD_FILE = "session.toml", "targets.csv", "world.toml"

_MONTAGES = (".mrc", ".map", ".st")
_NAVIGATORS = (".nav", ".xml")
_REACH = 0.8  # of the image shift: the rest is for what the stage does

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
    values = dict(overrides)
    if microscope.microscope == "simulated":
        values = {**load_world(microscope.world).session, **values}
    settings = validate(AcquireSettings, values, "acquire")
    calibrations, limits, chosen = _known(microscope, targets)
    plan = plan_session(calibrations, limits, chosen, settings)
    folder.mkdir(parents=True, exist_ok=True)
    write_targets(folder / TARGETS_FILE, chosen)
    _write(folder / SESSION_FILE, microscope, settings)
    return PlannedSession(folder=folder, microscope=microscope, settings=settings, targets=chosen, plan=plan)


def targets_of(
    text: str, microscope: MicroscopeSettings, *, hole_um: float | None = None, pixel_size_ang: float | None = None
) -> tuple[Target, ...] | int:
    """Targets of a file, or how many a grid shall have.

    Parameters
    ----------
    text
        a number, or the name of a table (CSV), of a navigator (``.nav``, ``.xml``: its points and maps marked for
        acquisition), of PACEtomo's targets (``_tgts.txt``), or of a montage (``.mrc``, ``.map``, ``.st``: its good
        holes within the reach of the image shift).
    microscope
        that is to record them.
    hole_um
        diameter of the montage's holes.
    pixel_size_ang
        of the montage, where its header does not state it.

    Raises
    ------
    InputError
        if it is neither a number nor a file that can be read, or there is no good hole in it.
    """
    if text.isdecimal():
        return int(text)
    path = Path(text)
    kind = path.suffix.lower()
    if kind in _MONTAGES:
        return _montage_targets(path, microscope, hole_um, pixel_size_ang)
    serialem = microscope.microscope == "serialem"
    stage = _calibration(microscope).stage_to_specimen if serialem else STAGE_TO_SPECIMEN
    if kind in _NAVIGATORS:
        return navigator_targets(path, stage)
    return pacetomo_targets(path, stage) if kind == ".txt" and is_pacetomo(path) else read_targets(path)


def _montage_targets(
    path: Path, microscope: MicroscopeSettings, hole_um: float | None, pixel_size_ang: float | None
) -> tuple[Target, ...]:
    """The good holes of a montage, about its middle."""
    images, stated = read_mrc(path)
    pixel = stated if pixel_size_ang is None else pixel_size_ang
    if hole_um is None:
        raise SettingsError(f"{path}: how wide are its holes?", mend="give their diameter in µm with --hole-diameter")
    if pixel is None:
        raise SettingsError(f"{path}: its header states no pixel size", mend="give it in Å with --montage-pixel")
    if len(images) != 1:
        raise ImageError(f"{path}: {len(images)} images", mend="give the montage as one image, as its map shows it")
    if microscope.microscope == "serialem":
        known = _calibration(microscope)
        axis, reach = known.tilt_axis, known.shift_limit
    else:
        optics = load_world(microscope.world).optics
        axis, reach = optics.tilt_axis, optics.shift_limit
    holes = find_holes(images[0], pixel, hole_um)
    height, width = images[0].shape
    return hole_targets(holes, (height, width), pixel, axis, reach_um=_REACH * reach)


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
    calibrations, limits, targets = _known(microscope, targets)
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
    scope = _open(session.microscope, session.plan.targets, session.folder)
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
    scope = _open(microscope, targets, folder, crashes=False)
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
    return make_session_report(folder, lambda: _simulated(again, targets, crashes=False))


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


def _open(
    microscope: MicroscopeSettings, targets: Sequence[Target], folder: Path, *, crashes: bool = True
) -> Microscope:
    """The microscope that a session is recorded on."""
    if microscope.microscope == "serialem":
        names = tuple(one.name for one in targets)
        return SerialEMMicroscope(_calibration(microscope), microscope.address, microscope.port, names=names)
    return _simulated(microscope, targets, folder, crashes=crashes)


def _simulated(
    microscope: MicroscopeSettings,
    targets: Sequence[Target] | int,
    folder: Path | None = None,
    *,
    crashes: bool = True,
) -> SimulatedMicroscope:
    """The microscope; a simulated one crashes where its world's script says so, but not when it is gone on with."""
    places = targets if isinstance(targets, int) else places_of(targets)[:, :2]
    world = load_world(microscope.world)
    if not crashes:
        script = [fault for fault in world.model_dump()["faults"]["script"] if fault["kind"] != "crash"]
        world = load_world(microscope.world, {"faults.script": script})
    full = None
    if microscope.pictures == "full":
        full = FullSettings(
            simulation=full_settings(microscope.seed, world.optics.tilt_axis, frames=microscope.frames),
            folder=folder if microscope.frames > 1 else None,
            names=() if isinstance(targets, int) else tuple(one.name for one in targets),
        )
    return SimulatedMicroscope(world, microscope.seed, targets=places, pictures=microscope.pictures, full=full)


def _known(
    microscope: MicroscopeSettings, targets: Sequence[Target] | int
) -> tuple[Calibrations, Limits, tuple[Target, ...]]:
    """What is known of the microscope before it is asked for anything, and the targets."""
    if microscope.microscope == "serialem":
        if isinstance(targets, int):
            raise SettingsError("no targets", mend="name a file of them with --targets")
        calibration = _calibration(microscope)
        return calibration.calibrations(), calibration.limits(), tuple(targets)
    scope = _simulated(microscope, targets)
    chosen = simulated_targets(scope) if isinstance(targets, int) else targets
    return scope.calibrations, scope.limits, tuple(chosen)


def _calibration(microscope: MicroscopeSettings) -> SerialEMCalibration:
    if not microscope.calibration:
        raise SettingsError("no calibrations of the microscope", mend="name their TOML file with --calibration")
    return read_serialem_calibration(microscope.calibration)


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
