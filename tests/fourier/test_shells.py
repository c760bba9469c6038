from __future__ import annotations

import numpy as np
import pytest
import torch

from lamella.errors import ImageError
from lamella.fourier import (
    apply_filter,
    band_pass,
    power_spectrum,
    radial_average,
    resolution_at,
    shell_correlation,
    shift_image,
)


def naive_shells(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shell by shell over the whole Fourier space, by numpy."""
    size = max(a.shape)
    k = np.sqrt(sum(x**2 for x in np.meshgrid(*[np.fft.fftfreq(n) for n in a.shape], indexing="ij")))
    index = np.round((k * size).astype(np.float32))
    fa, fb = np.fft.fftn(a), np.fft.fftn(b)
    curve, count = [], []
    for shell in range(size // 2 + 1):
        inside = index == shell
        top = (fa[inside] * fb[inside].conj()).sum().real
        curve.append(top / np.sqrt((abs(fa[inside]) ** 2).sum() * (abs(fb[inside]) ** 2).sum()))
        count.append(inside.sum())
    return np.array(curve), np.array(count)


@pytest.mark.parametrize("shape", [(16, 16), (15, 15), (12, 17), (10, 12, 14), (9, 11, 9), (6, 15, 13)])
def test_against_the_definition(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    a = rng.normal(size=shape)
    b = a + rng.normal(size=shape)
    frequency, curve, count = shell_correlation(torch.as_tensor(a), torch.as_tensor(b))
    expected, samples = naive_shells(a, b)
    np.testing.assert_allclose(curve.numpy(), expected, atol=1e-9)
    np.testing.assert_array_equal(count.numpy(), samples)
    np.testing.assert_allclose(frequency.numpy(), np.arange(max(shape) // 2 + 1) / max(shape))


def test_limits(rng: np.random.Generator) -> None:
    a, b = torch.as_tensor(rng.normal(size=(2, 32, 32, 32)))
    assert torch.allclose(shell_correlation(a, a)[1], torch.ones(17, dtype=torch.float64))
    assert torch.allclose(shell_correlation(a, -3 * a)[1], -torch.ones(17, dtype=torch.float64))
    _, curve, count = shell_correlation(a, b)
    # independent noise: √(count / 2) · correlation is standard normal (Hermitian pairs count once)
    assert (curve[1:].abs() * (count[1:] / 2).sqrt()).max() < 4.5


def test_known_signal_to_noise(rng: np.random.Generator) -> None:
    """Equal signal and noise power in both halves: FSC = SNR / (SNR + 1)."""
    signal, one, two = torch.as_tensor(rng.normal(size=(3, 48, 48, 48)))
    curve = shell_correlation(signal * 2**0.5 + one, signal * 2**0.5 + two)[1]
    assert float(curve[5:].mean()) == pytest.approx(2 / 3, abs=0.01)


def test_no_power_is_no_correlation(rng: np.random.Generator) -> None:
    a = torch.as_tensor(rng.normal(size=(32, 32)))
    filtered = apply_filter(a, band_pass((32, 32), None, 0.2, 0.0))
    curve = shell_correlation(torch.zeros(32, 32), a)[1]
    assert torch.all(curve == 0)
    assert torch.isfinite(shell_correlation(filtered, a)[1]).all()


def test_shapes_that_differ() -> None:
    with pytest.raises(ImageError, match="one size"):
        shell_correlation(torch.zeros(8, 8), torch.zeros(8, 9))


def test_resolution() -> None:
    k = np.arange(51) / 100
    curve = np.clip(1.2 - 4 * k, 0, 1)  # 0.5 at k = 0.175, 0.2 at 0.25
    assert resolution_at(k, curve, 0.5, 3.0) == pytest.approx(3 / 0.175)
    assert resolution_at(torch.as_tensor(k), torch.as_tensor(curve), 0.2, 3.0) == pytest.approx(12)


def test_resolution_at_the_ends() -> None:
    k = np.arange(6) / 10
    assert resolution_at(k, np.ones(6), 0.143, 2.0) == 4.0
    assert resolution_at(k, [1, 0.1, 1, 1, 1, 1], 0.143, 2.0) == np.inf
    assert resolution_at(k, [0, 1, 1, np.nan, 1, 1], 0.143, 2.0) == pytest.approx(10.0)


def test_power_spectrum_of_white_noise_is_its_variance(rng: np.random.Generator) -> None:
    noise = torch.as_tensor(rng.normal(scale=3, size=(4, 100, 101)) + 50)
    k, average = radial_average(power_spectrum(noise), (100, 101))
    assert average.shape == (4, len(k))
    assert float(average[:, 5:].mean()) == pytest.approx(9, rel=0.02)
    assert torch.all(average[:, 0] < 1e-9)


def test_power_of_a_wave_stands_at_its_frequency() -> None:
    x = np.arange(80)
    image = torch.as_tensor(np.cos(2 * np.pi * 10 * x / 80)[None].repeat(80, 0))
    k, average = radial_average(power_spectrum(image), (80, 80))
    assert float(k[int(average.argmax())]) == pytest.approx(10 / 80)
    centred = power_spectrum(image, centred=True)
    assert centred.shape == (80, 80)
    assert sorted(np.argwhere(centred.numpy() > 1).tolist()) == [[40, 30], [40, 50]]
    assert float(centred.sum()) == pytest.approx(float((image**2).sum()))


def test_spectrum_ignores_where_things_are(rng: np.random.Generator) -> None:
    image = torch.as_tensor(rng.normal(size=(31, 33)))
    assert torch.allclose(power_spectrum(shift_image(image, (4.2, -1.3))), power_spectrum(image), atol=1e-9)


def test_average_of_volumes_and_wrong_shapes() -> None:
    _k, average = radial_average(torch.ones(6, 8, 5), (6, 8, 8))
    assert torch.all(average == 1)
    with pytest.raises(ImageError, match="spectrum"):
        radial_average(torch.ones(6, 8, 5), (6, 8, 10))
