"""The likelihood of motion, from maps of pairs, against the sum over frequencies that it stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.movies.moving import gaussian_spectra, profile_of, quadratic_maps

from lamella.movies.course import contrasts
from lamella.movies.pair_maps import PairMaps, frame_pairs, tile_maps
from lamella.movies.spectra import FrameSpectra, Profile

FRAMES = 4
Array = np.ndarray


def whole_plane(terms: Array, shape: tuple[int, int]) -> Array:
    """The full transforms of real images whose rfft is given."""
    return np.fft.fft2(np.fft.irfft2(terms, s=shape))


def direct_likelihood(spectra: FrameSpectra, weights: Array, shifts_px: Array) -> float:
    """Σ over all pairs and the whole plane of w Re z_f z_g* exp(2πi k·(s_f − s_g)), term by term."""
    height, width = spectra.shape
    terms = whole_plane(spectra.terms.numpy().astype(np.complex128), spectra.shape)
    full = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            mirrored = column <= width // 2
            full[row, column] = weights[row, column] if mirrored else weights[-row % height, width - column]
    ky, kx = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    total = 0.0
    for f in range(len(terms)):
        for g in range(f + 1, len(terms)):
            lag = shifts_px[f] - shifts_px[g]
            turned = np.exp(2j * np.pi * (kx * lag[0] + ky * lag[1]))
            total += float((full * (terms[f] * terms[g].conj() * turned).real).sum())
    return total


def made(
    rng: np.random.Generator, shape: tuple[int, int] = (40, 56), strength: float = 3.0
) -> tuple[FrameSpectra, Profile, Array]:
    profile = profile_of(shape, FRAMES, strength)
    shifts = rng.normal(0, 1, (FRAMES, 2))
    return gaussian_spectra(rng, profile, shifts), profile, shifts


def maps_of(
    spectra: FrameSpectra, profile: Profile, centre: Array, tiles: tuple[int, int] = (1, 1), reach: int = 5
) -> PairMaps:
    return tile_maps(spectra, profile.weights(), profile.curvature(), centre, tiles, reach)


def test_pairs() -> None:
    first, second = frame_pairs(4)
    assert list(zip(first, second, strict=True)) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]


@pytest.mark.parametrize("shape", [(40, 56), (56, 40), (48, 48)])
def test_likelihood_is_the_sum_over_frequencies(shape: tuple[int, int], rng: np.random.Generator) -> None:
    """At the maps' samples exactly, between them as well as a spline can, wherever the maps were centred."""
    spectra, profile, shifts = made(rng, shape)
    weights = profile.weights().numpy().astype(np.float64)
    centre = shifts + rng.normal(0, 0.5, shifts.shape)
    maps = maps_of(spectra, profile, centre)
    scale = direct_likelihood(spectra, weights, shifts)
    on_samples = np.array([[0.5, -1.0], [0.0, 0.5], [-1.0, 0.0], [1.5, 1.0]])
    for off, close in ((on_samples, 1e-5), (rng.uniform(-1.5, 1.5, shifts.shape), 0.02)):
        value, _ = maps.likelihood((centre + off)[None])
        assert abs(value - direct_likelihood(spectra, weights, centre + off)) < close * scale


def test_lags_are_movie_pixels(rng: np.random.Generator) -> None:
    """Of a movie with 2 × 3 pixels per working pixel the same likelihood lies at shifts twice and 3 times as large."""
    spectra, profile, shifts = made(rng)
    coarse = FrameSpectra(spectra.terms, spectra.shape, (2.0, 3.0), spectra.pixel_size_ang)
    off = rng.uniform(-1, 1, shifts.shape)
    plain = maps_of(spectra, profile, shifts)
    scaled = maps_of(coarse, profile, shifts * [3.0, 2.0])
    assert scaled.step == (1.0, 1.5)
    assert scaled.reach_px == 2 * plain.reach_px
    np.testing.assert_allclose(plain.curvature_px / scaled.curvature_px, [9.0, 4.0])
    value, slope = plain.likelihood((shifts + off)[None])
    value_scaled, slope_scaled = scaled.likelihood(((shifts + off) * [3.0, 2.0])[None])
    assert value_scaled == pytest.approx(value, rel=1e-4)
    np.testing.assert_allclose(slope_scaled * [3.0, 2.0], slope, rtol=1e-3, atol=1e-3 * np.abs(slope).max())


@pytest.mark.parametrize("tiles", [(1, 1), (2, 3)])
def test_gradient(tiles: tuple[int, int], rng: np.random.Generator) -> None:
    spectra, profile, shifts = made(rng)
    maps = maps_of(spectra, profile, shifts, tiles)
    places = shifts + rng.uniform(-1.2, 1.2, (tiles[0] * tiles[1], FRAMES, 2))
    _, gradient = maps.likelihood(places)
    assert gradient.shape == places.shape
    for at in np.ndindex(places.shape):
        step = np.zeros(places.shape)
        step[at] = 1e-5
        slope = (maps.likelihood(places + step)[0] - maps.likelihood(places - step)[0]) / 2e-5
        assert gradient[at] == pytest.approx(slope, rel=1e-4, abs=1e-4 * np.abs(gradient).max())
    np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-9 * np.abs(gradient).max())


