"""The same numbers from every device, and from every kind of array that may come in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from lamella import fourier

SHAPE = (30, 33)

OPERATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "crop": lambda image: fourier.crop_image(image, (16, 21)),
    "pad": lambda image: fourier.crop_image(image, (40, 50)),
    "filter": lambda image: fourier.apply_filter(image, fourier.band_pass(SHAPE, 0.05, 0.3, 0.1, device=image.device)),
    "gaussian": lambda image: fourier.apply_filter(image, fourier.gaussian_low_pass(SHAPE, 0.2, device=image.device)),
    "shift": lambda image: fourier.shift_image(image, (1.25, -7.5)),
    "correlate": lambda image: fourier.cross_correlate(image[0], image[1]),
    "peak": lambda image: fourier.find_peak(fourier.cross_correlate(image, image.flip(0)), max_shift=8)[1],
    "shells": lambda image: fourier.shell_correlation(image[0], image[1])[1],
    "spectrum": lambda image: fourier.power_spectrum(image),
    "radial": lambda image: fourier.radial_average(fourier.power_spectrum(image), SHAPE)[1],
    "taper": lambda image: fourier.taper_edges(image, 5),
    "mask": lambda image: image * fourier.soft_mask(SHAPE, 6, 3, device=image.device),
}


@pytest.fixture
def counts(rng: np.random.Generator) -> np.ndarray:
    """Two images of small whole numbers, (2, h, w)."""
    return rng.integers(0, 200, (2, *SHAPE)).astype(np.int16)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("kind", [np.int16, np.float16, np.float64])
def test_kinds_of_input(name: str, kind: type, counts: np.ndarray) -> None:
    expected = OPERATIONS[name](torch.as_tensor(counts.astype(np.float32)))
    found = OPERATIONS[name](torch.as_tensor(counts.astype(kind)))
    assert torch.allclose(found.double(), expected.double(), rtol=1e-4, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.gpu
@pytest.mark.parametrize("name", OPERATIONS)
def test_cuda_gives_what_the_cpu_gives(name: str, counts: np.ndarray) -> None:
    image = torch.as_tensor(counts.astype(np.float32))
    found = OPERATIONS[name](image.cuda())
    assert found.is_cuda
    expected = OPERATIONS[name](image)
    assert torch.allclose(found.cpu(), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
