"""Work in a turned frame and on finer voxels gives the tomogram's own voxels, exactly where they are."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tomograms.blobs import blob_images, peak_near, series_of
from tests.tomograms.test_reconstruct import PIXEL, POINT, SIGMA, WEDGE, blobs, run, settings

from lamella.geometry import TiltGeometry, regauge
from lamella.geometry.rotations import rotation_z
from lamella.kernels.rows import Box
from lamella.records import ArrayVolume
from lamella.tomograms.frame import Frame

OWN = TiltGeometry.from_angles(WEDGE, 85.0, x_tilt_deg=1.0, x_shift_ang=13.0, y_shift_ang=-7.0)
BOX = Box(shape=(12, 20, 28), voxel_size_ang=4.0)


def turned(degrees):
    return regauge(OWN, rotation_z(degrees)).geometry


@pytest.mark.parametrize("degrees", [90.0, -90.0, 88.0])
@pytest.mark.parametrize("finer", [1, 2, 3])
def test_voxels_stand_where_they_stood(degrees, finer):
    series = series_of(turned(degrees), (60, 60), 4.0)
    frame = Frame.of(series, BOX, finer)
    assert frame.turned
    assert np.abs(frame.series.geometry.x_tilt_deg).max() < 5
    # a voxel of the tomogram, and the voxels here that are averaged into it
    small = np.arange(np.prod(frame.box.shape), dtype=np.float64).reshape(frame.box.shape)
    index = np.full((*BOX.shape, finer**3), -1.0)

    def take(z, y, x, block):
        index[z : z + block.shape[0], y : y + block.shape[1], x : x + block.shape[2], 0] = block

    frame.into(take)(0, 0, 0, small)
    for voxel in [(0, 0, 0), (3, 17, 5), (11, 19, 27)]:
        mean = index[(*voxel, 0)]
        place = np.array(np.unravel_index(round(float(mean)), frame.box.shape)) if finer % 2 else None
        there = (np.array(voxel) - np.array(BOX.shape) // 2)[::-1] * 4.0
        if place is None:
            continue
        here = (place - np.array(frame.box.shape) // 2)[::-1] * frame.box.voxel_size_ang
        np.testing.assert_allclose(frame.series.geometry.project(here), series.geometry.project(there), atol=1e-6)


def test_a_series_of_the_usual_axis_is_left_as_it_is():
    frame = Frame.of(series_of(OWN, (60, 60), 4.0), BOX)
    assert frame.plain
    assert frame.box == BOX


def test_a_turned_mask_is_the_same_mask(rng):
    frame = Frame.of(series_of(turned(90.0), (60, 60), 4.0), BOX)
    mask = rng.standard_normal(BOX.shape).astype(np.float32)
    here = frame.seen(ArrayVolume(mask))
    assert here.shape == frame.box.shape
    whole = here.block(*(slice(0, n) for n in here.shape))
    back = np.empty_like(mask)
    frame.into(ArrayVolume(back))(0, 0, 0, whole)
    np.testing.assert_array_equal(back, mask)
    part = here.block(slice(2, 5), slice(3, 20), slice(4, 11))
    np.testing.assert_array_equal(part, whole[2:5, 3:20, 4:11])


@pytest.mark.parametrize("method", ["wbp", "sirt", "fourier"])
@pytest.mark.parametrize("degrees", [90.0, 89.0])
def test_the_second_axis_puts_a_blob_where_it_is(method, degrees):
    if method == "fourier" and degrees != 90.0:
        pytest.skip("x-tilts that differ are of no single axis")
    volume, _truth, _result = blobs(turned(degrees), settings(method=method, iterations=6), shape=(84, 84))
    place = POINT[0] / PIXEL + np.array(volume.shape[::-1]) // 2
    np.testing.assert_allclose(peak_near(volume, place), place, atol=0.1)


def test_two_axes_together_are_nearer_to_the_truth_than_either(rng):
    points = rng.uniform(-1, 1, (8, 3)) * (120, 120, 50)
    both = [TiltGeometry.from_angles(WEDGE, 85.0), regauge(TiltGeometry.from_angles(WEDGE, 85.0), rotation_z(90.0))]
    one, other = both[0], both[1].geometry
    terms = ("x_tilt_deg", "y_tilt_deg", "z_rot_deg", "x_shift_ang", "y_shift_ang", "magnification")
    together = TiltGeometry(**{name: np.concatenate([getattr(g, name) for g in (one, other)]) for name in terms})
    likeness = []
    for geometry in (one, other, together):
        volume, truth, _ = blobs(geometry, settings(), points, shape=(84, 84))
        likeness.append(np.corrcoef(volume.ravel(), truth.ravel())[0, 1])
    assert likeness[2] > max(likeness[:2]) + 0.03
    assert likeness[0] == pytest.approx(likeness[1], abs=0.02)


@pytest.mark.parametrize("finer", [2, 3])
def test_supersampling_averages_finer_voxels(finer):
    geometry = TiltGeometry.from_angles(WEDGE, 85.0, x_tilt_deg=2.0)
    usual = blobs(geometry, settings())[0]
    fine, _truth, result = blobs(geometry, settings(supersampling=finer))
    assert fine.shape == usual.shape == result.shape
    place = POINT[0] / PIXEL + np.array(fine.shape[::-1]) // 2
    np.testing.assert_allclose(peak_near(fine, place), place, atol=0.05)
    assert np.linalg.norm(fine - usual) < 0.06 * np.linalg.norm(usual)
    assert result.deviation == pytest.approx(float(fine.std()), rel=1e-3)


def test_supersampling_with_layers_of_their_own_defocus():
    from tests.tomograms.test_correction import SHAPE, TILTS, lens_series
    from tests.tomograms.test_correction import settings as lens_settings

    series = lens_series(TiltGeometry.from_angles(TILTS, 85.0))
    images = np.random.default_rng(2).standard_normal((len(TILTS), *SHAPE)).astype(np.float32)
    how = {"thickness": 200.0, "size_x": 200.0, "size_y": 200.0, "ctf_tolerance": 40.0, "cutoff": 0.3, "falloff": 0.03}
    usual, _, _ = run(series, images, lens_settings(**how))
    fine, result, _ = run(series, images, lens_settings(**how, supersampling=2))
    assert len(result.correction.layers) > 3
    assert np.corrcoef(fine.ravel(), usual.ravel())[0, 1] > 0.98


def test_blob_of_many_pixels_has_its_peak_of_one():
    mass = np.full(1, (2 * np.pi * SIGMA**2) ** 1.5)
    geometry = TiltGeometry.from_angles(np.arange(-90, 90, 2.0), 85.0)
    series = series_of(geometry, (77, 84), PIXEL)
    images = blob_images(geometry, (77, 84), PIXEL, POINT, SIGMA, mass)
    assert run(series, images, settings(supersampling=2))[0].max() == pytest.approx(1, abs=0.06)
