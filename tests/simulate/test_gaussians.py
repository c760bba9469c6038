"""Clouds of Gaussians against the formulas that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.errors import InputError
from lamella.geometry import euler_matrix
from lamella.simulate import Gaussians, project_gaussians, render_volume


def one(place=(0.0, 0.0, 0.0), weight=3.0, sigma=12.0) -> Gaussians:
    return Gaussians(np.array([place]), np.array([weight]), np.array([sigma]))


def test_a_projected_gaussian_is_the_formula() -> None:
    image = project_gaussians(one(), np.array([[7.0, -13.0]]), 5.0, (64, 80))[0]
    y, x = np.mgrid[:64, :80]
    square = ((x - 40) * 5 - 7) ** 2 + ((y - 32) * 5 + 13) ** 2
    expected = 3.0 / (2 * np.pi * 144) * np.exp(-square / 288)
    np.testing.assert_allclose(image, expected, atol=5e-6 * expected.max())


def test_integrals_are_kept_by_images_and_volumes() -> None:
    cloud = Gaussians(np.array([[10.0, 5.0, -8.0], [-20.0, 0.0, 4.0]]), np.array([3.0, 5.0]), np.array([6.0, 9.0]))
    image = project_gaussians(cloud, cloud.places_ang[:, :2], 4.0, (64, 64))
    volume = render_volume(cloud, 4.0, (48, 64, 64))
    assert image.sum(dtype=float) * 16 == pytest.approx(8.0, rel=1e-5)
    assert volume.sum(dtype=float) * 64 == pytest.approx(8.0, rel=1e-5)


def test_a_turned_volume_summed_is_the_projection() -> None:
    rng = np.random.default_rng(5)
    cloud = Gaussians(rng.uniform(-60, 60, (30, 3)), rng.uniform(1, 2, 30), np.full(30, 6.0))
    turned = cloud.moved(euler_matrix(40, 70, -20), (3.0, -5.0, 2.0))
    summed = render_volume(turned, 4.0, (80, 64, 64)).sum(axis=0) * 4.0
    image = project_gaussians(turned, turned.places_ang[:, :2], 4.0, (64, 64))[0]
    np.testing.assert_allclose(image, summed, atol=2e-5 * image.max())


def test_gaussians_beyond_the_edge_leave_only_what_reaches_in() -> None:
    cloud = one(sigma=8.0)
    whole = project_gaussians(cloud, np.array([[-80.0, 0.0]]), 4.0, (32, 96))[0]
    cut = project_gaussians(cloud, np.array([[-80.0, 0.0]]), 4.0, (32, 40))[0]
    np.testing.assert_array_equal(cut, whole[:, 28:68])
    far = project_gaussians(cloud, np.array([[9000.0, 0.0]]), 4.0, (32, 40))
    assert not far.any()


def test_layers_add_up() -> None:
    rng = np.random.default_rng(6)
    cloud = Gaussians(rng.uniform(-60, 60, (20, 3)), np.ones(20), np.full(20, 7.0))
    layers = rng.integers(0, 3, 20)
    parts = project_gaussians(cloud, cloud.places_ang[:, :2], 4.0, (48, 48), layers, 3)
    whole = project_gaussians(cloud, cloud.places_ang[:, :2], 4.0, (48, 48))[0]
    assert parts.shape == (3, 48, 48)
    np.testing.assert_allclose(parts.sum(axis=0), whole, atol=1e-6 * whole.max())


def test_narrow_gaussians_are_widened_to_what_pixels_can_show() -> None:
    image = project_gaussians(one(sigma=0.5), np.array([[2.0, 0.0]]), 4.0, (32, 32))[0]
    wide = project_gaussians(one(sigma=3.0), np.array([[2.0, 0.0]]), 4.0, (32, 32))[0]
    np.testing.assert_array_equal(image, wide)


def test_a_gaussian_without_width_is_refused() -> None:
    with pytest.raises(InputError, match="width"):
        one(sigma=0.0)


def test_an_empty_cloud_is_an_empty_picture() -> None:
    nothing = Gaussians.joined([])
    assert len(nothing) == 0
    assert not project_gaussians(nothing, np.empty((0, 2)), 4.0, (8, 8)).any()
    assert not render_volume(nothing, 4.0, (4, 4, 4)).any()
