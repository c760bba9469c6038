"""How the amplitudes of a particle of protein or RNA fall with detail between its shape and its atoms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["PROFILE_FROM_ANG", "PROFILE_SPREAD", "PROFILE_TO_ANG", "log_amplitude"]

Curve = NDArray[np.float64]

PROFILE_FROM_ANG, PROFILE_TO_ANG = 20.0, 7.0
"""Between them the profile stands for any particle: coarser, its own shape rules; finer, the spectrum is flat."""
PROFILE_SPREAD = 0.06
"""Standard deviation of ln amplitude from one particle to another, between two resolutions there."""

_RESOLUTION_ANG = (20.0, 18.0, 16.0, 14.0, 13.0, 12.0, 11.0, 10.0, 9.5, 9.0, 8.5, 8.0, 7.5, 7.0)
_LOG_AMPLITUDE = (0.56, 0.41, 0.33, 0.23, 0.20, 0.17, 0.10, 0.0, -0.06, -0.12, -0.18, -0.24, -0.28, -0.31)


def log_amplitude(frequency_per_ang: Curve) -> Curve:
    """ln of the root mean square amplitude per shell, over that at 10 Å; held beyond 20 and 7 Å.

    Parameters
    ----------
    frequency_per_ang
        ``(s,)`` 1/Å.

    Notes
    -----
    The mean of six structures without falloff: the bacterial ribosome and its subunits, GroEL, a ternary complex of the
    ribosome's factors and a membrane channel, which differ by 0.02 to 0.06. Beyond 10 Å the fall is that of the spaces
    between helices, which Wilson's flat spectrum does not know of (Rosenthal & Henderson, J. Mol. Biol. 333, 721
    (2003), fig. 2, show it in a measured curve).
    """
    known = 1 / np.array(_RESOLUTION_ANG)
    profile: Curve = np.interp(frequency_per_ang, known, _LOG_AMPLITUDE)
    return profile
