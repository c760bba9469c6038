"""Defoci of CTFFIND 4 and 5, into an aligned record and out of it.

CTFFIND states the defocus of an image as a whole, which is that at its centre, its azimuth from x towards y with row 0
at the bottom: RELION's angle, and ours (Rohou & Grigorieff, J. Struct. Biol. 192 (2015) 216).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from lamella.errors import FormatError
from lamella.formats.ctffind_file import CtffindFile, read_ctffind, write_ctffind
from lamella.formats.defocus_exchange import defocus_of_images, pick_rows, series_with_defocus, stated_optics
from lamella.formats.images import split_name
from lamella.formats.view_matching import match_numbers
from lamella.records import Defocus, Note, TiltSeries

__all__ = ["export_series", "import_series"]

_ENDINGS = ("_ctffind.txt", ".txt", "_ctf.txt", "_diagnostic.txt", "_output.txt")
_VIEW_ENDINGS = (".txt", "_PS.txt", "_ctf.txt", "_ctffind.txt", "_diagnostic.txt", "_output.txt")


def import_series(path: Path, series: TiltSeries) -> tuple[TiltSeries, tuple[Note, ...]]:
    """Put CTFFIND's defoci into an aligned record.

    Parameters
    ----------
    path
        the ``.txt`` of a whole stack; a folder that has it as ``NAME.txt``, ``NAME_ctffind.txt``, ``NAME_ctf.txt``,
        ``NAME_diagnostic.txt`` or ``NAME_output.txt``; or a folder with a ``.txt`` for each view, by the name of its
        image or movie.
    series
        the record. Rows are sections of its stack.

    Raises
    ------
    FormatError
        if a file is missing or damaged, or has rows for another number of views.
    InputError
        if the record is not aligned.
    """
    path = Path(path)
    file = _locate(path, series.name)
    if file is None:
        return _import_each(path, series)
    read = read_ctffind(file)
    rows, notes = match_numbers(series, read.numbers, file.name)
    changed, said = series_with_defocus(series, pick_rows(read.defocus, rows), read.optics, file.name)
    return changed, (*notes, *_left_out(read, file.name), *said)


def export_series(series: Sequence[TiltSeries], folder: Path, root: Path) -> tuple[tuple[Path, ...], tuple[Note, ...]]:
    """Write ``FOLDER/NAME_ctffind.txt`` for each series: a row per section that is left of its stack, in its order.

    Raises
    ------
    InputError
        if a record has no defocus, or no alignment.
    """
    del root  # no image is opened
    written, notes = [], []
    for record in series:
        stated, _ = defocus_of_images(record)
        target = Path(folder) / f"{record.name}{_ENDINGS[0]}"
        write_ctffind(target, stated, stated_optics(record), f"{record.name} (by section)")
        written.append(target)
        text = "rows are the sections of the stack that the record has, in their order; defoci those at images' centres"
        notes.append(Note(kind="info", where=target.name, text=text))
    return tuple(written), tuple(notes)


def _locate(path: Path, name: str) -> Path | None:
    """The file of a whole stack; None where the folder has none."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise FormatError(f"{path}: not there", mend="name CTFFIND's .txt file, or the folder that has it")
    return next((path / f"{name}{end}" for end in _ENDINGS if (path / f"{name}{end}").is_file()), None)


def _import_each(folder: Path, series: TiltSeries) -> tuple[TiltSeries, tuple[Note, ...]]:
    """The same of a folder with a file for each view."""
    files = _files_of_views(folder, series)
    read = [read_ctffind(file) for file in files]
    for file, one in zip(files, read, strict=True):
        if len(one) != 1:
            raise FormatError(f"{file}: {len(one)} rows for one view", mend="give a file of one image for each view")
    columns: dict[str, Any] = {}
    for entry in fields(Defocus):
        parts = [getattr(one.defocus, entry.name) for one in read]
        missing = [part is None for part in parts]
        filled = [np.zeros(1) if part is None else part for part in parts]
        columns[entry.name] = None if all(missing) else np.concatenate(filled)
    changed, said = series_with_defocus(series, Defocus(**columns), read[0].optics, str(folder))
    return changed, (*_left_out(read[0], str(folder)), *said)


def _files_of_views(folder: Path, series: TiltSeries) -> list[Path]:
    for names in (series.images, series.movies):
        stems = [_stem(name) for name in names or ()]
        if None in stems or len(set(stems)) < len(stems) or not stems:
            continue
        found = [
            next((folder / f"{stem}{end}" for end in _VIEW_ENDINGS if (folder / f"{stem}{end}").is_file()), None)
            for stem in stems
        ]
        files = [file for file in found if file is not None]
        if len(files) == len(series):
            return files
        if files:
            lacking = stems[next(view for view, file in enumerate(found) if file is None)]
            raise FormatError(
                f"{folder}: {len(files)} files for {len(series)} views, none for {lacking}",
                mend="add the missing files",
            )
    raise FormatError(
        f"{folder}: no {series.name}{_ENDINGS[0]}, no {series.name}{_ENDINGS[1]}, and no files by the views' names",
        mend="name CTFFIND's .txt file itself",
    )


def _stem(name: str) -> str | None:
    """An image's own name without its folder and suffix; None for a section of a stack."""
    section, file = split_name(name)
    return None if section is not None else PurePosixPath(file.replace("\\", "/")).stem


def _left_out(read: CtffindFile, where: str) -> list[Note]:
    if read.tilt is None or not np.any(np.nan_to_num(read.tilt)):
        return []
    text = "the tilt and thickness that CTFFIND estimated of each image were not taken: the alignment states them"
    return [Note(kind="dropped", where=where, text=text)]
