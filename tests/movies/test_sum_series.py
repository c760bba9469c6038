"""The resolution to which halves agree, on curves whose crossing is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lamella.movies.sum_series import resolution_of_halves
from lamella.movies.sums import Sums

RINGS = 400


def sums_with(curve: np.ndarray | None) -> Sums:
    image = np.zeros((4, 4), np.float32)
    return Sums(full=image, even=image, odd=image, weighted=None, pixel_size_ang=2.0, half_correlation=curve)


def falling(at: float) -> np.ndarray:
    """1 at frequency 0, 0.143 at `at` (of Nyquist), steep."""
    return 1 / (1 + (1 / 0.143 - 1) * np.exp((np.arange(RINGS + 1) / RINGS - at) / 0.004))


@pytest.mark.parametrize("at", [0.2, 0.5, 0.8])
def test_the_crossing_of_a_steep_curve(at):
    assert resolution_of_halves(sums_with(falling(at))) == pytest.approx(4.0 / at, rel=0.05)


def test_rings_without_signal_near_zero_do_not_end_it():
    curve = falling(0.5)
    curve[:20] = 0.0
    assert resolution_of_halves(sums_with(curve)) == pytest.approx(8.0, rel=0.05)


def test_halves_that_agree_to_the_end_and_halves_that_agree_nowhere():
    assert resolution_of_halves(sums_with(np.ones(RINGS + 1))) == pytest.approx(4.0, rel=0.01)
    assert math.isnan(resolution_of_halves(sums_with(np.zeros(RINGS + 1))))
    assert math.isnan(resolution_of_halves(sums_with(None)))
