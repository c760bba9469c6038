"""The places that shall be recorded: named, in patterns of holes, with several shots in each, from a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.grid_plane import GridPlane
from lamella.errors import FormatError, InputError
from lamella.formats.atomic import atomic_text

__all__ = [
    "Target",
    "grid_targets",
    "places_of",
    "read_targets",
    "with_heights",
    "with_shots",
    "write_targets",
]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Target:
    """One place to record a tilt series of.

    Attributes
    ----------
    name
        the series' name: letters, digits, ``_``, ``-``.
    x_um, y_um
        place in the stage frame at a tilt of 0°: across and along the tilt axis.
    z_um
        height, where it is known.
    group
        a name for targets that belong together: a hole of several shots, a lamella.
    shot
        number within a hole of several shots, from 0.
    """

    name: str
    x_um: float
    y_um: float
    z_um: float | None = None
    group: str = ""
    shot: int = 0

    def __post_init__(self) -> None:
        if not self.name or not all(letter.isalnum() or letter in "_-." for letter in self.name):
            raise InputError(f"a target named {self.name!r}", mend="use letters, digits, '_', '-' and '.'")
        numbers = [self.x_um, self.y_um] + ([] if self.z_um is None else [self.z_um])
        if not np.isfinite(numbers).all():
            raise InputError(f"target {self.name}: its place is no number", mend="give x and y in µm")


def places_of(targets: Sequence[Target]) -> Array:
    """``(n, 3)`` places; a height that is not known counts as 0."""
    return np.array([(one.x_um, one.y_um, one.z_um or 0.0) for one in targets], np.float64).reshape(-1, 3)


def grid_targets(
    count: int,
    spacing_um: float,
    *,
    pattern: str = "square",
    angle_deg: float = 0.0,
    middle_um: tuple[float, float] = (0.0, 0.0),
    without_middle_um: float = 0.0,
    name: str = "T",
) -> tuple[Target, ...]:
    """The holes of a regular grid nearest to a place, numbered from the inside out.

    Parameters
    ----------
    count
        of targets.
    spacing_um
        between neighbouring holes.
    pattern
        ``"square"`` or ``"hexagonal"``.
    angle_deg
        of the grid's first direction against x, towards y.
    middle_um
        a hole's place that the others lie around.
    without_middle_um
        leave out the holes nearer than this to the middle, which may be the tracking area.
    name
        the targets are ``T01``, ``T02``, …

    Raises
    ------
    InputError
        if the count, the spacing or the pattern is none.
    """
    if count < 1 or not (np.isfinite(spacing_um) and spacing_um > 0):
        raise InputError(f"{count} holes {spacing_um:g} µm apart", mend="give a positive number and spacing")
    if pattern not in ("square", "hexagonal"):
        raise InputError(f"a pattern {pattern!r}", mend="say square or hexagonal")
    reach = int(np.ceil(1.5 * np.sqrt(count) + without_middle_um / spacing_um)) + 2
    i, j = (part.ravel() for part in np.meshgrid(np.arange(-reach, reach + 1), np.arange(-reach, reach + 1)))
    second = np.array([0.0, 1.0]) if pattern == "square" else np.array([0.5, np.sqrt(0.75)])
    turn = np.deg2rad(angle_deg)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    offsets = spacing_um * (i[:, None] * np.array([1.0, 0.0]) + j[:, None] * second) @ turned.T
    distance = np.hypot(offsets[:, 0], offsets[:, 1])
    offsets, distance = (part[distance >= without_middle_um] for part in (offsets, distance))
    # Rounded, so that holes of one distance come in the same order on every machine.
    order = np.lexsort((np.round(np.arctan2(offsets[:, 1], offsets[:, 0]), 6), np.round(distance, 6)))[:count]
    digits = max(2, len(str(count)))
    return tuple(
        Target(name=f"{name}{number:0{digits}d}", x_um=middle_um[0] + float(x), y_um=middle_um[1] + float(y))
        for number, (x, y) in enumerate(offsets[order], start=1)
    )


def with_shots(targets: Sequence[Target], shots: int, radius_um: float) -> tuple[Target, ...]:
    """Several shots on a ring in each hole: each becomes a target of its own, in the group of its hole.

    A ring begins along the tilt axis: of two shots neither moves across the axis against the other when the stage
    tilts.
    """
    if shots == 1:
        return tuple(targets)
    angles = 2 * np.pi * np.arange(shots) / shots
    return tuple(
        replace(
            one,
            name=f"{one.name}_{shot + 1}",
            x_um=one.x_um - radius_um * float(np.sin(angle)),
            y_um=one.y_um + radius_um * float(np.cos(angle)),
            group=one.group or one.name,
            shot=shot,
        )
        for one in targets
        for shot, angle in enumerate(angles)
    )


def with_heights(targets: Sequence[Target], plane: GridPlane) -> tuple[Target, ...]:
    """The targets with the plane's height where they have none of their own."""
    return tuple(
        one if one.z_um is not None else replace(one, z_um=float(plane.heights((one.x_um, one.y_um))))
        for one in targets
    )


_COLUMNS = ("name", "x_um", "y_um", "z_um", "group")


def read_targets(path: Path | str) -> tuple[Target, ...]:
    """Targets from a table of comma-separated values with the columns ``name, x_um, y_um[, z_um][, group]``.

    Raises
    ------
    FormatError
        if a column is absent, a place is no number, or a name comes twice.
    """
    path = Path(path)
    if not path.exists():
        raise FormatError(f"{path}: there is no such file", mend="name a table of targets (CSV), or a .nav file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot be read as a table of targets", mend="give a text file") from error
    rows = csv.DictReader(
        (line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")),
        skipinitialspace=True,
    )
    missing = [name for name in _COLUMNS[:3] if name not in (rows.fieldnames or ())]
    if missing:
        raise FormatError(f"{path}: no column {missing[0]}", mend=f"the first line must name {', '.join(_COLUMNS[:3])}")
    targets = tuple(_target(row, f"{path}, target {number}") for number, row in enumerate(rows, start=1))
    if not targets:
        raise FormatError(f"{path}: no target", mend="write one line for each")
    names = [one.name for one in targets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FormatError(f"{path}: two targets are named {twice[0]}", mend="give each a name of its own")
    return targets


def write_targets(path: Path | str, targets: Sequence[Target]) -> None:
    """Write the table that `read_targets` reads."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    for one in targets:
        rows.writerow([one.name, repr(one.x_um), repr(one.y_um), "" if one.z_um is None else repr(one.z_um), one.group])
    atomic_text(path, text.getvalue())


def _target(row: dict[str, str | None], where: str) -> Target:
    def number(name: str) -> float:
        value = (row.get(name) or "").strip()
        try:
            return float(value)
        except ValueError as error:
            raise InputError(f"{name} is {value!r}", mend="give a number in µm") from error

    height = (row.get("z_um") or "").strip()
    try:
        return Target(
            name=(row.get("name") or "").strip(),
            x_um=number("x_um"),
            y_um=number("y_um"),
            z_um=number("z_um") if height else None,
            group=(row.get("group") or "").strip(),
        )
    except InputError as error:
        raise FormatError(f"{where}: {error.problem}", mend=error.mend) from error
