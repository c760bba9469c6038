from __future__ import annotations

import numpy as np
import pytest
import torch

from lamella.fourier import frequency_grid
from lamella.tilts.peaks import NearPeaks, refined_peak

SIZE, HALF = 64, 16
FINEST = 0.2


def spectra(shifts: np.ndarray) -> torch.Tensor:
    """Cross spectra of copies moved by (x, y) against the first, low frequencies only."""
    k = frequency_grid((SIZE, SIZE))
    power = torch.exp(-0.5 * (k / 0.07) ** 2) * (k <= FINEST)
    k_y, k_x = torch.fft.fftfreq(SIZE)[:, None], torch.fft.rfftfreq(SIZE)
    whole = torch.stack([power * torch.exp(-2j * torch.pi * (k_x * float(x) + k_y * float(y))) for x, y in shifts])
    return torch.cat([whole[:, :HALF], whole[:, -HALF:]], dim=1)[:, :, : HALF + 1].to(torch.complex64)


def test_shifts_are_found_to_a_hundredth_of_a_pixel(rng: np.random.Generator) -> None:
    shifts = rng.uniform(-5, 5, (40, 2))
    found, height = NearPeaks(SIZE, HALF, FINEST, 6.0).find(spectra(shifts))
    np.testing.assert_allclose(found, shifts, atol=0.01)
    np.testing.assert_allclose(height, height.mean(), rtol=5e-3)


def test_height_is_the_sum_over_the_whole_plane() -> None:
    terms = spectra(np.zeros((1, 2)))
    _, height = NearPeaks(SIZE, HALF, FINEST, 3.0).find(terms)
    twice = torch.full((HALF + 1,), 2.0)
    twice[0] = 1
    assert height[0] == pytest.approx(float((terms.real * twice).sum()), rel=1e-4)


def test_a_peak_beyond_the_reach_is_not_followed() -> None:
    found, _ = NearPeaks(SIZE, HALF, FINEST, 3.0).find(spectra(np.array([[9.0, 0.0]])))
    assert np.abs(found).max() < 6.5


def test_nothing_has_no_place() -> None:
    found, height = NearPeaks(SIZE, HALF, FINEST, 3.0).find(torch.zeros(2, 2 * HALF, HALF + 1, dtype=torch.complex64))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(height, 0.0)


def test_a_peak_between_samples_at_nyquist(rng: np.random.Generator) -> None:
    """White noise against itself, moved: the sharpest peak that samples can hold."""
    terms = torch.fft.rfft2(torch.from_numpy(rng.normal(size=(48, 48))))
    terms[24], terms[:, 24] = 0, 0
    k_y, k_x = torch.fft.fftfreq(48)[:, None], torch.fft.rfftfreq(48)
    for y, x in ((3.3, -7.4), (-5.0, 2.0), (0.5, 0.25)):
        product = terms.abs() ** 2 * torch.exp(-2j * torch.pi * (k_y * y + k_x * x))
        place, height = refined_peak(product, 48, (round(y), round(x)))
        np.testing.assert_allclose(place, [y, x], atol=0.05)
        assert height == pytest.approx(float(torch.fft.irfft2(terms.abs() ** 2, s=(48, 48))[0, 0]), rel=0.02)
