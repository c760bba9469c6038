"""Two series of one frame joined into one: every view's entries stay with it."""

from __future__ import annotations

import numpy as np

from lamella.geometry import ImageField, TiltGeometry
from lamella.records import Defocus, TiltSeries


def series(name: str, views: int, **changes) -> TiltSeries:
    tilts = np.linspace(-60, 60, views)
    known = {
        "name": name,
        "pixel_size_ang": 10.0,
        "image_shape_px": (64, 80),
        "nominal_tilt_deg": tilts,
        "nominal_axis_deg": np.full(views, 85.0),
        "images": tuple(f"{i + 1:06d}@{name}.mrc" for i in range(views)),
        "geometry": TiltGeometry.from_angles(tilts, 85.0),
        "pre_exposure": np.arange(views) * 2.0,
        "scores": {"AcquisitionOrder": np.arange(views) + 1.0},
    }
    return TiltSeries(**known | changes)


def defocus(views: int, **changes) -> Defocus:
    return Defocus(u_ang=np.arange(views) + 2e4, v_ang=np.arange(views) + 1.9e4, angle_deg=np.zeros(views), **changes)


def test_selecting_the_views_again_gives_both_series_back():
    first, second = series("A", 5, defocus=defocus(5)), series("B", 7, defocus=defocus(7))
    both = first.joined(second, "AB")
    assert both.name == "AB"
    for part, views in ((first, np.arange(5)), (second, np.arange(5, 12))):
        again = both.select(views)
        assert again.images == part.images
        for entry in ("nominal_tilt_deg", "nominal_axis_deg", "pre_exposure"):
            np.testing.assert_array_equal(getattr(again, entry), getattr(part, entry))
        np.testing.assert_array_equal(again.geometry.y_tilt_deg, part.geometry.y_tilt_deg)
        np.testing.assert_array_equal(again.defocus.u_ang, part.defocus.u_ang)


def test_places_and_order_of_the_later_series_go_on():
    both = series("A", 5).joined(series("B", 7), "AB")
    np.testing.assert_array_equal(both.place, np.arange(1, 13))
    np.testing.assert_array_equal(both.scores["AcquisitionOrder"], np.arange(1, 13))


def test_what_one_of_them_lacks_is_told_or_left_out():
    first = series("A", 2, defocus=defocus(2), pre_exposure=None, other_columns={"x": ("1", "2"), "y": ("a", "b")},
                   scores={"Residual": np.array([1.0, 2.0])}, quality={"Q": 1.0})  # fmt: skip
    second = series("B", 3, other_columns={"x": ("3", "4", "5")}, even_images=("a", "b", "c"))
    both = first.joined(second, "AB")
    assert both.pre_exposure is None
    assert both.even_images is None
    assert both.defocus is None
    assert dict(both.other_columns) == {"x": ("1", "2", "3", "4", "5")}
    assert dict(both.quality) == {}
    np.testing.assert_array_equal(both.scores["Residual"], [1, 2, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(both.scores["AcquisitionOrder"], [np.nan, np.nan, 1, 2, 3])


def test_no_phase_plate_is_a_phase_shift_of_zero():
    plate = defocus(3, phase_shift_deg=np.full(3, 90.0), figure_of_merit=np.ones(3))
    both = defocus(2).joined(plate)
    np.testing.assert_array_equal(both.phase_shift_deg, [0, 0, 90, 90, 90])
    assert both.figure_of_merit is None


def test_a_series_without_a_field_is_flat_beside_one_that_has_it():
    field = ImageField(np.random.default_rng(0).normal(size=(3, 2, 4, 5)), (400.0, 320.0))
    curved = series("B", 3, geometry=TiltGeometry.from_angles(np.zeros(3), 85.0, field=field))
    both = series("A", 2).joined(curved, "AB").geometry
    assert both.field.nodes_ang.shape == (5, 2, 4, 5)
    assert not both.field.nodes_ang[:2].any()
    np.testing.assert_array_equal(both.field.nodes_ang[2:], field.nodes_ang)
