from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import resample

from lamella.errors import ImageError
from lamella.fourier import crop_image, crop_spectrum, crop_volume


def waves(shape: tuple[int, ...], size: tuple[int, ...], highest: int) -> torch.Tensor:
    """Sum of cosines of period `shape` (pixels), sampled on `size` pixels of the same field of view."""
    rng = np.random.default_rng(7)
    places = np.meshgrid(*[np.arange(n) / n for n in size], indexing="ij")
    out = np.full(size, 0.25)
    for _ in range(12):
        turns = rng.integers(-highest, highest + 1, len(size))
        out += rng.normal() * np.cos(
            2 * np.pi * sum(k * p for k, p in zip(turns, places, strict=True)) + rng.uniform(0, 6)
        )
    return torch.as_tensor(out)


@pytest.mark.parametrize("before", [(64, 64), (63, 65), (65, 48), (256, 40)])
@pytest.mark.parametrize("after", [(32, 32), (31, 33), (86, 21), (64, 100)])
def test_band_limited_images_are_resampled_exactly(before: tuple[int, int], after: tuple[int, int]) -> None:
    image = waves(before, before, 10)
    assert torch.allclose(crop_image(image, after), waves(before, after, 10), atol=1e-10)


def test_non_integer_binning_keeps_pixel_zero() -> None:
    """256 -> 86 px: binned pixel i shows what stood at i · 256 / 86."""
    x = np.arange(256)
    blob = np.exp(-0.5 * ((x - 100.0) / 12) ** 2)
    binned = crop_image(torch.as_tensor(np.outer(blob, blob)), (86, 86)).numpy()
    place = np.arange(86) * 256 / 86
    expected = np.exp(-0.5 * ((place - 100.0) / 12) ** 2)
    np.testing.assert_allclose(binned, np.outer(expected, expected), atol=1e-6)


@given(st.integers(3, 40), st.integers(1, 60))
def test_agrees_with_scipy_along_an_axis(before: int, after: int) -> None:
    """Of any content, the terms at Nyquist included (scipy treats them in the same way)."""
    signal = np.random.default_rng(before * 100 + after).normal(size=before)
    ours = crop_image(torch.as_tensor(signal[None]), (1, after))[0].numpy()
    np.testing.assert_allclose(ours, resample(signal, after), atol=1e-9)


@given(st.integers(2, 24), st.integers(2, 24), st.integers(0, 30), st.integers(0, 30))
def test_cropping_undoes_padding(height: int, width: int, more_rows: int, more_columns: int) -> None:
    image = torch.as_tensor(np.random.default_rng(1).normal(size=(height, width)))
    padded = crop_image(image, (height + more_rows, width + more_columns))
    assert torch.allclose(crop_image(padded, (height, width)), image, atol=1e-9)


@given(st.integers(2, 24), st.integers(2, 24), st.integers(1, 30), st.integers(1, 30))
def test_mean_is_kept(height: int, width: int, rows: int, columns: int) -> None:
    image = torch.as_tensor(np.random.default_rng(2).normal(size=(height, width)) + 3)
    assert float(crop_image(image, (rows, columns)).mean()) == pytest.approx(float(image.mean()), abs=1e-9)


def test_padding_keeps_the_pixels_of_a_whole_factor() -> None:
    image = torch.as_tensor(np.random.default_rng(3).normal(size=(12, 15)))
    assert torch.allclose(crop_image(image, (36, 30))[::3, ::2], image, atol=1e-10)


def test_frequencies_above_the_new_nyquist_are_gone() -> None:
    x = np.arange(60)
    image = torch.as_tensor(np.cos(2 * np.pi * 25 * x / 60)[None].repeat(60, 0))
    assert crop_image(image, (60, 30)).abs().max() < 1e-12


def test_volumes() -> None:
    volume = waves((20, 24, 27), (20, 24, 27), 4)
    expected = waves((20, 24, 27), (11, 30, 13), 4)
    assert torch.allclose(crop_volume(volume, (11, 30, 13)), expected, atol=1e-10)
    assert torch.allclose(crop_volume(torch.stack([volume, -volume]), (11, 30, 13))[1], -expected, atol=1e-10)


def test_stacks_give_what_single_images_give(rng: np.random.Generator) -> None:
    stack = torch.as_tensor(rng.normal(size=(2, 3, 40, 33)).astype(np.float32))
    binned = crop_image(stack, (17, 16))
    assert binned.shape == (2, 3, 17, 16)
    assert binned.dtype == torch.float32
    assert torch.equal(binned[1, 2], crop_image(stack[1, 2], (17, 16)))


def test_same_size_is_the_same_image(rng: np.random.Generator) -> None:
    image = torch.as_tensor(rng.normal(size=(9, 8)))
    assert torch.equal(crop_image(image, (9, 8)), image)


def test_input_stays_untouched_and_may_be_numpy_integers() -> None:
    image = np.arange(64, dtype=np.int16).reshape(8, 8)
    assert crop_image(image, (4, 4)).dtype == torch.float32
    assert image[0, 5] == 5


def test_empty_size() -> None:
    with pytest.raises(ImageError, match="size"):
        crop_image(torch.zeros(8, 8), (0, 4))


@given(st.integers(2, 33), st.integers(2, 33), st.integers(2, 40), st.integers(2, 40))
def test_a_cropped_spectrum_is_the_transform_of_the_cropped_image(
    height: int, width: int, rows: int, columns: int
) -> None:
    """Of any content, whether sizes are odd or even, smaller or larger."""
    image = torch.as_tensor(np.random.default_rng(4).normal(size=(3, height, width)))
    terms = crop_spectrum(torch.fft.rfft2(image), (height, width), (rows, columns))
    assert terms.shape == (3, rows, columns // 2 + 1)
    assert torch.allclose(terms, torch.fft.rfft2(crop_image(image, (rows, columns))), atol=1e-9)


def test_a_volumes_cropped_spectrum() -> None:
    volume = torch.as_tensor(np.random.default_rng(5).normal(size=(8, 9, 10)))
    terms = crop_spectrum(torch.fft.rfftn(volume), (8, 9, 10), (6, 12, 7))
    assert torch.allclose(terms, torch.fft.rfftn(crop_volume(volume, (6, 12, 7))), atol=1e-9)


def test_cropping_leaves_the_spectrum_that_came(rng: np.random.Generator) -> None:
    image = torch.as_tensor(rng.normal(size=(12, 16)))
    terms = torch.fft.rfft2(image)
    for shape in ((12, 16), (6, 8), (6, 16), (12, 8), (24, 20)):
        crop_spectrum(terms, (12, 16), shape).zero_()
    assert torch.equal(terms, torch.fft.rfft2(image))
