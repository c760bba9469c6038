"""Median and bilateral filters against SciPy, torch and their limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter

from lamella.kernels import neighbourhood


@pytest.mark.parametrize("shape", [(5, 9, 75), (1, 4, 3), (6, 1, 64), (3, 3, 130)])
@pytest.mark.parametrize("size", [3, 5])
def test_medians_are_scipys(rng, shape, size):
    volume = rng.normal(size=shape).astype(np.float32)
    want = median_filter(volume, size=size, mode="nearest")
    np.testing.assert_array_equal(neighbourhood.median(volume, size), want)
    np.testing.assert_array_equal(neighbourhood.median_reference(torch.from_numpy(volume), size), want)


def test_medians_of_many_equal_values(rng):
    volume = rng.integers(0, 3, size=(6, 7, 8)).astype(np.float32)
    np.testing.assert_array_equal(neighbourhood.median(volume, 3), median_filter(volume, size=3, mode="nearest"))


@pytest.mark.parametrize("value_range", [0.3, 2.0, 50.0])
def test_the_bilateral_kernel_does_what_the_reference_does(rng, value_range):
    volume = rng.normal(size=(7, 8, 19)).astype(np.float32)
    want = neighbourhood.bilateral_reference(torch.tensor(volume, dtype=torch.float64), 1.3, value_range)
    np.testing.assert_allclose(neighbourhood.bilateral(volume, 1.3, value_range), want, atol=2e-5)


def test_a_wide_range_makes_the_bilateral_filter_linear(rng):
    volume = rng.normal(size=(9, 9, 9)).astype(np.float32)
    offsets, weights = neighbourhood.ball(1.0)
    near = np.array([volume[4 + z, 4 + y, 4 + x] for z, y, x in offsets])
    mean = (volume[4, 4, 4] + (weights * near).sum()) / (1 + weights.sum())
    assert neighbourhood.bilateral(volume, 1.0, 1e4)[4, 4, 4] == pytest.approx(mean, abs=1e-6)


def test_a_narrow_range_keeps_steps():
    volume = np.zeros((8, 8, 8), np.float32)
    volume[4:] = 10
    np.testing.assert_allclose(neighbourhood.bilateral(volume, 1.5, 0.5), volume, atol=1e-6)
