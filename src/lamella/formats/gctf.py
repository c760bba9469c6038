"""Defoci of Gctf, in a STAR table of micrographs, into an aligned record and out of it.

Columns are RELION's, with its meanings; the fit resolution is rlnFinalResolution, or rlnCtfMaxResolution in later
versions. Pixel sizes are magnification and detector pixel (µm), as RELION had them before version 3.1. The defocus is
that of an image as a whole: at its centre (Zhang, J. Struct. Biol. 193 (2016) 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.defocus_exchange import defocus_of_images, pick_rows, series_with_defocus, stated_optics
from lamella.formats.images import split_name
from lamella.formats.located import locate
from lamella.formats.star import StarTable, number_text, read_star, write_star
from lamella.formats.stated_optics import StatedOptics
from lamella.formats.view_matching import match_numbers
from lamella.records import Defocus, Note, TiltSeries

__all__ = ["export_series", "import_series"]

_NAME, _MAGNIFICATION, _DETECTOR = "rlnMicrographName", "rlnMagnification", "rlnDetectorPixelSize"
_NEEDED = {"rlnDefocusU": "u_ang", "rlnDefocusV": "v_ang", "rlnDefocusAngle": "angle_deg"}
_OPTIONAL = {
    "rlnPhaseShift": "phase_shift_deg",
    "rlnCtfFigureOfMerit": "figure_of_merit",
    "rlnFinalResolution": "max_resolution_ang",
    "rlnCtfMaxResolution": "max_resolution_ang",
}
_OPTICS = {
    "rlnVoltage": "voltage_kv",
    "rlnSphericalAberration": "spherical_aberration_mm",
    "rlnAmplitudeContrast": "amplitude_contrast",
    "rlnMicrographPixelSize": "pixel_size_ang",
}
_ENDING = "_gctf.star"
_DETECTOR_UM = 10.0


def import_series(path: Path, series: TiltSeries) -> tuple[TiltSeries, tuple[Note, ...]]:
    """Put Gctf's defoci into an aligned record.

    Parameters
    ----------
    path
        the table, or the folder that has ``NAME_gctf.star``.
    series
        the record. Views are found by the names of their images or movies, else rows are sections of its stack.

    Raises
    ------
    FormatError
        if the file is missing or damaged, or has rows for another number of views.
    InputError
        if the record is not aligned.
    """
    file, notes = locate(Path(path), series.name, _ENDING)
    tables = read_star(file)
    table = next((one for one in tables.values() if "rlnDefocusU" in one), None)
    if table is None:
        raise FormatError(f"{file}: no table with rlnDefocusU", mend="check that this is the table that Gctf wrote")
    rows = _rows_by_name(table, series)
    if rows is None:
        rows, said = match_numbers(series, np.arange(1, len(table) + 1), str(file))
        notes += said
    columns = {name: table.numbers(label) for label, name in _NEEDED.items()}
    for label, name in _NEEDED.items():
        if not np.isfinite(columns[name]).all():
            row = int(np.flatnonzero(~np.isfinite(columns[name]))[0]) + 1
            raise FormatError(f"{file}: row {row} of {label} is not finite", mend="take that view out of the record")
    columns |= {name: table.numbers(label) for label, name in _OPTIONAL.items() if label in table}
    optics = _optics(table, tables)
    changed, said = series_with_defocus(series, pick_rows(Defocus(**columns), rows), optics, file.name)
    return changed, (*notes, *said)


def export_series(series: Sequence[TiltSeries], folder: Path, root: Path) -> tuple[tuple[Path, ...], tuple[Note, ...]]:
    """Write ``FOLDER/NAME_gctf.star`` for each series: a row per section that is left of its stack, in its order.

    Raises
    ------
    InputError
        if a record has no defocus, or no alignment.
    """
    del root  # no image is opened
    written, notes = [], []
    for record in series:
        stated, order = defocus_of_images(record)
        names = record.images or record.movies or tuple(f"{int(place):06d}@{record.name}" for place in _places(record))
        columns = {_NAME: tuple(names[view] for view in order)}
        for label, name in {**_NEEDED, **{k: v for k, v in _OPTIONAL.items() if k != "rlnFinalResolution"}}.items():
            if (values := getattr(stated, name)) is not None:
                columns[label] = tuple(number_text(value) for value in values)
        for label, name in _OPTICS.items():
            if (value := getattr(stated_optics(record), name)) is not None and label != "rlnMicrographPixelSize":
                columns[label] = (number_text(value),) * len(record)
        columns[_MAGNIFICATION] = (number_text(_DETECTOR_UM * 1e4 / record.pixel_size_ang),) * len(record)
        columns[_DETECTOR] = (number_text(_DETECTOR_UM),) * len(record)
        target = Path(folder) / f"{record.name}{_ENDING}"
        write_star(target, [StarTable("", columns)])
        written.append(target)
        notes.append(Note(kind="info", where=target.name, text="defoci are those at the images' centres"))
    return tuple(written), tuple(notes)


def _places(series: TiltSeries) -> NDArray[np.int64]:
    return np.asarray(series.place, dtype=np.int64)


def _rows_by_name(table: StarTable, series: TiltSeries) -> NDArray[np.int64] | None:
    """Row of every view by the names of its image or movie; None where not all are found."""
    if _NAME not in table:
        return None
    row = {_plain(name): number for number, name in enumerate(table.text(_NAME))}
    for names in (series.images, series.movies):
        found = [row.get(_plain(name), -1) for name in names or ()]
        if found and min(found) >= 0 and len(set(found)) == len(found):
            return np.array(found, dtype=np.int64)
    return None


def _plain(name: str) -> tuple[int | None, str]:
    section, file = split_name(name)
    return section, PurePosixPath(file.replace("\\", "/")).name


def _optics(table: StarTable, tables: dict[str, StarTable]) -> StatedOptics:
    """Constants in the table itself, or in that of the optics groups; those of the first row."""
    source = table if "rlnVoltage" in table else tables.get("optics", table)
    found = {name: float(source.numbers(label)[0]) for label, name in _OPTICS.items() if label in source}
    if _MAGNIFICATION in source and _DETECTOR in source and (power := float(source.numbers(_MAGNIFICATION)[0])) > 0:
        found["pixel_size_ang"] = float(source.numbers(_DETECTOR)[0]) * 1e4 / power
    return StatedOptics(**found)
