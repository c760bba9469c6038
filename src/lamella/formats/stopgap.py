"""STOPGAP's motive lists (``.star``).

A particle is at voxel orig + shift, counted from 1 at the corner; A = Rz(psi) · Rx(the) · Rz(phi), as TOM has it.
STOPGAP's own reader wants bare labels, and takes the line after them for empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.atomic import atomic_text
from lamella.formats.point_lists import SCORE, PointColumns, read_tomogram_numbers, write_tomogram_numbers
from lamella.formats.star import StarTable, number_text, read_star
from lamella.formats.voxels import to_voxels, zxz_angles, zxz_matrix
from lamella.records import Note, Particles, ParticleSet, Tomogram

__all__ = ["BLOCK", "read_stopgap", "write_stopgap"]

Integers = NDArray[np.int64]

BLOCK = "stopgap_motivelist"
_PLACE, _SHIFT, _ANGLES = ("orig_x", "orig_y", "orig_z"), ("x_shift", "y_shift", "z_shift"), ("phi", "the", "psi")
_HALVES = {"A": 1, "B": 2, "1": 1, "2": 2}


def read_stopgap(path: Path | str, tomograms: Sequence[Tomogram]) -> ParticleSet:
    """Read a motive list.

    Raises
    ------
    FormatError
        if it is no motive list, lacks a column, or is in an unknown tomogram.
    """
    file = Path(path)
    table = read_star(file).get(BLOCK)
    if table is None:
        raise FormatError(f"{file}: no table {BLOCK}", mend="give a motive list of STOPGAP")
    place, shift = (np.stack([table.numbers(label) for label in labels], axis=-1) for labels in (_PLACE, _SHIFT))
    return PointColumns(
        owner=read_tomogram_numbers(file, table.integers("tomo_num"), tomograms),
        index=place + shift - 1,
        matrices=zxz_matrix(*(table.numbers(label) for label in _ANGLES)),
        scores={SCORE: table.numbers("score")} if "score" in table else {},
        classes=np.maximum(table.integers("class"), 1) if "class" in table else None,
        half_set=_halves(table),
    ).particles(tomograms)


def write_stopgap(particles: ParticleSet, folder: Path, root: Path) -> tuple[tuple[Path, ...], tuple[Note, ...]]:
    """Write ``particles_motl.star``, and ``tomograms.doc`` with the tomograms' numbers and volumes."""
    rows: list[dict[str, str]] = []
    for number, one in enumerate(particles.members, start=1):
        rows += _rows(one, number, len(rows))
    labels = "".join(f"_{label}\n" for label in _row_labels())
    body = "".join(" ".join(row.values()) + "\n" for row in rows)
    path = folder / "particles_motl.star"
    atomic_text(path, f"\ndata_{BLOCK}\n\nloop_\n{labels}\n{body}")
    return (path, write_tomogram_numbers(folder, [one.tomogram for one in particles.members], root)), ()


def _row_labels() -> tuple[str, ...]:
    return (
        "motl_idx", "tomo_num", "object", "subtomo_num", "halfset", *_PLACE, "score", *_SHIFT, "phi", "psi", "the",
        "class",
    )  # fmt: skip


def _rows(one: Particles, number: int, before: int) -> list[dict[str, str]]:
    index = to_voxels(one.tomogram, one.positions_ang()) + 1
    whole = np.rint(index)
    phi, the, psi = zxz_angles(one.matrices())
    scores = one.scores.get(SCORE, np.zeros(len(one)))
    classes = one.classes if one.classes is not None else np.ones(len(one), np.int64)
    rows = []
    for place in range(len(one)):
        half = "A" if one.half_set is None or one.half_set[place] == 1 else "B"
        tag = str(before + place + 1)
        values = [tag, str(number), "1", tag, half]
        values += [str(int(part)) for part in whole[place]]
        values += [number_text(scores[place]), *(number_text(part) for part in (index - whole)[place])]
        values += [number_text(angle[place]) for angle in (phi, psi, the)] + [str(int(classes[place]))]
        rows.append(dict(zip(_row_labels(), values, strict=True)))
    return rows


def _halves(table: StarTable) -> Integers | None:
    if "halfset" not in table:
        return None
    words = table.text("halfset")
    if len(set(words)) < 2 or not set(words) <= set(_HALVES):
        return None  # not split
    return np.array([_HALVES[word] for word in words])