def test_beyond_the_maps_the_edge_is_held(rng: np.random.Generator) -> None:
    spectra, profile, _ = made(rng)
    maps = maps_of(spectra, profile, np.zeros((FRAMES, 2)), reach=2)
    far = np.zeros((1, FRAMES, 2))
    far[0, 0, 0] = 40.0
    value, gradient = maps.likelihood(far)
    further, _ = maps.likelihood(2 * far)
    assert value == further
    assert gradient[0, 0, 0] == 0
    assert gradient[0, 0, 1] != 0  # along y the maps still say something


def test_tiles_together_are_the_field(rng: np.random.Generator) -> None:
    """What tiles leave out is only what crosses their borders by as much as the lag."""
    spectra, profile, shifts = made(rng, (96, 120))
    whole = maps_of(spectra, profile, shifts, (1, 1), 4)
    tiled = maps_of(spectra, profile, shifts, (2, 3), 4)
    assert tiled.values.shape == (6, 6, 17, 17)
    together = tiled.whole_field()
    middle = together.values.shape[-1] // 2
    peak = np.abs(whole.values).max()
    assert together.values.shape == whole.values.shape
    np.testing.assert_allclose(
        together.values[..., middle, middle], whole.values[..., middle, middle], atol=1e-4 * peak
    )
    near = slice(middle - 2, middle + 3)
    np.testing.assert_allclose(together.values[..., near, near], whole.values[..., near, near], atol=0.15 * peak)
    np.testing.assert_allclose(
        tiled.tile_centres, [[x, y] for y in (-0.5, 0.5) for x in (-2 / 3, 0, 2 / 3)], atol=1e-12
    )
    np.testing.assert_array_equal(together.curvature_px, tiled.curvature_px)


def test_a_tile_sees_the_motion_of_its_own_place(rng: np.random.Generator) -> None:
    shape = (96, 96)
    profile = profile_of(shape, 2, strength=50.0)
    left = gaussian_spectra(np.random.default_rng(1), profile, np.array([[0.0, 0.0], [1.5, 0.0]]))
    right = gaussian_spectra(np.random.default_rng(1), profile, np.array([[0.0, 0.0], [-1.5, 0.5]]))
    images = torch.fft.irfft2(left.terms, s=shape)
    images[..., 48:] = torch.fft.irfft2(right.terms, s=shape)[..., 48:]
    mixed = FrameSpectra(torch.fft.rfft2(images), shape, (1.0, 1.0), 2.5)
    maps = maps_of(mixed, profile, np.zeros((2, 2)), (1, 2), 4)
    peaks = [np.unravel_index(np.argmax(tile[0]), tile[0].shape) for tile in maps.values]
    # lag of frame 0 behind frame 1, in half pixels about the middle
    assert [(x - 8, y - 8) for y, x in peaks] == [(-3, 0), (3, -1)]


def test_curvature_and_the_gradients_variance_are_fishers(rng: np.random.Generator) -> None:
    """Over many draws of the model: E of a pair's second derivative is −κ, and the variance of the gradient at the
    truth, along any contrast of the frames, is the information F κ."""
    shape, draws = (32, 32), 250
    profile = profile_of(shape, FRAMES, strength=0.6, falloff=4.0)
    kappa = profile.curvature()
    rows = contrasts(FRAMES)
    bends, slopes = [], []
    for _ in range(draws):
        shifts = rng.normal(0, 1, (FRAMES, 2))
        spectra = gaussian_spectra(rng, profile, shifts)
        ky, kx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
        aligned = spectra.aligned(torch.from_numpy(shifts)).terms.numpy().astype(np.complex128)
        doubled = np.where((kx > 0) & (kx < 0.5), 2.0, 1.0) * profile.weights().numpy()
        product = aligned[0] * aligned[1].conj()
        bends += [-float((doubled * product.real * (2 * np.pi * line) ** 2).sum()) for line in (kx, ky)]
        maps = maps_of(spectra, profile, shifts, reach=2)
        slopes.append(rows @ maps.likelihood(shifts[None])[1][0])
    error = np.std(bends) / np.sqrt(len(bends))
    assert abs(np.mean(bends) + kappa) < 3.5 * error
    assert error < 0.03 * kappa
    squares = np.asarray(slopes) ** 2
    measured, uncertain = squares.mean(), squares.std() / np.sqrt(squares.size)
    # the spline between samples takes up to 2 % of the slope at the peak
    assert abs(measured - FRAMES * kappa) < 3.5 * uncertain + 0.04 * FRAMES * kappa
    assert uncertain < 0.06 * FRAMES * kappa


def test_quadratic_maps_are_quadratic(rng: np.random.Generator) -> None:
    """The maps that other tests are made of: far from their edges, splines through a parabola are that parabola."""
    truth = rng.normal(0, 1, (3, 2))
    maps = quadratic_maps(np.random.default_rng(0), truth, (1e9, 1e9))
    exact = quadratic_maps(np.random.default_rng(0), truth, (2.0, 0.5))
    assert maps.frames == exact.frames == 3
    noise = np.random.default_rng(0).normal(size=(1, 3, 2)) / np.sqrt(3 * np.array([2.0, 0.5]))
    value, gradient = exact.likelihood((truth + noise[0])[None])
    assert value == pytest.approx(0, abs=1e-4)
    np.testing.assert_allclose(gradient, 0, atol=1e-4)
    off = rng.normal(0, 1, (3, 2))
    off -= off.mean(axis=0)
    value, _ = exact.likelihood((truth + noise[0] + off)[None])
    assert value == pytest.approx(-1.5 * (2.0 * (off[:, 0] ** 2).sum() + 0.5 * (off[:, 1] ** 2).sum()), rel=1e-3)
