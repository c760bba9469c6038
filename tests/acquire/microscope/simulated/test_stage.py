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


def test_a_short_turn_sets_less_free_and_the_way_back_the_opposite() -> None:
    stage = _stage(settling=(0.0, 0.2), settling_turn=9.0, settling_random=0.0, settling_height=0.0)
    found = []
    for number, angle in enumerate((3.0, 9.0, 18.0, 9.0), start=1):
        stage.tilt(angle, 1000.0 * number)
        found.append(stage.displacement_um(1000.0 * number))
    sizes = np.linalg.norm(found, axis=1)
    # As the square of the turn, up to the whole; turns that are alike differ by 2 % at most.
    np.testing.assert_allclose(sizes / 0.2, [(3 / 9) ** 2, (6 / 9) ** 2, 1.0, 1.0], atol=0.021)
    np.testing.assert_allclose(found[2] / sizes[2], -found[3] / sizes[3], atol=1e-9)


def test_an_approach_against_the_backlash_counts_with_its_turn() -> None:
    stage = _stage(settling=(0.0, 0.2), settling_turn=60.0, settling_random=0.0, settling_height=0.0)
    stage.tilt(-33.0, 10.0)
    stage.tilt(-30.0, 12.0)
    assert np.linalg.norm(stage.displacement_um(12.0)) == pytest.approx(0.2 * 0.25, rel=0.25)
    stage.tilt(-27.0, 100.0)  # after a while it is a turn of its own
    assert np.linalg.norm(stage.displacement_um(100.0)) == pytest.approx(0.2 * (3 / 60) ** 2, abs=0.0042)


def test_a_part_of_the_settling_is_slow_and_creep_goes_with_the_logarithm() -> None:
    stage = _stage(settling=(0.2, 0.2), settling_random=0.0, settling_slow=0.25, settling_slow_time=200.0)
    stage.tilt(3.0, 0.0)
    size = [float(np.linalg.norm(stage.displacement_um(time)[:2])) for time in (0.0, 60.0, 600.0)]
    expected = [0.2 * (0.75 * np.exp(-time / 60) + 0.25 * np.exp(-time / 200)) for time in (0.0, 60.0, 600.0)]
    np.testing.assert_allclose(size, expected, rtol=1e-9)
    stage = _stage(creep=(0.05, 0.05))
    stage.tilt(60.0, 0.0)
    first, minute, ten = (np.linalg.norm(stage.displacement_um(time)[:2]) for time in (0.0, 60.0, 600.0))
    assert (first, minute) == (0.0, pytest.approx(0.05))
    assert ten / minute == pytest.approx(np.log1p(120) / np.log1p(12))


def test_a_jump_comes_once_in_forty_tilts_in_any_direction() -> None:
    stage = _stage(11, jump=(0.3, 1.0), jump_rate=0.025)
    last, jumps = np.zeros(3), []
    for number in range(1, 8001):
        stage.tilt(float(number % 2), float(number))
        step = stage.displacement_um(float(number)) - last
        last = last + step
        if np.linalg.norm(step) > 0:
            jumps.append(step)
    assert len(jumps) == pytest.approx(200, abs=3 * np.sqrt(200))
    assert np.abs(np.mean(jumps, axis=0)).max() < 0.15
    assert np.mean(np.linalg.norm(jumps, axis=1)) == pytest.approx(0.65, abs=0.05)


def test_a_move_ends_beside_its_place_and_an_angle_beside_what_is_read() -> None:
    stage = _stage(move_error=0.05)
    ends = []
    for number in range(1500):
        stage.move(np.array([float(number % 2), 0.0, 0.0]), float(number))
        ends.append(stage.placed([0.0, 0.0, 0.0], float(number)) - stage.told_um)
    np.testing.assert_allclose(np.std(np.diff(ends, axis=0), axis=0), 0.05, rtol=0.08)
    stage = _stage(angle_error=0.02, readback_error=0.01)
    told = []
    for number in range(1, 2001):
        stage.tilt(3.0 * (number % 2), float(number))
        told.append((stage.true_deg - stage.told_deg, stage.read_deg - stage.told_deg))
    np.testing.assert_allclose(np.std(told, axis=0), [0.02, 0.01], rtol=0.06)
    assert abs(np.corrcoef(np.transpose(told))[0, 1]) < 0.08
