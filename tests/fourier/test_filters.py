from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lamella.errors import ImageError
from lamella.fourier import apply_filter, band_pass, fast_size, frequency_grid, gaussian_low_pass


@pytest.mark.parametrize("shape", [(8, 8), (9, 7), (6, 11), (4, 6, 5)])
def test_frequency_grid_against_numpy(shape: tuple[int, ...]) -> None:
    axes = [np.fft.fftfreq(n) for n in shape[:-1]] + [np.fft.rfftfreq(shape[-1])]
    expected = np.sqrt(sum(k**2 for k in np.meshgrid(*axes, indexing="ij")))
    np.testing.assert_allclose(frequency_grid(shape).numpy(), expected, atol=1e-7)


def test_band_pass_edges() -> None:
    shape = (200, 200)
    k = frequency_grid(shape)
    filter = band_pass(shape, 0.1, 0.3, 0.05)
    assert torch.all(filter[(k >= 0.1) & (k <= 0.3)] == 1)
    assert torch.all(filter[(k <= 0.0499) | (k >= 0.3501)] < 1e-5)
    assert filter[0, 65] == pytest.approx(0.5, abs=1e-5)  # half-way down the upper edge
    assert filter[0, 15] == pytest.approx(0.5, abs=1e-5)  # and the lower one
    assert torch.all(filter[0, 60:70].diff() <= 0)


@pytest.mark.parametrize(("low", "high"), [(None, None), (0.0, None), (0, 0.9)])
def test_open_band_keeps_everything(low: float | None, high: float | None) -> None:
    assert torch.all(band_pass((10, 13), low, high) == 1)


def test_high_pass_removes_the_mean_even_with_a_wide_edge() -> None:
    assert band_pass((32, 32), 0.02, None, 0.5)[0, 0] == 0


def test_filter_acts_on_single_waves() -> None:
    x = np.arange(64)
    low, high = np.cos(2 * np.pi * 4 * x / 64), np.cos(2 * np.pi * 20 * x / 64)
    image = torch.as_tensor(np.add.outer(low, high) + 7)  # low along y, high along x
    out = apply_filter(image, band_pass((64, 64), 0.02, 0.2, 0.02))
    np.testing.assert_allclose(out.numpy(), np.add.outer(low, 0 * x), atol=1e-6)


@pytest.mark.parametrize("shape", [(64, 61), (24, 30, 33)])
def test_gaussian_against_real_space(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    image = rng.normal(size=shape)
    width_px = 2.0
    ours = apply_filter(torch.as_tensor(image), gaussian_low_pass(shape, 1 / (2 * np.pi * width_px)))
    np.testing.assert_allclose(ours.numpy(), gaussian_filter(image, width_px, mode="wrap", truncate=8), atol=1e-4)


def test_stack_of_volumes(rng: np.random.Generator) -> None:
    volumes = torch.as_tensor(rng.normal(size=(3, 6, 8, 10)).astype(np.float32))
    filter = band_pass((6, 8, 10), 0.1, 0.3, 0.1)
    assert torch.allclose(apply_filter(volumes, filter)[2], apply_filter(volumes[2], filter), atol=1e-6)


def test_filter_of_another_size() -> None:
    with pytest.raises(ImageError, match="filter"):
        apply_filter(torch.zeros(10, 10), band_pass((10, 12), None, 0.2))


def test_gaussian_without_width() -> None:
    with pytest.raises(ImageError, match="width"):
        gaussian_low_pass((8, 8), 0.0)


@pytest.mark.parametrize(
    ("size", "fast"), [(1, 2), (2, 2), (7, 8), (11, 12), (13, 16), (101, 108), (1021, 1024), (4092, 4096)]
)
def test_fast_size(size: int, fast: int) -> None:
    assert fast_size(size) == fast
