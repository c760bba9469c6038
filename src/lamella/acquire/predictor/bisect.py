"""BISECT's prediction: each target's own height, fitted from all its displacements (Bouvette et al. 2021).

J. Bouvette, H.-F. Liu, X. Du et al., Beam image-shift accelerated data acquisition for near-atomic resolution
single-particle cryo-electron tomography, Nat. Commun. 12, 1957 (2021). Its y (across the tilt axis) is our x:

    x' = x cosθ + z sinθ            where the target appears
    z' = −x sinθ + z cosθ           its height

x is where the target was put, z the height over the tilt axis (its eucentric offset). z is fitted by least squares to
the target's measured displacements as soon as five images are there, and again with each further one; image shift and
focus follow. The tracked offset is taken off first, and is shared by all targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.predictor.flat import FlatPredictor
from lamella.acquire.predictor.interface import TargetPlace, View
from lamella.acquire.predictor.turning import turned

__all__ = ["BisectPredictor"]

Array = NDArray[np.float64]


@dataclass
class _Measured:
    """What was measured of one target: by tilt, (angle, displacement across the axis less what z = 0 would give)."""

    by_tilt: dict[int, tuple[float, float]] = field(default_factory=dict)
    residual_sd_um: float = 0.0
    height_sd_um: float | None = None


class BisectPredictor(FlatPredictor):
    """What `FlatPredictor` does, and each target's height from all its measured displacements.

    Parameters
    ----------
    places
        by the targets' numbers; −1 is the tracking area, −2 the focus area.
    axis_um
        x of the tilt axis from the middle of the beam.
    images
        of a target before its height is fitted, the first one (its reference) among them.
    """

    def __init__(self, places: Mapping[int, TargetPlace], *, axis_um: float = 0.0, images: int = 5) -> None:
        super().__init__(places, axis_um=axis_um)
        self._measured = {target: _Measured() for target in places}
        self._images = images

    def height_um(self, target: int) -> float:
        """z of a target as it is known now."""
        return float(self._places[target][2])

    def _learn_place(self, view: View, place_um: Array) -> None:
        self._refine(view, float(place_um[0] - self._shared.at(view.tilt)[0]))

    def _own_sd_um(self, target: int) -> tuple[Array, float]:
        measured, sd = self._measured[target], self._given_sd[target].copy()
        if measured.height_sd_um is not None:
            sd[2] = measured.height_sd_um
        return sd, measured.residual_sd_um

    def _refine(self, view: View, x_um: float) -> None:
        """Fit z to all displacements: Σ (x'_k − x cosθ_k − z sinθ_k)² is least at z = Σ r_k sinθ_k / Σ sin²θ_k."""
        place, measured = self._places[view.target], self._measured[view.target]
        in_plane = turned(np.array([place[0], place[1], 0.0]), view.tilt_deg, self._axis_um)
        measured.by_tilt[view.tilt] = (view.tilt_deg, x_um - float(in_plane[0]))
        # The first image is the reference of the others: it is there, with a displacement of nothing.
        if len(measured.by_tilt) + (0 if 0 in measured.by_tilt else 1) < self._images:
            return
        angles, residues = np.array(list(measured.by_tilt.values())).T
        sines = np.sin(np.deg2rad(angles))
        lever = float(sines @ sines)
        if lever <= 0.0:
            return
        z = float(sines @ residues) / lever
        misfit = residues - z * sines
        measured.residual_sd_um = float(np.sqrt(misfit @ misfit / max(len(misfit) - 1, 1)))
        measured.height_sd_um = measured.residual_sd_um / np.sqrt(lever)
        self._places[view.target] = np.array([place[0], place[1], z])
