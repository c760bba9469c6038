import numpy as np
import pytest
from tests.particles.blobs import turned

from lamella.geometry import healpix_directions, point_group, rotation_angle_deg
from lamella.geometry.angular_grid import even_directions
from lamella.particles.search_grid import search_grid, within_lean


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_even_directions_are_healpix_pixels(order):
    np.testing.assert_allclose(even_directions(2**order), healpix_directions(order, nested=False), atol=1e-9)


@pytest.mark.parametrize("sides", [3, 5, 6, 7])
def test_any_number_of_sides_covers_the_sphere(sides):
    rot, tilt = np.deg2rad(even_directions(sides)).T
    vectors = np.stack([np.sin(tilt) * np.cos(rot), np.sin(tilt) * np.sin(rot), np.cos(tilt)], -1)
    assert len(vectors) == 12 * sides**2
    np.testing.assert_allclose(vectors.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(vectors.T @ vectors / len(vectors), np.eye(3) / 3, atol=0.02)


@pytest.mark.parametrize("symmetry", ["C1", "C7", "D7", "O"])
def test_every_orientation_has_a_near_one_and_none_is_there_twice(symmetry):
    grid = search_grid(15.0, symmetry)
    far = [rotation_angle_deg(matrix, grid, symmetry).min() for matrix in turned(150, 5)]
    assert max(far) < 0.85 * 15
    order = len(point_group(symmetry))
    assert len(grid) < 1.35 * len(search_grid(15.0)) / order + 10
    some = grid[:: max(1, len(grid) // 20)]
    for matrix in some:
        assert (rotation_angle_deg(matrix, grid, symmetry) < 3.0).sum() == 1


def test_orientations_that_lean_little():
    grid = search_grid(20.0)
    near = within_lean(grid, [0.0, 0.0, 2.0], 30.0)
    np.testing.assert_array_equal(near, grid[:, 2, 2] >= np.cos(np.deg2rad(30)) - 1e-9)
    assert within_lean(grid, [1.0, 0.0, 0.0], 180.0).all()
