"""The specimen as given, turned by the tilt: nothing is learned but the offset that tracking and focusing find."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.predictor.interface import Observation, Prediction, TargetPlace, View
from lamella.acquire.predictor.tracked import SharedOffset
from lamella.acquire.predictor.turning import checked_places, place_of, turned

__all__ = ["FlatPredictor"]

Array = NDArray[np.float64]

TRACKING_AREA = -1


class FlatPredictor:
    """Targets move as points at the heights given; the tracked offset is shared by all.

    Parameters
    ----------
    places
        by the targets' numbers; −1 is the tracking area, −2 the focus area.
    axis_um
        x of the tilt axis from the middle of the beam.
    """

    tracks_on: ClassVar[Literal["area", "first"]] = "area"
    focuses_on: ClassVar[Literal["focus-area", "tracking-area"]] = "focus-area"

    def __init__(self, places: Mapping[int, TargetPlace], *, axis_um: float = 0.0) -> None:
        self._places = checked_places(places)
        self._given_sd = {target: np.array(place.sd_um) for target, place in places.items()}
        self._axis_um = axis_um
        self._shared = SharedOffset()

    def predict(self, view: View) -> Prediction:
        """The place turned, plus the offsets found last."""
        place = turned(place_of(self._places, view), view.tilt_deg, self._axis_um)
        return Prediction(
            shift_um=place[:2] + self._shared.place_um,
            height_um=float(place[2] + self._shared.height_um),
            covariance_um2=self._covariance(view),
        )

    def observe(self, observation: Observation) -> None:
        """Learn the shared offset from the tracking area, and that of the focus from any height."""
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
            self._learn_place(view, observation.value_um)

    def _learn_place(self, view: View, place_um: Array) -> None:
        """Nothing: a target stays where it was given."""

    def _own_sd_um(self, target: int) -> tuple[Array, float]:
        """``(3,)`` standard deviations of the target's place as it is known now, and the scatter of its views."""
        return self._given_sd[target], 0.0

    def _covariance(self, view: View) -> Array:
        """Of the place's errors turned, the views' scatter, and the stage's steps where it was not tracked yet."""
        sd, scatter = self._own_sd_um(view.target)
        turn = np.stack([turned(axis, view.tilt_deg) for axis in np.eye(3)], axis=1)
        steps = 0.0 if self._shared.knows(view.tilt) else self._shared.place_sd_um
        across = steps**2 + scatter**2
        covariance: Array = turn @ np.diag(sd**2) @ turn.T
        return covariance + np.diag([across, across, self._shared.height_sd_um**2])
