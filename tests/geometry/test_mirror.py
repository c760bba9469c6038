"""Mirrored images: where points appear in them, at what depth, and what becomes of directions and orientations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import GeometryError
from lamella.geometry import ImageField, TiltGeometry, euler_matrix, mirror
from lamella.records import Defocus, TiltSeries

TURN = np.diag([-1.0, 1.0, -1.0])


def some_geometry(rng, *, field=True, count=7):
    return TiltGeometry.from_angles(
        np.linspace(-55, 50, count) + rng.normal(0, 0.5, count),
        rng.uniform(-180, 180) + rng.normal(0, 0.5, count),
        x_tilt_deg=rng.normal(0, 4, count),
        x_shift_ang=rng.normal(0, 200, count),
        y_shift_ang=rng.normal(0, 200, count),
        magnification=1 + rng.normal(0, 0.01, count),
        field=ImageField(rng.normal(0, 9, (count, 2, 4, 5)), (900.0, 700.0)) if field else None,
    )


@given(st.integers(0, 10**6))
def test_points_appear_mirrored_at_the_opposite_depth(seed):
    rng = np.random.default_rng(seed)
    geometry = some_geometry(rng)
    points = rng.uniform(-1, 1, (20, 3)) * (600, 500, 200)
    seen = mirror(geometry, 1, points_ang=points)
    np.testing.assert_allclose(seen.points_ang, points @ TURN.T)
    np.testing.assert_allclose(seen.geometry.project(seen.points_ang), geometry.project(points) * (-1, 1), atol=1e-8)
    np.testing.assert_allclose(seen.geometry.depth_ang(seen.points_ang), -geometry.depth_ang(points), atol=1e-8)
    np.testing.assert_allclose(seen.geometry.y_tilt_deg, geometry.y_tilt_deg)


@pytest.mark.parametrize("hand", [-1, 1])
def test_every_point_keeps_its_defocus_along_every_direction(rng, hand):
    geometry = some_geometry(rng, field=False)
    n = len(geometry)
    defocus = Defocus(u_ang=rng.uniform(3e4, 4e4, n), v_ang=rng.uniform(2e4, 3e4, n), angle_deg=rng.uniform(-90, 90, n))
    points = rng.uniform(-300, 300, (9, 3))
    seen = mirror(geometry, hand, astigmatism_deg=defocus.angle_deg, points_ang=points)
    assert seen.hand == -hand
    assert (np.abs(seen.astigmatism_deg) <= 90).all()

    def along(geometry, hand, axis_deg, points, direction):
        """Defocus of each point for a wave along (x, y) in the image."""
        series = TiltSeries(
            name="a",
            pixel_size_ang=1.0,
            image_shape_px=(8, 8),
            nominal_tilt_deg=geometry.y_tilt_deg,
            nominal_axis_deg=geometry.z_rot_deg,
            geometry=geometry,
            hand=hand,
            defocus=Defocus(u_ang=defocus.u_ang, v_ang=defocus.v_ang, angle_deg=axis_deg),
        )
        u, v = series.defocus_at(points)
        turned = np.arctan2(direction[1], direction[0]) - np.radians(axis_deg)[:, None]
        return (u + v) / 2 + (u - v) / 2 * np.cos(2 * turned)

    for x, y in ((1.0, 0.0), (0.3, 0.9), (-0.7, 0.7)):
        before = along(geometry, hand, defocus.angle_deg, points, (x, y))
        after = along(seen.geometry, seen.hand, seen.astigmatism_deg, seen.points_ang, (-x, y))
        np.testing.assert_allclose(after, before, atol=1e-6)


def test_particles_keep_their_hand(rng):
    """A point r of the reference at A r + position: mirrored images show it where the turned A and position put it."""
    geometry = some_geometry(rng)
    orientation, position, r = euler_matrix(20.0, 70.0, -130.0), rng.normal(0, 200, 3), rng.normal(0, 50, (12, 3))
    seen = mirror(geometry, -1, points_ang=position, matrices=orientation)
    assert np.linalg.det(seen.matrices) == pytest.approx(1)
    there = geometry.project(r @ orientation.T + position)
    np.testing.assert_allclose(seen.geometry.project(r @ seen.matrices.T + seen.points_ang), there * (-1, 1), atol=1e-8)


def test_twice_is_once_too_often(rng):
    geometry = some_geometry(rng)
    back = mirror(mirror(geometry, 1).geometry, -1)
    assert back.hand == 1
    points = rng.uniform(-400, 400, (9, 3))
    np.testing.assert_allclose(back.geometry.project(points), geometry.project(points), atol=1e-9)
    np.testing.assert_array_equal(back.geometry.z_rot_deg, geometry.z_rot_deg)
    assert (back.astigmatism_deg, back.points_ang, back.matrices) == (None, None, None)


def test_a_hand_is_one_of_two(rng):
    with pytest.raises(GeometryError, match="a hand of 0"):
        mirror(some_geometry(rng), 0)
