"""Loops over rings, against plain numpy and numerical derivatives."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.kernels.rings import add_power, class_slopes, depth_gains, ring_moments, ring_moments_reference


@pytest.fixture
def rings(rng: np.random.Generator) -> dict[str, np.ndarray]:
    m, classes = 60, 5
    values = {
        "power": rng.gamma(8, 1 / 8, (classes, m)),
        "depth": rng.normal(0, 800, classes),
        "per_depth": rng.uniform(2e-4, 2e-3, m),
        "level": rng.uniform(0.9, 1.1, m),
        "swing": rng.uniform(-0.1, 0.3, m),
        "phase": rng.uniform(0, 6, m),
        "tiles": rng.uniform(1, 4, classes),
        "modes": rng.uniform(1, 9, m),
    }
    return {name: value.astype(np.float32) for name, value in values.items()}


def test_power_falls_into_the_bins_that_the_index_names(rng: np.random.Generator) -> None:
    terms = (rng.normal(size=(8, 5)) + 1j * rng.normal(size=(8, 5))).astype(np.complex64)
    index = rng.integers(-1, 6, (8, 5)).astype(np.int32)
    out = np.ones(6)
    add_power(terms, index, out)
    inside = index >= 0
    expected = 1 + np.bincount(index[inside], (np.abs(terms) ** 2)[inside], minlength=6)
    np.testing.assert_allclose(out, expected, rtol=1e-5)


def test_moments_are_the_references(rings: dict[str, np.ndarray]) -> None:
    arguments = [rings[name] for name in ("power", "tiles", "depth", "per_depth", "level", "swing", "phase")]
    np.testing.assert_allclose(ring_moments(*arguments), ring_moments_reference(*arguments), rtol=2e-4, atol=2e-3)


def _log_likelihood(rings: dict[str, np.ndarray], depth: np.ndarray) -> np.ndarray:
    """Of each class: Gamma variates of the model's mean."""
    angle = rings["phase"] + depth[:, None].astype(np.float64) * rings["per_depth"]
    model = rings["level"] - rings["swing"] * np.cos(angle)
    each = -(rings["power"] / model + np.log(model)) * rings["modes"]
    return rings["tiles"] * each.sum(axis=1)


def test_slopes_are_the_likelihoods_derivative(rings: dict[str, np.ndarray]) -> None:
    names = ("power", "tiles", "modes", "depth", "per_depth", "level", "swing", "phase")
    slope, information = class_slopes(*(rings[name] for name in names))
    step = 0.5
    up, down = (_log_likelihood(rings, rings["depth"] + sign * step) for sign in (1, -1))
    np.testing.assert_allclose(slope, (up - down) / (2 * step), rtol=2e-3, atol=1e-5)
    assert (information > 0).all()


def test_gains_rank_depths_as_a_sum_of_squares_does(rings: dict[str, np.ndarray]) -> None:
    depths = np.stack([sign * rings["depth"] for sign in (-1.0, 0.0, 1.0, 2.0)]).astype(np.float32)
    gains = depth_gains(
        rings["power"], rings["tiles"], rings["modes"], depths, rings["per_depth"], rings["level"], rings["swing"],
        rings["phase"],
    )  # fmt: skip
    expected = []
    for depth in depths:
        ring = -rings["swing"] * np.cos(rings["phase"] + depth[:, None] * rings["per_depth"])
        left = rings["power"] - rings["level"]
        whole = (left**2 - (left - ring) ** 2) / 2 * rings["modes"] * rings["tiles"][:, None]
        expected.append(whole.sum())
    np.testing.assert_allclose(gains, expected, rtol=1e-3)
