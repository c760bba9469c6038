"""Sampling at any ratio, against cropping of transforms and against the function that was sampled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import ImageError
from lamella.fourier import crop_volume, rescale, rescaled_size


def test_equals_cropping_where_the_ratio_divides(rng: np.random.Generator) -> None:
    volume = torch.from_numpy(rng.normal(size=(16, 24, 32)))
    torch.testing.assert_close(rescale(volume, 2.0, 3), crop_volume(volume, (8, 12, 16)))
    torch.testing.assert_close(rescale(volume, 0.5, 3), crop_volume(volume, (32, 48, 64)))
    torch.testing.assert_close(rescale(volume, 1.0, 3), volume)


@given(size=st.integers(5, 40), ratio=st.floats(0.3, 3.0), data=st.data())
def test_a_wave_below_both_nyquists_is_sampled_exactly(size: int, ratio: float, data: st.DataObject) -> None:
    cycles = data.draw(st.integers(0, max(int(size / (2 * max(ratio, 1.0)) - 0.01), 0)))
    phase = data.draw(st.floats(0, 6))
    line = torch.cos(2 * np.pi * cycles * (torch.arange(size, dtype=torch.float64) - size // 2) / size + phase)
    if cycles * 2 == size:
        return
    out = rescale(line.expand(3, size), ratio, 2, (3, rescaled_size(size, ratio)))[1]
    wanted = len(out)
    places = (torch.arange(wanted, dtype=torch.float64) - wanted // 2) * ratio
    torch.testing.assert_close(out, torch.cos(2 * np.pi * cycles * places / size + phase), atol=1e-9, rtol=0)


def test_refuses_what_is_no_ratio() -> None:
    with pytest.raises(ImageError, match="positive pixel size"):
        rescale(torch.zeros(4, 4), 0.0, 2)
