"""Specks at known depths, imaged by a known lens, come back as a lens without sign changes would have shown them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.tomograms.blobs import series_of
from tests.tomograms.scatterers import lens_images, transfer

from lamella.errors import InputError
from lamella.fourier import shell_correlation
from lamella.geometry import TiltGeometry
from lamella.kernels.rows import Box, RowPlan
from lamella.kernels.sampling import ImageGrid, sample_image, view_filter
from lamella.records import ArrayImages, ArrayVolume, Defocus, Optics
from lamella.tomograms.box import tomogram_shape
from lamella.tomograms.corrected_views import ViewCorrection
from lamella.tomograms.correction import depth_planes, depth_tolerance_ang, plan_correction
from lamella.tomograms.reconstruct import plan_tomogram, reconstruct
from lamella.tomograms.reconstruct_settings import ReconstructSettings
from lamella.tomograms.tilt_images import extend

PIXEL, SIGMA, SHAPE = 5.0, 3.0, (240, 256)
TILTS = np.arange(-60, 61, 12.0)
FACTORS = {"phase-flip": np.abs, "multiply": np.square}


def lens_series(geometry=None, **changes):
    geometry = geometry or TiltGeometry.from_angles(TILTS, 85.0)
    n = len(geometry)
    defocus = Defocus(
        u_ang=21000 + 300 * np.sin(np.arange(n)), v_ang=19500 + 300 * np.cos(np.arange(n)), angle_deg=np.full(n, 35.0)
    )
    optics = Optics(voltage_kv=100.0, amplitude_contrast=0.1)
    return series_of(geometry, SHAPE, PIXEL, **({"defocus": defocus, "optics": optics} | changes))


def settings(**changes):
    base = {"pixel_size": PIXEL, "thickness": 1600.0, "cutoff": 0.5, "size_x": 480.0, "size_y": 480.0}
    return ReconstructSettings(**base | changes)


def volume_of(series, images, how):
    tomogram = plan_tomogram(series, how)
    volume = np.zeros(tomogram_shape(tomogram), np.float32)
    return volume, reconstruct(series, ArrayImages(images), tomogram, how, ArrayVolume(volume))


def around(volume, point):
    """The voxels within 20 of a point."""
    centre = np.rint(np.asarray(point)[::-1] / PIXEL).astype(int) + np.array(volume.shape) // 2
    return volume[tuple(slice(max(c - 20, 0), c + 21) for c in centre)]


def likeness(a, b):
    """Correlation of what is finer than 3 voxels, where the phase turns with depth."""
    axes = np.meshgrid(*(np.fft.fftfreq(n) for n in a.shape), indexing="ij")
    fine = np.linalg.norm(axes, axis=0) > 0.33
    a, b = (np.fft.fftn(part)[fine] for part in (a, b))
    return float((a * b.conj()).real.sum() / np.sqrt((np.abs(a) ** 2).sum() * (np.abs(b) ** 2).sum()))


TERMS = {
    "plain": {},
    "hand +1": {"hand": 1},
    "x-tilt and shifts": {
        "geometry": TiltGeometry.from_angles(TILTS, 85.0, x_tilt_deg=4.0, x_shift_ang=45.0, y_shift_ang=-25.0)
    },
    "axis along y": {"geometry": TiltGeometry.from_angles(TILTS, -3.0, x_tilt_deg=np.linspace(-3, 3, len(TILTS)))},
}


@pytest.mark.parametrize(
    ("name", "method", "point"),
    [
        ("plain", "multiply", [80.0, -60.0, 600.0]),
        ("hand +1", "phase-flip", [-120.0, 90.0, -550.0]),
        ("x-tilt and shifts", "phase-flip", [80.0, -60.0, 600.0]),
        ("axis along y", "multiply", [-120.0, 90.0, -550.0]),
    ],
)
def test_slabs_correct_each_speck_for_its_own_depth(name, method, point):
    series = lens_series(**TERMS[name])
    seen = lens_images(series, np.array([point]), SIGMA, np.negative)
    wanted = lens_images(series, np.array([point]), SIGMA, lambda c: -FACTORS[method](c))
    truth = around(volume_of(series, wanted, settings(ctf="none"))[0], point)
    slabs, result = volume_of(series, seen, settings(ctf=method, ctf_tolerance=60.0))
    assert len(result.correction.layers) > 10
    good = likeness(around(slabs, point), truth)
    assert good > 0.99
    assert around(slabs, point).min() == pytest.approx(truth.min(), rel=0.05)  # mass stays dark
    strips = volume_of(series, seen, settings(ctf=method, ctf_tolerance=60.0, ctf_depth="strips"))[0]
    assert 1 - likeness(around(strips, point), truth) > 2 * (1 - good)  # a slab away from the middle needs more
    nothing = volume_of(series, seen, settings(ctf="none"))[0]
    assert likeness(around(nothing, point), truth) < 0.8


def test_correlation_with_the_truth_is_restored_beyond_the_first_zero(rng):
    """Specks all over the box; the lens inverts them between 1/27 and 1/19 Å."""
    series = lens_series(TiltGeometry.from_angles(np.arange(-60, 61, 6.0), 85.0))
    points = rng.uniform(-1, 1, (16, 3)) * (200, 200, 500)
    seen = lens_images(series, points, SIGMA, np.negative)
    sharp = volume_of(series, lens_images(series, points, SIGMA, lambda c: -np.ones_like(c)), settings(ctf="none"))[0]
    found = {}
    for how in ({"ctf": "none"}, {}, {"ctf": "multiply", "ctf_depth": "strips"}, {"ctf": "wiener"}):
        volume = volume_of(series, seen, settings(**how))[0]
        k, curve, _count = shell_correlation(torch.from_numpy(volume), torch.from_numpy(sharp))
        inverted = (k / PIXEL > 1 / 25) & (k / PIXEL < 1 / 20)
        found[how.get("ctf", "auto")] = float(curve[inverted].mean())
    assert found.pop("none") < -0.7
    assert min(found.values()) > 0.7


@pytest.mark.parametrize("how", [{}, {"method": "sirt", "iterations": 5}])
def test_strips_correct_the_middle_plane(how):
    series = lens_series(TERMS["x-tilt and shifts"]["geometry"])
    how = {"ctf_depth": "strips", "ctf_tolerance": 60.0, "thickness": 200.0} | how
    for point in ([180.0, -60.0, 0.0], [-200.0, 90.0, 0.0]):
        seen = lens_images(series, np.array([point]), SIGMA, np.negative)
        wanted = lens_images(series, np.array([point]), SIGMA, lambda c: -(c**2))
        truth = around(volume_of(series, wanted, settings(ctf="none", **how))[0], point)
        strips = around(volume_of(series, seen, settings(ctf="multiply", **how))[0], point)
        assert likeness(strips, truth) > 0.99


def test_a_phase_plate_and_wieners_filter():
    series = lens_series()
    plate = Defocus(
        u_ang=series.defocus.u_ang, v_ang=series.defocus.v_ang, angle_deg=series.defocus.angle_deg,
        phase_shift_deg=np.full(len(series), 90.0),
    )  # fmt: skip
    series = series.with_changes(defocus=plate)
    point = [80.0, -60.0, 50.0]
    seen = lens_images(series, np.array([point]), SIGMA, np.negative)
    flat = {"snr_strength": 1.0, "snr_falloff": 0.0, "snr_high_pass": 1e6}  # 2000 at all frequencies but 0
    factors = {"phase-flip": np.abs, "wiener": lambda c: 2001 * c**2 / (1 + 2000 * c**2)}
    for method, factor in factors.items():
        wanted = lens_images(series, np.array([point]), SIGMA, lambda c, factor=factor: -factor(c))
        truth = around(volume_of(series, wanted, settings(ctf="none"))[0], point)
        restored = around(volume_of(series, seen, settings(ctf=method, ctf_tolerance=60.0, **flat))[0], point)
        assert likeness(restored, truth) > 0.99
        assert restored.min() == pytest.approx(truth.min(), rel=0.05)


def corrected(series, how, image, box):
    """A view 0 corrected on the finer grid, and the grid."""
    grid = ImageGrid.of(series.geometry, SHAPE, PIXEL, box.voxel_size_ang)
    plan = plan_correction(series, box, how)
    work = ViewCorrection(series, series.geometry, plan, grid, box, how)
    outs = [torch.full(grid.stored, torch.nan) for _ in plan.layers]
    padded = torch.from_numpy(extend(image, 0.0, grid))
    what = view_filter(grid, series.geometry, RowPlan.fine(series.geometry), 0)
    work.sample(0, padded, what, outs)
    return work, outs, grid


def test_an_untilted_view_has_one_level(rng):
    """It is filtered as a whole: the same as a filter of the image's own transform."""
    series = lens_series(TiltGeometry.from_angles([0.0, 8.0], 0.0))
    image = rng.standard_normal(SHAPE).astype(np.float32)
    box = Box(shape=(40, *SHAPE), voxel_size_ang=PIXEL)
    how = settings(ctf="multiply", ctf_depth="strips")
    work, (out,), grid = corrected(series, how, image, box)
    assert work.levels_ang(0).tolist() == [0.0]
    padded = extend(image, 0.0, grid)
    ky, kx = (np.fft.fftfreq(n)[:, None] / PIXEL for n in padded.shape)
    wanted = np.fft.ifft2(np.fft.fft2(padded) * transfer(series, 0, 0.0, kx.T, ky)).real.astype(np.float32)
    what = view_filter(grid, series.geometry, RowPlan.fine(series.geometry), 0)
    same = sample_image(torch.from_numpy(wanted), grid, what)
    np.testing.assert_allclose(out, same, atol=1e-4 * float(same.std()))


