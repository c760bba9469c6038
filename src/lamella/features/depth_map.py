"""How much structure a specimen shows, place by place and layer by layer: what a slab is fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["DepthMap"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthMap:
    """Structure over depth.

    Attributes
    ----------
    z_ang
        ``(z,)`` heights of the layers, evenly spaced.
    places_ang
        ``(t, 2)`` (x, y) of the tiles' centres.
    covariance
        ``(t, z)`` power of the structure, of noise that is alike everywhere and with no unit of its own: from the views
        of a series their covariance (`lamella.tilts.depth_profile`), from a tomogram its own power beyond that of
        empty space (`lamella.tomograms.position_energy`); NaN where too little is seen of a tile.
    kernels
        ``(f, 2 z − 1)`` answer to a thin layer of structure of each of several spectra, by distance in layers, 1 in the
        middle.
    """

    z_ang: Array
    places_ang: Array
    covariance: Array
    kernels: Array

    @property
    def step_ang(self) -> float:
        """Distance of the layers."""
        return float(self.z_ang[1] - self.z_ang[0])
