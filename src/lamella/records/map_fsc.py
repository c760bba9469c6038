"""How well the two half maps of an average agree, shell by shell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.errors import InputError
from lamella.fourier import equal_half_correlation, resolved_shells

__all__ = ["GOLD_STANDARD", "MapFsc"]

Array = NDArray[np.float64]

GOLD_STANDARD = 0.143
"""Correlation of half maps at which their mean's correlation with the truth is 0.5 (Rosenthal & Henderson 2003)."""


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
        ``(s,)`` independent real numbers behind each shell: of the whole transform, times the part of the box that the
        mask leaves; or None.
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

    @classmethod
    def with_truth(cls, frequency_per_ang: Array, correlation: Array, terms: Array | None = None) -> MapFsc:
        """Correlation of a whole map with a true one, as that of half maps which would correlate with it so.

        Its resolution at 0.143 is where the correlation with the truth passes 0.5, by the rule that half maps are
        judged by.
        """
        return cls(frequency_per_ang=frequency_per_ang, correlation=equal_half_correlation(correlation), terms=terms)

    @property
    def finest_ang(self) -> float:
        """Resolution of the last shell: what voxels can show."""
        return float(1 / self.frequency_per_ang[-1])

    def resolution_ang(self, threshold: float = GOLD_STANDARD) -> float | None:
        """The resolution: where the correlation falls below a threshold for good, Å; None where it never does.

        Dips that it recovers from by more than its error are stepped over (`lamella.fourier.resolved_shells`). The
        crossing is on the straight line between two shells; shell 0 is passed over.
        """
        found = resolved_shells(self.correlation, threshold, self.terms)
        return self._ang(found.last) if found.falls else None

    def first_crossing_ang(self, threshold: float = GOLD_STANDARD) -> float | None:
        """Where the correlation falls below a threshold for the first time, Å; None where it never does."""
        found = resolved_shells(self.correlation, threshold, self.terms)
        return self._ang(found.first) if found.falls or found.first < found.last else None

    def _ang(self, shell: float) -> float:
        return float(1 / np.interp(shell, np.arange(len(self)), self.frequency_per_ang))
