"""RELION-5's tilt-series tables: a global table with a row per series, which names a table per series.

The rows of the series' tables are in `relion_views`; here are the global columns and the files. Older projects hold the
series' tables in the file of their tomograms (`relion4`).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError, InputError
from lamella.formats.images import image_name, open_stack, split_name
from lamella.formats.relion4 import has_matrices, without_matrices
from lamella.formats.relion_field import spline_coefficients
from lamella.formats.relion_views import Deformation, view_columns, view_fields
from lamella.formats.star import StarTable, number_text, read_star, write_star
from lamella.formats.warnings import FormatWarning
from lamella.records import Optics, TiltSeries

__all__ = [
    "GLOBAL",
    "NAME",
    "global_rows",
    "global_table",
    "read_tilt_series",
    "read_tilt_table",
    "relative_name",
    "series_of_matrices",
    "series_of_row",
    "write_series_tables",
    "write_tilt_series",
    "write_tilt_table",
]

GLOBAL = "global"
NAME, FILE = "rlnTomoName", "rlnTomoTiltSeriesStarFile"
PIXEL, MOVIE_PIXEL = "rlnTomoTiltSeriesPixelSize", "rlnMicrographOriginalPixelSize"
HAND, GROUP = "rlnTomoHand", "rlnOpticsGroupName"
OPTICS = {
    "rlnVoltage": "voltage_kv",
    "rlnSphericalAberration": "spherical_aberration_mm",
    "rlnAmplitudeContrast": "amplitude_contrast",
}
DEFORMATION = ("rlnTomoDeformationType", "rlnTomoDeformationGridSizeX", "rlnTomoDeformationGridSizeY")
SIZE = ("lamellaImageSizeX", "lamellaImageSizeY")
FIELD_GRID = ("lamellaFieldGridX", "lamellaFieldGridY")
FIELD_WIDTH = ("lamellaFieldHalfWidthXAngst", "lamellaFieldHalfWidthYAngst")
STACK = "rlnTomoTiltSeriesName"
THICKNESS, IMAGING, TURN = "lamellaThicknessAngst", "lamellaImaging", "lamellaFrameTurn"
KNOWN = {NAME, FILE, PIXEL, MOVIE_PIXEL, HAND, GROUP, *OPTICS, *DEFORMATION, *SIZE, *FIELD_GRID, *FIELD_WIDTH}
KNOWN |= {THICKNESS, IMAGING, TURN}

_OWN = "lamella"
_ABSENT = {"None", "<NA>", "nan", ""}
_NOTHING = ((2, 2), 32)  # RELION wants a spline for every series of a table as soon as one has it: zeros on 2 × 2 nodes

Row = Mapping[str, str]


def read_tilt_series(global_star: Path | str, root: Path | str) -> tuple[TiltSeries, ...]:
    """Read RELION-5 tilt series, or lamella's records of them.

    Parameters
    ----------
    global_star
        the table with a row per series (``tilt_series.star``; a tomograms table does as well).
    root
        the project's folder: where the names in the tables start from.

    Raises
    ------
    FormatError
        if a table is missing or cannot be read.

    Warns
    -----
    FormatWarning
        if the size of the tilt images is not stated and the images are not there; it is (0, 0) then.
    """
    return tuple(series_of_row(row, Path(root), str(global_star)) for row in global_rows(Path(global_star)))


def write_tilt_series(global_star: Path | str, series: Sequence[TiltSeries], root: Path | str) -> tuple[Path, ...]:
    """Write records as RELION-5 tables: ``tilt_series/NAME.star`` beside the global table, then the global table.

    Parameters
    ----------
    global_star
        the file with a row per series; its folder is made where it is missing.
    series
        the records; their names differ.
    root
        the project's folder, which the names in the tables are relative to.

    Returns
    -------
    paths
        the files written, the global table last.
    """
    target = Path(global_star)
    tables = write_series_tables(target.parent, series)
    names = {one.name: relative_name(path, Path(root)) for one, path in zip(series, tables, strict=True)}
    write_star(target, [global_table(series, names)])
    return (*tables, target)


def write_tilt_table(path: Path | str, series: TiltSeries) -> None:
    """Write one series into one file of its own, its row of the global table included.

    For views that left the main tables (``clean/excluded/NAME.star``): the file stands alone.
    """
    write_star(path, [global_table([series], {}), _view_table(series, with_deformation=_has_field(series))])


def read_tilt_table(path: Path | str, root: Path | str = ".") -> TiltSeries:
    """Read what `write_tilt_table` wrote."""
    tables = read_star(path)
    rows = _rows(tables, str(path))
    if len(rows) != 1:
        raise FormatError(f"{path}: {len(rows)} tilt series in a file of one", mend="check that this is the right file")
    return _series(rows[0], _views_of(tables, rows[0][NAME], str(path)), Path(root))


def global_rows(path: Path) -> list[Row]:
    """The rows of a global table, each by column."""
    return _rows(read_star(path), str(path))


def series_of_row(row: Row, root: Path, where: str) -> TiltSeries:
    """The record of one row of a global table; opens the table that it names."""
    if FILE not in row:
        raise FormatError(
            f"{where}: no column {FILE}, so no table per series is named", mend="give a table that RELION 5 wrote"
        )
    path = root / row[FILE]
    if not path.is_file():
        raise FormatError(
            f"{where}: {row[NAME]}: its table {path} is not there",
            mend="keep the project's folders together, or give the table of a job that is still there",
        )
    return _series(row, _views_of(read_star(path), row[NAME], str(path)), root)


def series_of_matrices(
    row: Row, tables: Mapping[str, StarTable], size_px: Sequence[int], root: Path, where: str
) -> TiltSeries | None:
    """The record of a row whose views stand in the same file with RELION-4's matrices; None where they do not."""
    table = tables.get(_block_name(row[NAME]))
    if FILE in row or table is None or not has_matrices(table):
        return None
    pixel = _number(row, PIXEL)
    if pixel is None:
        raise FormatError(f"{where}: {row[NAME]}: no pixel size ({PIXEL})", mend="add the column")
    count = _number(row, "rlnTomoFrameCount")
    if count is not None and count != len(table):
        raise FormatError(
            f"{where}: {row[NAME]}: {len(table)} matrices for {count:g} views", mend="correct rlnTomoFrameCount"
        )
    stack = row.get(STACK, "None")
    path = root / stack.removesuffix(":mrc")
    shape = open_stack(path).shape[1:] if stack not in _ABSENT and path.is_file() else None
    views, hand = without_matrices(table, size_px, pixel, shape)
    columns = dict(views.columns)
    if stack not in _ABSENT and "rlnMicrographName" not in columns:
        columns["rlnMicrographName"] = tuple(image_name(n, stack.removesuffix(":mrc")) for n in range(len(views)))
    other = {label: value for label, value in row.items() if label != STACK}
    other[HAND] = number_text(hand * (_number(row, HAND) or -1))
    return _series(other, StarTable(views.name, columns, where=views.where), root)


