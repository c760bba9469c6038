"""Central slices against exact transforms of Gaussians, against plain torch, and put together again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from lamella.kernels.central_slices import padded_transform, take_terms, take_terms_torch, unpadded_volume
from lamella.kernels.insertion import add_terms, join_mates
from lamella.kernels.pose_likelihood import pose_slopes, pose_slopes_reference

BOX = 32
PLACES = np.array([[3.0, -2.0, 4.0], [-5.0, 1.0, 0.5], [1.0, 6.0, -4.0]])
MASSES = np.array([1.0, 0.7, 1.3])
WIDTH = 1.3


def gaussians() -> torch.Tensor:
    """A body whose transform is known."""
    line = np.arange(BOX) - BOX // 2
    z, y, x = np.meshgrid(line, line, line, indexing="ij")
    volume = np.zeros((BOX,) * 3)
    for (px, py, pz), mass in zip(PLACES, MASSES, strict=True):
        volume += mass * np.exp(-((x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2) / (2 * WIDTH**2))
    return torch.from_numpy(volume / (2 * np.pi * WIDTH**2) ** 1.5).float()


def half_disc(radius: int, volume: bool = False) -> np.ndarray:
    line = np.arange(-radius, radius + 1)
    x, y, z = np.meshgrid(line, line, line if volume else [0], indexing="ij")
    kept = (x**2 + y**2 + z**2 <= radius**2) & ((x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0)))))
    return np.stack([x[kept], y[kept], z[kept]], axis=-1).astype(np.int32)


@pytest.fixture(scope="module")
def transform() -> np.ndarray:
    return padded_transform(gaussians()).numpy()


MATRICES = Rotation.random(5, random_state=3).as_matrix()


@pytest.mark.parametrize("volume", [False, True])
def test_terms_of_gaussians_turned_are_the_formula(transform: np.ndarray, volume: bool) -> None:
    index = half_disc(9, volume)
    found = take_terms(transform, index, MATRICES, BOX)
    k = index / BOX
    turned = np.einsum("sij,pj->spi", MATRICES, PLACES)
    exact = np.exp(-2j * np.pi * np.einsum("tk,spk->stp", k, turned)) @ MASSES
    exact *= np.exp(-2 * np.pi**2 * WIDTH**2 * (k**2).sum(1))
    assert np.abs(found - exact).max() < 0.02 * np.abs(exact).max()


def test_compiled_slices_are_those_of_torch(transform: np.ndarray) -> None:
    index = half_disc(15)
    plain = take_terms_torch(torch.from_numpy(transform), torch.from_numpy(index), torch.from_numpy(MATRICES), BOX)
    np.testing.assert_allclose(take_terms(transform, index, MATRICES, BOX), plain.numpy(), atol=2e-5)


def test_many_slices_make_the_volume_again(transform: np.ndarray) -> None:
    index = half_disc(15)
    matrices = Rotation.random(1500, random_state=4).as_matrix()
    grid = np.zeros((*transform.shape, 3), np.float32)
    taken = take_terms(transform, index, matrices, BOX)
    add_terms(taken, np.ones(taken.shape, np.float32), index, matrices, BOX, grid)
    joined, weights = join_mates(torch.from_numpy(grid))
    joined[0, 0, 0], weights[0, 0, 0] = MASSES.sum(), 1.0
    volume = unpadded_volume(joined / weights.clamp_min(1e-3), BOX)
    inside = gaussians() > 1e-4
    assert np.corrcoef(volume[inside], gaussians()[inside])[0, 1] > 0.99


@pytest.mark.parametrize("volume", [False, True])
def test_slopes_of_the_likelihood_are_its_differences(transform: np.ndarray, volume: bool) -> None:
    generator = np.random.default_rng(2)
    index = half_disc(8, volume)
    shape = (len(MATRICES), len(index))
    moves = generator.normal(size=(len(MATRICES), 3)) * (1, 1, volume)
    weights = generator.uniform(0.5, 1.5, shape).astype(np.float32)
    data = (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(np.complex64)
    value, slope, curvature = pose_slopes(transform, index, MATRICES, moves, data, weights, BOX)
    np.testing.assert_allclose(
        value, pose_slopes_reference(transform, index, MATRICES, moves, data, weights, BOX), rtol=1e-4
    )
    for axis in range(6 if volume else 5):
        step = 2e-3
        ends = []
        for sign in (-1, 1):
            turn = Rotation.from_rotvec(sign * step * np.eye(3)[axis] if axis < 3 else np.zeros(3)).as_matrix()
            moved = moves + (sign * step * np.eye(3)[axis - 3] if axis >= 3 else 0)
            ends.append(pose_slopes_reference(transform, index, MATRICES @ turn, moved, data, weights, BOX))
        difference = (ends[1] - ends[0]) / (2 * step)
        np.testing.assert_allclose(slope[:, axis], difference, atol=0.06 * np.abs(difference).max())
    # where the data are the reference's own, the curvature is that of the value
    own = take_terms(transform, index, MATRICES, BOX) * np.exp(-2j * np.pi / BOX * (moves @ index.T))
    own = (own * weights).astype(np.complex64)
    best, flat, curvature = pose_slopes(transform, index, MATRICES, moves, own, weights, BOX)
    assert np.abs(flat).max() < 1e-2 * np.sqrt(curvature[:, 0, 0].max())
    away = pose_slopes_reference(transform, index, MATRICES, moves + np.array([0.05, 0, 0]), own, weights, BOX)
    np.testing.assert_allclose(best - away, 0.5 * 0.05**2 * curvature[:, 3, 3], rtol=0.05)
