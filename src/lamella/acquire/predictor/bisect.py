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
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.predictor.flat import TRACKING_AREA
from lamella.acquire.predictor.interface import Observation, Prediction, TargetPlace, View
from lamella.acquire.predictor.tracked import SharedOffset
from lamella.acquire.predictor.turning import checked_places, place_of, turned

__all__ = ["BisectPredictor"]

Array = NDArray[np.float64]


@dataclass
class _Measured:
    """What was measured of one target: by tilt, (angle, displacement across the axis less what z = 0 would give)."""

    by_tilt: dict[int, tuple[float, float]] = field(default_factory=dict)
    residual_sd_um: float = 0.0
    height_sd_um: float | None = None


class BisectPredictor:
    """Each target's height from all its measured displacements.

    Parameters
    ----------
    places
        by the targets' numbers; −1 is the tracking area, −2 the focus area.
    axis_um
        x of the tilt axis from the middle of the beam.
    images
        of a target before its height is fitted, the first one (its reference) among them.
    """

    tracks_on: ClassVar[Literal["area", "first"]] = "area"
    focuses_on: ClassVar[Literal["focus-area", "tracking-area"]] = "focus-area"

    def __init__(self, places: Mapping[int, TargetPlace], *, axis_um: float = 0.0, images: int = 5) -> None:
        self._places = checked_places(places)
        self._given_sd = {target: np.array(place.sd_um) for target, place in places.items()}
        self._measured = {target: _Measured() for target in places}
        self._axis_um = axis_um
        self._images = images
        self._shared = SharedOffset()

    def height_um(self, target: int) -> float:
        """z of a target as it is known now."""
        return float(self._places[target][2])

    def predict(self, view: View) -> Prediction:
        """The published equations, plus the offsets found last."""
        place = turned(place_of(self._places, view), view.tilt_deg, self._axis_um)
        return Prediction(
            shift_um=place[:2] + self._shared.place_um,
            height_um=float(place[2] + self._shared.height_um),
            covariance_um2=self._covariance(view),
        )

    def observe(self, observation: Observation) -> None:
        """Learn the shared offset from the tracking area, the focus from any height, z from a target's own places."""
        if observation.kind == "axis":
            axis_um = float(observation.value_um[0])
            self._shared.move_axis(axis_um - self._axis_um)
            self._axis_um = axis_um
            return
        view = observation.view
        place = turned(place_of(self._places, view), view.tilt_deg, self._axis_um)
        if observation.kind == "height":
            self._shared.focus(float(observation.value_um[0] - place[2]), view.tilt_deg)
        elif observation.kind == "place" and view.target == TRACKING_AREA:
            self._shared.track(view.tilt, observation.value_um - place[:2], view.tilt_deg)
        elif observation.kind == "place":
            self._refine(view, float(observation.value_um[0] - self._shared.at(view.tilt)[0]))

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

    def _covariance(self, view: View) -> Array:
        """Of z's error turned, the fit's residual, and where the tilt was not tracked yet, the stage's steps."""
        measured, given = self._measured[view.target], self._given_sd[view.target]
        sd = given.copy()
        if measured.height_sd_um is not None:
            sd[2] = measured.height_sd_um
        turn = np.stack([turned(axis, view.tilt_deg) for axis in np.eye(3)], axis=1)
        steps = 0.0 if self._shared.knows(view.tilt) else self._shared.place_sd_um
        across = steps**2 + measured.residual_sd_um**2
        covariance: Array = turn @ np.diag(sd**2) @ turn.T
        return covariance + np.diag([across, across, self._shared.height_sd_um**2])
