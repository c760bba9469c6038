from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import ImageError
from lamella.fourier import crop_image, shift_image


def noise(*shape: int) -> torch.Tensor:
    return torch.as_tensor(np.random.default_rng(5).normal(size=shape))


@pytest.mark.parametrize("shape", [(16, 16), (15, 16), (16, 15), (15, 15)])
def test_whole_shifts_roll(shape: tuple[int, int]) -> None:
    image = noise(*shape)
    assert torch.allclose(shift_image(image, (3, -5)), torch.roll(image, (3, -5), (0, 1)), atol=1e-10)


def test_content_moves_towards_higher_index() -> None:
    y, x = np.mgrid[:48, :50]

    def blob(cy: float, cx: float) -> torch.Tensor:
        return torch.as_tensor(np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 18))

    assert torch.allclose(shift_image(blob(20, 20), (2.3, -1.75)), blob(22.3, 18.25), atol=1e-8)


@given(st.floats(-20, 20), st.floats(-20, 20), st.integers(7, 16), st.integers(7, 16))
def test_exact_between_pixels(dy: float, dx: float, height: int, width: int) -> None:
    """A shift by thirds of a pixel equals a whole shift of the image sampled three times finer."""
    image = noise(height, width)
    dy, dx = round(dy * 3) / 3, round(dx * 3) / 3
    fine = crop_image(image, (3 * height, 3 * width))
    expected = torch.roll(fine, (round(dy * 3), round(dx * 3)), (0, 1))[::3, ::3]
    assert torch.allclose(shift_image(image, (dy, dx)), expected, atol=1e-9)


def test_forth_and_back_where_no_term_is_at_nyquist() -> None:
    image = noise(15, 17)
    assert torch.allclose(shift_image(shift_image(image, (0.4, 7.7)), (-0.4, -7.7)), image, atol=1e-10)


def test_one_shift_per_image_and_broadcasting() -> None:
    stack = noise(2, 3, 12, 14)
    shifts = torch.as_tensor(np.random.default_rng(6).normal(size=(2, 3, 2)))
    moved = shift_image(stack, shifts)
    assert torch.allclose(moved[1, 2], shift_image(stack[1, 2], shifts[1, 2]))
    assert torch.allclose(shift_image(stack, (1.5, 2.5))[0, 1], shift_image(stack[0, 1], (1.5, 2.5)))
    assert shift_image(stack[0, 0], shifts).shape == (2, 3, 12, 14)


def test_volume() -> None:
    volume = noise(7, 8, 9)
    assert torch.allclose(shift_image(volume, (1, -2, 3)), torch.roll(volume, (1, -2, 3), (0, 1, 2)), atol=1e-10)


def test_single_precision_far_away() -> None:
    image = noise(64, 64).float()
    assert torch.allclose(shift_image(image, (64 * 1000, -64 * 1000)), image, atol=1e-5)


def test_shift_of_another_rank() -> None:
    with pytest.raises(ImageError, match="shift"):
        shift_image(torch.zeros(4, 4), (1, 2, 3))
