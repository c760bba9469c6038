"""Particles of other programs: into the project as a `pick` record, and out of any record of particles."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lamella import __version__
from lamella.errors import InputError, ProjectError
from lamella.formats.atomic import output_errors
from lamella.formats.points import POINT_PROGRAMS, point_format, read_points, write_points
from lamella.formats.star import read_star
from lamella.formats.warnings import FormatWarning
from lamella.progress import Progress, no_progress
from lamella.records import Note, Particles, ParticleSet, Tomogram
from lamella.workflow.digests import digest
from lamella.workflow.imported import clear_before, keep_import
from lamella.workflow.ledger import Ledger, note_completion
from lamella.workflow.plan import source_of
from lamella.workflow.project import Project
from lamella.workflow.record_name import RecordName
from lamella.workflow.runner import choose_series, write_tables
from lamella.workflow.tables import has_tables, read_particle_set, read_record, table_path, tomogram_of

__all__ = ["RELION3", "export_particles", "holds_particles", "import_particles", "is_particle_record"]

RELION3 = "relion3"
"""The word for classic subtomograms after ``--format``."""

_BOTH = ("relion5", "imod")  # programs of which alignments and particles are exchanged
_APART_PX = 1.0
_SAME_ANGLE_DEG = 0.05
_LAST_FIRST = ("refine", "average", "classify", "initial-model", "extract", "pick")


def holds_particles(program: str, path: Path) -> bool:
    """Whether what is to be imported are particles: tables of them, or points of a model."""
    if program not in _BOTH:
        return program in POINT_PROGRAMS
    if not path.is_file():
        return False
    if program == "imod":
        return path.suffix == ".mod"
    if path.suffix != ".star":
        return False
    tables = read_star(path).values()
    named = ("rlnTomoParticlesFile", "rlnCenteredCoordinateXAngst", "rlnCoordinateX")
    return any(label in table for table in tables for label in named)


def is_particle_record(project: Project, program: str, source: RecordName | None) -> bool:
    """Whether what is to be exported are particles: by the program, or by the record that is named."""
    if program == RELION3 or (program in POINT_PROGRAMS and program not in _BOTH):
        return True
    if program not in _BOTH or source is None:
        return False
    path = table_path(project, source)
    return path is not None and path.name == "optimisation_set.star"


def import_particles(
    project: Project,
    program: str,
    path: Path,
    *,
    label: str | None = None,
    source: RecordName | None = None,
    only: Sequence[str] = (),
    voxel_size_ang: float | None = None,
) -> tuple[RecordName, tuple[str, ...], tuple[Note, ...]]:
    """Make a `pick` record of another program's particles or points.

    Parameters
    ----------
    project
        whose tomograms they are in.
    program
        one of `POINT_PROGRAMS`.
    path
        its file, or a folder with one for each tomogram.
    label
        of the record; None: ``pick`` itself, which `lamella run` then leaves alone.
    source
        the record of tomograms; None: the one that `pick` would read.
    only
        names of the tomograms; empty: all.
    voxel_size_ang
        of the tomograms that the points were picked in, where they are others.

    Returns
    -------
    target, names, notes
        the record made, the names of the tomograms, and what was assumed or dropped.

    Raises
    ------
    InputError
        if the file is another program's, or holds no particle in these tomograms.
    """
    target = RecordName("pick") if label is None else RecordName.parse(f"pick.{label}")
    found_format = point_format(path)
    if found_format != program:
        raise InputError(f"{path} is not {program}'s", mend=f"say --format {found_format}")
    settings = project.read_settings()
    with project.lock(), Ledger(project.ledger_path) as ledger:
        source = source or _tomograms_of(project)
        records = {one.name: one for one in (tomogram_of(record) for record in read_record(project, source))}
        names = choose_series(list(records), only)
        found, notes = _read(path, list(records.values()), project.root, voxel_size_ang)
        kept = [one for one in found.members if one.name in names]
        if not sum(map(len, kept)):
            raise InputError(f"{path}: no particles in {', '.join(names)}", mend="check the file and --only")
        if program == "relion5":
            notes += _other_frames(path, kept)
        if target.label is not None:
            settings.change(target, {}, source)
            settings.save()
        run = ledger.start_run(
            command=f"lamella import --format {program}", version=__version__, executor="local", device="cpu"
        )
        for one in kept:
            clear_before(project, target, one.name)
            parts = {"import": program, "result": digest(one)}
            done = keep_import(project, target, source, records[one.name], one, parts, path, {})
            note_completion(ledger, run, target, one.name, done)
        write_tables(project, target, list(records), force=True)
        ledger.add_notes(str(target), notes)
        ledger.finish_run(run, "done")
    return target, tuple(one.name for one in kept), tuple(notes)


def export_particles(
    project: Project,
    program: str,
    folder: Path,
    *,
    source: RecordName | None = None,
    only: Sequence[str] = (),
    progress: Progress = no_progress,
) -> tuple[RecordName, tuple[Path, ...], tuple[Note, ...]]:
    """Write a record's particles for another program.

    Parameters
    ----------
    program
        one of `POINT_PROGRAMS`, or ``relion3``: classic subtomograms, made of the extracted pictures.
    folder
        to write into.
    source
        the record; None: the latest of refine, extract and pick that there is.
    only
        names of the tomograms; empty: all.

    Returns
    -------
    source, files, notes
        the record taken, the files written, and what the other program's cannot say.
    """
    source = source or next((one for one in map(RecordName, _LAST_FIRST) if has_tables(project, one)), None)
    if source is None:
        raise ProjectError("there are no particles yet", mend="run pick, or import some")
    particles = read_particle_set(project, source)
    names = choose_series([one.name for one in particles.members], only)
    particles = replace(particles, members=tuple(one for one in particles.members if one.name in names))
    if not len(particles):
        raise InputError(f"{source}: there are no particles in {', '.join(names)}", mend="name another record")
    with output_errors(folder, every=True):
        folder.mkdir(parents=True, exist_ok=True)
    if program == RELION3:
        from lamella.workflow.export_relion3 import export_relion3

        files, notes = export_relion3(particles, folder, project.root, progress)
        return source, files, notes
    notes_before: list[Note] = []
    if program == "relion5":
        particles = _said_by_relion(particles, folder, notes_before)
    files, notes = write_points(program, particles, folder, project.root)
    return source, files, (*notes_before, *notes)


def _tomograms_of(project: Project) -> RecordName:
    settings = project.read_settings()
    for name in (source_of(project, settings, RecordName("pick")), RecordName("reconstruct")):
        if has_tables(project, name):
            return name
    raise ProjectError("there are no tomograms yet that particles could be in", mend="run reconstruct first")


def _read(
    path: Path, tomograms: Sequence[Tomogram], root: Path, voxel_size_ang: float | None
) -> tuple[ParticleSet, list[Note]]:
    """The particles, and what their reader warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FormatWarning)
        found = read_points(path, tomograms, root, voxel_size_ang=voxel_size_ang)
    said = dict.fromkeys(str(one.message) for one in caught if issubclass(one.category, FormatWarning))
    return found, [Note(kind="warning", where=str(path), text=text.removeprefix(f"{path}: ")) for text in said]


