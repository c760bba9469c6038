"""`lamella level`: the series behind tomograms in a better frame, in a record that later steps take as input.

Where the specimen lies is measured in each tomogram; geometry and defocus move together (`geometry.regauge`), so that
no picture changes. The record keeps the settings, and is made again where its tomograms have changed. It is of tilt
series: `lamella reconstruct PROJECT --input level` makes the tomograms in the new frame, in place of those that were
measured, or beside them with ``--as``. In place of them, the record holds as long as the alignment behind it does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

import lamella.tomograms as tomograms
from lamella import __version__
from lamella.errors import FormatError, ProjectError
from lamella.formats.images import open_volume
from lamella.formats.tracks import read_followed_tracks, write_followed_tracks
from lamella.geometry.level_frame import FrameChange
from lamella.progress import Progress, no_progress
from lamella.records import TiltSeries, Tomogram
from lamella.tomograms.level_settings import LevelSettings
from lamella.workflow.completion import Completion
from lamella.workflow.context import Context
from lamella.workflow.derived_task import completions_of, do_task, inputs_of, write_parts
from lamella.workflow.digests import FileDigests, digest
from lamella.workflow.known_tracks import TRACKS
from lamella.workflow.ledger import Ledger
from lamella.workflow.plan import ancestors
from lamella.workflow.project import Project
from lamella.workflow.record_name import LEVEL, RecordName
from lamella.workflow.runner import choose_series
from lamella.workflow.steps import Step
from lamella.workflow.steps.reconstruct_gold import read_gold
from lamella.workflow.steps.reconstruct_position import halves_of
from lamella.workflow.tables import has_tables, read_record, remove_record
from lamella.workflow.tasks import Task

__all__ = ["Levelled", "Levelling", "is_outdated", "level_series", "make_again"]

_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Levelled:
    """One series: what there was to say, and where its specimen lay."""

    series: str
    messages: tuple[str, ...]
    quality: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Levelling:
    """The record that was made, the record of its tomograms, and what came of each series."""

    target: RecordName
    source: RecordName
    levelled: tuple[Levelled, ...]


@dataclass(frozen=True, kw_only=True)
class _LevelStep(Step):
    """Levelling as a step on one tomogram, which was made from these records, the nearest first."""

    made_from: tuple[str, ...]

    def load_run(self) -> Callable[..., Any]:
        """The work."""
        return partial(_level, self.made_from)


def level_series(
    project: Project,
    settings: LevelSettings,
    *,
    source: RecordName | None = None,
    label: str | None = None,
    only: Sequence[str] = (),
    progress: Progress = no_progress,
) -> Levelling:
    """Make the record ``level`` (or ``level.LABEL``) of the series of tomograms.

    Parameters
    ----------
    project
        where; it is locked meanwhile.
    settings
        see `LevelSettings`.
    source
        the record of tomograms; None: ``reconstruct``.
    label
        of the record that is made.
    only
        names of the series; empty: all. Series that the record holds already stay in it.
    progress
        told how far the work is.

    Raises
    ------
    ProjectError
        if the source does not exist, or holds no tomograms.
    InputError
        if there is no such series, or a volume is broken.
    """
    target = RecordName.parse(LEVEL if label is None else f"{LEVEL}.{label}")
    source = source or RecordName("reconstruct")
    if source == target:
        raise ProjectError(f"{target} cannot be made from itself", mend="name another --input, or a label with --as")
    records = _tomograms(project, source)
    names = choose_series([one.name for one in records], only)
    chosen = [one for one in records if one.name in names]
    with project.lock(), Ledger(project.ledger_path) as ledger:
        run = ledger.start_run(command=f"lamella {target}", version=__version__, executor="local", device="cpu")
        state = "failed"
        try:
            levelled = _make(project, target, source, chosen, settings, ledger, run, progress)
            state = "done"
        finally:
            ledger.finish_run(run, state)
    return Levelling(target=target, source=source, levelled=levelled)


def is_outdated(project: Project, target: RecordName) -> bool:
    """Whether tomograms that a level record was measured in have changed since."""
    return bool(_changed(project, target, FileDigests()))


def make_again(project: Project, target: RecordName, ledger: Ledger, run: int) -> str:
    """Level again, with the settings that were kept, the series whose tomograms have changed."""
    files = FileDigests()
    ledger.load_digests(files)
    changed = _changed(project, target, files)
    ledger.save_digests(files)
    for name, done in changed.items():
        source = RecordName.parse(done.made_from[0])
        if _replaced(project, target, source, name):
            behind = _behind(done)
            raise ProjectError(
                f"{name}: {target} was measured in tomograms that are gone, and {behind} has changed since",
                mend=f"reconstruct again with --input {behind}, then level again",
            )
        chosen = [one for one in _tomograms(project, source) if one.name == name]
        if not chosen:
            done.remove(project.completion(target, name))
            continue
        _make(project, target, source, chosen, _kept(done), ledger, run, no_progress)
    if not completions_of(project, target):
        remove_record(project, target)
    elif changed:
        write_parts(project, target)
    return f"{target}: levelled again, since its tomograms changed: {', '.join(changed)}" if changed else ""


def _make(
    project: Project,
    target: RecordName,
    source: RecordName,
    records: Sequence[Tomogram],
    settings: LevelSettings,
    ledger: Ledger,
    run: int,
    progress: Progress,
) -> tuple[Levelled, ...]:
    files = FileDigests()
    ledger.load_digests(files)
    levelled = []
    made_from = tuple(name for name in ancestors(project, source) if name != str(target))
    for number, record in enumerate(records):
        inputs = inputs_of(project, source, (record,), files)
        task = Task(
            root=project.root,
            step=_LevelStep(
                name=LEVEL, summary="", settings_path="", run_path="", version=_VERSION, made_from=made_from
            ),
            target=target,
            settings=settings,
            record=record,
            fingerprint=_fingerprint(settings, inputs),
            inputs=inputs | _state_behind(project, made_from, record.name),
            made_from=made_from,
            version=f"lamella {__version__}, {LEVEL} {_VERSION}",
            by_name=True,
        )
        done = do_task(project, task, ledger, run)
        levelled.append(Levelled(series=record.name, messages=done.messages, quality=dict(done.quality)))
        progress((number + 1) / len(records), record.name)
    ledger.save_digests(files)
    write_parts(project, target)
    return tuple(levelled)


def _level(made_from: tuple[str, ...], record: Tomogram, settings: LevelSettings, context: Context) -> TiltSeries:
    """Measure one tomogram, and move its series."""
    position = None
    if settings.turn or settings.lift:
        if record.volume is None:
            raise ProjectError(f"{record.name} has no volume to measure", mend="run reconstruct first")
        beads = read_gold(context.root / record.gold) if record.gold else None
        position = tomograms.measure_position(
            open_volume(record.volume, context.root), record.voxel_size_ang, beads, halves_of(record, context.root)
        )
    result = tomograms.level(record.tilt_series, position, settings)
    for note in result.notes:
        context.say(note)
    _move_tracks(record.name, made_from, result.change, context)
    series: TiltSeries = result.series
    context.measure(**{name: value for name, value in series.quality.items() if name.startswith("Level")})
    return series


def _move_tracks(name: str, made_from: tuple[str, ...], change: FrameChange, context: Context) -> None:
    """Bring the points that the series was solved from into the new frame, where they were kept."""
    kept = [path for folder in made_from if (path := context.root / folder / f"{name}{TRACKS}").is_file()]
    if not kept:
        return
    path = kept[0]
    try:
        followed = read_followed_tracks(path)
    except FormatError as error:
        context.say(f"its tracks were not moved: {error.problem}")
        return
    tracks = followed.tracks
    if not np.isfinite(tracks.points_ang).any():
        return
    moved = replace(followed, tracks=tracks.with_solution(change.moved(tracks.points_ang), tracks.residuals_ang))
    with context.new_file(TRACKS) as target:
        write_followed_tracks(target, moved)


def _tomograms(project: Project, source: RecordName) -> list[Tomogram]:
    if not has_tables(project, source):
        raise ProjectError(f"there is no record {source} yet", mend=f"make it with `{source.maker}`")
    records = read_record(project, source)
    found = [one for one in records if isinstance(one, Tomogram)]
    if len(found) < len(records):
        raise ProjectError(f"{source} holds no tomograms", mend="name another --input, such as reconstruct")
    return found


def _changed(project: Project, target: RecordName, files: FileDigests) -> dict[str, Completion]:
    """The series whose tomograms are other ones now, or gone."""
    changed = {}
    known: dict[str, dict[str, Tomogram]] = {}
    for name, done in completions_of(project, target).items():
        source = RecordName.parse(done.made_from[0])
        if str(source) not in known:
            there = _tomograms(project, source) if has_tables(project, source) else []
            known[str(source)] = {one.name: one for one in there}
        record = known[str(source)].get(name)
        if _replaced(project, target, source, name):
            now = _state_behind(project, done.made_from, name)
            if any(done.inputs.get(key) != value for key, value in now.items()) or done.missing_outputs(project.root):
                changed[name] = done
        elif (
            record is None
            or done.missing_outputs(project.root)
            or done.fingerprint != _fingerprint(_kept(done), inputs_of(project, source, (record,), files))
        ):
            changed[name] = done
    return changed


def _replaced(project: Project, target: RecordName, source: RecordName, name: str) -> bool:
    """Whether the tomogram that was measured has given way to one in the level record's own frame."""
    done = Completion.read(project.completion(source, name))
    return done is not None and str(target) in done.made_from


def _behind(done: Completion) -> str:
    """The record of the series from which the tomograms were made that were measured."""
    return done.made_from[1]


def _state_behind(project: Project, made_from: Sequence[str], name: str) -> dict[str, str]:
    """Digest of the series as it stands in the record from which the tomograms were made."""
    behind = RecordName.parse(made_from[1])
    records = read_record(project, behind) if has_tables(project, behind) else ()
    return {f"{behind}: {name}": next((digest(one) for one in records if one.name == name), "gone")}


def _kept(done: Completion) -> LevelSettings:
    return LevelSettings(**done.settings)


def _fingerprint(settings: LevelSettings, inputs: dict[str, str]) -> str:
    kept = settings.model_dump(mode="json", exclude={"enabled"})
    return digest({LEVEL: _VERSION, "settings": kept, "inputs": sorted(inputs.values())})
