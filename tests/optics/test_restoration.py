"""Filters against their formulas, written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lamella.errors import InputError
from lamella.optics import restoring_filter, signal_to_noise, wiener_filter


def phase():
    """χ + arcsin w of an image at 25000 Å underfocus."""
    k = torch.linspace(0, 0.12, 500, dtype=torch.float64)
    return torch.pi * 0.0196875 * 25000.0 * k**2 - torch.pi / 2 * 2.7e7 * 0.0196875**3 * k**4 + math.asin(0.07)


def test_contrast_keeps_its_sign():
    c = torch.sin(phase())
    for method in ("phase-flip", "multiply", "wiener"):
        restored = c * restoring_filter(phase(), method, torch.full_like(c, 50.0))
        assert restored.min() >= 0
        assert restored[0] > 0
    assert set(restoring_filter(phase(), "phase-flip").unique().tolist()) == {-1.0, 1.0}
    assert restoring_filter(torch.zeros(1), "phase-flip") == 1  # nothing is lost where the transfer is 0
    torch.testing.assert_close(restoring_filter(phase(), "multiply"), c)
    with pytest.raises(InputError, match="without a ratio"):
        restoring_filter(torch.ones(3), "wiener")


def test_the_filter_of_views_lies_between_multiplication_and_amplitudes_restored():
    c = torch.sin(phase())
    torch.testing.assert_close(restoring_filter(phase(), "wiener", torch.zeros_like(c)), c)
    strong = restoring_filter(phase(), "wiener", torch.full_like(c, 1e6))
    low, seen = phase().abs() < math.pi / 2, c.abs() > 0.1
    assert strong[low].max() <= 1  # low frequencies are not enhanced
    torch.testing.assert_close((strong * c)[~low & seen], torch.ones_like(c)[~low & seen], rtol=1e-3, atol=0)
    middle = restoring_filter(phase(), "wiener", torch.full_like(c, 9.0))[~low]
    torch.testing.assert_close(middle, (wiener_filter(c, torch.full_like(c, 9.0)) * 10 / 9)[~low])


def test_wieners_filter_is_least_squares(rng):
    """Of all factors for a datum c·x + noise, it leaves the least mean square error."""
    c, power = 0.4, 9.0
    x, noise = rng.normal(0, 3, 100_000), rng.normal(0, 1, 100_000)
    best = float(wiener_filter(torch.tensor(c), torch.tensor(power)))
    error = [np.mean((factor * (c * x + noise) - x) ** 2) for factor in (0.95 * best, best, 1.05 * best)]
    assert error[1] < min(error[0], error[2])
    assert float(wiener_filter(torch.tensor(0.1), torch.tensor(0.0))) == 0
    strongest = wiener_filter(torch.linspace(-1, 1, 2001), torch.tensor(400.0)).abs().max()
    assert float(strongest) == pytest.approx(10.0, rel=1e-3)


def test_signal_to_noise_is_the_published_curve():
    """Formula of Warp's deconvolution for 10 Å voxels, falloff 1.2, strength 0.8, high pass 0.02 of Nyquist."""
    part = np.linspace(0, 1, 50)  # of the Nyquist frequency
    high_pass = 1 - np.cos(np.minimum(1, part / 0.02) * np.pi)
    published = np.exp(-part * 1.2 * 100 / 10.0) * 10 ** (3 * 0.8) * high_pass
    ours = signal_to_noise(torch.from_numpy(part * 0.05), strength=0.8, falloff=1.2, high_pass_ang=1000.0)
    np.testing.assert_allclose(ours.numpy(), published, rtol=1e-9, atol=1e-12)
    assert float(signal_to_noise(torch.zeros(()))) == 0
    with pytest.raises(InputError, match="not negative"):
        signal_to_noise(torch.zeros(()), falloff=-1.0)
