"""What lists of points of any program have in common: which tomogram a point is in, and records made of columns."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import FormatError
from lamella.formats.atomic import atomic_text
from lamella.formats.voxels import from_voxels
from lamella.formats.warnings import FormatWarning
from lamella.geometry import angles_from_matrix
from lamella.records import Particles, ParticleSet, Tomogram

__all__ = [
    "CONTOUR",
    "SCORE",
    "PointColumns",
    "named_tomogram",
    "read_tomogram_numbers",
    "stated_voxel_ang",
    "tomogram_of_file",
    "write_tomogram_numbers",
]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

SCORE, CONTOUR = "PickScore", "PickContour"
NUMBERS = "tomograms.doc"
_SAME_VOXEL = 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class PointColumns:
    """Points of one list, row by row, before they are sorted by tomogram.

    Attributes
    ----------
    owner
        ``(n,)`` place of each one's tomogram among all.
    index
        ``(n, 3)`` voxels (x, y, z), counted from 0 at the first voxel's centre.
    matrices
        ``(n, 3, 3)`` orientations A, or None.
    voxel_ang
        ``(n,)`` of the voxels; nan: those of the tomogram's own volume.
    scores, classes, half_set
        as in `Particles`, or None.
    """

    owner: Integers
    index: Array
    matrices: Array | None = None
    voxel_ang: Array | None = None
    scores: Mapping[str, Array] = field(default_factory=dict)
    classes: Integers | None = None
    half_set: Integers | None = None

    def particles(self, tomograms: Sequence[Tomogram]) -> ParticleSet:
        """Sorted by tomogram; an entry for every one."""
        return ParticleSet(members=tuple(self._member(place, one) for place, one in enumerate(tomograms)))

    def _member(self, place: int, tomogram: Tomogram) -> Particles:
        rows = np.flatnonzero(self.owner == place)
        voxel = np.full(len(rows), np.nan) if self.voxel_ang is None else self.voxel_ang[rows]
        voxel = np.where(np.isnan(voxel), tomogram.voxel_size_ang, voxel)
        places = from_voxels(tomogram, self.index[rows], voxel[:, None])
        changes: dict[str, Any] = {}
        if self.matrices is not None:
            angles = angles_from_matrix(self.matrices[rows])
            changes["angles_deg"] = np.stack(angles, axis=-1).reshape(-1, 3)
        for name in ("classes", "half_set"):
            column = getattr(self, name)
            changes[name] = None if column is None else column[rows]
        return Particles(
            tomogram=tomogram,
            coordinates_ang=places,
            scores={name: column[rows] for name, column in self.scores.items()},
            **changes,
        )


def named_tomogram(name: str, tomograms: Sequence[Tomogram], where: str) -> int:
    """The place of the tomogram of that name.

    Raises
    ------
    FormatError
        if there is none.
    """
    for place, one in enumerate(tomograms):
        if one.name == name:
            return place
    known = ", ".join(one.name for one in tomograms[:4])
    raise FormatError(
        f"{where}: points in {name}, which is none of the tomograms", mend=f"they are called {known}"
        + (" …" if len(tomograms) > 4 else ""),
    )  # fmt: skip


def tomogram_of_file(path: Path | str, tomograms: Sequence[Tomogram]) -> int:
    """The place of the tomogram that a file of points belongs to: the only one, or the one whose name it begins with.

    Raises
    ------
    FormatError
        if none or several fit.
    """
    if len(tomograms) == 1:
        return 0
    stem = Path(path).name
    fits = [
        (len(one.name), place)
        for place, one in enumerate(tomograms)
        if re.match(re.escape(one.name) + r"(?![A-Za-z0-9])", stem)
    ]
    if not fits:
        raise FormatError(
            f"{path}: which of {len(tomograms)} tomograms these points are in cannot be told",
            mend="let the file's name begin with the tomogram's",
        )
    return max(fits)[1]


def stated_voxel_ang(stated: float | None, tomogram: Tomogram, where: str) -> float:
    """The voxel that a list states, or nan where it is the tomogram's own, or nothing is stated.

    Warns
    -----
    FormatWarning
        if it is another one, which is then taken.
    """
    own = tomogram.voxel_size_ang
    if stated is None or not np.isfinite(stated) or stated <= 0 or abs(stated - own) <= _SAME_VOXEL * own:
        return np.nan
    text = f"{where}: it counts voxels of {stated:g} Å; those of {tomogram.name} have {own:g} Å"
    warnings.warn(text, FormatWarning, stacklevel=2)
    return stated


def write_tomogram_numbers(folder: Path, tomograms: Sequence[Tomogram], root: Path) -> Path:
    """``tomograms.doc``, Dynamo's list of tomograms by number: a line each, the number and the volume's file."""
    names = [str((root / (one.volume or f"{one.name}.mrc")).resolve()) for one in tomograms]
    path = folder / NUMBERS
    atomic_text(path, "".join(f"{number} {name}\n" for number, name in enumerate(names, start=1)))
    return path


def read_tomogram_numbers(table: Path, numbers: ArrayLike, tomograms: Sequence[Tomogram]) -> Integers:
    """Places among the tomograms of the numbers ``(n,)`` in a table of points.

    Read from a ``.doc`` of the table's name or ``tomograms.doc`` beside it. Without one, the only number means the only
    tomogram, or numbers count the tomograms in their order from 1.

    Raises
    ------
    FormatError
        if a number is that of no tomogram.
    """
    wanted = np.asarray(numbers)
    path = next((one for one in (table.with_suffix(".doc"), table.with_name(NUMBERS)) if one.is_file()), None)
    if path is not None:
        known = _listed(path, tomograms)
    elif len(tomograms) == 1 and len(set(wanted.tolist())) == 1:
        known = {int(wanted[0]): 0}
    else:
        known = {place + 1: place for place in range(len(tomograms))}
    lost = [number for number in wanted.tolist() if number not in known]
    if lost:
        raise FormatError(
            f"{table}: tomogram number {lost[0]:g} is none of {len(tomograms)}",
            mend=f"put a list of numbers and volumes beside it, {NUMBERS}",
        )
    return np.array([known[int(number)] for number in wanted], dtype=np.int64)


def _listed(path: Path, tomograms: Sequence[Tomogram]) -> dict[int, int]:
    known: dict[int, int] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        parts = line.split(maxsplit=1)
        if len(parts) == 2 and parts[0].isdigit():
            name = parts[1].strip().replace("\\", "/").rsplit("/", 1)[-1]
            fits = [(len(one.name), place) for place, one in enumerate(tomograms) if _begins(name, one.name)]
            if fits:
                known[int(parts[0])] = max(fits)[1]
    return known


def _begins(file: str, name: str) -> bool:
    return re.match(re.escape(name) + r"(?![A-Za-z0-9])", file) is not None
