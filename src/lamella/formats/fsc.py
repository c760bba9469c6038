"""Shell correlations as STAR tables, with RELION's labels."""

from __future__ import annotations

from pathlib import Path

from lamella.errors import FormatError
from lamella.formats.star import StarTable, number_text, read_star, write_star
from lamella.records.half_fsc import HalfFsc

__all__ = ["FSC", "read_fsc", "write_fsc"]

FSC = "_fsc.star"
"""Ending of the file, after the series' name."""

_INDEX, _PER_ANG, _ANGST = "rlnSpectralIndex", "rlnResolution", "rlnAngstromResolution"
_CORRELATION, _TERMS, _TABLE = "rlnFourierShellCorrelation", "lamellaFourierTerms", "fsc"
_FIRST_ANGST = "999.000000"  # RELION's word for the shell of frequency 0


def write_fsc(path: Path | str, curve: HalfFsc) -> None:
    """Write a curve; the file appears whole or not at all."""
    columns = {
        _INDEX: tuple(str(shell) for shell in range(len(curve))),
        _PER_ANG: tuple(number_text(value) for value in curve.frequency_per_ang),
        _ANGST: tuple(f"{1 / value:.6f}" if value > 0 else _FIRST_ANGST for value in curve.frequency_per_ang),
        _CORRELATION: tuple(f"{value:.6f}" for value in curve.correlation),
        _TERMS: tuple(f"{value:.1f}" for value in curve.terms),
    }
    write_star(path, [StarTable(_TABLE, columns)])


def read_fsc(path: Path | str) -> HalfFsc:
    """Read a curve.

    Raises
    ------
    FormatError
        if the file is missing, or is no such table.
    """
    table = read_star(path).get(_TABLE)
    if table is None:
        raise FormatError(f"{path}: no table {_TABLE!r}", mend="run reconstruct again")
    return HalfFsc(
        frequency_per_ang=table.numbers(_PER_ANG), correlation=table.numbers(_CORRELATION), terms=table.numbers(_TERMS)
    )
