from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from lamella.kernels.taps import TABLE_STEPS, KaiserBessel, Linear, kaiser_bessel, pair_table, quad_table


@pytest.mark.parametrize(("taps", "reach"), [(Linear(), 1), (kaiser_bessel(1.2), 2), (KaiserBessel(9.0), 2)])
@pytest.mark.parametrize("frequency", [0.0, 0.1, 0.37, 0.8, 1.3])
def test_the_transform_is_the_integral_of_the_kernel(taps, reach, frequency):
    integral = 2 * quad(lambda x: taps.value(x) * np.cos(2 * np.pi * frequency * x), 0, reach, limit=200)[0]
    assert taps.transform(frequency) == pytest.approx(integral, abs=1e-7)


def test_linear_weights_sum_to_one():
    table = pair_table(Linear())
    np.testing.assert_allclose(table + table[::-1], 1, atol=1e-6)


@pytest.mark.parametrize("oversampling", [1.2, 1.25, 1.5])
def test_four_taps_interpolate_a_wave_below_nyquist(oversampling):
    """Samples of a wave, divided by the transform at its frequency, give the wave back between the samples."""
    taps = kaiser_bessel(oversampling)
    table = quad_table(taps)
    frequency = 0.4 / oversampling  # cycles per sample, 0.8 of Nyquist
    samples = np.cos(2 * np.pi * frequency * np.arange(200) + 0.3) / taps.transform(frequency)
    places = np.random.default_rng(0).uniform(50, 150, 500)
    whole = np.floor(places).astype(int)
    steps = np.rint((places - whole) * TABLE_STEPS).astype(int)
    found = sum(table[steps, i] * samples[whole - 1 + i] for i in range(4))
    error = found - np.cos(2 * np.pi * frequency * places + 0.3)
    assert np.sqrt(np.mean(error**2)) < 0.01
