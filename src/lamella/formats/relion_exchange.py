"""`lamella import` and `export` of RELION 5: alignments in, whole projects' tables out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from lamella.errors import FormatError, InputError
from lamella.formats.image_maps import magnification_as_field
from lamella.formats.images import split_name
from lamella.formats.relion_tilt_series import read_tilt_series, write_tilt_series
from lamella.records import Note, TiltSeries

__all__ = ["export_series", "import_series", "without_magnification"]

_SAME_ANGLE_DEG = 0.05
_NO_MAGNIFICATION = 1e-6


def import_series(path: Path, series: TiltSeries) -> tuple[TiltSeries, tuple[Note, ...]]:
    """Put RELION's alignment, and its defoci where there are any, into a record.

    Parameters
    ----------
    path
        RELION's global table (``aligned_tilt_series.star``, ``tomograms.star``); names in it start from the project's
        folder, which is found as the nearest folder above from which the tables can be reached.
    series
        the record; its views are found in RELION's table by the names of their movies or images, else by their nominal
        angles. Views that RELION does not have are left out, and a note names them.

    Raises
    ------
    FormatError
        if the table has no series of that name, no geometry, or none of its views.
    """
    found = {one.name: one for one in read_tilt_series(path, _relion_root(path))}
    theirs = found.get(series.name) or (next(iter(found.values())) if len(found) == 1 else None)
    if theirs is None:
        raise FormatError(f"{path}: no tilt series {series.name}", mend=f"there are {', '.join(found)}")
    if theirs.geometry is None:
        raise FormatError(
            f"{path}: {theirs.name} is not aligned in it", mend="give a table of RELION's AlignTiltSeries"
        )
    pairs, how = _matched(series, theirs)
    if not pairs:
        raise FormatError(f"{path}: {theirs.name} has none of the views of {series.name}", mend="check the table")
    notes = [Note(kind="info", where=str(path), text=f"{len(pairs)} of {len(series)} views found by their {how}")]
    dropped = [str(int(place)) for i, place in enumerate(_places(series)) if i not in {ours for ours, _ in pairs}]
    if dropped:
        text = f"views {', '.join(dropped)} of {series.name} are not in RELION's table and leave the record"
        notes.append(Note(kind="dropped", where=str(path), text=text))
    kept, others = series.select([ours for ours, _ in pairs]), theirs.select([their for _, their in pairs])
    changes: dict[str, Any] = {"geometry": others.geometry, "hand": theirs.hand}
    if others.defocus is not None:
        changes["defocus"] = others.defocus
    if theirs.hand != series.hand:
        notes.append(Note(kind="overridden", where=str(path), text=f"the hand is {theirs.hand:+d}, as RELION has it"))
    return kept.with_changes(**changes), tuple(notes)


def export_series(series: Sequence[TiltSeries], folder: Path, root: Path) -> tuple[tuple[Path, ...], tuple[Note, ...]]:
    """Write ``tilt_series.star`` and ``tilt_series/NAME.star`` into a folder, for RELION 5 run in `root`.

    RELION's tables have no column for magnifications; its image deformations say them.

    Raises
    ------
    InputError
        if a series has neither images nor movies.
    """
    notes: list[Note] = []
    written = []
    for one in series:
        if one.images is None and one.movies is None:
            raise InputError(f"{one.name}: neither images nor movies are known", mend="import the series first")
        if one.optics.voltage_kv is None:
            text = f"{one.name}: the voltage is unknown; RELION will ask for the column rlnVoltage"
            notes.append(Note(kind="warning", where=str(folder), text=text))
        if one.imaging == "dark":
            text = f"{one.name}: dark-field images; RELION takes every image for bright field"
            notes.append(Note(kind="warning", where=str(folder), text=text))
        written.append(without_magnification(one, folder, notes))
    return write_tilt_series(folder / "tilt_series.star", written, root), tuple(notes)


def without_magnification(one: TiltSeries, folder: Path, notes: list[Note]) -> TiltSeries:
    """A series whose magnifications became image deformations, which RELION applies to particles, not to tomograms."""
    geometry = one.geometry
    if geometry is None or np.abs(geometry.magnification - 1).max() <= _NO_MAGNIFICATION:
        return one
    reach_px = float(np.abs(geometry.magnification - 1).max()) * float(np.hypot(*one.image_shape_px)) / 2
    said, error_px = magnification_as_field(geometry, one.image_shape_px, one.pixel_size_ang)
    text = (
        f"{one.name}: magnifications, {reach_px:.2f} px at the image's corner, were written as image deformations, to "
        f"{error_px:.4f} px; RELION applies those to particles, and to no tomogram"
    )
    notes.append(Note(kind="info", where=str(folder), text=text))
    return one.with_changes(geometry=said)


def _relion_root(path: Path) -> Path:
    """The folder that RELION was run in: the nearest one above its table from which the tables it names exist."""
    from lamella.formats.relion_tilt_series import FILE, global_rows

    first = next(iter(global_rows(path)), None)
    if first is None or FILE not in first:
        raise FormatError(f"{path}: no table per series is named in it", mend="give a table that RELION 5 wrote")
    for folder in path.resolve().parents:
        if (folder / first[FILE]).is_file():
            return folder
    raise FormatError(f"{path}: {first[FILE]}, which it names, is not there", mend="keep RELION's folders together")


def _places(series: TiltSeries) -> Sequence[int]:
    return [int(place) for place in (series.place if series.place is not None else range(1, len(series) + 1))]


def _matched(ours: TiltSeries, theirs: TiltSeries) -> tuple[list[tuple[int, int]], str]:
    """Pairs of views, and by what they were found."""
    for what in ("movies", "images"):
        mine, other = getattr(ours, what), getattr(theirs, what)
        if mine is not None and other is not None:
            places = {_plain_name(name): index for index, name in enumerate(other)}
            pairs = [(i, places[_plain_name(name)]) for i, name in enumerate(mine) if _plain_name(name) in places]
            if pairs and len(places) == len(other):
                return pairs, f"{what}' names"
    pairs = []
    for index, angle in enumerate(ours.nominal_tilt_deg):
        apart = np.abs(theirs.nominal_tilt_deg - angle)
        best = int(np.argmin(apart))
        if apart[best] < _SAME_ANGLE_DEG and (apart < _SAME_ANGLE_DEG).sum() == 1:
            pairs.append((index, best))
    return pairs, "nominal angles"


def _plain_name(name: str) -> tuple[int | None, str]:
    section, file = split_name(name)
    return section, PurePosixPath(file.replace("\\", "/")).name
