"""Tables beside an average: Guinier's plot, with RELION's labels, and the resolution by direction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.star import StarTable, number_text, read_star, write_star

__all__ = ["read_columns", "write_directional", "write_guinier"]

Array = NDArray[np.float64]


def write_guinier(path: Path | str, columns: Mapping[str, Array], line: Mapping[str, float]) -> None:
    """Write Guinier's plot; the file appears whole or not at all.

    Parameters
    ----------
    columns
        of the table ``guinier``, one row per shell: ``rlnResolutionSquared`` (1/d², Å⁻²), ``rlnLogAmplitudesOriginal``,
        ``rlnLogAmplitudesWeighted``, ``lamellaLogAmplitudesExpected``, ``lamellaGuinierUsed``.
    line
        of the table ``general``: ``rlnFittedSlopeGuinierPlot`` and whatever else is known.
    """
    tables = [StarTable("general", {name: (number_text(value),) for name, value in line.items()}, is_list=True)]
    write_star(path, [*(tables if line else []), StarTable("guinier", _texts(columns))])


def write_directional(path: Path | str, rot_tilt_deg: Array, resolution_ang: Array) -> None:
    """Write the resolution in each direction (rot, tilt in degrees; Å), table ``directional``."""
    columns = {
        "rlnAngleRot": rot_tilt_deg[:, 0],
        "rlnAngleTilt": rot_tilt_deg[:, 1],
        "rlnAngstromResolution": resolution_ang,
    }
    write_star(path, [StarTable("directional", _texts(columns))])


def read_columns(path: Path | str, table: str) -> dict[str, Array]:
    """The numbers of a table of one of these files, by column.

    Raises
    ------
    FormatError
        if the file has no such table.
    """
    found = read_star(path).get(table)
    if found is None:
        raise FormatError(f"{path}: no table {table!r}", mend="run postprocess again")
    return {label: found.numbers(label) for label in found.columns}


def _texts(columns: Mapping[str, Array]) -> dict[str, tuple[str, ...]]:
    return {label: tuple(number_text(float(value)) for value in values) for label, values in columns.items()}
