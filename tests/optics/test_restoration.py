"""Filters against their formulas, written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamella.errors import InputError
from lamella.optics import contrast_transfer, restoring_filter, signal_to_noise


def ctf():
    return contrast_transfer((64, 64), 4.0, defocus_u_ang=25000.0, voltage_kv=300.0, amplitude_contrast=0.07)


def test_contrast_keeps_its_sign():
    c = ctf()
    for method in ("phase-flip", "multiply", "wiener"):
        restored = c * restoring_filter(c, method, torch.full_like(c, 50.0))
        assert restored.min() >= 0
        assert restored[0, 0] > 0
    assert set(restoring_filter(c, "phase-flip").unique().tolist()) == {-1.0, 1.0}
    assert restoring_filter(torch.zeros(1), "phase-flip") == 1  # nothing is lost where the transfer is 0
    torch.testing.assert_close(restoring_filter(c, "multiply"), c)


def test_wieners_filter_is_least_squares(rng):
    """Of all factors for a datum c·x + noise, it leaves the least mean square error."""
    c, power = 0.4, 9.0
    x, noise = rng.normal(0, 3, 100_000), rng.normal(0, 1, 100_000)
    best = float(restoring_filter(torch.tensor(c), "wiener", torch.tensor(power)))
    error = [np.mean((factor * (c * x + noise) - x) ** 2) for factor in (0.95 * best, best, 1.05 * best)]
    assert error[1] < min(error[0], error[2])
    assert float(restoring_filter(torch.tensor(0.1), "wiener", torch.tensor(0.0))) == 0
    strongest = restoring_filter(torch.linspace(-1, 1, 2001), "wiener", torch.tensor(400.0)).abs().max()
    assert float(strongest) == pytest.approx(10.0, rel=1e-3)
    with pytest.raises(InputError, match="without a ratio"):
        restoring_filter(torch.ones(3), "wiener")


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
