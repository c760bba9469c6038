"""The tables of a record: one small set per finished series while a step works, RELION's global table at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lamella.errors import ProjectError
from lamella.formats.atomic import atomic_text
from lamella.formats.images import split_name
from lamella.formats.relion import (
    read_tilt_series,
    read_tomograms,
    write_tilt_series,
    write_tilt_table,
    write_tomograms,
)
from lamella.formats.relion_particles import read_particles, write_particles
from lamella.formats.relion_tilt_series import global_table
from lamella.formats.star import write_star
from lamella.records import Particles, ParticleSet, TiltSeries, Tomogram
from lamella.workflow.project import Project
from lamella.workflow.record_name import RAW, RecordName

__all__ = [
    "Record",
    "files_of",
    "has_tables",
    "read_part",
    "read_particle_set",
    "read_record",
    "remove_record",
    "series_of",
    "table_path",
    "tomogram_of",
    "write_part",
    "write_record",
]

Record = TiltSeries | Tomogram | Particles | ParticleSet
"""What goes into a step and comes out: of one series, but for a `ParticleSet`, which holds the particles of all."""

_NO_SERIES = "# no tilt series\n"
_SERIES = "tilt_series.star"
_TOMOGRAMS = "tomograms.star"
_PARTICLES = "optimisation_set.star"
# Particles stand beside the table of their tomograms, so theirs is looked for first.
_TABLES = (_SERIES, _PARTICLES, _TOMOGRAMS)


def table_path(project: Project, name: RecordName) -> Path | None:
    """The global table of a record, or None where it has none yet."""
    if name == RAW:
        return project.root / "raw.star"
    for table in _TABLES:
        if (project.folder(name) / table).is_file():
            return project.folder(name) / table
    return None


def has_tables(project: Project, name: RecordName) -> bool:
    """Whether a record can be read."""
    return table_path(project, name) is not None


def read_record(project: Project, name: RecordName) -> tuple[Record, ...]:
    """Every series (tomogram, or the particles of each tomogram) of a record, in the order of its table.

    Raises
    ------
    ProjectError
        if the record does not exist yet.
    """
    path = table_path(project, name)
    if path is None:
        raise ProjectError(f"there is no record {name} yet", mend=f"make it with `{name.maker}`")
    if name == RAW and path.read_bytes() == _NO_SERIES.encode():
        return ()
    return _read(path, project.root)


def series_of(record: Record) -> TiltSeries:
    """The tilt series of a record of one."""
    if isinstance(record, ParticleSet):
        raise ProjectError("a set of particles is of no one tilt series", mend="name another --input, such as align")
    return record if isinstance(record, TiltSeries) else tomogram_of(record).tilt_series


def tomogram_of(record: Record) -> Tomogram:
    """The tomogram of a record of one, or of the particles in it.

    Raises
    ------
    ProjectError
        if the record holds no tomograms.
    """
    if isinstance(record, Particles):
        return record.tomogram
    if not isinstance(record, Tomogram):
        raise ProjectError("the record holds no tomograms", mend="name another --input, such as reconstruct")
    return record


def read_particle_set(project: Project, name: RecordName) -> ParticleSet:
    """The particles of all tomograms of a record, with the map that was made of them.

    Raises
    ------
    ProjectError
        if the record does not exist yet, or holds no particles.
    """
    path = table_path(project, name)
    if path is None:
        raise ProjectError(f"there is no record {name} yet", mend=f"make it with `{name.maker}`")
    if path.name != _PARTICLES:
        raise ProjectError(f"{name} holds no particles", mend="name another --input, such as extract")
    return read_particles(path, project.root)


def write_record(project: Project, name: RecordName, records: Sequence[Record]) -> None:
    """Write the tables of a record, which RELION-5 reads."""
    if name == RAW:
        _write_raw(project.root, [record for record in records if isinstance(record, TiltSeries)])
        return
    _write(project.folder(name), records, project.root)


def remove_record(project: Project, name: RecordName) -> None:
    """Take away the global table of a record of which nothing is left."""
    path = table_path(project, name)
    if path is not None and name != RAW:
        path.unlink()


def _write_raw(root: Path, series: Sequence[TiltSeries]) -> None:
    """``raw/NAME.star`` of each series, and ``raw.star``; of none, a STAR file has no words."""
    if not series:
        atomic_text(root / "raw.star", _NO_SERIES)
        return
    for one in series:
        write_tilt_table(root / "raw" / f"{one.name}.star", one)
    write_star(root / "raw.star", [global_table(series, {one.name: f"raw/{one.name}.star" for one in series})])


def write_part(folder: Path, record: Record, root: Path) -> None:
    """Keep the record of one finished series in a folder of its own."""
    _write(folder, (record,), root)


def read_part(folder: Path, root: Path) -> Record | None:
    """The record of one finished series, or None where it is not there; of particles, the set of them."""
    for table in _TABLES:
        if (folder / table).is_file():
            return read_particles(folder / table, root) if table == _PARTICLES else _read(folder / table, root)[0]
    return None


def files_of(record: Record, root: Path) -> tuple[Path, ...]:
    """The image and volume files that a record names (movies, where there are no images yet), each once."""
    names: list[str] = []
    if isinstance(record, ParticleSet):
        parts = [path for member in record.members for path in files_of(member, root)]
        return tuple(dict.fromkeys([*parts, *_map_files(record, root)]))
    if isinstance(record, Particles):
        if record.images is None:
            return files_of(record.tilt_series, root)
        names += [*record.images.names, *(record.images.weights or ())]
    elif isinstance(record, Tomogram):
        names += [name for name in (record.volume, record.even_volume, record.odd_volume) if name]
        names += [name for name in (record.denoised, record.support) if name]
    else:
        for images in (record.images, record.even_images, record.odd_images):
            names += [split_name(name)[1] for name in images or ()]
        if record.images is None:
            names += record.movies or ()
    return tuple(root / name for name in dict.fromkeys(names))


def _map_files(record: ParticleSet, root: Path) -> list[Path]:
    if record.map is None:
        return []
    found = (record.map.volume, record.map.half1, record.map.half2, record.map.mask, *record.map.classes)
    return [root / name for name in found if name]


def _read(path: Path, root: Path) -> tuple[Record, ...]:
    if path.name == _PARTICLES:
        return read_particles(path, root).members
    if path.name == _TOMOGRAMS:
        return read_tomograms(path, root)
    return read_tilt_series(path, root)


def _write(folder: Path, records: Sequence[Record], root: Path) -> None:
    series = [record for record in records if isinstance(record, TiltSeries)]
    tomograms = [record for record in records if isinstance(record, Tomogram)]
    particles = [record for record in records if isinstance(record, (Particles, ParticleSet))]
    if particles:
        write_particles(folder, _joined(particles), root)
    if tomograms:
        write_tomograms(folder / _TOMOGRAMS, tomograms, root)
    if series:
        write_tilt_series(folder / _SERIES, series, root)


def _joined(records: Sequence[Particles | ParticleSet]) -> ParticleSet:
    """One set of several tomograms' particles, with the map and numbers that one of them brings."""
    sets = [record if isinstance(record, ParticleSet) else ParticleSet(members=(record,)) for record in records]
    return ParticleSet(
        members=tuple(member for one in sets for member in one.members),
        map=next((one.map for one in sets if one.map is not None), None),
        quality={name: value for one in sets for name, value in one.quality.items()},
    )
