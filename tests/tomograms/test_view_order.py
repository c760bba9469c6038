"""Views side by side: of one axis, of an axis along x, of two axes after the specimen was turned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.tomograms.two_axes import motion_of, series_of

from lamella.geometry import TiltGeometry
from lamella.tomograms.combine_record import second_in_first
from lamella.tomograms.view_order import views_in_order

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("z_rot", [0.0, 86.0, 179.0])
def test_one_axis_goes_by_its_tilts(z_rot):
    series = series_of("A")
    tilt = RNG.permutation(series.geometry.y_tilt_deg)
    geometry = TiltGeometry.from_angles(tilt, z_rot + RNG.normal(size=tilt.size), x_tilt_deg=4.0)
    order = views_in_order(replace(series, geometry=geometry))
    assert (order == np.argsort(tilt)).all()


def test_tilts_about_x_alone():
    series = series_of("A")
    tilt = RNG.permutation(series.geometry.y_tilt_deg)
    geometry = TiltGeometry.from_angles(RNG.normal(size=tilt.size) * 0.1, 86.0, x_tilt_deg=tilt)
    assert (views_in_order(replace(series, geometry=geometry)) == np.argsort(tilt)).all()


@pytest.mark.parametrize("turn", [89.7, -90.4, 45.0, 179.0])
def test_two_axes_are_halved_each(turn):
    motion = motion_of(turn, (1.0, -2.0))
    first, second = series_of("A"), series_of("B")
    both = first.joined(second_in_first(second, motion, None), "AB")
    order, n = views_in_order(both), len(first)
    assert sorted(order) == list(range(2 * n))
    for half in (order[0::2], order[1::2]):
        for axis in (half[half < n], half[half >= n] - n):
            assert (np.diff(np.sort(first.geometry.y_tilt_deg[axis])) < 6.5).all()
            assert abs(len(axis) - n / 2) < 1