def test_strips_are_blended_without_seams():
    """In a view of 50° a wave along the axis is weighted by a factor that is smooth across all strips."""
    series = lens_series(TiltGeometry.from_angles([50.0, 8.0], 0.0))
    y = np.arange(SHAPE[0])[:, None] * PIXEL
    image = np.tile(np.cos(2 * np.pi * y / 24.0), (1, SHAPE[1])).astype(np.float32)
    box = Box(shape=(40, *SHAPE), voxel_size_ang=PIXEL)
    work, (out,), _grid = corrected(series, settings(ctf="multiply", ctf_depth="strips"), image, box)
    assert len(work.levels_ang(0)) >= 2
    row = int(out.shape[0] // 2)
    along = (out[row - 10 : row + 10] ** 2).sum(dim=0).sqrt().numpy()[12:-12]
    steps = np.abs(np.diff(along))
    assert steps.max() < 0.03 * along.max()
    assert np.ptp(along) > 0.1 * along.max()  # the factor does change with depth


def test_torch_loops_and_temporary_files_give_the_same(rng, monkeypatch):
    from lamella.kernels.loops import Loops
    from lamella.tomograms.memory import MemoryBudget

    series = lens_series(TiltGeometry.from_angles(TILTS, 85.0, x_tilt_deg=2.0))
    images = rng.standard_normal((len(TILTS), *SHAPE)).astype(np.float32)
    how = settings(thickness=200.0, size_x=200.0, size_y=200.0, ctf_tolerance=40.0)
    usual, result = volume_of(series, images, how)
    assert len(result.correction.layers) > 3
    with monkeypatch.context() as patch:
        patch.setattr(Loops, "on", classmethod(lambda cls, device: cls(compiled=False)))
        np.testing.assert_allclose(volume_of(series, images, how)[0], usual, atol=2e-4 * np.abs(usual).max())
    monkeypatch.setattr(MemoryBudget, "keeps", lambda *_: False)
    np.testing.assert_array_equal(volume_of(series, images, how)[0], usual)


def test_depths_on_images_are_those_of_the_specimen(rng):
    geometry = TiltGeometry.from_angles(
        TILTS, 85.0, x_tilt_deg=3.0, x_shift_ang=31.0, y_shift_ang=-12.0, magnification=1.01
    )
    points = rng.uniform(-800, 800, (20, 3))
    q = geometry.project(points)
    planes = depth_planes(geometry)
    found = planes[:, :1] + (q * planes[:, None, 1:3]).sum(axis=2) + planes[:, 3:] * points[:, 2]
    np.testing.assert_allclose(found, geometry.depth_ang(points), atol=1e-6)
    steep = depth_planes(TiltGeometry.from_angles([90.0, 85.0], 85.0))
    assert not steep.any()


def test_the_tolerance_turns_the_phase_by_an_eighth_of_pi():
    assert depth_tolerance_ang(300.0, 10.0) == pytest.approx(1 / (8 * 0.0196875 * 0.05**2), rel=1e-4)


class TestChoice:
    box = Box(shape=(300, 400, 400), voxel_size_ang=10.0)

    def test_auto_corrects_what_it_can(self):
        series = lens_series()
        plan = plan_correction(series, self.box, settings())
        assert plan.method == "phase-flip"
        assert sum(layer.planes for layer in plan.layers) == 300
        assert [layer.first for layer in plan.layers] == np.cumsum([0, *(p.planes for p in plan.layers)])[:-1].tolist()
        heights = [layer.height_ang for layer in plan.layers]
        assert heights[0] == pytest.approx((plan.layers[0].planes - 1) * 5.0 - 1500.0)
        half = plan.layers[0].planes * 10.0 / 2
        assert half / np.cos(np.deg2rad(60)) <= plan.tolerance_ang
        assert len(plan_correction(series, self.box, settings(method="sirt")).layers) == 1
        assert len(plan.in_strips().layers) == 1
        assert plan.in_strips().layers[0].planes == 300

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"defocus": None}, "no defocus is known"),
            ({"optics": Optics()}, "no voltage is known"),
            ({"imaging": "dark"}, "dark-field images have none"),
        ],
    )
    def test_what_cannot_be_corrected_is_said_and_refused_where_it_was_asked_for(self, changes, why):
        series = lens_series(**changes)
        plan = plan_correction(series, self.box, settings())
        assert (plan.method, plan.why_not) == ("none", why)
        assert plan.in_words() == f"not corrected: {why}"
        with pytest.raises(InputError, match=why):
            plan_correction(series, self.box, settings(ctf="wiener"))
        assert plan_correction(series, self.box, settings(ctf="none")).in_words() == "not corrected"

    def test_a_defocus_that_is_not_a_number(self):
        series = lens_series()
        angle = series.defocus.angle_deg.copy()
        angle[3] = np.nan
        bad = Defocus(u_ang=series.defocus.u_ang, v_ang=series.defocus.v_ang, angle_deg=angle)
        series = series.with_changes(defocus=bad, place=np.arange(11, 11 + len(series)))
        assert "view 14 is not a number" in plan_correction(series, self.box, settings()).in_words()

    def test_slabs_of_sirt(self):
        with pytest.raises(InputError, match="takes images that are corrected once"):
            plan_correction(lens_series(), self.box, settings(method="sirt", ctf_depth="slabs"))

    def test_mass_that_is_counted_from_a_level_that_the_correction_removes(self):
        how = settings(method="sirt", non_negative=True, ctf="multiply")
        with pytest.raises(InputError, match="takes the images' mean level away"):
            plan_correction(lens_series(), self.box, how)
        assert plan_correction(lens_series(), self.box, how.model_copy(update={"ctf": "auto"})).method == "phase-flip"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same(rng):
    series = lens_series()
    images = rng.standard_normal((len(TILTS), *SHAPE)).astype(np.float32)
    how = settings(thickness=200.0, size_x=200.0, size_y=200.0, ctf_tolerance=40.0)
    usual, _result = volume_of(series, images, how)
    tomogram = plan_tomogram(series, how)
    volume = np.zeros_like(usual)
    reconstruct(series, ArrayImages(images), tomogram, how, ArrayVolume(volume), device="cuda")
    np.testing.assert_allclose(volume, usual, atol=2e-3 * np.abs(usual).max())
