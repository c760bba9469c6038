"""How much detail two views of a specimen of limited thickness share.

The transform of a view is a central slice of the specimen's (Bracewell 1956). In the plane of a film the slices of
views v and w meet the frequency (kx, ky) at heights kz that differ by kx · (tan t_v − tan t_w). In a slab values along
kz are correlated over 1 / thickness: far views share coarse detail, near ones fine detail too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lamella.geometry import TiltGeometry

__all__ = ["slab_correlation", "view_slopes"]

Array = NDArray[np.float64]


def view_slopes(geometry: TiltGeometry) -> Array:
    """``(n,)`` tan of the angle between each view's beam and the specimen's normal, towards x."""
    beam = geometry.rotations()[:, 2]
    return np.asarray(beam[:, 0] / beam[:, 2])


def slab_correlation(slopes: Array, frequency_x: Array, thickness_ang: float) -> Array:
    """``(f, n, n)`` correlation of n slices at f frequencies along x (cycles/Å).

    The specimen's density is spread over z as a Gaussian of the variance that a slab of that thickness has,
    thickness² / 12: unlike the slab's own sinc it never changes sign where the thickness was guessed wrong.
    """
    apart = np.asarray(frequency_x)[:, None, None] * (slopes[:, None] - slopes[None])
    return np.asarray(np.exp(-2 * np.pi**2 * thickness_ang**2 / 12 * apart**2))
