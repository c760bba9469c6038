"""Dynamo's tables (``.tbl``): a row of numbers per particle, without a header.

Columns 24–26 are the voxel, counted from 1 at the corner, 4–6 what is added to it; the particle's centre is voxel
N / 2 + 1 of its box, so that the two together, less 1, are the voxel from 0. Columns 7–9 (tdrot, tilt, narot) make the
matrix Rz(narot) · Rx(tilt) · Rz(tdrot), which turns a particle to the reference: A is its transpose. Column 10 is the
correlation, 20 the tomogram's number, 22 the class, 36 the voxel in Å.

Sources: Dynamo's pages on its tables and the centre of volumes, and the matrices that its own dynamo_euler2matrix and
dynamo_angles2orientations make.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.atomic import atomic_text
from lamella.formats.point_lists import (
    SCORE,
    PointColumns,
    read_tomogram_numbers,
    stated_voxel_ang,
    write_tomogram_numbers,
)
from lamella.formats.star import number_text
from lamella.formats.voxels import to_voxels, zxz_angles, zxz_matrix
from lamella.records import Note, Particles, ParticleSet, Tomogram

__all__ = ["read_dynamo", "write_dynamo"]

Array = NDArray[np.float64]

_TAG, _ALIGNED, _AVERAGED, _SHIFT, _ANGLES, _SCORE = 0, 1, 2, slice(3, 6), slice(6, 9), 9
_SAMPLING, _LEAST_TILT, _MOST_TILT, _TOMOGRAM, _CLASS = 12, 13, 14, 19, 21
_VOXEL, _VOXEL_SIZE = slice(23, 26), 35
_LEAST_COLUMNS, _COLUMNS = 26, 40


def read_dynamo(path: Path | str, tomograms: Sequence[Tomogram]) -> ParticleSet:
    """Read a table.

    Parameters
    ----------
    path
        the ``.tbl``; the list of tomograms is looked for beside it.
    tomograms
        those that it may number.

    Raises
    ------
    FormatError
        if a row has fewer than 26 columns, something else than numbers, or is in an unknown tomogram.
    """
    file = Path(path)
    rows = _rows(file)
    owner = read_tomogram_numbers(file, rows[:, _TOMOGRAM].astype(np.int64), tomograms)
    sizes = rows[:, _VOXEL_SIZE] if rows.shape[1] > _VOXEL_SIZE else np.full(len(rows), np.nan)
    voxel = np.full(len(rows), np.nan)
    for place, size in sorted({(int(one), float(size)) for one, size in zip(owner, sizes, strict=True)}):
        voxel[(owner == place) & (sizes == size)] = stated_voxel_ang(size, tomograms[place], str(file))
    to_reference = zxz_matrix(*rows[:, _ANGLES].T)
    return PointColumns(
        owner=owner,
        index=rows[:, _VOXEL] + rows[:, _SHIFT] - 1,
        matrices=np.swapaxes(to_reference, 1, 2),
        voxel_ang=voxel,
        scores={SCORE: rows[:, _SCORE]},
        classes=np.maximum(rows[:, _CLASS].astype(np.int64), 1),
    ).particles(tomograms)


def write_dynamo(particles: ParticleSet, folder: Path, root: Path) -> tuple[tuple[Path, ...], tuple[Note, ...]]:
    """Write ``particles.tbl`` and ``tomograms.doc``, the list of the tomograms' numbers and volumes."""
    members = particles.members
    blocks = [_block(one, number) for number, one in enumerate(members, start=1)]
    rows = np.concatenate(blocks) if blocks else np.zeros((0, _COLUMNS))
    rows[:, _TAG] = np.arange(1, len(rows) + 1)
    lines = (" ".join(_plain(value) for value in row) + "\n" for row in rows)
    path = folder / "particles.tbl"
    atomic_text(path, "".join(lines))
    notes = []
    if any(one.half_set is not None for one in members):
        text = "half sets have no column there: Dynamo splits its own"
        notes.append(Note(kind="dropped", where=str(path), text=text))
    return (path, write_tomogram_numbers(folder, [one.tomogram for one in members], root)), tuple(notes)


def _block(one: Particles, number: int) -> Array:
    index = to_voxels(one.tomogram, one.positions_ang()) + 1
    rows = np.zeros((len(one), _COLUMNS))
    rows[:, _ALIGNED] = rows[:, _AVERAGED] = rows[:, _SAMPLING] = 1
    rows[:, _VOXEL] = np.rint(index)
    rows[:, _SHIFT] = index - np.rint(index)
    rows[:, _ANGLES] = np.stack(zxz_angles(np.swapaxes(one.matrices(), 1, 2)), axis=-1)
    rows[:, _SCORE] = one.scores.get(SCORE, 0.0)
    rows[:, _LEAST_TILT], rows[:, _MOST_TILT] = one.tilt_series.tilt_deg.min(), one.tilt_series.tilt_deg.max()
    rows[:, _TOMOGRAM] = number
    rows[:, _CLASS] = one.classes
    rows[:, _VOXEL_SIZE] = one.tomogram.voxel_size_ang
    return rows


def _rows(path: Path) -> Array:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}", mend="check the name and the permissions") from error
    rows: list[list[float]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = [float(word) for word in line.replace(",", " ").split()]
        except ValueError:
            raise FormatError(f"{path}: line {number} is no row of numbers", mend="give a Dynamo table") from None
        if len(row) < _LEAST_COLUMNS or (rows and len(row) != len(rows[0])):
            raise FormatError(
                f"{path}: line {number} has {len(row)} columns",
                mend="a Dynamo table has at least 26, as many in each row",
            )
        if not np.isfinite(row[:_LEAST_COLUMNS]).all():
            raise FormatError(f"{path}: line {number} has a number that is not finite", mend="mend or remove the row")
        rows.append(row)
    return np.array(rows).reshape(len(rows), -1) if rows else np.zeros((0, _LEAST_COLUMNS))


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) else number_text(value)
