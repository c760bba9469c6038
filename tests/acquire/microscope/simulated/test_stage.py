"""The true stage: an ideal one turns points as the projection model does; each error has its size and its time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella.acquire.microscope.simulated.stage import TrueStage
from lamella.acquire.world_tables import StageTable
from lamella.geometry import TiltGeometry


def _stage(seed: int = 1, **terms: object) -> TrueStage:
    return TrueStage(StageTable.model_validate(terms), np.random.default_rng(seed))


@given(st.floats(-70, 70), st.floats(0, 1))
def test_an_ideal_stage_is_the_projection_model(angle: float, offset: float) -> None:
    stage = _stage(axis_offset=(offset, offset))
    points = np.random.default_rng(7).uniform(-8, 8, (20, 3))
    stage.tilt(angle, 5.0)
    geometry = TiltGeometry.from_angles([angle])
    axis = stage.axis_um[0]
    off = points - [axis, 0.0, 0.0]
    placed = stage.placed(points, 100.0)
    np.testing.assert_allclose(placed[:, :2], geometry.project(off)[0] + [axis, 0.0], atol=1e-12)
    np.testing.assert_allclose(placed[:, 2], geometry.depth_ang(off)[0], atol=1e-12)
    assert abs(axis) == pytest.approx(offset)


@given(st.floats(-60, 60), st.floats(-3, 3))
def test_the_grid_place_of_what_is_seen_is_the_inverse(angle: float, height: float) -> None:
    stage = _stage(axis_offset=(0.5, 1.0), start_height=(1.0, 2.0), wander=(0.1, 0.1), play=(0.2, 0.2), drift=(1, 1))
    stage.move(np.array([1.0, -2.0, 0.5]), 3.0)
    stage.tilt(angle, 5.0)
    place = stage.grid_place(np.array([2.0, -3.0]), height, 20.0)
    np.testing.assert_allclose(stage.placed([*place, height], 20.0)[:2], [2.0, -3.0], atol=1e-9)


def test_settling_decays_in_its_time() -> None:
    stage = _stage(settling=(0.2, 0.2), settling_random=0.0, settling_height=0.0)
    stage.tilt(3.0, 10.0)
    sizes = [float(np.linalg.norm(stage.displacement_um(10.0 + wait))) for wait in (0.0, 60.0, 120.0)]
    np.testing.assert_allclose(sizes, 0.2 * np.exp([0.0, -1.0, -2.0]))


def test_settling_is_partly_repeated_and_partly_not() -> None:
    for share, least, most in ((0.0, 0.999, 1.001), (0.4, 0.8, 0.99), (1.0, 0.0, 0.15)):
        stage = _stage(settling=(0.1, 0.3), settling_random=share, settling_height=0.0)
        vectors = []
        for number in range(1, 400):
            stage.tilt(0.1 * number, 1e4 * number)
            vectors.append(stage.displacement_um(1e4 * number))
        sizes = np.linalg.norm(vectors, axis=1)
        assert 0.1 <= sizes.min() <= sizes.max() <= 0.3
        # How alike the directions are: 1 where all are the same.
        assert least <= np.linalg.norm(np.mean(vectors / sizes[:, None], axis=0)) <= most


def test_drift_goes_as_far_as_its_speed_and_time_say_and_no_farther() -> None:
    stage = _stage(drift=(1.0, 1.0), drift_time=100.0)
    assert np.linalg.norm(stage.displacement_um(1.0)) == pytest.approx(1e-3, rel=0.01)
    assert np.linalg.norm(stage.displacement_um(1e5)) == pytest.approx(0.1)
    stage.move(np.array([50.0, 0.0, 0.0]), 1e5)
    before = stage.displacement_um(1e5)
    assert np.linalg.norm(stage.displacement_um(2e5) - before) == pytest.approx(0.1)


def test_drift_does_not_depend_on_how_often_one_looks() -> None:
    one, two = (_stage(3, drift=(1.0, 2.0), settling=(0.1, 0.2)) for _ in range(2))
    for stage in (one, two):
        stage.tilt(3.0, 10.0)
    for time in np.linspace(11, 99, 50):
        two.displacement_um(float(time))
    np.testing.assert_allclose(one.displacement_um(100.0), two.displacement_um(100.0), rtol=1e-9)


def test_wander_and_jumps_stay() -> None:
    steps = []
    stage = _stage(wander=(0.1, 0.1))
    last = np.zeros(3)
    for number in range(1, 2000):
        stage.tilt(float(number % 2), float(number))
        steps.append(stage.displacement_um(float(number)) - last)
        last = stage.displacement_um(float(number))
    np.testing.assert_allclose(np.std(steps, axis=0), [0.1, 0.1, 0.0], atol=0.006)
    stage = _stage(jump=(0.3, 1.0), jump_rate=0.025)
    sizes = []
    for number in range(1, 4001):
        before = stage.displacement_um(float(number))
        stage.tilt(float(number % 2), float(number))
        sizes.append(float(np.linalg.norm(stage.displacement_um(float(number)) - before)))
    jumps = np.array(sizes)[np.array(sizes) > 0]
    assert 0.3 <= jumps.min() <= jumps.max() <= 1.0
    assert len(jumps) == pytest.approx(100, abs=30)


def test_play_is_between_tilts_from_below_and_from_above() -> None:
    stage = _stage(play=(0.2, 0.2), angle_play=(0.1, 0.1))
    places = []
    for angle in (-3.0, 0.0, 3.0, 0.0, -6.0, 0.0):
        stage.tilt(angle, 1.0)
        places.append((stage.true_deg - angle, stage.displacement_um(1.0)))
    below, above, again = places[1], places[3], places[5]
    assert abs(below[0] - above[0]) == pytest.approx(0.1)
    assert np.linalg.norm(below[1] - above[1]) == pytest.approx(0.2)
    np.testing.assert_allclose(below[1], again[1])


def test_moves_do_not_change_what_tilts_do() -> None:
    one, two = (_stage(5, wander=(0.1, 0.1), settling=(0.1, 0.3), move_error=0.1) for _ in range(2))
    for _ in range(4):
        two.move(np.array([0.0, 0.0, 1.0]), 0.0)
    for angle in (3.0, 6.0, 9.0):
        for stage in (one, two):
            stage.tilt(angle, angle)
        np.testing.assert_allclose(one.displacement_um(angle), two.displacement_um(angle))
