"""The shared model against a stage, lenses and targets of a true linear kind, made here and not by the simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest

from lamella.acquire.predictor import (
    BisectPredictor,
    Observation,
    Predictor,
    SharedPredictor,
    SharedPriors,
    TargetPlace,
    View,
)
from lamella.acquire.predictor.shared_noise import Scatter
from lamella.acquire.predictor.shared_rows import expected_height, expected_place
from lamella.acquire.predictor.shared_state import SHARED, Gaussian, Index

Array = np.ndarray
SETTLING_S = 50.0
ANGLES = [0.0] + [sign * step for step in np.arange(3.0, 60.5, 3.0) for sign in (1.0, -1.0)]


@dataclass
class Stage:
    """Wander, settling and drift of one seed, and what belongs to each target."""

    seed: int
    count: int = 9
    jump_at: int = -1
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = rng = np.random.default_rng(self.seed)
        self.xy = rng.uniform(-6.0, 6.0, (self.count, 2))
        self.z = self.xy @ rng.normal(0.0, 0.1, 2) + rng.uniform(-0.3, 0.3, self.count) + 0.2
        self.origin = rng.normal(0.0, 0.01, (self.count, 2))
        self.axis = rng.uniform(-0.8, 0.8)
        self.repeated = rng.normal(0.0, 0.12, 2)
        self.at = np.zeros(2)
        self.drift = rng.normal(0.0, 1e-3, 2)

    def tilt(self, number: int) -> None:
        self.at = self.at + (self.rng.normal(0.0, 0.08, 2) if number else 0.0)
        self.settling = self.repeated + self.rng.normal(0.0, 0.05, 2)
        if number == self.jump_at:
            self.at = self.at + np.array([0.7, -0.5])

    def displaced(self, time_s: float, since_s: float) -> Array:
        drifted = self.drift * 150.0 * (1.0 - np.exp(-time_s / 150.0))
        return self.at + drifted + self.settling * np.exp(-since_s / SETTLING_S)

    def place(self, target: int, view: View) -> tuple[Array, float]:
        """Image shift and height of a target's true place; −1 lies on the axis at z = 0.1."""
        x, y, z = (0.0, 0.0, 0.1) if target < 0 else (*self.xy[target], self.z[target])
        angle = np.deg2rad(view.tilt_deg)
        across = self.axis + (x - self.axis) * np.cos(angle) + z * np.sin(angle)
        height = z * np.cos(angle) - (x - self.axis) * np.sin(angle)
        return np.array([across, y]) + self.displaced(view.time_s, view.since_tilt_s), float(height)


def session(
    predictor: Predictor,
    stage: Stage,
    *,
    angles: list[float] = ANGLES,
    wrong: Mapping[tuple[int, int], Array] | None = None,
    lag_um: float = 0.0,
) -> Array:
    """Place and height errors ``(views, 3)`` of a session, µm; an image shift stays behind its move by `lag_um`."""
    errors = []
    time_s, last = 0.0, np.zeros(2)
    for tilt, angle in enumerate(angles):
        stage.tilt(tilt)
        stood = time_s
        order = range(stage.count) if tilt % 2 else reversed(range(stage.count))
        for target in (-1, -1, *order):
            time_s += 3.0
            view = View(
                target=target,
                tilt=tilt,
                tilt_deg=angle,
                time_s=time_s,
                since_tilt_s=time_s - stood,
                branch=int(np.sign(angle)),
            )
            place, height = stage.place(target, view)
            predicted = predictor.predict(view)
            if target >= 0:
                way = predicted.shift_um - last
                place = place + lag_um * way / np.hypot(*way)
                errors.append([*(predicted.shift_um - place), predicted.height_um - height])
            last = predicted.shift_um
            seen = place + stage.rng.normal(0.0, 0.005, 2)
            if target >= 0:
                seen = (
                    seen
                    + stage.origin[target] * [np.cos(np.deg2rad(angle)), 1.0]
                    + (wrong or {}).get((tilt, target), 0.0)
                )
            if tilt or target < 0:
                predictor.observe(Observation(view=view, kind="place", value_um=seen, sd_um=0.005))
            if target < 0:
                focus = np.array([height + stage.rng.normal(0.0, 0.05)])
                predictor.observe(Observation(view=view, kind="height", value_um=focus, sd_um=0.05))
        time_s += 5.0
    return np.array(errors)


def places(stage: Stage) -> dict[int, TargetPlace]:
    known = {-1: TargetPlace(place_um=(0.0, 0.0, 0.0), sd_um=(0.0, 0.0, 0.5))}
    return known | {
        number: TargetPlace(place_um=(float(x), float(y), 0.0), sd_um=(0.02, 0.02, 0.3))
        for number, (x, y) in enumerate(stage.xy)
    }


