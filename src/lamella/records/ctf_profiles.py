"""How the rings of each view's power spectrum compare with the contrast transfer that was fitted to them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import InputError

__all__ = ["HAND_CAUSES", "HAND_FIXED", "CtfProfiles"]

Array = NDArray[np.float64]

HAND_CAUSES, HAND_FIXED = "lamellaCtfHandCauses", "lamellaCtfHandFixed"
"""Columns of the global table: what speaks for either cause of a hand of +1, and how it was made −1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CtfProfiles:
    """How each view's rings compare with the fit.

    Attributes
    ----------
    frequency_per_ang
        ``(m,)`` spatial frequency, 1/Å, evenly spaced in its square.
    measured
        ``(n, m)`` power over the smooth background, minus 1, all tiles brought to the view's defocus and averaged
        along the rings.
    fitted
        ``(n, m)`` the fit's: its amplitude times −cos 2(χ + phase).
    correlation
        ``(n, m)`` local correlation of the two, −1…1; the fit resolution is where it falls below one half.
    pictures
        ``(n, p, p)`` float32 spectra of the views to look at, frequency 0 at ``p // 2``: left half measured, right half
        fitted, both −1…1; out to ``picture_limit_per_ang`` at the edge.
    picture_limit_per_ang
        frequency at the pictures' edges.

    Raises
    ------
    InputError
        if the parts do not fit together.
    """

    frequency_per_ang: Array
    measured: Array
    fitted: Array
    correlation: Array
    pictures: NDArray[np.float32]
    picture_limit_per_ang: float

    def __post_init__(self) -> None:
        shape = (len(self.measured), len(self.frequency_per_ang))
        shapes = {part.shape for part in (self.measured, self.fitted, self.correlation)}
        side = self.pictures.shape[-1]
        if shapes != {shape} or self.pictures.shape != (shape[0], side, side):
            raise InputError(
                f"profiles of {sorted(shapes)} and pictures of {self.pictures.shape} for {shape[1]} frequencies",
                mend="give each view one of each",
            )

    def __len__(self) -> int:
        return len(self.measured)

    def select(self, views: ArrayLike) -> CtfProfiles:
        """Those of some views, in the order given."""
        rows = np.asarray(views)
        parts = {name: getattr(self, name)[rows] for name in ("measured", "fitted", "correlation", "pictures")}
        return replace(self, **parts)
