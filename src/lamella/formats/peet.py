"""PEET's motive lists (``NAME_MOTL….csv``) with the IMOD model whose points they belong to.

A particle is at its model point (column pIndex, from 1) plus the offsets, in voxels. Columns 17, 18 and 19 are
EulerZ(1), EulerZ(3) and EulerX(2): A = Rz(EulerZ(3)) · Rx(EulerX(2)) · Rz(EulerZ(1)). The model's own convention is
that of `imod_points`.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.atomic import atomic_text
from lamella.formats.imod_model import read_model, write_model
from lamella.formats.imod_points import model_index, model_of
from lamella.formats.point_lists import SCORE, PointColumns, stated_voxel_ang, tomogram_of_file
from lamella.formats.star import number_text
from lamella.formats.voxels import to_voxels, zxz_angles, zxz_matrix
from lamella.records import Note, Particles, ParticleSet, Tomogram

__all__ = ["HEADER", "read_peet", "write_peet"]

Array = NDArray[np.float64]

HEADER = (
    "CCC,reserved,reserved,pIndex,wedgeWT,NA,NA,NA,NA,NA,xOffset,yOffset,zOffset,NA,NA,reserved,"
    "EulerZ(1),EulerZ(3),EulerX(2),reserved"
)
_COLUMNS = 20
_SCORE, _POINT, _OFFSET, _FIRST, _THIRD, _SECOND = 0, 3, slice(10, 13), 16, 17, 18


def read_peet(path: Path | str, tomograms: Sequence[Tomogram]) -> ParticleSet:
    """Read a motive list with its model, or those of every tomogram in a folder.

    Parameters
    ----------
    path
        the ``.csv``, whose model is the ``.mod`` beside it with the name that it begins with, or the only one there.
    tomograms
        of which each file's name begins with one's, where there are several.

    Raises
    ------
    FormatError
        if the model is not there, or a row is no row of a motive list or belongs to no point of the model.
    """
    files = sorted(Path(path).glob("*.csv")) if Path(path).is_dir() else [Path(path)]
    owner, index, rows, voxel = [], [], [], []
    for file in files:
        table, model = _rows(file), read_model(_model_of(file))
        place = tomogram_of_file(file, tomograms)
        points = np.concatenate([np.zeros((0, 3)), *model.contours])
        chosen = table[:, _POINT].astype(np.int64)
        lost = chosen[(chosen < 1) | (chosen > len(points))]
        if len(lost):
            raise FormatError(
                f"{file}: point {lost[0]} of a model of {len(points)}", mend="give the list and its own model"
            )
        owner += [place] * len(table)
        index.append(model_index(points[chosen - 1]) + table[:, _OFFSET])
        voxel += [stated_voxel_ang(model.pixel_ang, tomograms[place], str(file))] * len(table)
        rows.append(table)
    whole = np.concatenate([np.zeros((0, _COLUMNS)), *rows])
    return PointColumns(
        owner=np.array(owner, dtype=np.int64),
        index=np.concatenate([np.zeros((0, 3)), *index]),
        matrices=zxz_matrix(whole[:, _FIRST], whole[:, _SECOND], whole[:, _THIRD]),
        voxel_ang=np.array(voxel, dtype=np.float64),
        scores={SCORE: whole[:, _SCORE]},
    ).particles(tomograms)


def write_peet(particles: ParticleSet, folder: Path, root: Path) -> tuple[tuple[Path, ...], tuple[Note, ...]]:
    """Write ``NAME.mod`` (nearest voxels) and ``NAME_MOTL.csv`` of each tomogram that has particles."""
    files: list[Path] = []
    for one in particles.members:
        if len(one):
            files += [folder / f"{one.name}.mod", folder / f"{one.name}_MOTL.csv"]
            index = to_voxels(one.tomogram, one.positions_ang())
            write_model(files[-2], model_of(one, np.rint(index)))
            atomic_text(files[-1], HEADER + "\n" + _text(one, index - np.rint(index)))
    notes = []
    if any(one.half_set is not None for one in particles.members):
        text = "half sets have no column there: PEET splits its own"
        notes.append(Note(kind="dropped", where=str(folder), text=text))
    return tuple(files), tuple(notes)


def _text(one: Particles, offset: Array) -> str:
    rows = np.zeros((len(one), _COLUMNS))
    rows[:, _SCORE] = one.scores.get(SCORE, 0.0)
    rows[:, _POINT] = np.arange(1, len(one) + 1)
    rows[:, _OFFSET] = offset
    rows[:, _FIRST], rows[:, _SECOND], rows[:, _THIRD] = zxz_angles(one.matrices())
    return "".join(
        ",".join(str(int(value)) if value == int(value) else number_text(value) for value in row) + "\n" for row in rows
    )


def _model_of(file: Path) -> Path:
    models = sorted(file.parent.glob("*.mod"))
    named = [model for model in models if file.stem.startswith(model.stem)]
    if named:
        return max(named, key=lambda model: len(model.stem))
    if len(models) == 1:
        return models[0]
    raise FormatError(
        f"{file}: the model that its points belong to is not beside it", mend=f"put it there as {file.stem}.mod"
    )


def _rows(file: Path) -> Array:
    try:
        with file.open(encoding="utf-8", errors="replace", newline="") as lines:
            rows = [(number, row) for number, row in enumerate(csv.reader(lines), start=1) if row]
    except OSError as error:
        raise FormatError(f"{file}: {error.strerror}", mend="check the name and the permissions") from error
    if not rows or rows[0][1][0].strip() != "CCC":
        raise FormatError(f"{file}: no motive list of PEET (CCC, …)", mend="check the file")
    table = []
    for number, row in rows[1:]:
        try:
            values = [float(value) for value in row[:_COLUMNS]]
        except ValueError:
            values = []
        if len(values) != _COLUMNS or not np.isfinite(values).all():
            raise FormatError(f"{file}: line {number} is no row of {_COLUMNS} numbers", mend="mend or remove the row")
        table.append(values)
    return np.array(table).reshape(-1, _COLUMNS)
