"""Centres by edges, against truth, Fisher's bound, and the fit of the profile."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from lamella.features.bead_edges import edge_centres, slope_lengths
from lamella.features.bead_noise import NoiseShape, NoiseSpectrum
from lamella.features.bead_profile import BeadFit, RadialProfile, Windows, fit_windows

RADIUS, REACH, SIZE = 6.0, (9.5, 13.0), 32
LOOK = RadialProfile.through(
    np.array([1.1, 1.05, 1.0, 0.95, 0.85, 0.6, 0.3, 0.1, -0.05, -0.08, 0.0, 0.04, 0.02, 0.0, 0.0, 0.0]), 1.0
)


def scene(rng: np.random.Generator, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """A picture of 49 beads, depth −20 on a ground of 30, and their centres."""
    grid = np.array([[20 + 40 * i, 20 + 40 * j] for i in range(7) for j in range(7)], dtype=np.float64)
    centres = grid + rng.uniform(-0.5, 0.5, grid.shape)
    y, x = np.mgrid[:280, :280]
    image = np.full((280, 280), 30.0)
    for place in centres:
        distance = np.hypot(x - place[0], y - place[1])
        image -= 20 * np.where(distance < 14, LOOK.at(torch.from_numpy(distance))[0].numpy(), 0)
    return (image + noise * rng.normal(size=image.shape)).astype(np.float32), centres


def by_edges(image: np.ndarray, start: np.ndarray) -> np.ndarray:
    windows = Windows.cut(image, start, SIZE)
    centres, found = edge_centres(windows, start, LOOK, 2 * RADIUS, REACH[0])
    assert found.all()
    return centres


def by_profile(image: np.ndarray, start: np.ndarray, variance: float) -> BeadFit:
    """The fit with the true profile and the true noise."""
    count = len(start)
    ground = np.stack([np.full(count, 30.0), np.zeros(count), np.zeros(count)], axis=-1)
    begun = BeadFit(start, np.full(count, -15.0), ground, np.tile(np.eye(2), (count, 1, 1)), np.ones(count))
    windows = Windows.cut(image, start, SIZE)
    return fit_windows(windows, begun, LOOK, NoiseSpectrum.white(variance), NoiseShape.even(), REACH, steps=5)[0]


def started(centres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return centres + rng.uniform(-0.8, 0.8, centres.shape)


@pytest.mark.parametrize("sigma", [0.5, 1.44, 3.0])
def test_slopes_are_sobels(rng: np.random.Generator, sigma: float) -> None:
    image = rng.normal(size=(2, 40, 31)).astype(np.float32)
    found = slope_lengths(torch.from_numpy(image), sigma).numpy()
    for picture, slopes in zip(image.astype(np.float64), found, strict=True):
        smooth = ndimage.gaussian_filter(picture, sigma, truncate=np.ceil(3 * sigma) / sigma, mode="nearest")
        wanted = np.hypot(ndimage.sobel(smooth, 0, mode="nearest"), ndimage.sobel(smooth, 1, mode="nearest")) / 8
        inner = (slice(12, -12), slice(12, -12))
        np.testing.assert_allclose(slopes[inner], wanted[inner], atol=1e-5)


def test_a_ramp_has_its_slope() -> None:
    ramp = torch.arange(30, dtype=torch.float32)[None, None, :].expand(1, 30, 30) * 0.25
    np.testing.assert_allclose(slope_lengths(ramp, 1.0)[0, 8:-8, 8:-8], 0.25, atol=1e-5)


def test_without_noise_the_centre_is_exact(rng: np.random.Generator) -> None:
    image, centres = scene(rng, 0.05)
    off = by_edges(image, started(centres, rng)) - centres
    assert np.abs(off).max() < 0.03
    assert np.abs(off.mean(axis=0)).max() < 0.005


def test_a_bright_bead_and_a_ramp_are_the_same(rng: np.random.Generator) -> None:
    image, centres = scene(rng, 0.05)
    off = by_edges(60 - image + 0.05 * np.arange(280, dtype=np.float32), started(centres, rng)) - centres
    assert np.abs(off).max() < 0.05


def test_noise_costs_little_more_than_it_must(rng: np.random.Generator) -> None:
    errors, bounds = [], []
    for _ in range(4):
        image, centres = scene(rng, 4.0)
        start = started(centres, rng)
        errors.append(by_edges(image, start) - centres)
        bounds.append(np.trace(by_profile(image, start, 16.0).bound_px2, axis1=1, axis2=2) / 2)
    assert np.sqrt(np.mean(np.square(errors))) < 1.4 * np.sqrt(np.mean(bounds))


@pytest.mark.parametrize("kind", ["carbon", "globule"])
def test_what_lies_on_a_bead_moves_its_edges_less(rng: np.random.Generator, kind: str) -> None:
    """A carbon edge across the bead, or something of its own size beside it, draws a fit of everything."""
    image, centres = scene(rng, 1.0)
    y, x = np.mgrid[:280, :280]
    for place in centres:
        angle = rng.uniform(0, 2 * np.pi)
        along = (x - place[0]) * np.cos(angle) + (y - place[1]) * np.sin(angle)
        apart = np.hypot(x - place[0], y - place[1])
        if kind == "carbon":
            image -= (12 * (apart < 19) / (1 + np.exp(-along / 0.7))).astype(np.float32)
        else:
            image -= (15 * np.exp(-(apart**2 - 2 * 6 * along + 36) / (2 * 8.0**2))).astype(np.float32)
    start = started(centres, rng)
    edges = np.sqrt(np.mean((by_edges(image, start) - centres) ** 2))
    profile = np.sqrt(np.mean((by_profile(image, start, 1.0).centres_px - centres) ** 2))
    assert edges < 0.2
    assert edges < 0.6 * profile


def test_what_is_far_from_its_start_is_not_run_after(rng: np.random.Generator) -> None:
    image, centres = scene(rng, 0.5)
    start = np.add(centres, (7, 3))
    centres_px, found = edge_centres(Windows.cut(image, start, SIZE), start, LOOK, 2 * RADIUS, REACH[0])
    assert np.linalg.norm(centres_px - start, axis=1).max() < 0.3 * 2 * RADIUS
    np.testing.assert_array_equal(centres_px[~found], start[~found])


def test_no_beads() -> None:
    windows = Windows.cut(np.zeros((50, 50), dtype=np.float32), np.zeros((0, 2)), SIZE)
    centres, found = edge_centres(windows, np.zeros((0, 2)), LOOK, 2 * RADIUS, REACH[0])
    assert centres.shape == (0, 2)
    assert found.shape == (0,)
