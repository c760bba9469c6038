"""IMOD's ``.defocus`` files: what ctfplotter saves and ctfphaseflip reads, versions 1 to 3.

A line is a range of views: first and last view (from 1), lowest and highest tilt angle, defocus in nm. It is that
of the view in the middle; views between such middles get theirs by straight lines. Version 2 says so as a sixth
number of its first line; before it, view numbers could be one too low. Version 3 begins with a line of its own, ``flags
0 0 0 0 3``: 1 a second defocus and the axis of the astigmatism follow, 2 that axis in radians, 4 a phase shift follows,
8 in radians, 16 the tilt angles have the other sign than the program's own, which had been told to
invert them, 32 a cut-on frequency (1/nm) of the phase plate follows.

The first defocus lies along the axis, counted from x towards y of the raw stack, row 0 at the bottom: our angle. The
defocus is that at the centre of the raw image. At a positive tilt it is higher at the right of the aligned image; that
is a hand of −1, and inverted angles are one of +1.

Sources: IMOD's ctfutils.cpp (readDefocusFile, checkAndFixDefocusList), ctfutils.h, and ctfphaseflip.cpp (the middle of
a range, interpolation, the defocus along a direction, the sign of its gradient, shifts of the transforms).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.angles import read_text
from lamella.formats.atomic import atomic_text
from lamella.records import Defocus

__all__ = ["DefocusRanges", "defocus_of_views", "read_defocus", "write_defocus"]

Array = NDArray[np.float64]

_ASTIGMATISM, _AXIS_IN_RADIANS, _PHASE, _PHASE_IN_RADIANS, _INVERTED, _CUT_ON = 1, 2, 4, 8, 16, 32
_PLAIN = 5
_MOST = 10**6  # views
_LARGEST_DEVIATION_DEG = 5.0
_SAME_DEG = 1e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class DefocusRanges:
    """One file, a row per range of views.

    Attributes
    ----------
    first, last
        ``(r,)`` views of the range, from 1.
    low_deg, high_deg
        ``(r,)`` its tilt angles.
    u_ang, v_ang, angle_deg
        ``(r,)`` defocus along the axis and across it, Å, and the axis; v is 0 where a range has no astigmatism.
    phase_shift_deg
        ``(r,)``; 0 where a range has none.
    cut_on
        whether a phase plate's cut-on frequency is stated.
    version, inverted
        of the file; whether its angles were to be inverted.
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    low_deg: Array
    high_deg: Array
    u_ang: Array
    v_ang: Array
    angle_deg: Array
    phase_shift_deg: Array
    cut_on: bool
    version: int
    inverted: bool

    def __len__(self) -> int:
        return len(self.first)


def read_defocus(path: Path | str) -> DefocusRanges:
    """Read a file.

    Raises
    ------
    FormatError
        naming the line that is damaged; if there is no range, or the version is not known.
    """
    path = Path(path)
    lines = [
        (number, line.split())
        for number, line in enumerate(read_text(path, "defocus file of IMOD").splitlines(), start=1)
        if line.strip()
    ]
    opening = _numbers(path, *lines[0], _PLAIN)
    version = int(opening[5]) if len(opening) > _PLAIN else 1
    if version not in (1, 2, 3):
        raise FormatError(f"{path}: version {version} of a defocus file", mend="save it from ctfplotter of IMOD 4 or 5")
    flags = int(opening[0]) if version > 2 else 0
    wanted = _PLAIN + 2 * bool(flags & _ASTIGMATISM) + bool(flags & _PHASE) + bool(flags & _CUT_ON)
    rows = [_numbers(path, number, words, wanted)[:wanted] for number, words in lines[version > 2 :]]
    if not rows:
        raise FormatError(f"{path}: no range of views", mend="save the defoci in ctfplotter")
    table = np.array(rows)
    if not table[:, 4].all():
        raise FormatError(f"{path}: a defocus of 0", mend="leave out the ranges that were not fitted")
    after = iter(range(_PLAIN, wanted))
    zero = np.zeros(len(table))
    v, axis = (table[:, next(after)] * 10, table[:, next(after)]) if flags & _ASTIGMATISM else (zero, zero)
    phase = np.abs(table[:, next(after)]) if flags & _PHASE else zero
    return DefocusRanges(
        first=table[:, 0].astype(np.int64),
        last=table[:, 1].astype(np.int64),
        low_deg=table[:, 2],
        high_deg=table[:, 3],
        u_ang=table[:, 4] * 10,
        v_ang=v,
        angle_deg=np.degrees(axis) if flags & _AXIS_IN_RADIANS else axis,
        phase_shift_deg=np.degrees(phase) if flags & _PHASE_IN_RADIANS else phase,
        cut_on=bool(flags & _CUT_ON) and bool(np.any(table[:, next(after)])),
        version=version,
        inverted=bool(flags & _INVERTED),
    )


def _numbers(path: Path, number: int, words: list[str], wanted: int) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    whole = all(0 <= value <= _MOST and value == round(value) for value in values[:2])
    if len(values) < wanted or not all(map(math.isfinite, values)) or not whole:
        raise FormatError(
            f"{path}: line {number} is '{' '.join(words)[:60]}', not two views and {wanted - 2} numbers",
            mend="save the file again from ctfplotter",
        )
    return values


