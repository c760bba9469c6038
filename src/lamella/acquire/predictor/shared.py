"""Ours: one model of the stage that moves all targets, and of each target's own place, learned from every measurement.

What a target's view tells is what the stage did (wander, settling, drift: the same for all), where the axis and the
plane lie, and what is the target's own (its height, its first view's error). All of it is one vector with a Gaussian
belief (`shared_state`), which each measurement updates (extended Kalman filter), whichever area it was of: so a target
is predicted from the tracking area *and* from the targets that were recorded before it at this tilt, and a settling
stage is not learned as a height.

Two things are not Gaussian. A stage can jump: what the tracking area shows is believed however far it is. And a picture
can match wrongly: a target that disagrees is not believed, but the next prediction is less sure; when the next target
disagrees alike, the stage has jumped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.predictor.flat import TRACKING_AREA
from lamella.acquire.predictor.interface import Observation, Prediction, TargetPlace, View
from lamella.acquire.predictor.shared_late import StageThen
from lamella.acquire.predictor.shared_motion import pass_time, tilt_stage
from lamella.acquire.predictor.shared_noise import Scatter
from lamella.acquire.predictor.shared_rows import Expected, expected_height, expected_place
from lamella.acquire.predictor.shared_state import SHARED, Gaussian, Index, SharedPriors
from lamella.acquire.predictor.shared_trail import ShiftTrail
from lamella.acquire.predictor.turning import checked_places, place_of

__all__ = ["SharedPredictor"]

Array = NDArray[np.float64]

_GATE = 25.0  # squared normalised difference (2 degrees of freedom): once in 300 000 measurements by chance
_JUMP_GATE = 6.0  # the same of the first look after a tilt: a jump taken for wander would pass for settling and drift
_HEIGHT_GATE = 16.0
_SAME_STOP_S = 0.5  # views whose stage stood still at the same time are of the same stop
_BELIEF = {"scatter": 20.0, "wander": 4.0, "settling": 6.0, "lens": 10.0}


class SharedPredictor:
    """Shared motion, each target's own geometry, and how sure both are.

    Parameters
    ----------
    places
        by the targets' numbers; −1 is the tracking area, −2 the focus area.
    axis_um
        x of the tilt axis from the middle of the beam, as calibrated.
    priors
        what is believed before the first measurement.
    """

    tracks_on: ClassVar[Literal["area", "first"]] = "area"
    focuses_on: ClassVar[Literal["focus-area", "tracking-area"]] = "tracking-area"

    def __init__(
        self, places: Mapping[int, TargetPlace], *, axis_um: float = 0.0, priors: SharedPriors | None = None
    ) -> None:
        self._places = checked_places(places)
        self._axis_um = axis_um
        self._priors = priors or SharedPriors()
        self._index = Index(places)
        self._state = Gaussian.before(self._index, places, self._priors)
        self._scatter = Scatter(self._priors.scatter_um**2, _BELIEF["scatter"])
        # A stage believed too still would have its wander taken for heights: it is never believed much stiller.
        self._wander = Scatter(self._priors.wander_um**2, _BELIEF["wander"], least=0.5)
        self._settling = Scatter(self._priors.settling_um**2, _BELIEF["settling"])
        self._lens = Scatter(self._priors.lens_um**2, _BELIEF["lens"])
        self._origin_variance = {target: np.square(place.sd_um[:2]) for target, place in places.items()}
        self._first_tilts: dict[int, int] = {}
        self._trail = ShiftTrail()
        self._then = StageThen()
        self._time_s: float | None = None
        self._stood_at_s: float | None = None
        self._seen_since_tilt = False
        self._settling_before: Array = np.zeros(3)
        self._suspect: tuple[Observation, Array] | None = None

    def predict(self, view: View) -> Prediction:
        """Where the view's target is at its time. A view after the next tilt tells that the stage was tilted."""
        self._go_to(view)
        self._trail.plan(view, self._expected_place(view, of_first_view=False).value)
        place = self._expected_place(view, of_first_view=False)
        self._then.keep(view, place, self._state)
        height = self._expected_height(view, None)
        if view.target >= 0 and self._first_tilts.setdefault(view.target, view.tilt) == view.tilt >= 0:
            self._begin_series(view, place)
        rows = np.concatenate([place.rows, height.rows])
        covariance = rows @ self._state.covariance @ rows.T
        if self._suspect is not None:
            doubt = 0.5 * self._suspect[1]
            covariance[:2, :2] += np.outer(doubt, doubt)
        return Prediction(
            shift_um=place.value, height_um=float(height.value[0]), covariance_um2=0.5 * (covariance + covariance.T)
        )

    def observe(self, observation: Observation) -> None:
        """Learn from a measurement of any area."""
        if observation.kind in ("axis", "lens"):
            self._see_constant(observation)
            return
        if observation.kind == "place" and 0 <= observation.view.tilt < self._then.tilt:
            self._see_earlier(observation)
            return
        self._go_to(observation.view)
        if observation.kind == "height":
            self._see_height(observation)
        elif observation.view.target < 0:
            self._see_area(observation)
        else:
            self._see_target(observation)

    def _begin_series(self, view: View, place: Expected) -> None:
        """A target's first view: what is wrong with its prediction is what its later views are compared with.

        The session takes off by how much the tracking area was elsewhere than predicted meanwhile.
        """
        rows = place.rows
        if TRACKING_AREA in self._places:
            area = replace(view, target=TRACKING_AREA)
            rows = rows - self._expected_place(area, of_first_view=False).rows
        cosine = max(float(np.cos(np.deg2rad(view.tilt_deg))), 0.1)
        rows = -rows / np.array([[cosine], [1.0]])
        self._state.tie(self._index.origin(view.target), rows, self._origin_variance[view.target])

    def _go_to(self, view: View) -> None:
        """Bring the model to a view's time, through the tilt that may lie between."""
        place_of(self._places, view)
        stood_at = view.time_s - view.since_tilt_s
        if self._time_s is None or self._stood_at_s is None:
            self._time_s, self._stood_at_s = view.time_s, stood_at
            return
        if stood_at > self._stood_at_s + _SAME_STOP_S:
            self._learn_settling()
            pass_time(self._state, stood_at - self._time_s, self._priors)
            self._tilt(view, stood_at)
        pass_time(self._state, view.time_s - self._time_s, self._priors)
        self._time_s = max(view.time_s, self._time_s)

    def _tilt(self, view: View, stood_at_s: float) -> None:
        tilt_stage(
            self._state,
            self._index,
            self._priors,
            branch=view.branch,
            stood_s=stood_at_s - float(self._stood_at_s or 0.0),
            settling_sd_um=self._settling.sd,
            wander_sd_um=self._wander.sd,
        )
        self._time_s = max(float(self._time_s or 0.0), stood_at_s)
        self._stood_at_s = stood_at_s
        self._settling_before = self._state.mean[SHARED.settling].copy()
        self._seen_since_tilt = False
        self._suspect = None

    def _learn_settling(self) -> None:
        """How far this tilt's settling was from the mean of its branch."""
        if not self._settling_before.any():
            return
        part = SHARED.settling
        moved = self._state.mean[part] - self._settling_before
        unsure = np.diag(self._state.covariance)[part]
        # Where nothing was learned of it, the difference is 0 and its variance the one believed.
        for axis in (0, 1):
            self._settling.see(float(moved[axis] ** 2 + unsure[axis]), 0.0)

    def _see_area(self, observation: Observation) -> None:
        """The tracking area is followed wherever it goes."""
        expected = self._expected_place(observation.view, of_first_view=True)
        difference = observation.value_um - expected.value
        noise = self._place_noise(observation)
        if not self._seen_since_tilt and observation.view.tilt > 0:
            known = self._variances(expected.rows) + np.diag(noise) - self._wander.variance
            for axis in (0, 1):
                # No less than nothing: what else is not known grows and falls, and must not make the stage stiller.
                square = float(difference[axis] ** 2)
                self._wander.see(square, min(square, float(max(known[axis], 0.0))))
        gate = _GATE if self._seen_since_tilt else _JUMP_GATE
        if self._strangeness(expected.rows, difference, noise) > gate:
            self._jump(difference)
        self._state.update(difference, expected.rows, noise)
        self._trail.seen(observation.view, observation.value_um)
        self._seen_since_tilt = True
        self._suspect = None

    def _see_target(self, observation: Observation) -> None:
        """A target is believed where it agrees, or where the one before it disagreed alike."""
        expected = self._expected_place(observation.view, of_first_view=True)
        difference = observation.value_um - expected.value
        noise = self._place_noise(observation)
        if self._strangeness(expected.rows, difference, noise) > _GATE:
            if not self._confirms(observation, expected, difference):
                self._suspect = (observation, difference)
                return
            self._jump(difference)
        else:
            known = self._variances(expected.rows) + observation.sd_um**2
            for axis in (0, 1):
                self._scatter.see(float(difference[axis] ** 2), float(known[axis]))
        self._state.update(difference, expected.rows, noise)
        self._suspect = None

    def _see_earlier(self, observation: Observation) -> None:
        """A target's place that was found late is believed where it agrees with what the stage did then."""
        now = self._expected_place(observation.view, of_first_view=True)
        found = self._then.expected(observation.view, now, self._state)
        if found is None:
            return
        expected, of_stage = found
        difference = observation.value_um - expected.value
        noise = (observation.sd_um**2 + self._scatter.variance) * np.eye(2) + of_stage
        if self._strangeness(expected.rows, difference, noise) <= _GATE:
            self._state.update(difference, expected.rows, noise)

    def _see_constant(self, observation: Observation) -> None:
        """Where the axis lies, or by how much more the lens does than it says, was measured by itself."""
        place, given = (SHARED.axis, self._axis_um) if observation.kind == "axis" else (SHARED.focus_scale, 0.0)
        row = np.zeros((1, self._index.size))
        row[0, place] = 1.0
        difference = observation.value_um - given - self._state.mean[place]
        self._state.update(difference, row, np.array([[observation.sd_um**2]]))

    def _confirms(self, observation: Observation, expected: Expected, difference: Array) -> bool:
        """Whether another target was off by the same just before: then all are."""
        if self._suspect is None or self._suspect[0].view.target == observation.view.target:
            return False
        apart = difference - self._suspect[1]
        spread = 2.0 * (self._variances(expected.rows) + self._scatter.variance + observation.sd_um**2)
        return float(np.sum(apart**2 / spread)) <= _GATE

    def _see_height(self, observation: Observation) -> None:
        """Heights are measured one at a time; a wrong one counts as one that is less sure."""
        at = observation.at_height_um
        if at is None:
            at = float(self._expected_height(observation.view, None).value[0])
        expected = self._expected_height(observation.view, at)
        difference = observation.value_um - expected.value
        noise = np.array([[observation.sd_um**2 + self._lens.variance]])
        strangeness = self._strangeness(expected.rows, difference, noise)
        if strangeness > _HEIGHT_GATE:
            noise = noise + float(difference[0] ** 2) / _HEIGHT_GATE
        elif observation.view.tilt >= 0:
            known = float(self._variances(expected.rows)[0]) + observation.sd_um**2
            square = float(difference[0] ** 2)
            self._lens.see(square, known)
        self._state.update(difference, expected.rows, noise)

    def _jump(self, difference: Array) -> None:
        """The stage may be anywhere within a jump, or as far as it is seen to be."""
        far = max(self._priors.jump_um, float(np.hypot(*difference)))
        self._state.add(np.arange(SHARED.place.start, SHARED.place.start + 2), far**2)

    def _strangeness(self, rows: Array, difference: Array, noise: Array) -> float:
        """Squared difference, normalised by what is expected of it."""
        total = rows @ self._state.covariance @ rows.T + noise
        return float(difference @ np.linalg.solve(total, difference))

    def _variances(self, rows: Array) -> Array:
        """``(m,)`` of what rows expect."""
        variances: Array = np.einsum("mi,ij,mj->m", rows, self._state.covariance, rows)
        return variances

    def _place_noise(self, observation: Observation) -> Array:
        variance = observation.sd_um**2 + self._scatter.variance
        if observation.view.target < 0 or self._trail.direction(observation.view) is None:
            variance += 0.5 * float(self._state.mean[SHARED.lag] ** 2 + self._state.covariance[SHARED.lag, SHARED.lag])
        return np.asarray(variance * np.eye(2))

    def _expected_place(self, view: View, *, of_first_view: bool) -> Expected:
        # An area that is followed is reached by small moves of any direction.
        direction = None if view.target < 0 else self._trail.direction(view)
        return expected_place(
            self._state.mean,
            self._index,
            self._places[view.target],
            view,
            axis_um=self._axis_um,
            settling_s=self._priors.settling_s,
            of_first_view=of_first_view,
            direction=direction,
        )

    def _expected_height(self, view: View, at_height_um: float | None) -> Expected:
        return expected_height(
            self._state.mean,
            self._index,
            self._places[view.target],
            view,
            axis_um=self._axis_um,
            settling_s=self._priors.settling_s,
            at_height_um=at_height_um,
        )
