"""One record of two series: what it says of any point is what each said of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.tomograms.two_axes import TILTS, motion_of, series_of

from lamella.errors import InputError
from lamella.geometry import ImageField, TiltGeometry
from lamella.records import Defocus, Optics
from lamella.tomograms.combine_record import (
    check_pair,
    combined_name,
    dose_before_second,
    exposed_later,
    second_in_first,
)
from lamella.tomograms.combine_warp import Warp

N = len(TILTS)
MOTION = motion_of(89.7, (0.6, -0.4), (70.0, -40.0, 15.0))


def full_series(name, seed, **changes):
    """A series with a field, defocus and doses."""
    rng = np.random.default_rng(seed)
    geometry = TiltGeometry.from_angles(
        TILTS, 86.0, x_tilt_deg=0.8, x_shift_ang=rng.normal(size=N) * 30, y_shift_ang=rng.normal(size=N) * 30,
        field=ImageField(rng.normal(size=(N, 2, 5, 5)), (1240.0, 1200.0)),
    )  # fmt: skip
    u = rng.uniform(2e4, 4e4, N)
    known = {
        "geometry": geometry,
        "defocus": Defocus(u_ang=u, v_ang=u - 200, angle_deg=np.zeros(N)),
        "pre_exposure": np.argsort(np.argsort(np.abs(TILTS))) * 1.5,
        "scores": {"AcquisitionOrder": np.argsort(np.argsort(np.abs(TILTS))) + 1.0},
    }
    return series_of(name, **known | changes)


def points(seed=7):
    return np.random.default_rng(seed).uniform(-1, 1, (40, 3)) * [900, 900, 250]


def test_points_project_where_each_series_put_them():
    first, second = full_series("A", 1), full_series("B", 2)
    both = first.joined(second_in_first(second, MOTION, None), "AB")
    assert both.geometry is not None
    projected = both.geometry.project(points())
    np.testing.assert_allclose(projected[:N], first.geometry.project(points()), atol=1e-6)
    np.testing.assert_allclose(projected[N:], second.geometry.project(MOTION.to_second(points())), atol=1e-6)


def test_defocus_of_points_is_what_each_series_said():
    first, second = full_series("A", 1), full_series("B", 2)
    u, v = first.joined(second_in_first(second, MOTION, None), "AB").defocus_at(points())
    there = second.defocus_at(MOTION.to_second(points()))
    np.testing.assert_allclose(u[:N], first.defocus_at(points())[0], atol=1e-6)
    np.testing.assert_allclose(u[N:], there[0], atol=1e-6)
    np.testing.assert_allclose(v[N:], there[1], atol=1e-6)


def test_a_warp_shows_in_the_second_series_pictures():
    nodes = np.random.default_rng(3).normal(scale=6.0, size=(2, 4, 4, 3))
    nodes[..., 2] = 0
    nodes[1] = nodes[0]
    warp = Warp(nodes_ang=nodes, half_width_ang=(1240.0, 1200.0, 400.0), error_ang=np.ones(3))
    second = full_series("B", 2)
    moved = second_in_first(second, MOTION, warp)
    plane = points() * [1, 1, 0]
    near = np.abs(TILTS) < 40
    wanted = second.geometry.project(MOTION.to_second(plane + warp.at(plane)))[near]
    without = second_in_first(second, MOTION, None).geometry.project(plane)[near]
    left = moved.geometry.project(plane)[near] - wanted
    assert np.sqrt((left**2).mean()) < 0.25 * np.sqrt(((without - wanted) ** 2).mean())


def test_views_keep_their_order_and_numbers():
    first, second = full_series("A", 1), full_series("B", 2)
    added = dose_before_second(first, second)
    assert added == pytest.approx(1.5 * N)
    both = first.joined(second_in_first(exposed_later(second, added), MOTION, None), "AB")
    assert len(both) == 2 * N
    assert both.images[0] == first.images[0]
    assert both.images[N] == second.images[0]
    assert both.pre_exposure.max() == pytest.approx(1.5 * (2 * N - 1))
    np.testing.assert_allclose(both.view_dose, 1.5)
    assert len(set(both.scores["AcquisitionOrder"])) == 2 * N
    assert len(set(both.place)) == 2 * N


def test_a_dose_that_goes_on_already_is_left_alone():
    first = full_series("A", 1)
    second = exposed_later(full_series("B", 2), 1.5 * N)
    assert dose_before_second(first, second) == 0
    assert dose_before_second(first, series_of("B")) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "A"}, "one series"),
        ({"pixel_size_ang": 21.0}, "pixels of 20.0 Å and 21.0 Å"),
        ({"image_shape_px": (100, 100)}, "images of"),
        ({"hand": 1}, "opposite hands"),
        ({"imaging": "dark"}, "dark field"),
        ({"optics": Optics(voltage_kv=200.0)}, "a voltage"),
        ({"geometry": None}, "not aligned"),
    ],
)
def test_series_that_do_not_fit_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        check_pair(series_of("A"), replace(series_of("B"), **changes))


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [("TS_01a", "TS_01b", "TS_01"), ("TS_01", "TS_02", "TS_01_TS_02"), ("x_A", "x_B", "x"), ("a", "b", "a_b")],
)
def test_names(first, second, name):
    assert combined_name(first, second) == name
