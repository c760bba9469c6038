"""Working spectra of frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.movies.moving import gaussian_spectra, profile_of, shift_terms

from lamella.fourier import crop_image
from lamella.movies.spectra import FrameSpectra, spectra_of, working_shape


def plain(terms: np.ndarray, shape: tuple[int, int]) -> FrameSpectra:
    return FrameSpectra(terms=torch.from_numpy(terms), shape=shape, scale=(2.0, 2.0), pixel_size_ang=2.5)


@pytest.mark.parametrize("shape", [(32, 48), (48, 32)])
def test_aligned_takes_a_shift_back(shape: tuple[int, int], rng: np.random.Generator) -> None:
    still = np.fft.rfft2(rng.normal(size=shape))
    shifts = rng.normal(0, 5, (4, 2))
    moved = np.stack([shift_terms(still, shape, shift) for shift in shifts])
    back = plain(moved, shape).aligned(torch.from_numpy(shifts))
    np.testing.assert_allclose(back.terms.numpy(), np.broadcast_to(still, moved.shape), atol=1e-10)


def test_aligned_moves_pixels_by_whole_numbers(rng: np.random.Generator) -> None:
    """A shift (x, y) takes the image to smaller x and y, round the edge."""
    image = rng.normal(size=(20, 30))
    back = plain(np.fft.rfft2(image)[None], (20, 30)).aligned(torch.tensor([[4.0, -3.0]]))
    np.testing.assert_allclose(
        np.fft.irfft2(back.terms[0].numpy(), s=(20, 30)), np.roll(image, (3, -4), (0, 1)), atol=1e-10
    )


@given(
    st.tuples(st.integers(4, 6000), st.integers(4, 6000)),
    st.floats(0.3, 20),
    st.floats(1, 20),
)
def test_working_shapes(shape: tuple[int, int], pixel: float, working: float) -> None:
    """Even, never finer than the frames, of the wanted pixel to half a step of two samples."""
    small = working_shape(shape, pixel, working)
    for size, before in zip(small, shape, strict=True):
        assert size % 2 == 0
        assert 2 <= size <= before
        if working <= pixel:
            assert size == before - before % 2
        elif size > 16 and size < before - before % 2:
            assert abs(before * pixel / working - size) <= 1 + 1e-6


@pytest.mark.parametrize(("shape", "pixel"), [((96, 120), 1.25), ((121, 97), 1.0), ((80, 80), 4.0), ((81, 64), 4.0)])
def test_spectra_are_those_of_the_resampled_frames(
    shape: tuple[int, int], pixel: float, rng: np.random.Generator
) -> None:
    """Away from the faded edges the working image is the frame without its mean; sizes and pixels say so."""
    frames = [torch.from_numpy(rng.normal(5, 1, shape).astype(np.float32)) for _ in range(3)]
    spectra = spectra_of(iter(frames), 3, shape, pixel)
    assert len(spectra) == 3
    assert spectra.shape == working_shape(shape, pixel)
    assert spectra.scale == (shape[0] / spectra.shape[0], shape[1] / spectra.shape[1])
    assert spectra.pixel_size_ang == pytest.approx(pixel * max(shape) / max(spectra.shape))
    assert spectra.pixel_size_ang == pytest.approx(max(2.5, pixel), rel=0.03)
    faint = [frame - frame.mean() for frame in frames]
    for frame, terms in zip(faint, spectra.terms, strict=True):
        image = torch.fft.irfft2(terms, s=spectra.shape)
        expected = crop_image(frame, spectra.shape)
        middle = (slice(spectra.shape[0] // 4, -(spectra.shape[0] // 4)),) * 2
        assert torch.corrcoef(torch.stack([image[middle].ravel(), expected[middle].ravel()]))[0, 1] > 0.999


def test_edges_are_faded_out() -> None:
    """Over 2 % of the frame; a constant frame has no spectrum at all."""
    slope = torch.linspace(0, 1, 400)[:, None].expand(400, 500)
    spectra = spectra_of(iter([slope, torch.full((400, 500), 7.0)]), 2, (400, 500), 2.5)
    faded, nothing = torch.fft.irfft2(spectra.terms, s=spectra.shape)
    assert spectra.shape == (400, 500)
    assert faded[0].abs().max() < 0.1
    assert torch.allclose(faded[8:-8, 8:-8], (slope - 0.5)[8:-8, 8:-8], atol=1e-5)
    assert nothing.abs().max() < 1e-5


def test_cropped_again(rng: np.random.Generator) -> None:
    profile = profile_of((96, 64), 2)
    spectra = gaussian_spectra(rng, profile, np.zeros((2, 2)))
    coarse = spectra.cropped(5.0)
    assert coarse.shape == (48, 32)
    assert coarse.scale == (2.0, 2.0)
    assert coarse.pixel_size_ang == 5.0
    images = torch.fft.irfft2(spectra.terms, s=spectra.shape)
    expected = torch.fft.rfft2(crop_image(images, coarse.shape))
    assert torch.allclose(coarse.terms, expected, atol=1e-4)
    assert spectra.cropped(2.5) is spectra
    assert spectra.cropped(1.0) is spectra


@given(st.integers(1, 40), st.integers(1, 25))
def test_grouped_frames_are_sums_of_neighbours(count: int, groups: int) -> None:
    terms = (torch.arange(count) + 1.0).to(torch.complex64)[:, None, None].expand(count, 4, 3)
    spectra = FrameSpectra(terms=terms, shape=(4, 4), scale=(1.0, 1.0), pixel_size_ang=2.0)
    grouped = spectra.grouped(groups)
    assert len(grouped) == min(count, groups)
    values = grouped.terms[:, 0, 0].real
    assert float(values.sum()) == count * (count + 1) / 2
    # neighbours a + 1 … b add up to (b (b + 1) − a (a + 1)) / 2: the edges follow one from the other
    edges = [0]
    for value in values.tolist():
        total = 2 * value + edges[-1] * (edges[-1] + 1)
        edges.append(round((np.sqrt(1 + 4 * total) - 1) / 2))
    sizes = np.diff(edges)
    assert edges[-1] == count
    assert sizes.max() - sizes.min() <= 1
