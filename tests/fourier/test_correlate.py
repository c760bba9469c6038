from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import ImageError
from lamella.fourier import apply_filter, band_pass, crop_image, cross_correlate, find_peak, shift_image


def smooth(*shape: int, seed: int = 1) -> torch.Tensor:
    """Band-limited noise."""
    noise = torch.as_tensor(np.random.default_rng(seed).normal(size=shape))
    return apply_filter(noise, band_pass(shape[-2:], 0.03, 0.15, 0.15))


@pytest.mark.parametrize("shape", [(12, 12), (11, 14)])
def test_against_the_definition(shape: tuple[int, int], rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, *shape)) + 2
    height, width = shape
    expected = [[(a * np.roll(b, (y, x), (0, 1))).sum() for x in range(width)] for y in range(height)]
    np.testing.assert_allclose(
        cross_correlate(torch.as_tensor(a), torch.as_tensor(b), normalise=False).numpy(), expected, atol=1e-9
    )
    pearson = [
        [np.corrcoef(a.ravel(), np.roll(b, (y, x), (0, 1)).ravel())[0, 1] for x in range(width)] for y in range(height)
    ]
    np.testing.assert_allclose(cross_correlate(torch.as_tensor(a), torch.as_tensor(b)).numpy(), pearson, atol=1e-9)


def test_filter_is_as_if_its_root_were_applied_to_both(rng: np.random.Generator) -> None:
    a, b = torch.as_tensor(rng.normal(size=(2, 20, 21)))
    filter = band_pass((20, 21), 0.05, 0.2, 0.1)
    both = [apply_filter(image, filter.sqrt()) for image in (a, b)]
    assert torch.allclose(cross_correlate(a, b, filter), cross_correlate(*both), atol=1e-7)


@given(st.floats(-28, 28), st.floats(-28, 28), st.sampled_from([(64, 64), (63, 64), (64, 61), (65, 63)]))
def test_peak_is_the_shift_that_matches(dy: float, dx: float, shape: tuple[int, int]) -> None:
    b = smooth(*shape)
    a = shift_image(b, (dy, dx))
    shift, height = find_peak(cross_correlate(a, b))
    assert torch.allclose(shift, torch.tensor([dy, dx], dtype=shift.dtype), atol=1e-5)
    assert float(height) == pytest.approx(1, abs=1e-6)
    assert torch.allclose(shift_image(b, shift), a, atol=1e-4)


@pytest.mark.parametrize("shape", [(24, 24), (25, 24), (24, 25)])
def test_peak_is_the_top_of_the_polynomial(shape: tuple[int, int]) -> None:
    """White noise, with all its power up to Nyquist: the highest sample of the correlation drawn 32 times finer."""
    a, b = torch.as_tensor(np.random.default_rng(8).normal(size=(2, *shape)))
    correlation = cross_correlate(shift_image(a, (2.4, -3.3)) + 0.2 * b, a)
    fine = crop_image(correlation, (32 * shape[0], 32 * shape[1]))
    row, column = np.unravel_index(int(fine.argmax()), fine.shape)
    shift, height = find_peak(correlation)
    assert float(height) >= float(fine.max())
    assert float(height) == pytest.approx(float(fine.max()), abs=2e-3)
    assert float(shift[0]) == pytest.approx(row / 32, abs=0.02)
    assert float(shift[1]) == pytest.approx(column / 32 - shape[1], abs=0.02)


def test_peak_of_single_precision_stacks() -> None:
    b = smooth(64, 60).float()
    shifts = torch.as_tensor(np.random.default_rng(3).uniform(-10, 10, (4, 5, 2)))
    found, height = find_peak(cross_correlate(shift_image(b, shifts), b))
    assert found.shape == (4, 5, 2)
    assert height.shape == (4, 5)
    assert (found - shifts).abs().max() < 2e-3


def test_peak_in_noise_stays_close() -> None:
    """Two pictures, each with as much noise as signal."""
    rng = np.random.default_rng(11)
    b = smooth(128, 128)
    b = b / b.std()
    noise = [
        apply_filter(torch.as_tensor(rng.normal(size=(20, 128, 128))), band_pass((128, 128), 0.03, 0.3, 0.1))
        for _ in range(2)
    ]
    noise = [part / part.std() for part in noise]
    shift, _ = find_peak(cross_correlate(shift_image(b, (3.4, -6.7)) + noise[0], b + noise[1]))
    assert (shift - torch.tensor([3.4, -6.7])).abs().max() < 0.15
    assert (shift - torch.tensor([3.4, -6.7])).mean(dim=0).abs().max() < 0.03


def test_only_near_peaks_are_looked_at() -> None:
    correlation = torch.zeros(32, 32)
    correlation[12, 3], correlation[31, 2] = 5.0, 1.0
    assert torch.allclose(find_peak(correlation)[0], torch.tensor([12.0, 3.0]), atol=0.02)
    near, height = find_peak(correlation, max_shift=4)
    assert torch.allclose(near, torch.tensor([-1.0, 2.0]), atol=0.6)
    assert height > 0.9


def test_border_maximum_does_not_run_away() -> None:
    """Where the allowed disc ends on a slope, its highest pixel is the answer, not a place beyond."""
    y, x = np.mgrid[:64, :64]
    slope = torch.as_tensor(np.exp(-((y - 20.0) ** 2 + np.minimum(x, 64 - x) ** 2) / 50))
    shift, _ = find_peak(slope, max_shift=10)
    assert shift.tolist() == [10.0, 0.0]


def test_constant_images_have_no_correlation() -> None:
    correlation = cross_correlate(torch.ones(8, 8), smooth(8, 8).float())
    assert torch.all(correlation == 0)
    shift, height = find_peak(correlation)
    assert torch.isfinite(shift).all()
    assert height == 0


def test_flat_axis_and_single_rows() -> None:
    wave = torch.as_tensor(np.cos(2 * np.pi * (np.arange(32) - 3.25) / 32))[None]
    shift, height = find_peak(wave)
    assert shift[0] == 0
    assert float(shift[1]) == pytest.approx(3.25, abs=0.05)
    assert float(height) == pytest.approx(1, abs=1e-2)


def test_one_reference_for_many() -> None:
    b = smooth(32, 32)
    stack = torch.stack([shift_image(b, (float(i), 0)) for i in range(4)])
    shift, _ = find_peak(cross_correlate(stack, b))
    assert torch.allclose(shift[:, 0], torch.arange(4.0, dtype=shift.dtype), atol=1e-6)


def test_sizes_that_differ() -> None:
    with pytest.raises(ImageError, match="one size"):
        cross_correlate(torch.zeros(8, 8), torch.zeros(8, 9))