def defocus_of_views(ranges: DefocusRanges, tilt_deg: Array, where: str) -> tuple[Defocus, int, str]:
    """The defocus of every view of the stack, as ctfphaseflip interpolates it.

    Parameters
    ----------
    ranges
        the file.
    tilt_deg
        ``(n,)`` tilt angles of the stack's views.
    where
        the file, for messages.

    Returns
    -------
    defocus, hand, what
        ``(n,)`` rows; the hand that it was found with; and what was mended of the file, or nothing.

    Raises
    ------
    FormatError
        if a range lies outside the stack, or its angles are not those of the stack, up to one offset.
    """
    offset, sign = _numbering(ranges, tilt_deg, where)
    middle = (ranges.first + ranges.last - 2) // 2 + offset
    order = np.argsort(middle, kind="stable")
    keep = order[np.append(np.diff(middle[order]) > 0, True)]  # the last of several for one view
    at, views = middle[keep], np.arange(len(tilt_deg))
    u, v = ranges.u_ang[keep], ranges.v_ang[keep]
    mean = np.interp(views, at, u)
    ratio, axis = np.ones(len(views)), np.zeros(len(views))
    if (astigmatic := v != 0).any():
        ratio = np.interp(views, at[astigmatic], v[astigmatic] / u[astigmatic])
        axis = np.interp(views, at[astigmatic], np.unwrap(ranges.angle_deg[keep][astigmatic], period=180.0))
    phase = None
    if (shifted := ranges.phase_shift_deg[keep] != 0).any():
        phase = np.interp(views, at[shifted], ranges.phase_shift_deg[keep][shifted])
    defocus = Defocus(u_ang=mean, v_ang=mean * ratio, angle_deg=(axis + 90) % 180 - 90, phase_shift_deg=phase)
    hand = 1 if ranges.inverted or sign < 0 else -1
    return defocus, hand, "view numbers were one too low, as an early ctfplotter saved them" if offset else ""


def _numbering(ranges: DefocusRanges, tilt_deg: Array, where: str) -> tuple[int, float]:
    """What is to be added to the views' numbers, and the sign of the angles: whichever makes the angles agree best."""
    middle_deg = (ranges.low_deg + ranges.high_deg) / 2
    best: tuple[float, int, int, float] | None = None
    for sign in (1.0,) if ranges.inverted else (1.0, -1.0):
        for offset in (0, 1) if ranges.version < 2 else (0,):
            first, last = ranges.first - 1 + offset, ranges.last - 1 + offset
            if first.min() < 0 or last.max() >= len(tilt_deg) or (first > last).any():
                continue
            there = np.array([tilt_deg[a : b + 1].mean() for a, b in zip(first, last, strict=True)])
            deviation = sign * middle_deg - there
            deviation = np.abs(deviation - np.median(deviation))
            worst = int(deviation.argmax())
            if best is None or deviation[worst] < best[0] - _SAME_DEG:
                best = float(deviation[worst]), worst, offset, sign
    if best is None:
        raise FormatError(
            f"{where}: ranges of views up to {int(ranges.last.max())}, for a stack of {len(tilt_deg)}",
            mend="take the file of the same stack",
        )
    deviation_deg, worst, offset, sign = best
    if deviation_deg > _LARGEST_DEVIATION_DEG:
        raise FormatError(
            f"{where}: its tilt angles are not those of the stack: views {int(ranges.first[worst])} to "
            f"{int(ranges.last[worst])} are off by {deviation_deg:.1f}° more than the others",
            mend="take the file of the same stack",
        )
    return offset, sign


def write_defocus(path: Path | str, tilt_deg: Array, defocus: Defocus, hand: int) -> None:
    """Write a line per view: version 2 where that says all, else 3.

    Parameters
    ----------
    path
        where to write.
    tilt_deg
        ``(n,)`` the views' angles, as in the stack's file of angles.
    defocus
        ``(n,)`` at the images' centres.
    hand
        +1 is said by inverted angles: ctfphaseflip wants ``InvertTiltAngles`` then.
    """
    swapped = defocus.v_ang > defocus.u_ang
    u = np.where(swapped, defocus.v_ang, defocus.u_ang) / 10
    v = np.where(swapped, defocus.u_ang, defocus.v_ang) / 10
    axis = (np.where(swapped, defocus.angle_deg - 90, defocus.angle_deg) + 90) % 180 - 90
    columns = [u]
    flags = 0
    if np.abs(u - v).max() > 0:
        flags, columns = flags | _ASTIGMATISM, [u, v, axis]
    if defocus.phase_shift_deg is not None:
        flags |= _PHASE
        columns.append(defocus.phase_shift_deg)
    flags |= _INVERTED if hand > 0 else 0
    version = 3 if flags else 2
    lines = [f"{flags} 0 0. 0. 0. 3"] if version == 3 else []
    for row, tilt in enumerate(tilt_deg):
        numbers = "  ".join(f"{column[row]:9.3f}" for column in columns)
        ending = "  2" if version == 2 and row == 0 else ""
        lines.append(f"{row + 1:4d} {row + 1:4d} {tilt + 0.0:8.2f} {tilt + 0.0:8.2f}  {numbers}{ending}")
    atomic_text(path, "".join(f"{line}\n" for line in lines))
