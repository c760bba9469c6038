"""Sums along a motion against pictures that are known at every place, between the pixels too."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import ImageError
from lamella.fourier import crop_image, shell_correlation
from lamella.movies.detector import Detector
from lamella.movies.local_warp import delay_filters, sharpening
from lamella.movies.sum_grid import exact_binning, plan_grid, sum_shape
from lamella.movies.sums import sum_movie, sum_pixel_size
from lamella.optics.dose import dose_filter
from lamella.records import ArrayFrames, LocalMotion, MovieMotion

H, W = 128, 192
Array = np.ndarray


class Blobs:
    """A sum of Gaussians over a mean: a picture that is known everywhere, and nearly band-limited."""

    def __init__(self, seed: int, width: float = 1.6, count: int = 60) -> None:
        rng = np.random.default_rng(seed)
        margin = 16 + 4 * width  # nothing crosses the frames' edges
        self.places = rng.uniform((margin, margin), (W - margin, H - margin), (count, 2))
        self.heights = rng.uniform(0.5, 2.0, count)
        self.width = width

    def __call__(self, x: Array, y: Array) -> Array:
        out = np.full(np.broadcast_shapes(x.shape, y.shape), 5.0)
        for (px, py), height in zip(self.places, self.heights, strict=True):
            out += height * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * self.width**2))
        return out


def grid(shape: tuple[int, int] = (H, W), step: float = 1.0) -> tuple[Array, Array]:
    y, x = np.meshgrid(np.arange(shape[0]) * step, np.arange(shape[1]) * step, indexing="ij")
    return x, y


def frames_of(picture: Blobs, motion: MovieMotion) -> Array:
    """Frame f at x is the picture at the p for which p + displacement(f, p) = x."""
    x, y = grid()
    places = np.stack([x, y], axis=-1)
    source = np.repeat(places[None], len(motion), axis=0)
    for _ in range(8):
        for f in range(len(motion)):
            source[f] = places - motion.displacement(source[f])[f]
    return np.stack([picture(s[..., 0], s[..., 1]) for s in source]).astype(np.float32)


def motion_of(global_px: Array, **more: object) -> MovieMotion:
    return MovieMotion(shape_px=(H, W), pixel_size_ang=1.5, global_px=np.asarray(global_px, float), **more)  # type: ignore[arg-type]


def detector() -> Detector:
    return Detector(shape_px=(H, W))


DRIFT = np.array([[0, 0], [1.3, -0.6], [2.45, -1.5], [3.7, -2.25], [4.21, -3.9]])


def test_a_moving_picture_stands_still_in_the_sum() -> None:
    picture, motion = Blobs(1), motion_of(DRIFT)
    sums = sum_movie(ArrayFrames(frames_of(picture, motion)), detector(), motion)
    inside = np.s_[8:-8, 8:-8]
    assert np.abs(sums.full - 5 * picture(*grid()))[inside].max() < 0.02  # of a contrast of about 10
    assert sums.even is not None
    assert sums.odd is not None
    np.testing.assert_allclose(sums.even + sums.odd, sums.full, atol=1e-4)
    assert np.abs(sums.odd - 3 * picture(*grid()))[inside].max() < 0.02  # frames 1, 3, 5
    assert np.abs(sums.even - 2 * picture(*grid()))[inside].max() < 0.02
    assert sums.half_correlation is not None
    assert sums.half_correlation[1:10].min() > 0.999


def test_first_frame_counts_for_even_and_odd() -> None:
    stack = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((4, H, W), np.float32)
    sums = sum_movie(ArrayFrames(stack), detector(), motion_of(np.zeros((2, 2)), first_frame=2))
    assert sums.even is not None
    assert sums.even[50, 50] == pytest.approx(1, abs=1e-4)  # frame number 2
    assert sums.odd is not None
    assert sums.odd[50, 50] == pytest.approx(2, abs=1e-4)  # frame number 3
    assert sums.full[50, 50] == pytest.approx(3, abs=1e-4)


def local_motion(seed: int, strength: float) -> LocalMotion:
    coefficients = np.random.default_rng(seed).normal(0, strength, (5, 2, 5, 5))
    coefficients[0] = 0
    return LocalMotion(coefficients, (H, W))


def test_local_motion_is_undone() -> None:
    picture = Blobs(2, width=2.0)
    motion = motion_of(DRIFT, local=local_motion(3, 0.5))
    stack = frames_of(picture, motion)
    sums = sum_movie(ArrayFrames(stack), detector(), motion)
    without = sum_movie(ArrayFrames(stack), detector(), motion_of(DRIFT))
    inside = np.s_[12:-12, 12:-12]
    truth = 5 * picture(*grid())[inside]
    error = (sums.full[inside] - truth).std()
    assert error < 0.01 * truth.std()
    assert error < 0.1 * (without.full[inside] - truth).std()


@pytest.mark.parametrize("frequency", [0.05, 0.125, 0.25])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_wave_keeps_its_amplitude_through_the_local_model(frequency: float, axis: int) -> None:
    turns = 2 * np.pi * frequency * grid()[1 - axis]
    for moved in (0.0, 0.31, 0.5, 2.77):
        coefficients = np.zeros((1, 2, 4, 4))
        coefficients[:, 1 - axis] = moved
        motion = motion_of(np.zeros((1, 2)), local=LocalMotion(coefficients, (H, W)))
        wave = np.cos(turns - 2 * np.pi * frequency * moved).astype(np.float32)
        got = sum_movie(ArrayFrames(wave[None]), detector(), motion).full[44:84, 50:130]
        window = np.exp(-1j * turns[44:84, 50:130])
        assert 2 * np.mean(got * window) == pytest.approx(1.0, abs=0.005)


def test_filters_and_sharpening_are_each_others_inverse() -> None:
    places, phases = np.arange(6) - 2, np.arange(513) / 512
    for frequency in (0.0, 0.1, 0.2, 0.25, 0.4):
        answer = (delay_filters() * np.exp(2j * np.pi * frequency * places)).sum(axis=1)
        exact = np.exp(2j * np.pi * frequency * phases) / sharpening(np.array(frequency))
        assert np.abs(answer / exact - 1).max() < (0.0005 if frequency <= 0.25 else 0.005)


@pytest.mark.parametrize("binning", [2.0, 1.5, 3.0, 1.7, 2.6180339887])
def test_binning_keeps_pixel_zero_and_square_pixels(binning: float) -> None:
    picture, motion = Blobs(4, width=4.0), motion_of(DRIFT, binning=binning)
    sums = sum_movie(ArrayFrames(frames_of(picture, motion)), detector(), motion)
    factor = float(exact_binning(binning))
    assert abs(factor / binning - 1) < 1e-3
    assert sums.pixel_size_ang == pytest.approx(1.5 * factor)
    assert sum_pixel_size(motion) == sums.pixel_size_ang
    assert sums.full.shape == sum_shape((H, W), binning)
    truth = 5 * picture(*grid(sums.full.shape, factor))
    assert np.abs(sums.full - truth)[6:-6, 6:-6].max() < 0.02 * np.ptp(truth)


@given(
    height=st.integers(32, 700),
    width=st.integers(32, 700),
    binning=st.floats(1, 6),
    motion=st.tuples(st.floats(0, 80), st.floats(0, 80)),
)
def test_grids(height: int, width: int, binning: float, motion: tuple[float, float]) -> None:
    plan = plan_grid((height, width), binning, motion)
    assert abs(float(plan.binning) - binning) <= 1 / 24
    for padded, cropped, place, side, moved, image in zip(
        plan.padded, plan.cropped, plan.place, (height, width), motion, plan.image, strict=True
    ):
        assert Fraction(padded, cropped) == plan.binning
        assert padded % 2 == cropped % 2 == 0
        assert place >= moved
        assert padded - side - place >= moved
        assert padded < side + 2 * moved + 60 + 6 * plan.binning.numerator + 0.15 * side
        assert image <= cropped
        assert image == side if plan.binning == 1 else abs(image - side / plan.binning) <= 1
        assert plan.binning == 1 or image % 2 == 0


def test_binned_noise_is_that_of_a_cropped_transform(rng: np.random.Generator) -> None:
    noise = rng.normal(10, 1, (1, H, W)).astype(np.float32)
    sums = sum_movie(ArrayFrames(noise), detector(), motion_of(np.zeros((1, 2)), binning=2))
    crop = crop_image(torch.from_numpy(noise[0]), (H // 2, W // 2)).numpy()
    inside = np.s_[8:-8, 8:-8]
    assert np.corrcoef(sums.full[inside].ravel(), crop[inside].ravel())[0, 1] > 0.96  # the highest line is left out
    assert sums.full[inside].std() == pytest.approx(crop[inside].std(), rel=0.03)
    assert sums.even is None


def test_what_lies_beyond_the_edge_goes_on_with_mean_and_noise(rng: np.random.Generator) -> None:
    ramp = np.linspace(100, 20, W)  # wrapped, the bright edge would show at the dark one
    stack = rng.poisson(ramp, (4, H, W)).astype(np.float32)
    motion = motion_of([[0, 0], [30.4, 0], [30.4, 0], [30.4, 0]])
    full = sum_movie(ArrayFrames(stack), detector(), motion).full
    left, right = full[:, :20], full[:, -20:]
    # frames 2–4 show at 0 what stands at 30.4; at the right end they show nothing, and go on as they end
    assert left.mean() == pytest.approx(ramp[:20].mean() + 3 * ramp[30:50].mean(), rel=0.02)
    assert right.mean() == pytest.approx(ramp[-20:].mean() + 3 * ramp[-16:].mean(), rel=0.02)
    assert right.std() == pytest.approx(np.sqrt(right.mean()), rel=0.15)
    assert full[:, 60:120].std(axis=0).mean() == pytest.approx(np.sqrt(full[:, 60:120].mean()), rel=0.1)


def test_dose_weighting_keeps_white_noise_white(rng: np.random.Generator) -> None:
    stack = rng.normal(0, 1, (6, H, W)).astype(np.float32)
    motion = motion_of(np.zeros((6, 2)), pre_exposure=20.0, dose_per_frame=8.0)
    sums = sum_movie(ArrayFrames(stack), detector(), motion, voltage_kv=300.0)
    assert sums.weighted is not None
    power = np.abs(np.fft.rfft2(sums.weighted)) ** 2
    bands = [power[:60, a:b].mean() for a, b in ((5, 20), (40, 60), (80, 95))]
    np.testing.assert_allclose(bands, 6 * H * W, rtol=0.12)
    filters = np.stack([dose_filter((H, W), 1.5, 20 + 8 * i, 8, 300.0).numpy() for i in range(6)])
    expected = (np.fft.rfft2(stack) * filters).sum(0) / np.sqrt((filters**2).mean(0))
    got = np.fft.rfft2(sums.weighted)
    low = np.s_[3:20, 3:20]
    assert np.corrcoef(np.abs(expected[low]).ravel(), np.abs(got[low]).ravel())[0, 1] > 0.99


def test_aligned_frames_add_up_to_the_sum(rng: np.random.Generator) -> None:
    stack = rng.poisson(3, (5, H, W)).astype(np.uint8)
    seen: dict[int, Array] = {}
    sums = sum_movie(
        ArrayFrames(stack),
        detector(),
        motion_of(DRIFT, binning=1.5),
        aligned=lambda index, image: seen.setdefault(index, image.copy()),
    )
    assert sorted(seen) == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(sum(seen.values()), sums.full, atol=1e-3)


def test_half_correlation_is_the_textbooks(rng: np.random.Generator) -> None:
    picture, motion = Blobs(7), motion_of(np.zeros((4, 2)))
    stack = frames_of(picture, motion) + rng.normal(0, 3, (4, H, W)).astype(np.float32)
    sums = sum_movie(ArrayFrames(stack), detector(), motion)
    assert sums.even is not None
    assert sums.odd is not None
    frequency, curve, _ = shell_correlation(torch.from_numpy(sums.even), torch.from_numpy(sums.odd))
    assert sums.half_correlation is not None
    same = np.interp(frequency.numpy(), np.linspace(0, 0.5, len(sums.half_correlation)), sums.half_correlation)
    assert np.abs(same - curve.numpy())[4:40].mean() < 0.06


def test_threads_change_nothing(rng: np.random.Generator) -> None:
    stack = rng.poisson(2, (3, H, W)).astype(np.uint8)
    bad = np.zeros((H, W), bool)
    bad[:, 40] = True
    camera = Detector(shape_px=(H, W), bad=bad)
    motion = motion_of(DRIFT[:3], local=LocalMotion(rng.normal(0, 1, (3, 2, 4, 4)), (H, W)))
    one, two = (sum_movie(ArrayFrames(stack), camera, motion, threads=count).full for count in (1, 2))
    np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.gpu
def test_a_gpu_gives_the_same(rng: np.random.Generator) -> None:
    stack = rng.poisson(2, (3, H, W)).astype(np.uint8)
    motion = motion_of(DRIFT[:3], binning=1.5, pre_exposure=3.0, dose_per_frame=1.0)
    cpu, gpu = (
        sum_movie(ArrayFrames(stack), detector(), motion, voltage_kv=300.0, device=device) for device in ("cpu", "cuda")
    )
    for name in ("full", "even", "odd", "weighted"):
        np.testing.assert_allclose(getattr(cpu, name), getattr(gpu, name), atol=1e-3)


def test_contradictions_are_named() -> None:
    stack = ArrayFrames(np.ones((3, H, W), np.float32))
    with pytest.raises(ImageError, match="frames 1 to 5 for a movie of 3"):
        sum_movie(stack, detector(), motion_of(DRIFT))
    with pytest.raises(ImageError, match="without doses"):
        sum_movie(stack, detector(), motion_of(DRIFT[:3]), voltage_kv=300.0)
    with pytest.raises(ImageError, match="motion for frames"):
        sum_movie(stack, Detector(shape_px=(W, H)), motion_of(DRIFT[:3]))
    broken = np.ones((3, H, W), np.float32)
    broken[1, 5, 5] = np.nan
    with pytest.raises(ImageError, match="NaN"):
        sum_movie(ArrayFrames(broken), detector(), motion_of(DRIFT[:3]))
