"""The motion of small series from counts to records, where the truth and its best possible error are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from tests.movies.moving import count_frames, texture

from lamella.errors import ImageError
from lamella.fourier import frequency_grid
from lamella.movies.detector import Detector
from lamella.movies.estimate import estimate_motion
from lamella.movies.motion_settings import MotionSettings
from lamella.records import ArrayFrames, MovieMotion, Optics

SHAPE, PIXEL_ANG, DOSE, CONTRAST = (256, 256), 2.0, 1.0, 0.12
COARSE_PX, FINE_PX = 40.0, 5.0
OPTICS = Optics(voltage_kv=None)
Array = np.ndarray


def settling(rng: np.random.Generator, frames: int, jitter: float = 0.15) -> Array:
    """``(frames, 2)`` px: fast at first, then slow, with some jitter."""
    time = np.linspace(0, 1, frames)[:, None]
    moved = -2.5 * np.expm1(-time / 0.15) * rng.normal(size=(1, 2)) + 1.5 * time * rng.normal(size=(1, 2))
    return moved + rng.normal(0, jitter, (frames, 2))


def movie(rng: np.random.Generator, shifts: Array, dose: float = DOSE, contrast: float = CONTRAST) -> Array:
    return count_frames(rng, texture(rng, SHAPE, COARSE_PX, FINE_PX), SHAPE, shifts, dose, contrast)


def estimated(
    movies: list[Array],
    *,
    model: str = "global",
    detector: Detector | None = None,
    pixel_size_ang: float = PIXEL_ANG,
    **settings: object,
) -> tuple[MovieMotion, ...]:
    return estimate_motion(
        [ArrayFrames(frames) for frames in movies],
        detector or Detector(shape_px=SHAPE),
        MotionSettings(model=model, **settings),  # type: ignore[arg-type]
        pixel_size_ang=pixel_size_ang,
        optics=OPTICS,
    )


def centred(motion: Array) -> Array:
    return motion - motion.mean(axis=0)


def rms(values: object) -> float:
    return float(np.sqrt(np.mean(np.square(np.concatenate(values)))))  # type: ignore[call-overload]


def information_bound(frames: int, dose: float, contrast: float) -> float:
    """Rms error, px, of frames about their mean where nothing is known of their motion: Fisher's, of Poisson counts."""
    power = np.abs(texture(np.random.default_rng(0), SHAPE, COARSE_PX, FINE_PX)) ** 2 * (dose * contrast) ** 2
    rho = power / (dose * SHAPE[0] * SHAPE[1])
    shells = (frequency_grid(SHAPE).numpy() * 256).round().astype(int)
    twice = np.full(rho.shape, 2.0)
    twice[:, [0, -1]] = 1.0
    count = np.bincount(shells.ravel(), twice.ravel())
    rho = np.bincount(shells.ravel(), (twice * rho).ravel()) / count
    k = np.arange(len(rho)) / 256
    kappa = (count * rho**2 / (1 + frames * rho) * (2 * np.pi * k) ** 2 / 2).sum()
    return float(np.sqrt((frames - 1) / frames / (frames * kappa)))


def test_a_series_is_solved_as_well_as_its_counts_allow() -> None:
    """Errors are below the bound of frames taken as independent, for the prior adds to it, and are those stated."""
    errors, standard = [], []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        true = [settling(rng, 6) for _ in range(8)]
        for shifts, found in zip(true, estimated([movie(rng, shifts) for shifts in true]), strict=True):
            assert found.global_px.shape == (6, 2)
            np.testing.assert_array_equal(found.global_px[0], 0)
            assert found.local is None
            assert found.global_error_px is not None
            error = centred(found.global_px) - centred(shifts)
            errors.append(error)
            standard.append(error / found.global_error_px)
    bound = information_bound(6, DOSE, CONTRAST)
    assert 0.05 < bound < 0.6  # neither trivial nor hopeless
    assert rms(errors) < 1.05 * bound
    assert 0.7 < rms(standard) < 1.3


WIDE_ANG = 8.0
"""Pixel at which 256 pixels are a field of 4 × 4 tiles."""


