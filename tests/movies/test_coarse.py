"""The first estimate of a motion, from anywhere within the range that is allowed."""

from __future__ import annotations

import numpy as np
import pytest
from tests.movies.moving import gaussian_spectra, profile_of

from lamella.movies.coarse import first_estimate
from lamella.movies.spectra import FrameSpectra

SHAPE, PIXEL_ANG, COARSE_ANG = (200, 240), 2.5, 8.0
Array = np.ndarray


def spectra_of_drift(rng: np.random.Generator, shifts: Array, strength: float) -> FrameSpectra:
    return gaussian_spectra(rng, profile_of(SHAPE, len(shifts), strength, falloff=20.0), shifts, PIXEL_ANG)


@pytest.mark.parametrize("max_shift_ang", [40.0, 100.0])
@pytest.mark.parametrize("seed", range(6))
def test_drifts_are_found_within_a_coarse_pixel(seed: int, max_shift_ang: float) -> None:
    """Straight or settling, in any direction, as far as allowed."""
    rng = np.random.default_rng(seed)
    angle, frames = rng.uniform(0, 2 * np.pi), int(rng.integers(3, 9))
    time = np.linspace(0, 1, frames)
    time = time if seed % 2 else time**0.7
    length = rng.uniform(0.3, 0.95) * max_shift_ang / PIXEL_ANG
    shifts = length * time[:, None] * [np.cos(angle), np.sin(angle)] + rng.normal(0, 0.3, (frames, 2))
    shifts -= shifts[0]
    found = first_estimate(spectra_of_drift(rng, shifts, 3.0), max_shift_ang)
    np.testing.assert_array_equal(found[0], 0)
    assert np.abs(found - shifts).max() * PIXEL_ANG < COARSE_ANG


def test_shifts_are_movie_pixels(rng: np.random.Generator) -> None:
    shifts = np.array([[0.0, 0.0], [4.0, -2.0], [8.0, -4.0]])
    spectra = spectra_of_drift(rng, shifts, 5.0)
    fine = FrameSpectra(spectra.terms, spectra.shape, (2.0, 3.0), PIXEL_ANG)
    np.testing.assert_allclose(
        first_estimate(fine, 60.0), first_estimate(spectra, 60.0) * [3.0, 2.0], rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("max_shift_ang", [10.0, 60.0])
@pytest.mark.parametrize("seed", range(3))
def test_noise_stays_within_the_range(seed: int, max_shift_ang: float) -> None:
    rng = np.random.default_rng(seed)
    found = first_estimate(spectra_of_drift(rng, np.zeros((6, 2)), 0.0), max_shift_ang)
    reach = max(2, np.ceil(max_shift_ang / COARSE_ANG)) * COARSE_ANG / PIXEL_ANG
    between = np.abs(found[:, None] - found[None])
    assert between.max() <= 2 * reach + 1


def test_one_frame_and_blank_frames(rng: np.random.Generator) -> None:
    np.testing.assert_array_equal(first_estimate(spectra_of_drift(rng, np.zeros((1, 2)), 1.0), 50.0), np.zeros((1, 2)))
    spectra = spectra_of_drift(rng, np.zeros((4, 2)), 1.0)
    found = first_estimate(FrameSpectra(spectra.terms * 0, spectra.shape, spectra.scale, spectra.pixel_size_ang), 50.0)
    assert np.isfinite(found).all()


def test_a_range_wider_than_the_image(rng: np.random.Generator) -> None:
    found = first_estimate(spectra_of_drift(rng, np.zeros((3, 2)), 5.0), 5000.0)
    assert np.abs(found).max() * PIXEL_ANG < COARSE_ANG