def test_what_image_shifts_stay_behind_is_taken_off() -> None:
    behind = off_centre(session(SharedPredictor(places(Stage(10))), Stage(10), lag_um=0.03))
    blind = SharedPriors(lag_um=0.0, scatter_um=0.03)
    uncorrected = off_centre(session(SharedPredictor(places(Stage(10)), priors=blind), Stage(10), lag_um=0.03))
    assert behind < 0.5 * uncorrected


def test_a_series_that_begins_at_a_high_tilt_finds_the_true_places() -> None:
    angles = list(np.arange(-48.0, 48.5, 3.0))
    errors = session(SharedPredictor(places(Stage(11))), Stage(11), angles=angles)
    first, later = errors[:9], errors[9 * 16 :]
    # The first views are off by what is not known of the heights; the later ones are not aligned to that.
    assert off_centre(later) < 0.3 * off_centre(first)


def off_centre(errors: Array) -> float:
    return float(np.median(np.hypot(errors[:, 0], errors[:, 1])))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_halves_the_errors_of_bisect_or_better(seed: int) -> None:
    ours = session(SharedPredictor(places(Stage(seed))), Stage(seed))
    theirs = session(BisectPredictor(places(Stage(seed))), Stage(seed))
    assert off_centre(ours) < 0.5 * off_centre(theirs)
    assert off_centre(ours) < 0.015
    assert np.median(np.abs(ours[:, 2])) < 1.3 * np.median(np.abs(theirs[:, 2]))
    assert np.median(np.abs(ours[:, 2])) < 0.06


def test_it_knows_how_sure_it_is() -> None:
    stage = Stage(4)
    predictor = SharedPredictor(places(stage))
    ratios: list[float] = []
    predict = predictor.predict

    def noted(view: View):  # type: ignore[no-untyped-def]
        prediction = predict(view)
        place, _ = stage.place(view.target, view)
        off = prediction.shift_um - place
        ratios.append(float(off @ np.linalg.solve(prediction.covariance_um2[:2, :2], off)) / 2)
        return prediction

    predictor.predict = noted  # type: ignore[method-assign]
    session(predictor, stage)
    assert 0.2 < np.mean(ratios) < 2.5


def test_a_jump_is_followed_and_not_learned_as_settling() -> None:
    calm = off_centre(session(SharedPredictor(places(Stage(5))), Stage(5)))
    jumped = session(SharedPredictor(places(Stage(5))), Stage(5, jump_at=12))
    assert off_centre(jumped) < 1.3 * calm
    after = jumped[12 * 9 :]
    assert np.percentile(np.hypot(after[:, 0], after[:, 1]), 90) < 0.06


def test_a_wrong_peak_is_not_believed() -> None:
    calm = session(SharedPredictor(places(Stage(6))), Stage(6))
    wrong = {(7, 3): np.array([0.4, -0.1]), (20, 5): np.array([-2.5, 0.0])}
    fooled = session(SharedPredictor(places(Stage(6))), Stage(6), wrong=wrong)
    assert np.abs(fooled - calm)[:, :2].max() < 0.01


def look(predictor: SharedPredictor, target: int, time_s: float, off: Array | float) -> Array:
    view = View(target=target, tilt=1, tilt_deg=3.0, time_s=time_s, since_tilt_s=time_s, branch=1)
    prediction = predictor.predict(view)
    value = prediction.shift_um + off
    predictor.observe(Observation(view=view, kind="place", value_um=value, sd_um=0.005))
    return np.asarray(prediction.covariance_um2)


def test_one_target_that_disagrees_makes_unsure_and_a_second_one_alike_is_a_jump() -> None:
    stage = Stage(7)
    predictor = SharedPredictor(places(stage))
    for number in range(8):
        look(predictor, -1 if number < 2 else number - 2, 10.0 + 3.0 * number, 0.0)
    look(predictor, 6, 40.0, np.array([0.5, 0.3]))
    unsure = look(predictor, 7, 43.0, np.array([0.5, 0.3]))
    assert np.sqrt(unsure[0, 0]) > 0.2
    sure = look(predictor, 8, 46.0, 0.0)
    assert np.sqrt(sure[0, 0]) < 0.1
    view = View(target=-1, tilt=1, tilt_deg=3.0, time_s=49.0, since_tilt_s=49.0, branch=1)
    assert np.allclose(predictor.predict(view).shift_um, [0.5, 0.3], atol=0.1)


