"""Alignments and defoci of other programs: into the project as an `align` or `ctf` record, and out of it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lamella import __version__
from lamella.errors import InputError, ProjectError
from lamella.formats.atomic import output_errors
from lamella.formats.images import open_images
from lamella.formats.tracks import read_tracks, write_followed_tracks
from lamella.records import Note, TiltSeries
from lamella.records.followed_tracks import FollowedTracks
from lamella.records.tracks import Tracks
from lamella.workflow.completion import Completion
from lamella.workflow.digests import digest
from lamella.workflow.export_tomograms import PROGRAM, export_tomograms
from lamella.workflow.imported import clear_before, keep_import
from lamella.workflow.known_tracks import TRACKS, image_samples
from lamella.workflow.ledger import Ledger, note_completion
from lamella.workflow.plan import source_of
from lamella.workflow.project import Project
from lamella.workflow.record_name import RAW, RecordName
from lamella.workflow.runner import choose_series, write_tables
from lamella.workflow.tables import has_tables, read_record, series_of

if TYPE_CHECKING:
    from lamella.formats.programs import Program

__all__ = ["export_alignment", "import_alignment"]


def import_alignment(
    project: Project,
    program: str,
    path: Path,
    *,
    label: str | None = None,
    source: RecordName | None = None,
    only: Sequence[str] = (),
) -> tuple[RecordName, tuple[str, ...], tuple[Note, ...]]:
    """Make an `align` record from another program's alignment, or a `ctf` record from its defoci.

    Parameters
    ----------
    project
        whose series it is about.
    program
        ``imod``, ``aretomo``, ``relion5`` or ``warp``; ``ctffind`` or ``gctf``, which know of defoci alone.
    path
        the program's file or folder. With several series: a folder that has one folder for each by its name, or a file
        that names them.
    label
        of the record; None: ``align`` or ``ctf`` itself, which `lamella run` then leaves alone.
    source
        the record whose views are meant; None: the one that the step would read, or raw where that is not made yet.
    only
        names of the series; empty: all.

    Returns
    -------
    target, names, notes
        the record made, the names of the series imported, and what was assumed or dropped.
    """
    chosen = _program(program)
    target = RecordName(chosen.gives) if label is None else RecordName.parse(f"{chosen.gives}.{label}")
    settings = project.read_settings()
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder", mend="check the path")
    with project.lock(), Ledger(project.ledger_path) as ledger:
        if source is None:
            source = source_of(project, settings, RecordName(chosen.gives))
            source = source if has_tables(project, source) else RAW
        records = [series_of(record) for record in read_record(project, source)]
        names = choose_series([record.name for record in records], only)
        notes: list[Note] = []
        results = []
        for record in records:
            if record.name in names:
                place = _place(path, record.name, len(names))
                result, said = chosen.import_series(place, record)
                if result.geometry is None:
                    raise InputError(f"{path} holds no alignment of {record.name}", mend="check the path")
                notes += said
                tracks, said = chosen.import_tracks(place, result) if chosen.import_tracks else (None, ())
                notes += said
                results.append((record, result, tracks))
        if target.label is not None:
            settings.change(target, {}, source)
            settings.save()
        run = ledger.start_run(
            command=f"lamella import --format {program}", version=__version__, executor="local", device="cpu"
        )
        for record, result, tracks in results:
            done = _keep(project, target, source, record, result, tracks, program, path)
            note_completion(ledger, run, target, result.name, done)
        write_tables(project, target, [record.name for record in records], force=True)
        ledger.add_notes(str(target), notes)
        ledger.finish_run(run, "done")
    return target, names, tuple(notes)


def export_alignment(
    project: Project, program: str, folder: Path, *, source: RecordName | None = None, only: Sequence[str] = ()
) -> tuple[RecordName, tuple[Path, ...], tuple[Note, ...]]:
    """Write the alignment or the defoci of a record for another program, or its tomograms for viewers (``zarr``).

    Returns
    -------
    source, files, notes
        the record taken (where none is named, `align`, or `ctf` for a program of defoci alone), the files written, and
        what the other program's files cannot say.
    """
    if program == PROGRAM:
        return export_tomograms(project, folder, source=source, only=only)
    chosen = _program(program)
    said: tuple[Note, ...] = ()
    if source is None:
        source = RecordName(chosen.gives)
        if chosen.gives != "ctf" and has_tables(project, RecordName("ctf")):
            text = "the record ctf has defoci too, which --input ctf writes along"
            said = (Note(kind="info", where=str(source), text=text),)
    if not has_tables(project, source):
        raise ProjectError(f"there is no record {source} yet", mend="make it first, or name one with --input")
    records = [series_of(record) for record in read_record(project, source)]
    names = choose_series([record.name for record in records], only)
    series = [record for record in records if record.name in names]
    for record in series:
        if record.geometry is None:
            raise ProjectError(
                f"{record.name} has no alignment in {source}", mend="name an aligned record with --input"
            )
    with output_errors(folder, every=True):
        folder.mkdir(parents=True, exist_ok=True)
    files, notes = chosen.export_series(series, folder, project.root)
    if chosen.export_tracks is not None:
        for record in series:
            tracks = _tracks_of(project, source, record)
            if tracks is not None:
                more, told = chosen.export_tracks(record, tracks, folder, project.root)
                files, notes = tuple(dict.fromkeys((*files, *more))), (*notes, *told)
    return source, files, (*said, *notes)


def _program(name: str) -> Program:
    from lamella.formats.points import POINT_PROGRAMS
    from lamella.formats.programs import PROGRAMS

    if name not in PROGRAMS:
        known = list(dict.fromkeys([*PROGRAMS, *POINT_PROGRAMS]))
        near = get_close_matches(name, known, n=1)
        raise InputError(
            f"--format {name} is not known",
            mend=f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}",
        )
    return PROGRAMS[name]


def _place(path: Path, name: str, count: int) -> Path:
    if count > 1 and path.is_dir() and (path / name).exists():
        return path / name
    return path


def _keep(
    project: Project,
    target: RecordName,
    source: RecordName,
    record: TiltSeries,
    result: TiltSeries,
    tracks: Tracks | None,
    program: str,
    path: Path,
) -> Completion:
    clear_before(project, target, record.name)
    outputs = {} if tracks is None else _keep_tracks(project, target, result, tracks, f"{program}: {path.name}")
    parts = {"import": program, "result": digest(result), "tracks": digest(tracks)}
    return keep_import(project, target, source, record, result, parts, path, outputs)


def _keep_tracks(
    project: Project, target: RecordName, result: TiltSeries, tracks: Tracks, origin: str
) -> dict[str, int]:
    """Write imported tracks as align's own, which then solves from them; the file's name and size."""
    samples = np.zeros((len(result), 0), dtype=np.float32)
    if result.images is not None:
        samples = image_samples(open_images(result.images, project.root))
    place = np.asarray(result.place, dtype=np.int64)
    path = project.folder(target) / f"{result.name}{TRACKS}"
    write_followed_tracks(path, FollowedTracks(tracks=tracks, place=place, samples=samples, origin=origin))
    return {path.relative_to(project.root).as_posix(): path.stat().st_size}


def _tracks_of(project: Project, source: RecordName, record: TiltSeries) -> Tracks | None:
    """The tracks that a record was solved from: those that have a solution, all where none has."""
    path = project.folder(source) / f"{record.name}{TRACKS}"
    if not path.is_file():
        return None
    tracks = read_tracks(path, record.place)
    solved = np.isfinite(tracks.points_ang[:, 0])
    tracks = tracks.select_points(solved) if solved.any() else tracks
    return tracks.select_points(tracks.seen.sum(axis=0) >= 2)