def write_series_tables(folder: Path, series: Sequence[TiltSeries]) -> tuple[Path, ...]:
    """Write ``tilt_series/NAME.star`` of each series below a folder."""
    names = [one.name for one in series]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InputError(f"several tilt series are called {', '.join(twice)}", mend="rename their files")
    for name in names:
        if not name or name != Path(name).name or name.startswith("."):
            raise InputError(f"a tilt series called {name!r}", mend="a name has no slash in it and begins with no dot")
    deformed = any(_has_field(one) for one in series)
    paths = []
    for one in series:
        paths.append(folder / "tilt_series" / f"{one.name}.star")
        write_star(paths[-1], [_view_table(one, with_deformation=deformed)])
    return tuple(paths)


def global_table(series: Sequence[TiltSeries], files: Mapping[str, str]) -> StarTable:
    """The global table of some series; `files` names the table of each, by the series' name."""
    deformed = any(_has_field(one) for one in series)
    rows = [_global_row(one, files.get(one.name), with_deformation=deformed) for one in series]
    labels = list(dict.fromkeys(label for row in rows for label in row))
    # A column that only some series have: numbers are missing as nan, text as None, which RELION and pandas both read.
    numeric = {label for row in rows for label in row if _is_number(row[label])}
    columns = {label: tuple(row.get(label, "nan" if label in numeric else "None") for row in rows) for label in labels}
    return StarTable(GLOBAL, columns)


def _global_row(series: TiltSeries, file: str | None, *, with_deformation: bool) -> dict[str, str]:
    row = {NAME: series.name}
    if file is not None:
        row[FILE] = file
    for label, name in OPTICS.items():
        if (value := getattr(series.optics, name)) is not None:
            row[label] = number_text(value)
    original = series.original_pixel_size_ang or series.pixel_size_ang
    row |= {MOVIE_PIXEL: number_text(original), HAND: number_text(series.hand), GROUP: series.optics_group}
    row[PIXEL] = number_text(series.pixel_size_ang)
    row |= {label: str(size) for label, size in zip(SIZE, series.image_shape_px[::-1], strict=True)}
    row[IMAGING] = series.imaging
    if series.frame_turn:
        row[TURN] = str(series.frame_turn)
    if series.thickness_ang is not None:
        row[THICKNESS] = number_text(series.thickness_ang)
    field = None if series.geometry is None else series.geometry.field
    if field is not None:
        row |= {label: str(size) for label, size in zip(FIELD_GRID, field.nodes_ang.shape[:1:-1], strict=True)}
        row |= {label: number_text(half) for label, half in zip(FIELD_WIDTH, field.half_width_ang, strict=True)}
    if with_deformation:
        grid = _deformation(series)[0]
        row |= dict(zip(DEFORMATION, ("spline", str(grid[0]), str(grid[1])), strict=True))
    row |= {_OWN + name: number_text(value) for name, value in series.quality.items()}
    return row | dict(series.other)


def _has_field(series: TiltSeries) -> bool:
    return series.geometry is not None and series.geometry.field is not None


