"""RELION-5's tomograms table: the global table of the tilt series with the tomograms' sizes and files.

Numbers of a whole tomogram that RELION has no word for stand in a second block, ``data_lamella_tomograms``, which
RELION passes over; in the global table they could not be told from the tilt series' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lamella.errors import FormatError
from lamella.formats.relion_tilt_series import (
    NAME,
    global_rows,
    global_table,
    relative_name,
    series_of_matrices,
    series_of_row,
    write_series_tables,
)
from lamella.formats.star import StarTable, number_text, read_star, write_star
from lamella.records import Tomogram

__all__ = ["read_tomograms", "write_tomograms"]

SIZE = ("rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ")
BINNING = "rlnTomoTomogramBinning"
FILES = {
    "rlnTomoReconstructedTomogram": "volume",
    "rlnTomoReconstructedTomogramHalf1": "even_volume",
    "rlnTomoReconstructedTomogramHalf2": "odd_volume",
    "rlnTomoReconstructedTomogramDenoised": "denoised",
    "lamellaTomogramSupport": "support",
    "lamellaTomogramGold": "gold",
}
QUALITY = "lamella_tomograms"
_OWN = "lamella"
_ABSENT = {"None", "<NA>", ""}


def read_tomograms(star: Path | str, root: Path | str) -> tuple[Tomogram, ...]:
    """Read a tomograms table and the tilt-series tables that it names, or holds (RELION 4, WarpTools).

    Parameters are those of `read_tilt_series`, and so are the warnings.

    Raises
    ------
    FormatError
        if a table is missing, cannot be read, or states no sizes.
    """
    path = Path(star)
    tables = read_star(path)
    quality = _read_quality(tables.get(QUALITY))
    tomograms = []
    for row in global_rows(path):
        if any(row.get(label, "None") in {*_ABSENT, "nan"} for label in SIZE):
            raise FormatError(
                f"{path}: {row[NAME]}: no size of the tomogram ({SIZE[0]})", mend="give the table of a reconstruction"
            )
        size = [round(float(row[label])) for label in SIZE]
        files = {name: None if row.get(label, "") in _ABSENT else row[label] for label, name in FILES.items()}
        known = {*SIZE, BINNING, *FILES}
        rest = {label: value for label, value in row.items() if label not in known}
        series = series_of_matrices(rest, tables, size, Path(root), str(path))
        series = series or series_of_row(rest, Path(root), str(path))
        tomograms.append(
            Tomogram(
                tilt_series=series,
                size_px=(size[0], size[1], size[2]),
                binning=float(row.get(BINNING, "1")),
                quality=quality.get(series.name, {}),
                **files,
            )
        )
    return tuple(tomograms)


def write_tomograms(star: Path | str, tomograms: Sequence[Tomogram], root: Path | str) -> tuple[Path, ...]:
    """Write tomograms as a RELION-5 table, with ``tilt_series/NAME.star`` beside it.

    Returns
    -------
    paths
        the files written, the tomograms table last.
    """
    target = Path(star)
    series = [tomogram.tilt_series for tomogram in tomograms]
    tables = write_series_tables(target.parent, series)
    names = {one.name: relative_name(path, Path(root)) for one, path in zip(series, tables, strict=True)}
    columns = dict(global_table(series, names).columns)
    columns[BINNING] = tuple(number_text(tomogram.binning) for tomogram in tomograms)
    for axis, label in enumerate(SIZE):
        columns[label] = tuple(str(tomogram.size_px[axis]) for tomogram in tomograms)
    for label, name in FILES.items():
        files = [getattr(tomogram, name) for tomogram in tomograms]
        columns.pop(label, None)
        if any(file is not None for file in files):
            columns[label] = tuple("None" if file is None else file for file in files)
    write_star(target, [StarTable("global", columns), *_quality_table(tomograms)])
    return (*tables, target)


def _quality_table(tomograms: Sequence[Tomogram]) -> list[StarTable]:
    labels = list(dict.fromkeys(label for tomogram in tomograms for label in tomogram.quality))
    if not labels:
        return []
    columns = {NAME: tuple(tomogram.name for tomogram in tomograms)}
    for label in labels:
        columns[_OWN + label] = tuple(number_text(tomogram.quality.get(label, np.nan)) for tomogram in tomograms)
    return [StarTable(QUALITY, columns)]


def _read_quality(table: StarTable | None) -> dict[str, dict[str, float]]:
    if table is None:
        return {}
    out: dict[str, dict[str, float]] = {name: {} for name in table.text(NAME)}
    for label in table.columns:
        if label != NAME:
            for name, value in zip(table.text(NAME), table.numbers(label), strict=True):
                if not np.isnan(value):
                    out[name][label.removeprefix(_OWN)] = float(value)
    return out
