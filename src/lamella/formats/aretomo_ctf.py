"""AreTomo's defoci, ``NAME_CTF.txt`` beside ``NAME.aln``.

A row is a view of the stack sorted by tilt angle. AreTomo 2 leaves dark views out; AreTomo 3 has a row for them too,
and does not take a file that lacks them. The defocus is that at the raw image's centre, defocus 1 along the azimuth,
which counts from x towards y. Where dfHand is stated, the defocus of a place is that plus dfHand × depth, depth as in
our model (at a positive tilt it is negative for positive x): our hand.

Sources: AreTomo3's CSaveCtfResults, CLoadCtfResults, CGenAvgSpectrum (mScaleTile), CTiltInducedZ and CAreTomoMain (dark
frames leave after the CTF is found); AreTomo2's CSaveCtfResults and GCalcCTF2D.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.aretomo_file import Aln
from lamella.formats.ctffind_file import read_ctffind, write_aretomo_ctf
from lamella.formats.defocus_exchange import pick_rows
from lamella.formats.image_centre import at_centre_voxel, at_image_centre, note_of_move
from lamella.records import Note, TiltSeries

__all__ = ["export_ctf", "find_ctf", "import_ctf"]

_ENDINGS = ("_CTF.txt", "_ctf.txt")


def find_ctf(aln: Path) -> Path | None:
    """The defoci that belong to an alignment file, if they are there."""
    files = (aln.with_name(f"{aln.stem}{ending}") for ending in _ENDINGS)
    return next((file for file in files if file.is_file()), None)


def import_ctf(path: Path, series: TiltSeries, aln: Aln, lines: NDArray[np.int64]) -> tuple[TiltSeries, list[Note]]:
    """Put the defoci into an aligned record.

    Parameters
    ----------
    path
        the file.
    series
        with `geometry`.
    aln, lines
        the alignment that they belong to, and its line for each view of the record.

    Raises
    ------
    FormatError
        if the file is damaged, or has not a row for each line, or for each line and dark view.
    """
    assert series.geometry is not None
    read = read_ctffind(path)
    count, dark = len(aln.section), len(aln.dark)
    if len(read) == count:
        row_of_line = np.arange(count)
    elif len(read) == count + dark:
        row_of_line = np.argsort(_sorted_views(aln))[:count]
    else:
        raise FormatError(
            f"{path}: {len(read)} rows, for an alignment of {count} views and {dark} dark ones",
            mend="take both files from the same run of AreTomo",
        )
    hand = series.hand if read.hand is None else read.hand
    defocus = at_centre_voxel(pick_rows(read.defocus, row_of_line[lines]), series.geometry, hand)
    notes = [note_of_move(series.geometry, hand, path.name)]
    if hand != series.hand:
        text = f"dfHand is {hand:+d}: a hand of {hand:+d}, as AreTomo has it"
        notes.append(Note(kind="overridden", where=path.name, text=text))
    return series.with_changes(defocus=defocus, hand=hand), notes


def export_ctf(path: Path, record: TiltSeries, aln: Aln) -> list[Note]:
    """Write a record's defoci as AreTomo 3 reads them with its alignment; dark views get their neighbours'."""
    assert record.defocus is not None
    assert record.geometry is not None
    stated = at_image_centre(record.defocus, record.geometry, record.hand)
    notes = [Note(kind="info", where=path.name, text="defoci are those at the images' centres")]
    order = _sorted_views(aln)
    count = len(record)
    if len(order) > count:
        nearest = [int(np.abs(record.nominal_tilt_deg - tilt).argmin()) for _, _, tilt in aln.dark]
        stated = pick_rows(stated, np.append(np.arange(count), nearest))
        names = ("figure_of_merit", "max_resolution_ang")
        blank = {name: np.array(values) for name in names if (values := getattr(stated, name)) is not None}
        for values in blank.values():
            values[count:] = 0.0
        stated = replace(stated, **blank)
        text = "rows of dark views repeat the defocus of the nearest tilt, because AreTomo wants a row for each"
        notes.append(Note(kind="assumed", where=path.name, text=text))
    write_aretomo_ctf(path, pick_rows(stated, order), record.hand)
    return notes


def _sorted_views(aln: Aln) -> NDArray[np.int64]:
    """Lines, and after them dark views, by rising tilt angle of the stage: their order in AreTomo's sorted stack."""
    tilts = np.append(aln.tilt_deg - aln.alpha_offset_deg, [tilt for _, _, tilt in aln.dark])
    return np.argsort(tilts, kind="stable")
