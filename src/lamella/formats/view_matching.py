"""Which line of another program's file belongs to which view of a record."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.records import Note, TiltSeries

__all__ = ["match_numbers", "match_rows", "note_of_unused", "rows_of_stack"]

# Solved angles differ from the stage's by an offset and little else.
_LARGEST_DEVIATION_DEG = 5.0


def match_rows(
    series: TiltSeries,
    row_tilt_deg: NDArray[np.float64],
    candidates: Mapping[str, NDArray[np.int64]],
    where: str,
) -> tuple[NDArray[np.int64], str]:
    """Choose how lines belong to views: the way in which the tilt angles agree best, up to one offset.

    Parameters
    ----------
    series
        the record.
    row_tilt_deg
        ``(rows,)`` tilt angle of every line.
    candidates
        ways to assign lines, the likeliest first: name -> ``(n,)`` line of every view, −1 where it has none.
    where
        the file, for messages.

    Returns
    -------
    rows, name
        ``(n,)`` line of every view, −1 where it has none; and the name of the way.

    Raises
    ------
    FormatError
        if angles differ by more than 5° from the record's whichever way is taken; the view is named.
    """
    best: tuple[float, int, str] | None = None
    for name, rows in candidates.items():
        views = np.flatnonzero(rows >= 0)
        if not views.size:
            continue
        deviation = row_tilt_deg[rows[views]] - series.nominal_tilt_deg[views]
        deviation = np.abs(deviation - np.median(deviation))
        worst = int(deviation.argmax())
        if best is None or deviation[worst] < best[0] - 1e-3:
            best = (float(deviation[worst]), int(views[worst]), name)
    if best is None:
        raise FormatError(
            f"{where}: {len(row_tilt_deg)} lines do not fit the {len(series)} views of {series.name}",
            mend="import the alignment of the same stack",
        )
    deviation_deg, view, name = best
    if deviation_deg > _LARGEST_DEVIATION_DEG:
        raise FormatError(
            f"{where}: its tilt angles are not those of {series.name}: view {view + 1} "
            f"({series.nominal_tilt_deg[view]:g}°) is off by {deviation_deg:.1f}° more than the others",
            mend="import the alignment of the same stack",
        )
    return candidates[name], name


def note_of_unused(rows: NDArray[np.int64], count: int, where: str) -> tuple[Note, ...]:
    """Tell of lines of the file that belong to no view of the record."""
    unused = np.setdiff1d(np.arange(count), rows) + 1
    if not unused.size:
        return ()
    text = f"line(s) {', '.join(map(str, unused.tolist()))}: no view of the record; not used"
    return (Note(kind="info", where=where, text=text),)


def rows_of_stack(series: TiltSeries, count: int) -> dict[str, NDArray[np.int64]]:
    """Ways in which `count` lines or sections may stand for views: name -> line of every view; the first needs no word.

    Empty where no way is possible.
    """
    place = np.asarray(series.place, dtype=np.int64)
    ways: dict[str, NDArray[np.int64]] = {}
    if int(place.max()) <= count:
        ways["" if count == int(place.max()) else f"{count} lines, one per section of the stack"] = place - 1
    if count == len(series):
        ways["lines stand in the order of the stack's kept sections"] = np.argsort(np.argsort(place))
        ways["lines stand in the order of rising tilt angle"] = np.arange(len(series))
    return ways


def match_numbers(
    series: TiltSeries, numbers: NDArray[np.int64], where: str
) -> tuple[NDArray[np.int64], tuple[Note, ...]]:
    """Which line belongs to which view, where a file numbers its lines and says nothing else of them.

    Lines numbered 1, 2, 3, … stand for the sections of the record's stack, or, where there are as many as views, for
    those that are left of it in their order. Other numbers are sections, counted from 1.

    Returns
    -------
    rows, notes
        ``(n,)`` line of every view; what was assumed, and lines of no view.

    Raises
    ------
    FormatError
        if the lines do not fit, or a view has none.
    """
    count = len(numbers)
    ways = rows_of_stack(series, count) if np.array_equal(numbers, np.arange(1, count + 1)) else {}
    if ways:
        how, rows = next(iter(ways.items()))
        notes = (Note(kind="info", where=where, text=how),) if how else ()
        return rows, (*notes, *note_of_unused(rows, count, where))
    line = {int(number): row for row, number in enumerate(numbers)}
    rows = np.array([line.get(int(place), -1) for place in np.asarray(series.place)], dtype=np.int64)
    if (rows < 0).any() or len(line) < count:
        raise FormatError(
            f"{where}: {count} rows do not fit the {len(series)} views of {series.name}",
            mend="give a row for each view or each section of the stack, in its order",
        )
    return rows, note_of_unused(rows, count, where)