def _other_frames(path: Path, kept: Sequence[Particles]) -> list[Note]:
    """Whether RELION's own geometry puts the particles elsewhere in the views than the project's does."""
    from lamella.formats.relion_particles import read_particles, relion_folder

    notes = [
        Note(
            kind="info", where=str(path), text="pictures and visible views are not taken over: extract makes them anew"
        )
    ]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FormatWarning)
            theirs = {one.name: one for one in read_particles(path, relion_folder(path)).members}
    except InputError:
        text = "the tomograms that the particles were picked in cannot be read: they are taken to be the project's"
        return [*notes, Note(kind="assumed", where=str(path), text=text)]
    for one in kept:
        other = theirs.get(one.name)
        apart = None if other is None else _apart_px(one, other)
        if apart is not None and apart > _APART_PX:
            text = (
                f"{one.name}: RELION's alignment puts its particles {apart:.0f} px (median) from where the project's "
                "does: the frames differ; import that alignment too"
            )
            notes.append(Note(kind="warning", where=str(path), text=text))
    return notes


def _apart_px(one: Particles, other: Particles) -> float | None:
    """Median distance in the images of one place under two geometries, over the views that both have."""
    ours, theirs = one.tilt_series, other.tilt_series
    if ours.geometry is None or theirs.geometry is None or not len(one):
        return None
    apart = np.abs(ours.nominal_tilt_deg[:, None] - theirs.nominal_tilt_deg[None])
    pairs = np.argwhere(apart < _SAME_ANGLE_DEG)
    if not len(pairs):
        return None
    places = one.positions_ang()
    difference = ours.geometry.project(places)[pairs[:, 0]] - theirs.geometry.project(places)[pairs[:, 1]]
    return float(np.median(np.linalg.norm(difference, axis=-1)) / ours.pixel_size_ang)


def _said_by_relion(particles: ParticleSet, folder: Path, notes: list[Note]) -> ParticleSet:
    """The set with tilt series that RELION has words for."""
    from lamella.formats.relion_exchange import without_magnification

    members = []
    for one in particles.members:
        series = without_magnification(one.tilt_series, folder, notes)
        members.append(one.with_changes(tomogram=replace(one.tomogram, tilt_series=series)))
    return replace(particles, members=tuple(members))
