"""Points as plain CSV with a header.

``x,y,z`` are voxels of the tomogram, counted from 0 at its first voxel's centre, or ``x_ang,y_ang,z_ang`` Å from its
centre voxel, as RELION 5 has them. Further columns where there are any: ``rot,tilt,psi`` (RELION's angles of A),
``tomogram``, ``score``, ``class``, ``half_set``, ``contour``, and ``radius`` or ``radius_ang`` of a sphere.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.atomic import atomic_text
from lamella.formats.point_lists import CONTOUR, SCORE, PointColumns, named_tomogram, tomogram_of_file
from lamella.formats.relion_particle_rows import RADIUS_SCORE
from lamella.formats.star import number_text
from lamella.formats.voxels import to_voxels
from lamella.geometry import angles_from_matrix, euler_matrix
from lamella.records import Note, ParticleSet, Tomogram

__all__ = ["read_csv", "write_csv"]

Array = NDArray[np.float64]
Columns = Mapping[str, list[str]]

_VOXELS, _CENTRED, _ANGLES = ("x", "y", "z"), ("x_ang", "y_ang", "z_ang"), ("rot", "tilt", "psi")
_SCORES = {"score": SCORE, "contour": CONTOUR}


def read_csv(path: Path | str, tomograms: Sequence[Tomogram]) -> ParticleSet:
    """Read a file, or every ``.csv`` of a folder, whose names then begin with their tomograms'.

    Raises
    ------
    FormatError
        if there is no header with x, y, z, a value is no finite number, or the tomogram cannot be told.
    """
    files = sorted(Path(path).glob("*.csv")) if Path(path).is_dir() else [Path(path)]
    if not files:
        raise FormatError(f"{path}: no file of points (.csv) in this folder", mend="check the path")
    parts = [_points(file, tomograms) for file in files]
    members = []
    for place in range(len(tomograms)):
        fits = [part.members[place] for part in parts if len(part.members[place])]
        if len(fits) > 1:
            raise FormatError(f"{path}: several files of points in {fits[0].name}", mend="give one for each tomogram")
        members.append(fits[0] if fits else parts[0].members[place])
    return ParticleSet(members=tuple(members))


def write_csv(particles: ParticleSet, folder: Path, root: Path) -> tuple[tuple[Path, ...], tuple[Note, ...]]:
    """Write ``particles.csv``: Å from the centres of the tomograms, angles, and what else is known."""
    members = [one for one in particles.members if len(one)]
    optional = [label for label, name in _SCORES.items() if any(name in one.scores for one in members)]
    halves = bool(members) and all(one.half_set is not None for one in members)
    head = ["tomogram", *_CENTRED, *_ANGLES, "class", *(["half_set"] if halves else []), *optional]
    lines = [",".join(head)]
    for one in members:
        columns: list[Sequence[str]] = [[one.name] * len(one)]
        columns += [_texts(axis) for axis in one.positions_ang().T]
        columns += [_texts(angle) for angle in angles_from_matrix(one.matrices())]
        whole = (one.classes, one.half_set if halves else None)
        columns += [[str(int(value)) for value in part] for part in whole if part is not None]
        columns += [_texts(one.scores.get(_SCORES[label], np.full(len(one), np.nan))) for label in optional]
        lines += [",".join(row) for row in zip(*columns, strict=True)]
    path = folder / "particles.csv"
    atomic_text(path, "\n".join(lines) + "\n")
    return (path,), ()


def _texts(values: Array) -> list[str]:
    return [number_text(value) if np.isfinite(value) else "" for value in values]


def _points(file: Path, tomograms: Sequence[Tomogram]) -> ParticleSet:
    columns, count = _columns(file)

    def numbers(label: str, missing: float | None = None) -> Array:
        return np.array([_number(text, file, row, label, missing) for row, text in enumerate(columns[label], start=2)])

    if "tomogram" in columns:
        known = {name: named_tomogram(name, tomograms, str(file)) for name in dict.fromkeys(columns["tomogram"])}
        owner = np.array([known[name] for name in columns["tomogram"]], dtype=np.int64)
    else:
        owner = np.full(count, tomogram_of_file(file, tomograms), dtype=np.int64)
    voxel = np.array([one.voxel_size_ang for one in tomograms])[owner]
    if all(label in columns for label in _CENTRED):
        index = np.stack([numbers(label) for label in _CENTRED], axis=-1)
        for place, one in enumerate(tomograms):
            index[owner == place] = to_voxels(one, index[owner == place])
    else:
        index = np.stack([numbers(label) for label in _VOXELS], axis=-1)
    scores = {name: numbers(label, np.nan) for label, name in _SCORES.items() if label in columns}
    for label, unit in (("radius", voxel), ("radius_ang", np.ones(count))):
        if label in columns:
            scores[RADIUS_SCORE] = numbers(label) * unit
    turned = all(label in columns for label in _ANGLES)
    return PointColumns(
        owner=owner,
        index=index,
        matrices=euler_matrix(*(numbers(label) for label in _ANGLES)) if turned else None,
        scores=scores,
        classes=numbers("class").astype(np.int64) if "class" in columns else None,
        half_set=numbers("half_set").astype(np.int64) if "half_set" in columns else None,
    ).particles(tomograms)


def _columns(file: Path) -> tuple[Columns, int]:
    try:
        with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
            rows = [[word.strip() for word in row] for row in csv.reader(lines) if any(word.strip() for word in row)]
    except OSError as error:
        raise FormatError(f"{file}: {error.strerror}", mend="check the name and the permissions") from error
    head = [word.lower() for word in rows[0]] if rows else []
    if not any(all(label in head for label in labels) for labels in (_VOXELS, _CENTRED)):
        raise FormatError(
            f"{file}: no header with x, y, z (voxels from 0) or x_ang, y_ang, z_ang (Å from the centre)",
            mend="write the columns' names into the first line",
        )
    if len(set(head)) != len(head):
        raise FormatError(f"{file}: a column's name comes twice", mend="rename or remove one")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(head):
            raise FormatError(
                f"{file}: row {number} has {len(row)} values for {len(head)} columns", mend="mend or remove the row"
            )
    return {label: [row[place] for row in rows[1:]] for place, label in enumerate(head)}, len(rows) - 1


def _number(text: str, file: Path, row: int, label: str, missing: float | None) -> float:
    if not text and missing is not None:
        return missing
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise FormatError(f"{file}: row {row}: {label} is {text!r}, no number", mend="mend or remove the row")
    return value
