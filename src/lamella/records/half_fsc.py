"""How well two halves of a tomogram agree, shell by shell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.errors import InputError

__all__ = ["HalfFsc"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class HalfFsc:
    """Fourier shell correlation of the even and odd half tomograms, over the measured part of Fourier space.

    Attributes
    ----------
    frequency_per_ang
        ``(s,)`` of each shell's middle, from 0 on, 1/Å.
    correlation
        ``(s,)`` −1 … 1.
    terms
        ``(s,)`` independent real numbers behind each shell, over all boxes.
    """

    frequency_per_ang: Array
    correlation: Array
    terms: Array

    def __post_init__(self) -> None:
        shapes = {part.shape for part in (self.frequency_per_ang, self.correlation, self.terms)}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise InputError(f"a shell correlation of {sorted(shapes)} numbers", mend="give each shell one of each")

    def __len__(self) -> int:
        return len(self.correlation)

    @property
    def error(self) -> Array:
        """``(s,)`` standard error of each number, (1 − FSC²) / √terms."""
        error: Array = (1 - self.correlation**2) / np.sqrt(np.maximum(self.terms, 1))
        return error
