"""``fsc.star``: the shell correlation of an average's half maps, with the labels of RELION's postprocessing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lamella.errors import FormatError
from lamella.formats.star import StarTable, number_text, read_star, write_star
from lamella.records.map_fsc import MapFsc

__all__ = ["read_map_fsc", "write_map_fsc"]

_INDEX, _PER_ANG, _ANGST = "rlnSpectralIndex", "rlnResolution", "rlnAngstromResolution"
_CORRELATION, _CORRECTED = "rlnFourierShellCorrelation", "rlnFourierShellCorrelationCorrected"
_GOLD = "rlnGoldStandardFsc"  # RELION's word in the model of a refinement
_TERMS, _TABLE = "lamellaFourierTerms", "fsc"
_FURTHER = {
    "rlnFourierShellCorrelationUnmaskedMaps": "unmasked",
    "rlnFourierShellCorrelationMaskedMaps": "masked",
    "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps": "randomised",
    _TERMS: "terms",
}
_FIRST_ANGST = "999.000000"  # RELION's word for the shell of frequency 0
_GENERAL, _RESOLUTION, _CROSSING = "general", "rlnFinalResolution", "lamellaFirstCrossingAngst"


def write_map_fsc(path: Path | str, curve: MapFsc) -> None:
    """Write a curve, and the resolution that it states; the file appears whole or not at all.

    The table ``general`` holds rlnFinalResolution, where the curve falls below 0.143 for good, and
    lamellaFirstCrossingAngst, where it does so first; neither where it never does.
    """
    columns = {
        _INDEX: tuple(str(shell) for shell in range(len(curve))),
        _PER_ANG: tuple(number_text(value) for value in curve.frequency_per_ang),
        _ANGST: tuple(f"{1 / value:.6f}" if value > 0 else _FIRST_ANGST for value in curve.frequency_per_ang),
        _CORRELATION: tuple(number_text(value) for value in curve.correlation),
    }
    if curve.masked is not None:
        columns[_CORRECTED] = columns[_CORRELATION]
    for label, name in _FURTHER.items():
        values = getattr(curve, name)
        if values is not None:
            columns[label] = tuple(number_text(value) for value in values)
    stated = {_RESOLUTION: curve.resolution_ang(), _CROSSING: curve.first_crossing_ang()}
    general = {label: (number_text(round(value, 4)),) for label, value in stated.items() if value is not None}
    tables = [StarTable(_GENERAL, general, is_list=True)] if general else []
    write_star(path, [*tables, StarTable(_TABLE, columns)])


def read_map_fsc(path: Path | str) -> MapFsc:
    """Read a curve of ours, of RELION's ``postprocess.star`` or of its ``run_model.star``.

    Raises
    ------
    FormatError
        if the file is missing, or no table in it has shells and correlations.
    """
    for table in read_star(path).values():
        label = next((one for one in (_CORRECTED, _CORRELATION, _GOLD) if one in table), None)
        if label is None or _PER_ANG not in table:
            continue
        frequency, correlation = table.numbers(_PER_ANG), table.numbers(label)
        if not (np.isfinite(frequency).all() and (np.diff(frequency) > 0).all()):
            raise FormatError(f"{path}: {_PER_ANG} does not rise from row to row", mend="write the table anew")
        further = {name: table.numbers(column) for column, name in _FURTHER.items() if column in table}
        return MapFsc(frequency_per_ang=frequency, correlation=correlation, **further)
    raise FormatError(f"{path}: no table of a shell correlation", mend="give an fsc.star or a postprocess.star")
