"""Fourier slices against projections that need no grid."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.geometry import euler_matrix
from lamella.simulate import Gaussians, project_gaussians
from lamella.simulate.slices import template_spectrum
from lamella.simulate.templates import ball_template, cloud_template


@pytest.mark.parametrize("angles", [(0, 0, 0), (33, 71, -120), (-170, 90, 15), (10, 180, 77)])
@pytest.mark.parametrize("voxel", [4.0, 7.3])
def test_a_slice_is_the_projection_of_the_gaussians(angles, voxel: float) -> None:
    rng = np.random.default_rng(3)
    cloud = Gaussians(rng.uniform(-70, 70, (40, 3)), rng.uniform(1, 3, 40), np.full(40, 2.2 * voxel))
    spectrum = template_spectrum(cloud_template("cloud", cloud, voxel))
    turned = cloud.moved(euler_matrix(*angles), (0, 0, 0))
    size = spectrum.size_px
    exact = project_gaussians(turned, turned.places_ang[:, :2], voxel, (size, size))[0]
    found = spectrum.project(euler_matrix(*angles)) * voxel
    assert np.linalg.norm(found - exact) < 5e-4 * np.linalg.norm(exact)
    assert np.abs(found - exact).max() < 1e-3 * exact.max()


def test_magnification_keeps_line_integrals() -> None:
    cloud = Gaussians(np.array([[0.0, 0, 0], [50.0, -30, 20]]), np.array([2.0, 1.0]), np.full(2, 12.0))
    spectrum = template_spectrum(cloud_template("two", cloud, 5.0))
    larger = Gaussians(cloud.places_ang * 1.03, cloud.weights * 1.03**2, cloud.sigma_ang * 1.03)
    size = spectrum.size_px
    exact = project_gaussians(larger, larger.places_ang[:, :2], 5.0, (size, size))[0]
    np.testing.assert_allclose(spectrum.project(np.eye(3), 1.03) * 5.0, exact, atol=1e-3 * exact.max())


def test_a_ball_looks_the_same_from_everywhere() -> None:
    ball = ball_template("ball", 120.0, 10.0, 6.0)
    spectrum = template_spectrum(ball)
    first = spectrum.project(np.eye(3))
    np.testing.assert_allclose(first, ball.volume.sum(axis=0), atol=2e-3 * first.max())
    np.testing.assert_allclose(spectrum.project(euler_matrix(20, 55, 80)), first, atol=5e-3 * first.max())
    middle = spectrum.size_px // 2
    assert first[middle, middle] * 6.0 == pytest.approx(1200.0, rel=0.03)  # potential times diameter
