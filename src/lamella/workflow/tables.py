"""The tables of a record: one small set per finished series while a step works, RELION's global table at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lamella.errors import ProjectError
from lamella.formats.images import split_name
from lamella.formats.relion import (
    read_tilt_series,
    read_tomograms,
    write_tilt_series,
    write_tilt_table,
    write_tomograms,
)
from lamella.formats.relion_tilt_series import global_table
from lamella.formats.star import write_star
from lamella.records import TiltSeries, Tomogram
from lamella.workflow.project import Project
from lamella.workflow.record_name import RAW, RecordName

__all__ = [
    "files_of",
    "has_tables",
    "read_part",
    "read_record",
    "remove_record",
    "table_path",
    "write_part",
    "write_record",
]

Record = TiltSeries | Tomogram

_SERIES = "tilt_series.star"
_TOMOGRAMS = "tomograms.star"


def table_path(project: Project, name: RecordName) -> Path | None:
    """The global table of a record, or None where it has none yet."""
    if name == RAW:
        return project.root / "raw.star"
    for table in (_SERIES, _TOMOGRAMS):
        if (project.folder(name) / table).is_file():
            return project.folder(name) / table
    return None


def has_tables(project: Project, name: RecordName) -> bool:
    """Whether a record can be read."""
    return table_path(project, name) is not None


def read_record(project: Project, name: RecordName) -> tuple[Record, ...]:
    """Every series (or tomogram) of a record, in the order of its table.

    Raises
    ------
    ProjectError
        if the record does not exist yet.
    """
    path = table_path(project, name)
    if path is None:
        raise ProjectError(f"there is no record {name} yet", mend=f"make it with `{name.maker}`")
    return _read(path, project.root)


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
    """``raw/NAME.star`` of each series, and ``raw.star``."""
    for one in series:
        write_tilt_table(root / "raw" / f"{one.name}.star", one)
    write_star(root / "raw.star", [global_table(series, {one.name: f"raw/{one.name}.star" for one in series})])


def write_part(folder: Path, record: Record, root: Path) -> None:
    """Keep the record of one finished series in a folder of its own."""
    _write(folder, (record,), root)


def read_part(folder: Path, root: Path) -> Record | None:
    """The record of one finished series, or None where it is not there."""
    for table in (_SERIES, _TOMOGRAMS):
        if (folder / table).is_file():
            return _read(folder / table, root)[0]
    return None


def files_of(record: Record, root: Path) -> tuple[Path, ...]:
    """The image and volume files that a record names (movies, where there are no images yet), each once."""
    names: list[str] = []
    if isinstance(record, Tomogram):
        names += [name for name in (record.volume, record.even_volume, record.odd_volume) if name]
        names += [name for name in (record.denoised, record.support) if name]
    else:
        for images in (record.images, record.even_images, record.odd_images):
            names += [split_name(name)[1] for name in images or ()]
        if record.images is None:
            names += record.movies or ()
    return tuple(root / name for name in dict.fromkeys(names))


def _read(path: Path, root: Path) -> tuple[Record, ...]:
    if path.name == _TOMOGRAMS:
        return read_tomograms(path, root)
    return read_tilt_series(path, root)


def _write(folder: Path, records: Sequence[Record], root: Path) -> None:
    series = [record for record in records if isinstance(record, TiltSeries)]
    tomograms = [record for record in records if isinstance(record, Tomogram)]
    if tomograms:
        write_tomograms(folder / _TOMOGRAMS, tomograms, root)
    if series:
        write_tilt_series(folder / _SERIES, series, root)