def _deformation(series: TiltSeries) -> tuple[tuple[int, int], NDArray[np.float64]]:
    if series.geometry is None or series.geometry.field is None:
        grid, numbers = _NOTHING
        return grid, np.zeros((len(series), numbers))
    return spline_coefficients(series.geometry.field, series.image_shape_px, series.pixel_size_ang)


def _view_table(series: TiltSeries, *, with_deformation: bool) -> StarTable:
    coefficients = _deformation(series)[1] if with_deformation else None
    return StarTable(_block_name(series.name), view_columns(series, coefficients))


def _block_name(name: str) -> str:
    """A block's name holds no white space."""
    return "_".join(name.split())


def _rows(tables: Mapping[str, StarTable], where: str) -> list[Row]:
    table = tables.get(GLOBAL) or next((one for one in tables.values() if NAME in one and FILE in one), None)
    if table is None or NAME not in table:
        raise FormatError(f"{where}: no table of tilt series in it", mend="give RELION 5's tilt_series.star")
    return [
        {label: column[index] for label, column in table.columns.items()} | {"": where} for index in range(len(table))
    ]


def _views_of(tables: Mapping[str, StarTable], name: str, where: str) -> StarTable:
    others = {key: table for key, table in tables.items() if key != GLOBAL}
    table = others.get(_block_name(name)) or (next(iter(others.values())) if len(others) == 1 else None)
    if table is None:
        raise FormatError(f"{where}: no table of tilt series {name}", mend="check that this is the right file")
    return table


def _series(row: Row, views: StarTable, root: Path) -> TiltSeries:
    name = row[NAME]
    pixel = _number(row, PIXEL) or _number(row, MOVIE_PIXEL)
    if pixel is None:
        raise FormatError(f"{row['']}: {name}: no pixel size ({PIXEL})", mend="add the column")
    images = views.columns.get("rlnMicrographName")
    shape = _image_shape(row, images, root, name)
    optics = {field: _number(row, label) for label, field in OPTICS.items()}
    return TiltSeries(
        name=name,
        pixel_size_ang=pixel,
        original_pixel_size_ang=_number(row, MOVIE_PIXEL),
        image_shape_px=shape,
        optics=Optics(**{field: value for field, value in optics.items() if value is not None}),
        optics_group=row.get(GROUP, "optics1"),
        hand=int(_number(row, HAND) or -1),
        imaging="dark" if row.get(IMAGING) == "dark" else "bright",
        frame_turn=_turn(row),
        thickness_ang=_number(row, THICKNESS),
        **_series_extras(row),
        **view_fields(views, _deformation_of(row), shape, pixel),
    )


def _series_extras(row: Row) -> dict[str, Any]:
    quality: dict[str, float] = {}
    other: dict[str, str] = {}
    for label, value in row.items():
        if label in KNOWN or label == "":
            continue
        if label.startswith(_OWN) and _is_number(value):
            if value != "nan":
                quality[label.removeprefix(_OWN)] = float(value)
        else:
            other[label] = value
    return {"quality": quality, "other": other}


def _deformation_of(row: Row) -> Deformation:
    kind = row.get(DEFORMATION[0], "")
    gx, gy = (int(_number(row, label) or 0) for label in DEFORMATION[1:])
    own_grid = [int(_number(row, label) or 0) for label in FIELD_GRID]
    own_width = [_number(row, label) for label in FIELD_WIDTH]
    if 0 in own_grid or own_width[0] is None or own_width[1] is None:
        return Deformation("" if kind in _ABSENT else kind, (gx, gy), None, None)
    return Deformation(
        "" if kind in _ABSENT else kind, (gx, gy), (own_grid[0], own_grid[1]), (own_width[0], own_width[1])
    )


def _image_shape(row: Row, images: Sequence[str] | None, root: Path, name: str) -> tuple[int, int]:
    """(height, width): as our tables state it, else the first image's; (0, 0) and a warning where that is absent."""
    width, height = (_number(row, label) for label in SIZE)
    if width and height:
        return int(height), int(width)
    if not images:
        return 0, 0
    path = root / split_name(images[0])[1]
    if not path.is_file():
        warnings.warn(
            f"{name}: {path} is not there, so the size of the tilt images is unknown", FormatWarning, stacklevel=5
        )
        return 0, 0
    shape = open_stack(path).shape
    return shape[1], shape[2]


def _number(row: Row, label: str) -> float | None:
    """A number of a row; None where it is missing."""
    value = row.get(label, "")
    if value in _ABSENT:
        return None
    if not _is_number(value):
        raise FormatError(f"{row['']}: {row[NAME]}: {label} is {value!r}, no number", mend="correct the table")
    return float(value)


def _turn(row: Row) -> int:
    turn = _number(row, TURN) or 0.0
    if turn not in range(8):
        raise FormatError(f"{row['']}: {row[NAME]}: {TURN} is {turn:g}", mend="state a turn from 0 to 7")
    return int(turn)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def relative_name(path: Path, root: Path) -> str:
    """A path as the tables name it: relative to the project, with forward slashes."""
    return Path(os.path.relpath(path.resolve(), root.resolve())).as_posix()
