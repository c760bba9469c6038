"""What an estimate of the contrast transfer gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.records import TiltSeries

__all__ = ["CtfProfiles", "CtfResult"]

Array = NDArray[np.float64]


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
    """

    frequency_per_ang: Array
    measured: Array
    fitted: Array
    correlation: Array
    pictures: NDArray[np.float32]
    picture_limit_per_ang: float


@dataclass(frozen=True, kw_only=True, eq=False)
class CtfResult:
    """What `estimate_ctf` gives.

    Attributes
    ----------
    series
        the record, with `Defocus`, hand, optics (where the amplitude contrast was fitted), the views' ``Ctf…`` scores
        and the series' ``Ctf…`` quality numbers; as it came where `passed_on` says why.
    profiles
        None where no estimate was made.
    notes
        what a user should know, a sentence each.
    passed_on
        why no estimate was possible; empty where there is one.
    """

    series: TiltSeries
    profiles: CtfProfiles | None = None
    notes: tuple[str, ...] = ()
    passed_on: str = ""
