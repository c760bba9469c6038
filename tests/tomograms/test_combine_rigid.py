"""Rigid motions from pairs of points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tomograms.two_axes import motion_of

from lamella.errors import GeometryError
from lamella.tomograms.combine_rigid import fit_rigid

ANGLE = st.floats(-180, 180)
TILT = st.floats(-20, 20)
SHIFT = st.floats(-500, 500)


def points(count=30, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3)) * [2000, 2000, 400]


@given(turn=ANGLE, tilts=st.tuples(TILT, TILT), shift=st.tuples(SHIFT, SHIFT, SHIFT))
def test_exact_pairs_give_the_motion(turn, tilts, shift):
    motion = motion_of(turn, tilts, shift)
    second = points()
    fit = fit_rigid(second, motion.to_first(second))
    np.testing.assert_allclose(fit.motion.rotation, motion.rotation, atol=1e-7)
    np.testing.assert_allclose(fit.motion.shift_ang, motion.shift_ang, atol=1e-3)
    assert fit.scale == pytest.approx(1, abs=1e-6)


@given(turn=ANGLE, shift=st.tuples(SHIFT, SHIFT, SHIFT))
def test_there_and_back(turn, shift):
    motion = motion_of(turn, (2.0, -1.0), shift)
    np.testing.assert_allclose(motion.to_second(motion.to_first(points())), points(), atol=1e-8)


def test_a_fifth_of_wrong_pairs_does_not_matter():
    rng = np.random.default_rng(3)
    motion = motion_of(89.0, (1.0, -0.5), (70.0, -40.0, 12.0))
    second = points(60)
    first = motion.to_first(second) + rng.normal(size=(60, 3)) * [3, 3, 8]
    first[:12] += rng.uniform(200, 900, (12, 3))
    fit = fit_rigid(second, first)
    assert np.abs(fit.motion.shift_ang - motion.shift_ang).max() < 4
    assert fit.motion.turn_deg == pytest.approx(motion.turn_deg, abs=0.1)
    assert (fit.weights[:12] == 0).all()
    np.testing.assert_allclose(fit.residual_ang, [3, 3, 8], rtol=0.4)


def test_errors_are_those_that_are_made():
    rng = np.random.default_rng(4)
    motion, second = motion_of(90.0), points(40)
    shifts, turns, said, said_turns = [], [], [], []
    for _ in range(60):
        fit = fit_rigid(second, motion.to_first(second) + rng.normal(size=(40, 3)) * [3, 3, 8])
        shifts.append(fit.motion.shift_ang - motion.shift_ang)
        turns.append(fit.motion.turn_deg - motion.turn_deg)
        said.append(fit.shift_error_ang)
        said_turns.append(fit.angle_error_deg[2])
    np.testing.assert_allclose(np.mean(said, axis=0), np.std(shifts, axis=0), rtol=0.35)
    assert np.mean(said_turns) == pytest.approx(np.std(turns), rel=0.35)


def test_a_scale_is_reported_and_not_applied():
    second = points(60)
    fit = fit_rigid(second, 1.004 * second)
    assert fit.scale == pytest.approx(1.004, abs=2e-4)
    assert np.linalg.det(fit.motion.rotation) == pytest.approx(1)


@pytest.mark.parametrize("few", [points(2), np.outer(np.arange(5.0), [100.0, 50.0, 0.0])])
def test_too_few_points_are_refused(few):
    with pytest.raises(GeometryError, match="cannot fix a rigid motion"):
        fit_rigid(few, few)
