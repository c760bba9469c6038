"""The fit of a learned profile, against truth and Fisher's bound."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamella.features.bead_noise import NoiseShape, NoiseSpectrum
from lamella.features.bead_profile import BeadFit, ProfileSums, RadialProfile, Windows, ball_look, fit_windows

RADIUS, REACH, SIZE = 6.0, (9.5, 13.0), 32
TRUE = np.array([1.1, 1.05, 1.0, 0.95, 0.85, 0.6, 0.3, 0.1, -0.05, -0.08, 0.0, 0.04, 0.02, 0.0, 0.0, 0.0])


def scene(rng: np.random.Generator, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """A picture of 64 beads of the true profile, depth −20 on a ground of 30, and their centres."""
    grid = np.array([[20 + 40 * i, 20 + 40 * j] for i in range(8) for j in range(8)], dtype=np.float64)
    centres = grid + rng.uniform(-0.5, 0.5, grid.shape)
    y, x = np.mgrid[:320, :320]
    look = RadialProfile.through(TRUE, 1.0)
    image = np.full((320, 320), 30.0)
    for place in centres:
        distance = np.hypot(x - place[0], y - place[1])
        image -= 20 * np.where(distance < 14, look.at(torch.from_numpy(distance))[0].numpy(), 0)
    return (image + noise * rng.normal(size=image.shape)).astype(np.float32), centres


def started(centres: np.ndarray) -> BeadFit:
    count = len(centres)
    ground = np.stack([np.full(count, 30.0), np.zeros(count), np.zeros(count)], axis=-1)
    return BeadFit(centres, np.full(count, -15.0), ground, np.tile(np.eye(2), (count, 1, 1)), np.ones(count))


def learned_fit(image: np.ndarray, start: np.ndarray, variance: float) -> BeadFit:
    windows = Windows.cut(image, start, SIZE)
    look, noise, shape, fit = (
        ball_look(RADIUS, REACH[1]),
        NoiseSpectrum.white(variance),
        NoiseShape.even(),
        started(start),
    )
    everyone = np.ones(len(start), dtype=bool)
    for _ in range(3):
        fit, left = fit_windows(windows, fit, look, noise, shape, REACH)
        sums = ProfileSums.of(windows, fit, REACH[1], everyone)
        look = sums.own_profile(sums.knots(), variance)
        noise = NoiseSpectrum.measured(left, everyone)
        shape = NoiseShape.measured(left.squares.sum(axis=0), left.pixels.sum(axis=0), RADIUS)
    return fit


def test_without_noise_the_centre_is_exact(rng: np.random.Generator) -> None:
    image, centres = scene(rng, 0.05)
    fit = learned_fit(image, centres + rng.uniform(-0.4, 0.4, centres.shape), 0.05**2)
    assert np.abs(fit.centres_px - centres).max() < 0.03
    assert np.abs((fit.centres_px - centres).mean(axis=0)).max() < 0.005  # no view's worth of bias


def test_error_meets_fishers_bound(rng: np.random.Generator) -> None:
    errors, bounds = [], []
    for _ in range(4):
        image, centres = scene(rng, 4.0)
        fit = learned_fit(image, centres + rng.uniform(-0.4, 0.4, centres.shape), 16.0)
        errors.append(fit.centres_px - centres)
        bounds.append(np.trace(fit.bound_px2, axis1=1, axis2=2) / 2)
    error, bound = np.sqrt(np.mean(np.square(errors))), np.sqrt(np.mean(bounds))
    assert error == pytest.approx(bound, rel=0.2)


def test_bound_agrees_with_the_formula(rng: np.random.Generator) -> None:
    # σ² / Σ (∂I/∂x)²; ground and depth are even about the centre, slopes take a little
    image, centres = scene(rng, 4.0)
    look = RadialProfile.through(TRUE, 1.0)
    windows = Windows.cut(image, centres, SIZE)
    fit, _ = fit_windows(windows, started(centres), look, NoiseSpectrum.white(16.0), NoiseShape.even(), REACH, steps=4)
    line = np.arange(-16, 17.0)
    distance = np.hypot(line[:, None], line[None]).clip(1e-6)
    slope = look.at(torch.from_numpy(distance))[1].numpy() * line[None] / distance * 20
    assert np.sqrt(np.trace(fit.bound_px2.mean(axis=0)) / 2) == pytest.approx(4 / np.sqrt((slope**2).sum()), rel=0.1)


def test_coloured_noise_is_measured(rng: np.random.Generator) -> None:
    image, centres = scene(rng, 0.0)
    coarse = torch.nn.functional.avg_pool2d(torch.from_numpy(rng.normal(size=(1, 1, 324, 324))), 5, stride=1)
    image = (image + rng.normal(size=image.shape) + 10 * coarse[0, 0].numpy()).astype(np.float32)
    windows = Windows.cut(image, centres, SIZE)
    look = RadialProfile.through(TRUE, 1.0)
    _, left = fit_windows(windows, started(centres), look, NoiseSpectrum.white(5.0), NoiseShape.even(), REACH, steps=4)
    noise = NoiseSpectrum.measured(left, np.ones(len(centres), dtype=bool))
    # white noise of variance 1; the mean of 25 numbers, times 10, has 100 × the box's transfer squared
    assert noise.power[-3:] == pytest.approx(np.full(3, 1.0), rel=0.4)
    assert noise.power[1] > 20


def test_a_wrong_shape_shows_in_the_misfit(rng: np.random.Generator) -> None:
    image, centres = scene(rng, 4.0)
    place = np.round(centres[10]).astype(int)
    image[place[1] : place[1] + 12, place[0] - 12 : place[0] + 12] -= 12  # a bead on the edge of something dark
    windows = Windows.cut(image, centres, SIZE)
    look = RadialProfile.through(TRUE, 1.0)
    fit, _ = fit_windows(windows, started(centres), look, NoiseSpectrum.white(16.0), NoiseShape.even(), REACH)
    assert fit.misfit.argmax() == 10
    assert fit.misfit[10] > 3 * np.median(fit.misfit)


def test_windows_at_the_edge_count_only_real_pixels() -> None:
    image = np.arange(100, dtype=np.float32).reshape(10, 10)
    windows = Windows.cut(image, np.array([[0.2, 9.0]]), 4)
    assert windows.inside[0].sum() == 2 * 3
    assert windows.corners.tolist() == [[-2, 7]]
    assert windows.pixels[0, 0, 2:].tolist() == [70.0, 71.0]
