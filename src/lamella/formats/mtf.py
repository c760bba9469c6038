"""A detector's modulation transfer function, as RELION's STAR files state it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.star import read_star

__all__ = ["read_mtf"]

_FREQUENCY, _VALUE = "rlnResolutionInversePixel", "rlnMtfValue"


def read_mtf(path: Path | str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read a curve: frequencies in cycles per detector pixel, rising, and the transfer at each.

    Raises
    ------
    FormatError
        if there is no such table, its frequencies do not rise, or a value is not above 0.
    """
    table = next((table for table in read_star(path).values() if _FREQUENCY in table and _VALUE in table), None)
    if table is None:
        raise FormatError(
            f"{path}: no table of {_FREQUENCY} and {_VALUE}", mend="give the detector's MTF as RELION does"
        )
    frequency, value = table.numbers(_FREQUENCY), table.numbers(_VALUE)
    if not (np.isfinite(frequency).all() and len(frequency) > 1 and (np.diff(frequency) > 0).all()):
        raise FormatError(f"{path}: {_FREQUENCY} does not rise from row to row", mend="sort its rows")
    if not (np.isfinite(value).all() and (value > 0).all()):
        raise FormatError(
            f"{path}: {_VALUE} that is not above 0", mend="leave out the rows beyond the last sound value"
        )
    return frequency, value