def bent_movie(rng: np.random.Generator, shifts: Array, stretch: Array) -> Array:
    """Counts of frames that are moved by their shifts, and by their ``(frames, 2)`` stretch times x from −1 to 1."""
    height, width = SHAPE
    image = np.fft.irfft2(texture(rng, SHAPE, COARSE_PX, FINE_PX), s=SHAPE)
    y, x = np.meshgrid(np.arange(height, dtype=float), np.arange(width, dtype=float), indexing="ij")
    across = 2 * (x + 0.5) / width - 1
    frames = []
    for shift, by in zip(shifts, stretch, strict=True):
        places = [y - shift[1] - by[1] * across, x - shift[0] - by[0] * across]
        moved = map_coordinates(image, places, order=5, mode="grid-wrap")
        frames.append(rng.poisson(4 * DOSE * np.clip(1 + CONTRAST * moved, 0.05, None)))
    return np.stack(frames).astype(np.uint8)


def field_error(found: MovieMotion, shifts: Array, stretch: Array) -> float:
    """Rms over frames and places, each place's motion about its mean over the frames."""
    x, y = np.meshgrid(np.arange(16, 256, 32), np.arange(16, 256, 32))
    places = np.stack([x.ravel(), y.ravel()], axis=-1)
    across = 2 * (places[:, 0] + 0.5) / SHAPE[1] - 1
    error = found.displacement(places) - shifts[:, None] - stretch[:, None] * across[:, None]
    return float(np.sqrt(np.mean(np.square(error - error.mean(axis=0)))))


@pytest.mark.parametrize("bend", [0.0, 1.2])
def test_local_motion_from_counts(bend: float) -> None:
    """A field that moves as one gets no local motion; one that stretches gets it, and is the better for it."""
    rng = np.random.default_rng(11)
    time = -np.expm1(-np.linspace(0, 1, 5)[:, None] / 0.3)
    true = [settling(rng, 5, 0.05) / 3 for _ in range(5)]
    stretches = [bend * time * rng.choice([-1, 1]) * np.array([[1.0, 0.5]]) for _ in true]
    movies = [bent_movie(rng, shifts, stretch) for shifts, stretch in zip(true, stretches, strict=True)]
    errors = {}
    for model in ("global", "local"):
        found = estimated(movies, model=model, pixel_size_ang=WIDE_ANG)
        assert all((one.local is not None) == (model == "local" and bend > 0) for one in found)
        errors[model] = [field_error(*parts) for parts in zip(found, true, stretches, strict=True)]
    if bend:
        assert all(local < 0.6 * whole for local, whole in zip(errors["local"], errors["global"], strict=True))
        assert max(errors["local"]) < 0.15
    else:
        np.testing.assert_allclose(errors["local"], errors["global"], rtol=0.3)


def test_some_frames_of_a_movie(rng: np.random.Generator) -> None:
    """Frames that are not used are never read, and the motion of the others starts at 0."""
    shifts = settling(rng, 8)
    frames = movie(rng, shifts)

    class Watched(ArrayFrames):
        def frame(self, index: int) -> Array:
            assert 2 <= index <= 6
            return super().frame(index)

    found = estimate_motion(
        [Watched(frames)],
        Detector(shape_px=SHAPE),
        MotionSettings(model="global", first_frame=3, last_frame=7),
        pixel_size_ang=PIXEL_ANG,
        optics=OPTICS,
    )[0]
    assert len(found) == 5
    assert found.first_frame == 3
    assert rms([centred(found.global_px) - centred(shifts[2:7])]) < 0.5


def test_movies_of_two_frames(rng: np.random.Generator) -> None:
    true = [np.array([[0.0, 0.0], rng.normal(0, 3, 2)]) for _ in range(4)]
    found = estimated([movie(rng, shifts, dose=3.0) for shifts in true])
    errors = [one.global_px - shifts for one, shifts in zip(found, true, strict=True)]
    assert rms(errors) < 0.3


def test_movies_of_many_frames_are_solved_in_groups(rng: np.random.Generator) -> None:
    """45 frames, each too faint to be placed; the smooth motion is interpolated between the groups."""
    true = [settling(rng, 45, jitter=0.0) for _ in range(3)]
    found = estimated([movie(rng, shifts, dose=0.3) for shifts in true])
    for one, shifts in zip(found, true, strict=True):
        assert one.global_px.shape == (45, 2)
        assert one.global_error_px is not None
        assert one.global_error_px.shape == (45, 2)
        assert rms([centred(one.global_px) - centred(shifts)]) < 0.4


def test_views_of_different_lengths(rng: np.random.Generator) -> None:
    true = [settling(rng, frames) for frames in (6, 4, 6, 9, 4)]
    found = estimated([movie(rng, shifts) for shifts in true])
    assert [len(one) for one in found] == [6, 4, 6, 9, 4]
    for one, shifts in zip(found, true, strict=True):
        assert rms([centred(one.global_px) - centred(shifts)]) < 0.6


