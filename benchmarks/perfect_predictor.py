"""A predictor that knows the simulated microscope's truth: what it leaves, no prediction can take away.

It knows where every target is at the time for which it is asked, and how lenses and focus err. What is left of a view's
error is what nobody can know before it is taken: the play of the image shift, the error with which this focus is set,
and what the stage does between the time that was thought of and that of the exposure.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.microscope.port import Calibrations
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.microscope.simulated.score import SessionScore, score_session
from lamella.acquire.predictor import Observation, Prediction, Predictor, TargetPlace, View, make_predictor
from lamella.acquire.predictor.turning import turned
from lamella.acquire.session.run import run_session
from lamella.acquire.simulated_session import session_settings, simulated_targets
from lamella.acquire.world import World

__all__ = ["PerfectPredictor", "perfect_session"]

Array = NDArray[np.float64]

_SD_UM = 0.005  # that it says of itself: never unsure


class PerfectPredictor:
    """The true places at a view's time, as image shifts and as heights for the lens."""

    tracks_on: ClassVar[Literal["area", "first"]] = "area"
    focuses_on: ClassVar[Literal["focus-area", "tracking-area"]] = "tracking-area"

    def __init__(self, microscope: SimulatedMicroscope, places: Mapping[int, TargetPlace], wanted_um: float) -> None:
        self._microscope = microscope
        self._places = places
        self._wanted_um = wanted_um

    def predict(self, view: View) -> Prediction:
        """Where the target will be; what has no true place is where it was put."""
        places, column = self._microscope.truth.places_um, self._microscope._column
        if view.target not in places:
            placed = turned(np.array(self._places[view.target].place_um), view.tilt_deg)
            return Prediction(shift_um=placed[:2], height_um=float(placed[2]), covariance_um2=_SD_UM**2 * np.eye(3))
        stage, lenses = deepcopy(column.stage), column.lenses
        point = places[view.target] + column.grid.own_motion_um(view.target, view.time_s)
        placed = stage.placed(point, view.time_s)
        linear = np.stack([lenses.shift_of(axis) for axis in np.eye(2)], axis=1)
        hand = self._microscope.calibrations.hand
        zero = lenses.defocus_um - lenses._focus_error_um
        scale = lenses._focus_scale
        lens = lenses.focus_set_um + (self._wanted_um - hand * float(placed[2]) - zero) / scale
        return Prediction(
            shift_um=np.linalg.solve(linear, placed[:2]),
            height_um=hand * (self._wanted_um - lens),
            covariance_um2=_SD_UM**2 * np.eye(3),
        )

    def observe(self, observation: Observation) -> None:
        """It has nothing to learn."""


def perfect_session(world: World, seed: int, targets: int, overrides: Mapping[str, Any]) -> SessionScore:
    """Record one session with it, and score it."""
    settings = session_settings(world, {**overrides, "predictor": "shared"})
    microscope = SimulatedMicroscope(world, seed, targets=targets)

    def make(name: str, places: Mapping[int, TargetPlace], calibrations: Calibrations) -> Predictor:
        if name == settings.predictor:
            return PerfectPredictor(microscope, places, settings.defocus)
        return make_predictor(name, places, calibrations)

    result = run_session(microscope, simulated_targets(microscope), settings, make_predictor=make)
    finished = [target for target, ending in result.endings.items() if ending.kind != "lost"]
    return score_session(microscope, tilts=len(settings.tilt_scheme()), defocus_um=settings.defocus, finished=finished)
