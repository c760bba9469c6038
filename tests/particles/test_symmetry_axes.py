"""The axes of point groups, found in bodies that are symmetric by construction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from tests.particles.model_cases import body_map

from lamella.geometry import point_group
from lamella.particles.symmetry_axes import find_symmetry_axes, generators_of, self_correlation, still_part

SEED = np.array([[60.0, 25.0, 45.0, 20.0, 1.0], [30.0, -20.0, 65.0, 18.0, 0.6], [70.0, 40.0, -8.0, 15.0, 0.5]])


def symmetric(name: str) -> np.ndarray:
    """A body made of all turned copies of a seed."""
    group = point_group(name)
    return np.concatenate([np.concatenate([SEED[:, :3] @ turn.T, SEED[:, 3:]], axis=1) for turn in group])


@pytest.mark.parametrize("name", ["C2", "C3", "D2", "D7", "T"])
def test_axes_are_found_wherever_they_lie(name: str) -> None:
    turn, centre = Rotation.random(random_state=3).as_matrix(), np.array([6.0, -9.0, 5.0])
    body = symmetric(name)
    body[:, :3] = body[:, :3] @ turn.T + centre
    frame = find_symmetry_axes(torch.from_numpy(body_map(body, 32, 10.0)), name, 10)
    assert frame.correlation > 0.995
    # seen from the frame, the body is where each rotation of the group puts it
    seen = (body[:, :3] - 10 * frame.centre_px) @ frame.matrix
    for rotation in point_group(name):
        apart = np.linalg.norm((seen @ rotation.T)[:, None] - seen, axis=-1).min(axis=1)
        assert apart.max() < 4.0  # 0.4 voxels


def test_a_body_without_the_symmetry_says_so() -> None:
    body = np.concatenate([SEED, [[-50.0, 10.0, -40.0, 20.0, 0.9]]])
    volume = torch.from_numpy(body_map(body, 32, 10.0))
    assert find_symmetry_axes(volume, "D3", 8).correlation < 0.8
    assert self_correlation(volume, "D3", 8) < find_symmetry_axes(volume, "D3", 8).correlation
    assert self_correlation(volume, "C1", 8) == 1.0


@pytest.mark.parametrize("name", ["C5", "D4", "T", "O", "I2"])
def test_few_generators_make_the_whole_group(name: str) -> None:
    group = point_group(name)
    generators = generators_of(group)
    assert len(generators) <= 3
    made = [np.eye(3)]
    while True:
        new = [a @ g for a in made for g in generators]
        more = [n for i, n in enumerate(new) if not any(np.allclose(n, m) for m in (*made, *new[:i]))]
        if not more:
            break
        made += more
    assert len(made) == len(group)


def test_what_a_group_leaves_still() -> None:
    vector = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(still_part(vector, point_group("C4")), [0, 0, 3], atol=1e-12)
    np.testing.assert_allclose(still_part(vector, point_group("D2")), 0, atol=1e-12)
    np.testing.assert_allclose(still_part(vector, point_group("C1")), vector)
