"""Reconstructions of Gaussian blobs, whose projections and densities are known exactly."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tomograms.blobs import blob_images, blob_volume, peak_near, series_of

from lamella.errors import GeometryError, ImageError, InputError, OutputError, PostconditionError, ProjectError
from lamella.geometry import ImageField, TiltGeometry
from lamella.records import ArrayImages, ArrayVolume, Optics
from lamella.tomograms.box import tomogram_shape
from lamella.tomograms.reconstruct import half_sets, plan_tomogram, reconstruct
from lamella.tomograms.reconstruct_settings import ReconstructSettings

PIXEL = 5.0
SIGMA = 12.0
WEDGE = np.arange(-60, 61, 4.0)
FULL = np.arange(-90, 90, 1.5)
POINT = np.array([[83.0, -61.5, 37.2]])


def settings(**changes):
    return ReconstructSettings(**{"pixel_size": PIXEL, "thickness": 200.0, "cutoff": 0.5} | changes)


def run(series, images, how, device="cpu"):
    tomogram = plan_tomogram(series, how)
    volume = np.full(tomogram_shape(tomogram), np.nan, np.float32)
    result = reconstruct(series, ArrayImages(images), tomogram, how, ArrayVolume(volume), device=device)
    return volume, result, tomogram


def blobs(geometry, how, points=POINT, shape=(77, 84), sigma=SIGMA, **changes):
    """Volume of unit-peak blobs, the truth, and the result."""
    mass = np.full(len(points), (2 * np.pi * sigma**2) ** 1.5)
    series = series_of(geometry, shape, PIXEL, **changes)
    volume, result, tomogram = run(series, blob_images(geometry, shape, PIXEL, points, sigma, mass), how)
    return volume, blob_volume(volume.shape, tomogram.voxel_size_ang, points, sigma, mass), result


def test_a_full_range_of_tilts_gives_the_density_back(rng):
    points = rng.uniform(-1, 1, (8, 3)) * (120, 120, 60)
    for x_tilt in (0.0, 3.0):
        geometry = TiltGeometry.from_angles(FULL, 85.0, x_tilt_deg=x_tilt)
        volume, truth, result = blobs(geometry, settings(falloff=0), points)
        assert np.corrcoef(volume.ravel(), truth.ravel())[0, 1] > 0.999
        bright = truth > 0.3 * truth.max()
        # image units per Å; what is missing is the images' mean, which is spread over the whole volume
        ratio = (volume[bright] - np.median(volume)) / truth[bright]
        assert ratio.mean() == pytest.approx(1, abs=0.01)
        assert result.reprojection_correlation > 0.99
        assert result.mean == pytest.approx(float(volume.mean()), abs=1e-5)
        assert result.deviation == pytest.approx(float(volume.std()), rel=1e-3)


def test_grey_values_do_not_depend_on_binning():
    peaks = [
        blobs(TiltGeometry.from_angles(FULL, 85.0), settings(pixel_size=voxel, falloff=0), sigma=25.0)[0].max()
        for voxel in (5.0, 8.3, 10.0)
    ]
    np.testing.assert_allclose(peaks, 1, rtol=0.05)


TERMS = {
    "axis 0": {"z_rot_deg": 0.0},
    "axis 85": {"z_rot_deg": 85.0},
    "axis 37": {"z_rot_deg": 37.0},
    "axis per view": {"z_rot_deg": np.linspace(80, 90, len(WEDGE))},
    "x-tilt": {"z_rot_deg": 85.0, "x_tilt_deg": 5.0},
    "x-tilt per view": {"z_rot_deg": 85.0, "x_tilt_deg": np.linspace(-4, 4, len(WEDGE))},
    "shifts": {
        "z_rot_deg": 85.0,
        "x_shift_ang": 23.0 * np.sin(np.arange(31.0)),
        "y_shift_ang": 17.0 * np.cos(np.arange(31.0)),
    },
    "magnification": {"z_rot_deg": 85.0, "magnification": 1 + 0.02 * np.sin(np.arange(31.0))},
    "field": {
        "z_rot_deg": 85.0,
        "field": ImageField(np.random.default_rng(8).normal(0, 6, (len(WEDGE), 2, 3, 3)), (42 * PIXEL, 38.5 * PIXEL)),
    },
}


@pytest.mark.parametrize("method", ["wbp", "sirt"])
@pytest.mark.parametrize("shape", [(76, 84), (77, 85)])
@pytest.mark.parametrize("name", TERMS)
def test_a_blob_comes_back_to_its_place(name, shape, method):
    geometry = TiltGeometry.from_angles(WEDGE, **TERMS[name])
    how = settings(method=method, iterations=8)
    volume, _truth, _result = blobs(geometry, how, shape=shape)
    place = POINT[0] / PIXEL + np.array(volume.shape[::-1]) // 2
    np.testing.assert_allclose(peak_near(volume, place), place, atol=0.1)


@pytest.mark.parametrize("shape", [(152, 168), (153, 169)])
@pytest.mark.parametrize("voxel", [7.0, 10.0, 13.7])
def test_binning_keeps_places(voxel, shape):
    geometry = TiltGeometry.from_angles(WEDGE, 85.0, x_tilt_deg=2.0, x_shift_ang=31.0, y_shift_ang=-12.0)
    volume, _truth, result = blobs(geometry, settings(pixel_size=voxel), shape=shape, sigma=1.7 * voxel)
    assert result.voxel_size_ang == pytest.approx(voxel)
    place = POINT[0] / voxel + np.array(volume.shape[::-1]) // 2
    np.testing.assert_allclose(peak_near(volume, place), place, atol=0.1)


def test_geometry_matters():
    """The same images without their shifts give a worse tomogram: the places above are not found by chance."""
    geometry = TiltGeometry.from_angles(WEDGE, **TERMS["shifts"])
    images = blob_images(geometry, (77, 84), PIXEL, POINT, SIGMA, np.full(1, (2 * np.pi * SIGMA**2) ** 1.5))
    good = run(series_of(geometry, (77, 84), PIXEL), images, settings())
    still = geometry.with_terms(x_shift_ang=0.0, y_shift_ang=0.0)
    bad = run(series_of(still, (77, 84), PIXEL), images, settings())
    assert good[0].max() > 1.5 * bad[0].max()
    assert good[1].reprojection_correlation > bad[1].reprojection_correlation + 0.1


def test_sirt_converges_on_the_images(rng):
    points = rng.uniform(-1, 1, (6, 3)) * (120, 120, 50)
    geometry = TiltGeometry.from_angles(WEDGE, 85.0, x_tilt_deg=2.0)
    correlations, likeness = [], []
    for rounds in (1, 5, 30):
        volume, truth, result = blobs(geometry, settings(method="sirt", iterations=rounds), points)
        correlations.append(result.reprojection_correlation)
        likeness.append(np.corrcoef(volume.ravel(), truth.ravel())[0, 1])
    assert correlations == sorted(correlations)
    assert likeness == sorted(likeness)
    assert correlations[-1] > 0.99
    wbp = blobs(geometry, settings(), points)
    assert likeness[-1] > np.corrcoef(wbp[0].ravel(), wbp[1].ravel())[0, 1]


def test_mass_is_never_negative_where_that_is_asked_for(rng):
    points = rng.uniform(-1, 1, (6, 3)) * (120, 120, 50)
    geometry = TiltGeometry.from_angles(WEDGE, 85.0)
    dark = {"imaging": "dark"}
    free, truth, _ = blobs(geometry, settings(method="sirt", iterations=20), points, **dark)
    kept, truth, _ = blobs(geometry, settings(method="sirt", iterations=20, non_negative=True), points, **dark)
    assert kept.min() >= 0
    assert free.min() < 0
    assert np.corrcoef(kept.ravel(), truth.ravel())[0, 1] > np.corrcoef(free.ravel(), truth.ravel())[0, 1]
    # bright field: mass is dark
    series = series_of(geometry, (77, 84), PIXEL)
    images = -blob_images(geometry, (77, 84), PIXEL, points, SIGMA, np.full(6, (2 * np.pi * SIGMA**2) ** 1.5))
    inverted, _, _ = run(series, images, settings(method="sirt", iterations=20, non_negative=True))
    np.testing.assert_allclose(inverted, -kept, atol=0.02 * kept.max())


def test_the_sirt_like_filter_looks_like_sirt(rng):
    points = rng.uniform(-1, 1, (12, 3)) * (120, 120, 50)
    geometry = TiltGeometry.from_angles(WEDGE, 85.0)
    inner = np.s_[4:-4, 12:-12, 12:-12]
    real = blobs(geometry, settings(method="sirt", iterations=10), points)[0][inner]
    like = blobs(geometry, settings(filter="sirt-like", filter_iterations=10), points)[0][inner]
    ramp = blobs(geometry, settings(), points)[0][inner]
    assert np.corrcoef(real.ravel(), like.ravel())[0, 1] > 0.985
    assert like.std() == pytest.approx(real.std(), rel=0.07)
    assert np.linalg.norm(like - real) < 0.6 * np.linalg.norm(ramp - real)


@pytest.mark.parametrize("x_tilt", [0.0, 4.0])
@pytest.mark.parametrize("method", ["wbp", "sirt"])
def test_slabs_leave_no_seams(method, x_tilt, rng, monkeypatch):
    from lamella.tomograms import iterations, wbp

    geometry = TiltGeometry.from_angles(WEDGE, 85.0, x_tilt_deg=x_tilt)
    points = rng.uniform(-1, 1, (10, 3)) * (120, 150, 50)
    how = settings(method=method, iterations=6)
    monkeypatch.setattr(iterations.Slabs, "_rows_in_cache", lambda _: 10_000)
    monkeypatch.setattr(iterations, "threads", lambda: 1)
    whole, _, result = blobs(geometry, how, points)
    assert result.slabs == 1
    monkeypatch.setattr(iterations.Slabs, "rows_within", lambda *_: (9, 1))
    monkeypatch.setattr(wbp, "_slab_size", lambda *_: (9, 17))
    cut, _, result = blobs(geometry, how, points)
    assert result.slabs > 8
    # without x-tilt slabs are independent; with it, sirt sees a little beyond its slab
    exact = method == "wbp" or x_tilt == 0
    np.testing.assert_allclose(cut, whole, atol=(1e-5 if exact else 0.02) * whole.max())


def test_torch_and_compiled_loops_agree(rng, monkeypatch):
    from lamella.kernels.loops import Loops

    geometry = TiltGeometry.from_angles(WEDGE[::3], 85.0, x_tilt_deg=2.0)
    points = rng.uniform(-1, 1, (6, 3)) * (120, 120, 50)
    for method in ("wbp", "sirt"):
        compiled = blobs(geometry, settings(method=method, iterations=3), points)[0]
        with monkeypatch.context() as patch:
            patch.setattr(Loops, "on", classmethod(lambda cls, device: cls(compiled=False)))
            other = blobs(geometry, settings(method=method, iterations=3), points)[0]
        np.testing.assert_allclose(other, compiled, atol=2e-4 * np.abs(compiled).max())


@pytest.mark.parametrize("method", ["wbp", "fourier", "sirt"])
def test_views_in_a_temporary_file_give_the_same(method, monkeypatch):
    from lamella.tomograms.memory import MemoryBudget

    geometry = TiltGeometry.from_angles(WEDGE, 85.0)
    in_memory = blobs(geometry, settings(method=method, iterations=2))[0]
    monkeypatch.setattr(MemoryBudget, "keeps", lambda *_: False)
    np.testing.assert_array_equal(blobs(geometry, settings(method=method, iterations=2))[0], in_memory)


def test_dose_weighting_is_used_where_it_can_be(rng):
    geometry = TiltGeometry.from_angles(WEDGE, 85.0)
    known = {"pre_exposure": 3.0 * np.arange(31), "optics": Optics(voltage_kv=300.0)}
    images = rng.standard_normal((31, 60, 60)).astype(np.float32)
    weighted = run(series_of(geometry, (60, 60), PIXEL, **known), images, settings())
    plain = run(series_of(geometry, (60, 60), PIXEL, **known), images, settings(dose_weighting=False))
    unknown = run(series_of(geometry, (60, 60), PIXEL), images, settings())
    assert [part[1].dose_weighted for part in (weighted, plain, unknown)] == [True, False, False]
    np.testing.assert_array_equal(plain[0], unknown[0])
    assert weighted[0].std() < 0.8 * plain[0].std()


def test_outliers_do_not_move_an_images_level():
    geometry = TiltGeometry.from_angles(WEDGE, 85.0)
    images = np.random.default_rng(1).normal(100, 1, (31, 60, 60)).astype(np.float32)
    shifted = images + 50.0
    a = run(series_of(geometry, (60, 60), PIXEL), images, settings())[0]
    b = run(series_of(geometry, (60, 60), PIXEL), shifted, settings())[0]
    np.testing.assert_allclose(a, b, atol=1e-3 * a.std())


def test_half_sets():
    series = series_of(TiltGeometry.from_angles([0.0, 3.0, -3.0, 6.0, -6.0]), (60, 60), PIXEL)
    frames = half_sets(series, settings(), has_frames=True)
    assert (frames.kind, frames.even.tolist(), frames.odd.tolist()) == ("frames", [0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
    for how, has_frames in (("auto", False), ("tilts", True)):
        tilts = half_sets(series, settings(halves=how), has_frames)
        assert (tilts.kind, tilts.even.tolist(), tilts.odd.tolist()) == ("tilts", [1, 2], [0, 3, 4])
    off = half_sets(series, settings(halves="off"), has_frames=True)
    assert (off.kind, off.even.size, off.odd.size) == ("off", 0, 0)
    with pytest.raises(InputError, match="no images of even and odd frames"):
        half_sets(series, settings(halves="frames"), has_frames=False)
    with pytest.raises(InputError, match="too few"):
        half_sets(series.select([0, 1, 2]), settings(), has_frames=False)


def test_half_tomograms_have_the_grey_values_and_box_of_the_whole():
    geometry = TiltGeometry.from_angles(WEDGE, 85.0)
    series, how = series_of(geometry, (77, 84), PIXEL), settings()
    images = blob_images(geometry, (77, 84), PIXEL, POINT, SIGMA, np.full(1, (2 * np.pi * SIGMA**2) ** 1.5))
    whole, _, tomogram = run(series, images, how)
    halves = half_sets(series, how, has_frames=False)
    parts = []
    for views in (halves.even, halves.odd):
        volume = np.empty_like(whole)
        reconstruct(series.select(views), ArrayImages(images[views]), tomogram, how, ArrayVolume(volume))
        parts.append(volume)
    place = tuple(np.rint(POINT[0][::-1] / PIXEL).astype(int) + np.array(whole.shape) // 2)
    assert (parts[0][place] + parts[1][place]) / 2 == pytest.approx(whole[place], rel=0.02)


class TestBadInput:
    geometry = TiltGeometry.from_angles(WEDGE, 85.0)

    def test_unaligned(self, rng):
        series = series_of(self.geometry, (40, 40), PIXEL)
        tomogram = plan_tomogram(series, settings())
        bare = series.with_changes(geometry=None)
        with pytest.raises(ProjectError, match="run align first"):
            reconstruct(bare, ArrayImages(np.zeros((31, 40, 40), np.float32)), tomogram, settings(), lambda *_: None)

    def test_nan_names_the_view_by_its_place_in_the_users_file(self, rng):
        images = rng.standard_normal((31, 40, 40)).astype(np.float32)
        images[4, 3, 3] = np.nan
        series = series_of(self.geometry, (40, 40), PIXEL, place=np.arange(11, 42))
        with pytest.raises(ImageError, match="view 15 holds NaN"):
            run(series, images, settings())

    @pytest.mark.parametrize("shape", [(30, 40, 40), (31, 40, 41)])
    def test_images_that_do_not_fit_the_record(self, shape):
        series = series_of(self.geometry, (40, 40), PIXEL)
        with pytest.raises(ImageError, match="for 31 views"):
            run(series, np.zeros(shape, np.float32), settings())

    def test_empty_images(self):
        with pytest.raises(PostconditionError, match="standard deviation"):
            run(series_of(self.geometry, (40, 40), PIXEL), np.full((31, 40, 40), 7, np.float32), settings())

    def test_shifts_in_another_unit(self, rng):
        far = self.geometry.with_terms(x_shift_ang=1e5)
        with pytest.raises(GeometryError, match="no view sees"):
            run(series_of(far, (40, 40), PIXEL), rng.standard_normal((31, 40, 40)).astype(np.float32), settings())

    @pytest.mark.parametrize("method", ["wbp", "sirt"])
    def test_a_full_disk_ends_it(self, rng, method):
        def sink(z, y, x, block):
            raise OutputError("volume.mrc: the disk is full")

        series, how = series_of(self.geometry, (40, 40), PIXEL), settings(method=method, iterations=1)
        images = ArrayImages(rng.standard_normal((31, 40, 40)).astype(np.float32))
        with pytest.raises(OutputError, match="disk is full"):
            reconstruct(series, images, plan_tomogram(series, how), how, sink)


def test_progress_rises_to_one(rng):
    seen = []
    series = series_of(TiltGeometry.from_angles(WEDGE, 85.0), (40, 40), PIXEL)
    images = ArrayImages(rng.standard_normal((31, 40, 40)).astype(np.float32))
    tomogram = plan_tomogram(series, settings())
    volume = ArrayVolume(np.empty(tomogram_shape(tomogram), np.float32))
    reconstruct(series, images, tomogram, settings(), volume, progress=lambda f, text="": seen.append(f))
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_the_result_says_how_frequencies_were_shared():
    even, uneven = TiltGeometry.from_angles(WEDGE, 85.0), TiltGeometry.from_angles(np.delete(WEDGE, 9), 85.0)
    assert blobs(even, settings())[2].weighting == "ramp"
    assert blobs(uneven, settings())[2].weighting == "exact"
    assert blobs(even, settings(method="fourier"))[2].weighting == "exact"
    assert blobs(even, settings(method="sirt", iterations=1))[2].weighting is None
