"""The automatic mask against the body that was drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamella.errors import ImageError
from lamella.fourier import soft_mask
from lamella.particles.map_mask import automatic_mask, check_mask, soft_edge

VOXEL = 4.0


def noisy_bodies(rng: np.random.Generator, sigma: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Two touching balls of density 2 and a speck far away, in noise."""
    shape = (64, 64, 64)
    body = torch.maximum(soft_mask(shape, 10, 1, (32, 32, 26)), soft_mask(shape, 8, 1, (32, 34, 40))).numpy()
    speck = soft_mask(shape, 2, 1, (12, 32, 32)).numpy()
    return (2 * body + 2 * speck + sigma * rng.normal(size=shape)).astype(np.float32), body > 0.5


@pytest.mark.parametrize("sigma", [0.0, 0.3, 1.0, 2.5])
def test_mask_holds_the_body_and_no_speck(rng: np.random.Generator, sigma: float) -> None:
    volume, body = noisy_bodies(rng, sigma)
    found = automatic_mask(volume, VOXEL, extend_px=3, edge_px=5)
    assert found.bodies == 1
    assert found.mask[body].mean() > 0.99
    assert found.mask[12, 32, 32] == 0
    assert (found.mask > 0.5).sum() < 6 * body.sum()
    assert found.mask.min() == 0
    assert found.mask.max() == 1
    if found.low_pass_ang == 15:
        passed = 4 / 3 * np.pi * (VOXEL / 15 * 1.07) ** 3  # share of samples, half of the filter's edge counted
        assert found.noise == pytest.approx(sigma * np.sqrt(passed), rel=0.1, abs=0.01)
    else:
        assert sigma >= 1


def test_a_threshold_of_ones_own(rng: np.random.Generator) -> None:
    volume, body = noisy_bodies(rng, 0.1)
    found = automatic_mask(volume, VOXEL, threshold=1.0, extend_px=0, edge_px=1)
    assert found.threshold == 1.0
    assert (found.mask > 0.5).sum() == pytest.approx(body.sum(), rel=0.25)
    with pytest.raises(ImageError, match="nothing in the map is denser"):
        automatic_mask(volume, VOXEL, threshold=50.0)
    with pytest.raises(ImageError, match="does not stand out"):
        automatic_mask(volume, VOXEL, threshold=-50.0)


def test_edge_is_a_raised_cosine() -> None:
    body = np.zeros((31, 31, 31), bool)
    body[15, 15, 15] = True
    mask = soft_edge(body, 4, 6)
    distance = np.arange(16)
    wanted = 0.5 * (1 + np.cos(np.pi * np.clip((distance - 4) / 6, 0, 1)))
    np.testing.assert_allclose(mask[15, 15, 15:], wanted, atol=1e-6)
    assert not soft_edge(np.zeros_like(body), 4, 6).any()


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.ones((4, 4, 5), np.float32), "a mask of"),
        (np.zeros((4, 4, 4), np.float32), "empty"),
        (np.full((4, 4, 4), 7, np.float32), "values from 7"),
        (np.full((4, 4, 4), np.nan, np.float32), "values from nan"),
    ],
)
def test_masks_that_do_not_fit(mask: np.ndarray, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        check_mask(mask, (4, 4, 4))
