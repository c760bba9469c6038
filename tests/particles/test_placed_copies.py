"""Copies of a map: each point of the reference appears at A · r + position."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.errors import InputError
from lamella.geometry import euler_matrix
from lamella.particles import placed_copies
from lamella.particles.placed_copies import place_copies


def gaussian(shape: tuple[int, ...], voxel_ang: float, centres_ang: np.ndarray, sigma_ang: float = 9.0) -> np.ndarray:
    """Sum of Gaussian bodies at (x, y, z) in Å from voxel n // 2."""
    z, y, x = np.meshgrid(*((np.arange(n) - n // 2) * voxel_ang for n in shape), indexing="ij")
    out = np.zeros(shape)
    for cx, cy, cz in centres_ang:
        out += np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / (2 * sigma_ang**2))
    return out.astype(np.float32)


@pytest.mark.parametrize("slab_bytes", [128 * 2**20, 4 * 60 * 70 * 5])
def test_bodies_appear_where_the_poses_put_them(monkeypatch: pytest.MonkeyPatch, slab_bytes: int) -> None:
    monkeypatch.setattr(placed_copies, "_SLAB_BYTES", slab_bytes)
    points = np.array([[0.0, 0.0, 0.0], [40.0, 0.0, 0.0], [0.0, 25.0, 10.0]])
    reference = gaussian((48, 48, 48), 4.0, points)
    matrices = euler_matrix(np.array([20.0, 110.0]), np.array([35.0, 80.0]), np.array([-50.0, 10.0]))
    positions = np.array([[-120.0, 60.0, 30.0], [130.0, -70.0, -45.0]])
    shape, voxel = (40, 60, 70), 7.5
    volume = np.full(shape, np.nan, np.float32)

    def sink(z: int, y: int, x: int, block: np.ndarray) -> None:
        volume[z : z + block.shape[0], y : y + block.shape[1], x : x + block.shape[2]] = block

    drawn = place_copies(reference, 4.0, matrices, positions, shape, voxel, sink)
    centres = np.concatenate([points @ turn.T + place for turn, place in zip(matrices, positions, strict=True)])
    truth = gaussian(shape, voxel, centres)
    assert drawn == 2
    assert np.corrcoef(volume.ravel(), truth.ravel())[0, 1] > 0.99
    assert np.abs(volume - truth).max() < 0.2  # linear interpolation of bodies of 1.2 voxels


def test_copies_outside_are_not_drawn() -> None:
    reference = gaussian((16, 16, 16), 4.0, np.zeros((1, 3)), 6.0)
    blocks: list[np.ndarray] = []
    places = np.array([[0.0, 0.0, 0.0], [1000.0, 0.0, 0.0]])
    drawn = place_copies(
        reference,
        4.0,
        np.stack([np.eye(3)] * 2),
        places,
        (16, 16, 16),
        4.0,
        lambda z, y, x, block: blocks.append(block),
    )
    assert drawn == 1
    np.testing.assert_allclose(blocks[0], np.where(reference > 1e-3, reference, 0), atol=2e-3)
    with pytest.raises(InputError, match="empty"):
        place_copies(np.zeros_like(reference), 4.0, np.eye(3)[None], places[:1], (4, 4, 4), 4.0, lambda *_: None)
