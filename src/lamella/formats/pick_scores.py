"""``NAME_scores.star``: how many peaks of a tomogram scored how much, and how many of them may be noise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.star import StarTable, number_text, read_star, write_star

__all__ = ["read_pick_scores", "write_pick_scores"]

Array = NDArray[np.float64]

_TABLE = "scores"
_LABELS = {"edges": "lamellaScore", "peaks": "lamellaPeaks", "noise": "lamellaNoisePeaks"}


def write_pick_scores(path: Path | str, edges: Array, peaks: Array, noise: Array | None) -> None:
    """Write a histogram; the file appears whole or not at all.

    Parameters
    ----------
    edges
        ``(n,)`` lower ends of bins of one width.
    peaks, noise
        ``(n,)`` peaks in each, and how many noise alone would make; None where that is not known.
    """
    columns = {"edges": edges, "peaks": peaks} | ({} if noise is None else {"noise": noise})
    written = {
        _LABELS[name]: tuple(number_text(round(float(v), 4)) for v in values) for name, values in columns.items()
    }
    write_star(path, [StarTable(_TABLE, written)])


def read_pick_scores(path: Path | str) -> Mapping[str, Array]:
    """``edges``, ``peaks`` and, where it is known, ``noise`` of a histogram.

    Raises
    ------
    FormatError
        if the file is missing or holds something else.
    """
    table = read_star(path).get(_TABLE)
    out = {} if table is None else {n: table.numbers(label) for n, label in _LABELS.items() if label in table.columns}
    if not {"edges", "peaks"} <= set(out):
        raise FormatError(f"{path} is no histogram of scores", mend="pick again")
    return out
