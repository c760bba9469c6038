"""How well the two half maps of an average agree, shell by shell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.errors import InputError

__all__ = ["MapFsc"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class MapFsc:
    """Fourier shell correlation of two half maps.

    Attributes
    ----------
    frequency_per_ang
        ``(s,)`` of each shell, s / (box × voxel), from 0 on.
    correlation
        ``(s,)`` that the resolution is read from: corrected for the mask where there is one.
    unmasked, masked, randomised
        ``(s,)`` of the maps without a mask, with it, and with it after phases beyond some shell were made random; None
        where not measured.
    terms
        ``(s,)`` independent real numbers behind each shell, or None.
    """

    frequency_per_ang: Array
    correlation: Array
    unmasked: Array | None = None
    masked: Array | None = None
    randomised: Array | None = None
    terms: Array | None = None

    def __post_init__(self) -> None:
        columns = (self.correlation, self.unmasked, self.masked, self.randomised, self.terms)
        wanted = np.shape(self.frequency_per_ang)
        if len(wanted) != 1 or any(np.shape(column) != wanted for column in columns if column is not None):
            raise InputError("a shell correlation whose columns differ in length", mend="give each shell one of each")

    def __len__(self) -> int:
        return len(self.correlation)

    def resolution_ang(self, threshold: float = 0.143) -> float | None:
        """Where the correlation first falls below a threshold, on the straight line between two shells, Å.

        None where it never does; shell 0 is passed over.
        """
        below = np.flatnonzero(self.correlation[1:] < threshold)
        if not len(below):
            return None
        shell = int(below[0]) + 1
        high, low = self.correlation[shell - 1], self.correlation[shell]
        first, last = self.frequency_per_ang[shell - 1], self.frequency_per_ang[shell]
        part = (high - threshold) / (high - low) if shell > 1 else 1.0
        return float(1 / (first + part * (last - first)))
