"""The contrast transfer of tilt series and images, from images whose defocus and Fisher bound are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.tilts.ctf_scene import Scene, fisher_bound_ang, make

from lamella.errors import ImageError
from lamella.records import SESSION_DEFOCUS, ArrayImages, Defocus, Optics, TiltSeries
from lamella.tilts import CtfResult, CtfSettings, estimate_ctf

TILTS = (-52.0, -40.0, -26.0, -12.0, 0.0, 14.0, 28.0, 39.0, 54.0)


def estimate(scene: Scene, **settings: object) -> tuple[TiltSeries, CtfResult]:
    true, images = make(scene)
    return true, estimate_ctf(true.with_changes(defocus=None, hand=-1), images, CtfSettings(**settings))


def errors(true: TiltSeries, found: CtfResult) -> np.ndarray:
    assert true.defocus is not None
    assert found.series.defocus is not None, found.passed_on
    return found.series.defocus.mean_ang - true.defocus.mean_ang


def astigmatism(defocus: Defocus) -> np.ndarray:
    twice = np.deg2rad(2 * defocus.angle_deg)
    half = (defocus.u_ang - defocus.v_ang) / 2
    return np.stack([half * np.cos(twice), half * np.sin(twice)], axis=1)


@pytest.fixture(scope="module")
def minus() -> tuple[TiltSeries, ArrayImages, CtfResult]:
    scene = Scene(tilts=TILTS, strength=0.8, seed=3)
    true, images = make(scene)
    return true, images, estimate_ctf(true.with_changes(defocus=None), images, CtfSettings())


def test_every_view_is_found_to_near_its_bound(minus: tuple[TiltSeries, ArrayImages, CtfResult]) -> None:
    true, _, found = minus
    bound = fisher_bound_ang(Scene(tilts=TILTS, strength=0.8), 0.97 / 8)
    error = errors(true, found)
    assert np.sqrt(np.mean((error / bound) ** 2)) < 1.7  # all else is known to the bound; and nine views scatter
    stated = found.series.scores["CtfDefocusErrorAngst"]
    assert (stated > 0.9 * bound).all()
    # astigmatism, strength and a doubted phase have their part in it; the last view has no neighbour to learn from
    assert (stated[:-1] < 1.6 * bound[:-1]).all()
    assert stated[-1] < 1.8 * bound[-1]
    assert 0.5 < np.sqrt(np.mean((error / stated) ** 2)) < 1.6
    assert true.defocus is not None
    assert found.series.defocus is not None
    assert np.hypot(*(astigmatism(found.series.defocus) - astigmatism(true.defocus)).T).max() < 60


@pytest.mark.parametrize("off_ang", [0.0, 1e4, -1e4, 2.5e4])
def test_a_sessions_defocus_helps_and_never_harms(
    minus: tuple[TiltSeries, ArrayImages, CtfResult], off_ang: float
) -> None:
    """Sought about what the session set; where its focus was off by a micrometre or more, wherever the rings are."""
    true, images, found = minus
    assert true.defocus is not None
    stated = {SESSION_DEFOCUS: np.full(len(true), true.defocus.mean_ang.mean() + off_ang)}
    begun = estimate_ctf(true.with_changes(defocus=None, scores=stated), images, CtfSettings())
    np.testing.assert_allclose(errors(true, begun), errors(true, found), atol=60)


def test_the_hand_is_told_with_confidence(minus: tuple[TiltSeries, ArrayImages, CtfResult]) -> None:
    _, _, found = minus
    assert found.series.hand == -1
    assert found.series.quality["CtfMeasuredHand"] == -1
    assert found.series.quality["CtfHandConfidence"] > 0.95
    assert found.series.quality["CtfDepthSlope"] == pytest.approx(1, abs=0.15)


def test_the_other_hand_is_found_and_kept_where_the_user_says_so() -> None:
    true, images = make(Scene(tilts=TILTS, strength=0.8, hand=1, seed=4))
    raw = true.with_changes(defocus=None, hand=-1)
    found = estimate_ctf(raw, images, CtfSettings())
    assert found.series.hand == 1
    assert np.abs(errors(true, found)).max() < 200
    assert any("recorded was -1" in note for note in found.notes)
    kept = estimate_ctf(raw, images, CtfSettings(hand="-1"))
    assert kept.series.hand == -1
    assert kept.series.quality["CtfMeasuredHand"] == 1
    assert any("contradicts" in note for note in kept.notes)


def test_the_same_pictures_with_the_axis_turned_have_the_other_hand(
    minus: tuple[TiltSeries, ArrayImages, CtfResult],
) -> None:
    true, images, found = minus
    assert true.geometry is not None
    turned = true.geometry.with_terms(z_rot_deg=true.geometry.z_rot_deg + 180)
    other = estimate_ctf(true.with_changes(defocus=None, geometry=turned), images, CtfSettings())
    assert other.series.hand == 1
    np.testing.assert_allclose(errors(true, other), errors(true, found), atol=15)


def test_figures_do_not_depend_on_the_order_of_the_views(minus: tuple[TiltSeries, ArrayImages, CtfResult]) -> None:
    true, images, found = minus
    order = np.random.default_rng(1).permutation(len(true))
    shuffled = ArrayImages(np.stack([images.view(int(view)) for view in order]))
    other = estimate_ctf(true.select(order).with_changes(defocus=None), shuffled, CtfSettings())
    assert other.series.defocus is not None
    assert found.series.defocus is not None
    np.testing.assert_allclose(other.series.defocus.u_ang, found.series.defocus.u_ang[order], atol=2)


def test_the_centre_voxels_defocus_does_not_depend_on_the_views_shifts() -> None:
    near, far = (Scene(tilts=(-50.0, 0.0, 50.0), strength=1.0, shift=shift, seed=6) for shift in (0.0, 400.0))
    for scene in (near, far):
        true, found = estimate(scene)
        assert np.abs(errors(true, found)).max() < 180
    assert true.geometry is not None
    centre = found.series.scores["CtfImageCentreAngst"]
    assert found.series.defocus is not None
    place = true.geometry.back_project(np.zeros((3, 1, 2)), 0.0)
    depth = np.array([(true.geometry.rotations()[v, 2] @ place[v, 0]) for v in range(3)])
    np.testing.assert_allclose(centre, found.series.defocus.mean_ang - depth, atol=1e-6)
    assert np.abs(depth).max() > 100


def test_one_untilted_image() -> None:
    scene = Scene(strength=1.0, seed=7, astigmatism=(800.0, 600.0))
    true, found = estimate(scene)
    assert abs(errors(true, found)[0]) < 4 * fisher_bound_ang(scene, 0.97 / 8)[0]
    assert found.series.defocus is not None
    assert true.defocus is not None
    assert np.hypot(*(astigmatism(found.series.defocus) - astigmatism(true.defocus))[0]) < 250
    assert found.series.defocus.figure_of_merit is not None
    assert found.series.defocus.figure_of_merit[0] > 0.8
    assert found.series.defocus.max_resolution_ang is not None
    assert 8 < found.series.defocus.max_resolution_ang[0] < 12


@pytest.mark.parametrize("shift", ["common", "free"])
def test_a_phase_plates_shift_is_found(shift: str) -> None:
    true, found = estimate(Scene(tilts=(-40.0, -20.0, 0.0, 30.0), strength=1.0, phase_deg=70.0), phase_shift=shift)
    assert found.series.defocus is not None
    assert found.series.defocus.phase_shift_deg is not None
    np.testing.assert_allclose(found.series.defocus.phase_shift_deg, 70, atol=8)
    assert np.abs(errors(true, found)).max() < 250


def test_an_amplitude_contrast_can_be_fitted() -> None:
    scene = Scene(tilts=(-40.0, -20.0, 0.0, 30.0), strength=1.0, contrast=0.14)
    true, images = make(scene)
    wrong = true.with_changes(defocus=None, optics=replace(true.optics, amplitude_contrast=0.05))
    found = estimate_ctf(wrong, images, CtfSettings(amplitude_contrast="fit"))
    assert found.series.optics.amplitude_contrast == pytest.approx(0.14, abs=0.04)
    assert found.series.quality["CtfAmplitudeContrastError"] < 0.04


def test_a_wrong_pixel_size_is_noticed() -> None:
    true, images = make(Scene(tilts=TILTS, strength=1.0, seed=8))
    assert true.geometry is not None
    half = true.geometry.with_terms(
        x_shift_ang=true.geometry.x_shift_ang / 2, y_shift_ang=true.geometry.y_shift_ang / 2
    )
    wrong = true.with_changes(defocus=None, pixel_size_ang=2.0, geometry=half)
    found = estimate_ctf(wrong, images, CtfSettings())
    assert found.series.quality["CtfDepthSlope"] == pytest.approx(0.5, abs=0.12)
    assert any("pixel size" in note for note in found.notes)


def test_a_bent_specimen_is_seen_as_bent() -> None:
    scene = Scene(tilts=(-50.0, 0.0, 50.0), size=768, pixel=5.0, strength=3.0, thickness=400.0, sag=250.0)
    true, found = estimate(scene)
    assert found.series.quality["CtfSagAngst"] == pytest.approx(250, abs=60)
    flat = estimate_ctf(true.with_changes(defocus=None), make(scene)[1], CtfSettings(surface="flat"))
    assert np.abs(errors(true, found)).mean() < np.abs(errors(true, flat)).mean()


@pytest.mark.parametrize("kind", ["normal", "counts", "blurred"])
def test_noise_gives_no_estimate(kind: str, rng: np.random.Generator) -> None:
    image = rng.normal(size=(1, 512, 512))
    if kind == "counts":
        image = rng.poisson(3, image.shape)
    if kind == "blurred":
        image = (image + np.roll(image, 1, axis=1) + np.roll(image, 1, axis=2)) / 3
    found = estimate_ctf(_series(1, 512), ArrayImages(image.astype(np.float32)), CtfSettings())
    assert "no rings" in found.passed_on
    assert found.series.defocus is None


def test_views_without_rings_borrow_and_say_so() -> None:
    true, images = make(Scene(tilts=(-30.0, -15.0, 0.0, 15.0, 30.0, 45.0), strength=1.0))
    pixels = np.stack([images.view(view) for view in range(6)])
    pixels[4] = 7.0
    pixels[5] = np.random.default_rng(2).normal(size=pixels[5].shape)
    found = estimate_ctf(true.with_changes(defocus=None), ArrayImages(pixels), CtfSettings())
    assert found.series.scores["CtfBorrowed"].tolist() == [0, 0, 0, 0, 1, 1]
    assert np.isfinite(found.series.scores["CtfDefocusErrorAngst"]).all()
    assert (found.series.scores["CtfDefocusErrorAngst"][4:] > 100).all()
    assert np.abs(errors(true, found)[:4]).max() < 200
    assert any("view 5, 6" in note for note in found.notes)


def test_pixels_that_are_no_numbers_do_not_count(minus: tuple[TiltSeries, ArrayImages, CtfResult]) -> None:
    true, images, _ = minus
    pixels = images.view(4).copy()
    pixels[:150] = np.nan
    pixels[300, 300] = 1e6
    found = estimate_ctf(true.select([4]).with_changes(defocus=None), ArrayImages(pixels[None]), CtfSettings())
    assert abs(errors(true.select([4]), found)[0]) < 200


def test_what_has_no_estimate_is_passed_on_in_words(rng: np.random.Generator) -> None:
    image = ArrayImages(rng.normal(size=(1, 256, 256)).astype(np.float32))
    series = _series(1, 256)
    cases = {
        "dark-field": series.with_changes(imaging="dark"),
        "voltage": series.with_changes(optics=Optics()),
        "too coarse": series.with_changes(pixel_size_ang=40.0),
    }
    for word, record in cases.items():
        found = estimate_ctf(record, image, CtfSettings())
        assert word in found.passed_on
        assert found.series is record
    for value in (5.0, np.nan):
        constant = ArrayImages(np.full((1, 256, 256), value, np.float32))
        assert "constant" in estimate_ctf(series, constant, CtfSettings()).passed_on


def test_images_must_fit_the_record(rng: np.random.Generator) -> None:
    images = ArrayImages(rng.normal(size=(2, 256, 256)).astype(np.float32))
    with pytest.raises(ImageError, match="views"):
        estimate_ctf(_series(1, 256), images, CtfSettings())
    with pytest.raises(ImageError, match="even and odd"):
        estimate_ctf(_series(2, 256), images, CtfSettings(spectra="frames"))


def test_spectra_of_half_sums_agree_with_those_of_the_sums(minus: tuple[TiltSeries, ArrayImages, CtfResult]) -> None:
    true, images, _ = minus
    rng = np.random.default_rng(5)
    view = images.view(4)
    noise = rng.normal(size=view.shape).astype(np.float32)
    halves = [ArrayImages((view / 2 + sign * noise / 2)[None]) for sign in (1, -1)]
    one = true.select([4]).with_changes(defocus=None)
    found = estimate_ctf(one, ArrayImages(view[None]), CtfSettings(spectra="frames"), even=halves[0], odd=halves[1])
    assert abs(errors(true.select([4]), found)[0]) < 250


@pytest.mark.slow
def test_standard_errors_are_honest_over_many_views() -> None:
    inside, ratios = [], []
    for seed in range(6):
        true, found = estimate(Scene(tilts=TILTS, strength=0.4, seed=20 + seed, hand=1 if seed % 2 else -1))
        assert found.series.hand == true.hand
        assert found.series.quality["CtfHandConfidence"] > 0.95
        ratio = errors(true, found) / found.series.scores["CtfDefocusErrorAngst"]
        inside += (np.abs(ratio) < 1).tolist()
        ratios += ratio.tolist()
    assert 0.55 < np.mean(inside) < 0.81
    assert 0.75 < np.sqrt(np.mean(np.square(ratios))) < 1.3


def _series(n: int, size: int) -> TiltSeries:
    return TiltSeries(
        name="noise", pixel_size_ang=3.0, image_shape_px=(size, size), nominal_tilt_deg=np.zeros(n),
        nominal_axis_deg=np.full(n, 85.0), optics=Optics(voltage_kv=300.0),
    )  # fmt: skip
