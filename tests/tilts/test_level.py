from __future__ import annotations

import numpy as np
import pytest

from lamella.geometry import TiltGeometry, rotation_x, rotation_y
from lamella.tilts.compare import geometry_error
from lamella.tilts.level import centre, fit_plane, level


def geometry(rng: np.random.Generator, x_tilt: float = 0.0) -> TiltGeometry:
    return TiltGeometry.from_angles(
        np.linspace(-60, 60, 21),
        85.0,
        x_tilt_deg=x_tilt,
        x_shift_ang=rng.normal(scale=100, size=21),
        y_shift_ang=rng.normal(scale=100, size=21),
    )


def film(rng: np.random.Generator, count: int = 60, thickness: float = 50.0) -> np.ndarray:
    return rng.uniform(-1, 1, (count, 3)) * [2000, 2000, thickness]


def test_fits_a_plane_among_outliers(rng: np.random.Generator) -> None:
    points = film(rng, 100, 10.0)
    points[:, 2] += 0.05 * points[:, 0] - 0.1 * points[:, 1] + 300
    points[:8, 2] += 2000
    plane = fit_plane(points)
    wanted = np.array([-0.05, 0.1, 1.0])
    assert np.rad2deg(np.arccos(plane.normal @ wanted / np.linalg.norm(wanted))) < 0.1
    assert plane.height_ang == pytest.approx(300, abs=5)
    assert plane.error_deg < 0.2


def test_points_on_a_line_make_no_plane() -> None:
    points = np.array([[x, 2 * x, 0.0] for x in np.linspace(-100, 100, 9)])
    assert np.isinf(fit_plane(points).error_deg)


@pytest.mark.parametrize("x_tilt", [0.0, 2.0])
def test_levels_a_tilted_specimen(rng: np.random.Generator, x_tilt: float) -> None:
    before = geometry(rng, x_tilt)
    points = film(rng) @ (rotation_x(4) @ rotation_y(-7)).T + [50, -80, 400]
    done = level(before, points)
    plane = fit_plane(done.points_ang)
    assert plane.inclination_deg < 0.02  # distances along z and along the normal weigh outliers a little differently
    assert abs(plane.height_ang) < 0.5
    np.testing.assert_allclose(done.geometry.project(done.points_ang), before.project(points), atol=1e-6)
    assert geometry_error(done.geometry, before, points).rms_ang < 1e-3
    # one x-tilt for all views, one tilt offset, no axis turned
    np.testing.assert_allclose(done.geometry.x_tilt_deg, x_tilt + done.x_tilt_deg, atol=1e-9)
    np.testing.assert_allclose(done.geometry.y_tilt_deg - before.y_tilt_deg, done.tilt_offset_deg, atol=1e-9)
    np.testing.assert_allclose(done.geometry.z_rot_deg, 85.0, atol=1e-9)


def test_states_the_inclination_that_was_there(rng: np.random.Generator) -> None:
    """A flat specimen, described in a frame in which it is inclined, gets its own angles back."""
    truth = TiltGeometry.from_angles(np.linspace(-60, 60, 21) + 4.0, 85.0, x_tilt_deg=3.0)
    points = film(rng, 200, 1e-3)
    turn = rotation_x(3.0)  # the frame of the stage: x-tilt 0, tilts as nominal
    moved = points @ turn.T @ rotation_y(4.0).T
    stage = TiltGeometry.from_angles(np.linspace(-60, 60, 21), 85.0)
    np.testing.assert_allclose(stage.project(moved), truth.project(points), atol=1e-6)
    done = level(stage, moved)
    assert done.x_tilt_deg == pytest.approx(3.0, abs=1e-3)
    assert done.tilt_offset_deg == pytest.approx(4.0, abs=1e-3)


def test_the_centre_appears_in_the_centre_of_the_least_tilted_view(rng: np.random.Generator) -> None:
    before, points = geometry(rng), film(rng)
    for done in (centre(before, points), level(before, points + np.array([0, 0, 300]))):
        least = int(np.argmin(np.abs(done.geometry.y_tilt_deg)))
        np.testing.assert_allclose(done.geometry.shifts_ang()[least], 0, atol=1e-9)
    moved = centre(before, points)
    np.testing.assert_allclose(moved.geometry.project(moved.points_ang), before.project(points), atol=1e-6)
