from __future__ import annotations

import numpy as np
import pytest
import torch

from lamella.errors import InputError
from lamella.optics import critical_exposure, dose_filter


def test_published_curve() -> None:
    """Grant & Grigorieff 2015, equation 3, written out for three resolutions."""
    k = torch.tensor([1 / 20, 1 / 10, 1 / 4], dtype=torch.float64)
    expected = [0.24499 * 20**1.6649 + 2.8141, 0.24499 * 10**1.6649 + 2.8141, 0.24499 * 4**1.6649 + 2.8141]
    np.testing.assert_allclose(critical_exposure(k, 300).numpy(), expected)
    assert expected == pytest.approx([38.72, 14.14, 5.28], abs=0.01)


def test_other_voltages() -> None:
    k = torch.tensor([0.1], dtype=torch.float64)
    at_300 = critical_exposure(k, 300)
    assert float(critical_exposure(k, 200) / at_300) == pytest.approx(0.8, abs=1e-12)
    ratios = [float(critical_exposure(k, v) / at_300) for v in (100, 120, 200, 300, 1000)]
    assert ratios == sorted(ratios)
    assert 0.45 < ratios[0] < 0.55


def test_amplitudes_of_an_instant() -> None:
    shape, pixel = (40, 50), 2.0
    filter = dose_filter(shape, pixel, 30.0, 0.0, 300)
    assert filter.shape == (40, 26)
    assert filter[0, 0] == 1
    for row, column in ((0, 10), (7, 3), (39, 25)):
        k = np.hypot(min(row, 40 - row) / 40, column / 50) / pixel
        assert float(filter[row, column]) == pytest.approx(np.exp(-30 / 2 / (0.24499 * k**-1.6649 + 2.8141)), rel=1e-5)


def test_an_exposure_is_the_mean_of_its_parts() -> None:
    whole = dose_filter((32, 32), 1.5, 12.0, 6.0, 200)
    instants = [dose_filter((32, 32), 1.5, 12.0 + 6 * (i + 0.5) / 60, 0.0, 200) for i in range(60)]
    assert torch.allclose(whole, torch.stack(instants).mean(dim=0), atol=1e-4)
    halves = dose_filter((32, 32), 1.5, 12.0, 3.0, 200), dose_filter((32, 32), 1.5, 15.0, 3.0, 200)
    assert torch.allclose(whole, (halves[0] + halves[1]) / 2, atol=1e-6)


def test_fades_with_dose_and_frequency() -> None:
    early, late = (dose_filter((64, 64), 2.0, dose, 3.0, 300) for dose in (0.0, 100.0))
    assert torch.all(late[1:] <= early[1:])
    assert torch.all(early[0].diff() < 0)
    assert torch.isfinite(dose_filter((64, 64), 0.5, 1e6, 1e5, 300)).all()


@pytest.mark.parametrize(("before", "dose"), [(-1, 3), (3, -1), (float("nan"), 1)])
def test_impossible_doses(before: float, dose: float) -> None:
    with pytest.raises(InputError, match="exposure"):
        dose_filter((8, 8), 1.0, before, dose, 300)