def test_missing_measurements_and_dropped_targets_leave_it_sound() -> None:
    stage = Stage(8)
    predictor = SharedPredictor(places(stage))
    for tilt, angle in enumerate(ANGLES):
        view = View(target=tilt % 9, tilt=tilt, tilt_deg=angle, time_s=90.0 * tilt, since_tilt_s=8.0, branch=1)
        prediction = predictor.predict(view)
        assert np.isfinite(prediction.shift_um).all()
        assert np.linalg.eigvalsh(prediction.covariance_um2).min() > 0
    # Never tracked: it knows that it does not know.
    assert np.sqrt(prediction.covariance_um2[0, 0]) > 0.3


def test_the_covariance_stays_positive_over_a_whole_session() -> None:
    stage = Stage(9, count=25)
    predictor = SharedPredictor(places(stage))
    session(predictor, stage)
    values = np.linalg.eigvalsh(predictor._state.covariance)
    assert values.min() > -1e-12
    assert values.max() < 4.0


def test_the_lenses_scale_is_learned_from_two_settings() -> None:
    predictor = SharedPredictor({-1: TargetPlace(place_um=(0.0, 0.0, 0.0)), 0: TargetPlace(place_um=(5.0, 0.0, 0.0))})
    scale, offset = 0.04, 0.3
    view = View(target=-1, tilt=-1, tilt_deg=0.0, time_s=10.0, since_tilt_s=10.0, branch=0)
    for at in (-3.0, 3.0):
        measured = np.array([offset - scale * at])
        predictor.observe(Observation(view=view, kind="height", value_um=measured, sd_um=0.02, at_height_um=at))
    tilted = View(target=0, tilt=0, tilt_deg=45.0, time_s=20.0, since_tilt_s=5.0, branch=1)
    level = View(target=-1, tilt=0, tilt_deg=45.0, time_s=20.0, since_tilt_s=5.0, branch=1)
    change = predictor.predict(tilted).height_um - predictor.predict(level).height_um
    assert change == pytest.approx(-5.0 * np.sin(np.deg2rad(45.0)) / (1 + scale), abs=0.04)


@pytest.mark.parametrize("tilt_deg", [-57.0, 0.0, 33.0])
def test_derivatives_are_those_of_the_equations(tilt_deg: float) -> None:
    targets = {-1: TargetPlace(place_um=(0.0, 0.0, 0.1)), 4: TargetPlace(place_um=(5.0, -3.0, 0.4))}
    index = Index(targets)
    mean = np.random.default_rng(3).normal(0.0, 0.1, index.size)
    view = View(target=4, tilt=3, tilt_deg=tilt_deg, time_s=300.0, since_tilt_s=40.0, branch=int(np.sign(tilt_deg)))
    place = np.array(targets[4].place_um)

    def both(at: Array) -> tuple[Array, Array]:
        one = expected_place(
            at,
            index,
            place,
            view,
            axis_um=0.2,
            settling_s=60.0,
            of_first_view=True,
            direction=np.array([0.6, 0.8]),
        )
        others = [
            expected_height(at, index, place, view, axis_um=0.2, settling_s=60.0, at_height_um=height)
            for height in (None, 2.0)
        ]
        return (
            np.concatenate([one.value, *(other.value for other in others)]),
            np.concatenate([one.rows, *(other.rows for other in others)]),
        )

    step = 1e-6
    numeric = np.stack(
        [(both(mean + step * axis)[0] - both(mean - step * axis)[0]) / (2 * step) for axis in np.eye(index.size)],
        axis=1,
    )
    assert np.allclose(both(mean)[1], numeric, atol=1e-6)


def test_joseph_form_is_the_batch_solution() -> None:
    rng = np.random.default_rng(0)
    prior = Index({-1: TargetPlace(place_um=(0.0, 0.0, 0.0))})
    state = Gaussian.before(prior, {-1: TargetPlace(place_um=(0.0, 0.0, 0.0))}, SharedPriors())
    information = np.linalg.pinv(state.covariance)
    vector = np.zeros(prior.size)
    for _ in range(300):
        rows, value = rng.normal(size=(2, prior.size)), rng.normal(size=2)
        noise = np.diag([0.3, 0.5])
        state.update(value - rows @ state.mean, rows, noise)
        information += rows.T @ np.linalg.solve(noise, rows)
        vector += rows.T @ np.linalg.solve(noise, value)
    free = np.diag(state.covariance) > 0
    expected = np.linalg.solve(information[np.ix_(free, free)], vector[free])
    assert free.sum() >= SHARED.size
    assert np.allclose(state.mean[free], expected, atol=1e-6)


def test_scatter_follows_what_is_seen_and_no_single_wrong_one() -> None:
    scatter = Scatter(1e-4, 20.0)
    for _ in range(200):
        scatter.see(4e-4, 0.0)
    assert scatter.variance == pytest.approx(3.7e-4, rel=0.05)
    before = scatter.variance
    scatter.see(1.0, 0.0)
    assert scatter.variance < 1.1 * before
