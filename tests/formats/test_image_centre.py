"""Defocus at the images' centres, against its definition: the defocus of the point that is seen there."""

from __future__ import annotations

import numpy as np
import pytest
from tests.formats.defocused import PIXEL_ANG, a_series, assert_same_defocus, seen_at_centre, some_defocus

from lamella.formats.image_centre import at_centre_voxel, at_image_centre, centre_depth_ang
from lamella.geometry import ImageField


@pytest.mark.parametrize("hand", [-1, 1])
@pytest.mark.parametrize("bent", [False, True])
def test_it_is_the_defocus_of_the_point_under_the_centre(rng, hand, bent):
    series = a_series(defocus=some_defocus(), hand=hand)
    if bent:
        half = tuple(side / 2 * PIXEL_ANG for side in series.image_shape_px[::-1])
        field = ImageField(rng.normal(0, 30, (len(series), 2, 3, 3)), half)
        series = series.with_changes(geometry=series.geometry.with_terms(field=field, magnification=1.01))
    there = at_image_centre(series.defocus, series.geometry, hand)
    for view in range(len(series)):
        u, v = seen_at_centre(series, view)
        assert there.u_ang[view] == pytest.approx(u, abs=1e-3)
        assert there.v_ang[view] == pytest.approx(v, abs=1e-3)
    assert np.abs(there.u_ang - series.defocus.u_ang).max() > 50
    assert_same_defocus(at_centre_voxel(there, series.geometry, hand), series.defocus, atol=1e-6)


def test_a_shift_along_x_of_a_tilted_view_by_hand():
    """Axis upright, tilt t, centre voxel at x = s: under the image's centre lies x = −s / cos t, at depth s tan t."""
    series = a_series(1)
    geometry = series.geometry.with_terms(
        y_tilt_deg=30.0, z_rot_deg=0.0, x_tilt_deg=0.0, x_shift_ang=100.0, y_shift_ang=7.0
    )
    np.testing.assert_allclose(centre_depth_ang(geometry), 100 * np.tan(np.radians(30)))
    moved = at_image_centre(some_defocus(1), geometry, -1)
    np.testing.assert_allclose(moved.u_ang, some_defocus(1).u_ang - 100 * np.tan(np.radians(30)))
