from __future__ import annotations

import numpy as np
import pytest

from lamella.geometry import TiltGeometry, rotation_x, rotation_y, rotation_z
from lamella.geometry.regauge import regauge
from lamella.tilts.compare import geometry_error


def some_geometry(rng: np.random.Generator) -> TiltGeometry:
    return TiltGeometry.from_angles(
        np.linspace(-60, 60, 21), 85.0, x_shift_ang=rng.normal(size=21) * 100, y_shift_ang=rng.normal(size=21) * 100
    )


def test_another_frame_is_no_difference(rng: np.random.Generator) -> None:
    geometry, points = some_geometry(rng), rng.uniform(-1, 1, (50, 3)) * [2000, 2000, 500]
    turn = rotation_z(12) @ rotation_y(-5) @ rotation_x(8)
    moved = regauge(geometry, turn, (100, -200, 300)).geometry
    difference = geometry_error(moved, geometry, points)
    assert difference.rms_ang < 1e-4
    np.testing.assert_allclose(difference.rotation, turn, atol=1e-6)
    np.testing.assert_allclose(difference.shift_ang, (100, -200, 300), atol=1e-2)


def test_shifts_of_single_views_are_a_difference(rng: np.random.Generator) -> None:
    """Independent errors of the shifts: three of them in 42 are a motion of the specimen, the others stay."""
    geometry, points = some_geometry(rng), rng.uniform(-1, 1, (50, 3)) * [2000, 2000, 500]
    error = rng.normal(scale=10, size=(2, 21))
    moved = geometry.with_terms(
        x_shift_ang=geometry.x_shift_ang + error[0], y_shift_ang=geometry.y_shift_ang + error[1]
    )
    whole = np.sqrt((error**2).sum(axis=0).mean())
    assert 0.85 * whole < geometry_error(moved, geometry, points).rms_ang < whole
    one = geometry.with_terms(x_shift_ang=geometry.x_shift_ang + 50 * (np.arange(21) == 6))
    per_view = geometry_error(one, geometry, points).per_view_ang
    assert np.argmax(per_view) == 6
    assert per_view[6] == pytest.approx(50, rel=0.2)


def test_a_wrong_axis_is_a_difference(rng: np.random.Generator) -> None:
    geometry, points = some_geometry(rng), rng.uniform(-1, 1, (50, 3)) * [2000, 2000, 500]
    wrong = geometry.with_terms(z_rot_deg=np.linspace(85, 87, 21))
    assert geometry_error(wrong, geometry, points).rms_ang > 5