@pytest.mark.parametrize("level", [0, 3])
@pytest.mark.parametrize("model", ["global", "local"])
def test_a_blank_view(level: int, model: str, rng: np.random.Generator) -> None:
    """A view without any signal gets a finite motion and a wide error, and the others lose nothing by it."""
    true = [settling(rng, 4) for _ in range(3)]
    movies = [movie(rng, shifts) for shifts in true]
    blank = np.full((4, *SHAPE), level, np.uint8)
    found = estimated([blank, *movies], model=model)
    without = estimated(movies, model=model)
    assert np.isfinite(found[0].displacement([[0.0, 0.0], [200.0, 100.0]])).all()
    assert found[0].global_error_px is not None
    assert np.isfinite(found[0].global_error_px).all()
    for one, other in zip(found[1:], without, strict=True):
        np.testing.assert_allclose(one.global_px, other.global_px, atol=0.1)
    alone = estimated([blank], model=model)[0]
    assert np.abs(alone.global_px).max() < 1e-3


def test_noise_alone_stays_within_the_range(rng: np.random.Generator) -> None:
    found = estimated([movie(rng, np.zeros((5, 2)), contrast=0.0) for _ in range(3)], max_shift=30.0)
    for one in found:
        assert np.abs(one.global_px).max() * PIXEL_ANG < 60.0


def test_columns_that_no_gain_knows_do_not_hold_the_motion() -> None:
    """Hot columns stand still while the specimen drifts; they lie on the lines that are left out."""
    rng = np.random.default_rng(5)
    true = [settling(rng, 6) for _ in range(4)]
    movies = [movie(rng, shifts) for shifts in true]
    hot = rng.choice(SHAPE[1], 12, replace=False)
    marked = []
    for frames in movies:
        with_columns = frames.copy()
        with_columns[:, :, hot] += rng.poisson(0.6 * DOSE, (len(frames), SHAPE[0], len(hot))).astype(np.uint8)
        marked.append(with_columns)
    clean = rms([centred(one.global_px) - centred(shifts) for one, shifts in zip(estimated(movies), true, strict=True)])
    held = rms([centred(one.global_px) - centred(shifts) for one, shifts in zip(estimated(marked), true, strict=True)])
    assert held < 1.4 * clean + 0.02


def test_hot_pixels_that_the_camera_replaces() -> None:
    rng = np.random.default_rng(6)
    true = [settling(rng, 6) for _ in range(4)]
    movies = [movie(rng, shifts) for shifts in true]
    bad = rng.random(SHAPE) < 0.01
    hot = [np.where(bad, 12, frames).astype(np.uint8) for frames in movies]
    clean = rms([centred(one.global_px) - centred(shifts) for one, shifts in zip(estimated(movies), true, strict=True)])
    mended = rms(
        [
            centred(one.global_px) - centred(shifts)
            for one, shifts in zip(estimated(hot, detector=Detector(shape_px=SHAPE, bad=bad)), true, strict=True)
        ]
    )
    assert mended < 1.15 * clean + 0.02


def test_a_long_drift_is_found() -> None:
    """Nearly as far as is allowed, in a straight line."""
    rng = np.random.default_rng(7)
    way = np.linspace(0, 1, 6)[:, None] * np.array([[34.0, -26.0]])
    found = estimated([movie(rng, way, dose=2.0)], max_shift=100.0)[0]
    assert rms([found.global_px - way]) < 0.6


def test_scratch_is_left_clean(tmp_path: Path, rng: np.random.Generator) -> None:
    told: list[float] = []
    estimate_motion(
        [ArrayFrames(movie(rng, settling(rng, 3)))],
        Detector(shape_px=SHAPE),
        MotionSettings(model="global"),
        pixel_size_ang=PIXEL_ANG,
        optics=OPTICS,
        scratch=tmp_path,
        progress=lambda fraction, text="": told.append(fraction),
    )
    assert list(tmp_path.iterdir()) == []
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_a_single_frame_is_an_error(rng: np.random.Generator) -> None:
    with pytest.raises(ImageError, match="single frame"):
        estimated([movie(rng, np.zeros((1, 2)))])
    with pytest.raises(ImageError, match="single frame"):
        estimated([movie(rng, np.zeros((3, 2)))], first_frame=3)
