from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import ProjectError
from lamella.geometry import TiltGeometry
from lamella.records import TiltSeries
from lamella.tomograms.box import plan_tomogram, tomogram_shape
from lamella.tomograms.reconstruct_settings import ReconstructSettings


def series(shape=(100, 160), pixel=2.0, axis=0.0, **changes) -> TiltSeries:
    tilts = np.array([-40.0, 1.0, 40.0])
    return TiltSeries(
        name="TS",
        pixel_size_ang=pixel,
        image_shape_px=shape,
        nominal_tilt_deg=tilts,
        nominal_axis_deg=np.full(3, axis),
        geometry=TiltGeometry.from_angles(tilts, axis),
        **changes,
    )


@given(voxel=st.floats(0.5, 40), pixel=st.floats(0.3, 20), thickness=st.floats(5, 5000), height=st.integers(2, 5000))
def test_sizes_are_even_and_survive_the_record(voxel, pixel, thickness, height):
    settings = ReconstructSettings(pixel_size=voxel, thickness=thickness)
    tomogram = plan_tomogram(series((height, height + 1), pixel), settings)
    edge = max(voxel, pixel)
    assert tomogram.voxel_size_ang == pytest.approx(edge, rel=1e-12)
    shape = tomogram_shape(tomogram)
    assert all(n % 2 == 0 for n in (*shape, *tomogram.size_px))
    for n, extent in zip(shape, (thickness, height * pixel, (height + 1) * pixel), strict=True):
        assert extent - 1e-3 * edge <= n * edge < extent + 2 * edge + 1e-6
    for n, unbinned in zip(shape[::-1], tomogram.size_px, strict=True):
        assert abs(n * tomogram.binning - unbinned) <= 1


@pytest.mark.parametrize(
    ("axis", "swapped"), [(0.0, False), (-30.0, False), (85.0, True), (-94.0, True), (170.0, False)]
)
def test_the_least_tilted_image_is_covered(axis, swapped):
    z, y, x = tomogram_shape(plan_tomogram(series(axis=axis), ReconstructSettings(pixel_size=2.0)))
    assert (y, x) == ((160, 100) if swapped else (100, 160))
    assert z == 1500


@pytest.mark.parametrize(("axis", "shape"), [(0.0, (140, 160)), (90.0, (200, 100))])
def test_the_field_of_most_views_is_covered_where_the_least_tilted_lies_beside_it(axis, shape):
    one = series(axis=axis)
    assert one.geometry is not None
    away = np.array([[0, 0], [0, 0], [0, 0]], float)
    along = 1 if axis == 0 else 0  # the image's axis that lies along the tilt axis
    away[[0, 2], along] = 40.0  # 20 px: the field of two of three views
    moved = replace(one.geometry, x_shift_ang=away[:, 0], y_shift_ang=away[:, 1])
    _z, y, x = tomogram_shape(plan_tomogram(one.with_changes(geometry=moved), ReconstructSettings(pixel_size=2.0)))
    assert (y, x) == shape


def test_images_coarser_than_asked_for_keep_their_pixels():
    tomogram = plan_tomogram(series(pixel=33.6), ReconstructSettings())
    assert tomogram.binning == 1
    assert tomogram_shape(tomogram)[1:] == (100, 160)


def test_a_measured_thickness_gets_a_margin():
    tomogram = plan_tomogram(series(thickness_ang=1200.0), ReconstructSettings(pixel_size=10))
    assert tomogram_shape(tomogram)[0] == 180


def test_sizes_can_be_stated():
    settings = ReconstructSettings(pixel_size=4, size_x=200, size_y=121, thickness=80)
    assert tomogram_shape(plan_tomogram(series(), settings)) == (20, 32, 50)


def test_an_unaligned_series_is_refused():
    with pytest.raises(ProjectError, match="run align first"):
        plan_tomogram(series().with_changes(geometry=None), ReconstructSettings())
