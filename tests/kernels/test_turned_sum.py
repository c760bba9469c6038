"""A transform and all its turns: against torch, and against turning the volume itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamella.geometry import point_group
from lamella.kernels.turned_sum import turned_sum, turned_sum_torch

N = 24


def transform(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    sums = torch.fft.rfftn(torch.from_numpy(rng.normal(size=(N, N, N)))).to(torch.complex64)
    return sums, torch.rand(sums.shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("group", ["C1", "C3", "D7"])
def test_it_is_its_reference(group: str, rng: np.random.Generator) -> None:
    sums, masses = transform(rng)
    rotations = torch.from_numpy(point_group(group))
    for found, wanted in zip(
        turned_sum(sums, masses, rotations), turned_sum_torch(sums, masses, rotations), strict=True
    ):
        torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-5)


def test_quarter_turns_are_those_of_the_volume(rng: np.random.Generator) -> None:
    """C4 leads grid points to grid points, so nothing is interpolated."""
    sums, masses = transform(rng)
    found, _ = turned_sum(sums, masses, torch.from_numpy(point_group("C4")))
    k = torch.fft.fftfreq(N, 1 / N)
    inside = k[:, None, None] ** 2 + k[:, None] ** 2 + torch.arange(N // 2 + 1) ** 2 <= (N // 2 - 1) ** 2
    volume = torch.fft.irfftn(sums * inside, s=(N, N, N))
    turned = volume.clone()
    for quarter, roll in ((1, (1, 0)), (2, (1, 1)), (3, (0, 1))):  # rot90 takes index 0 to the last
        turned += torch.rot90(volume, quarter, (1, 2)).roll(roll, (1, 2))
    wanted = torch.fft.rfftn(turned) * inside
    torch.testing.assert_close(found, wanted.to(found.dtype), atol=2e-3, rtol=1e-4)
