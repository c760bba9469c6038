"""Resolution by direction: even where data are even, poor along a missing wedge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.particles.half_maps import body_signal, with_noise

from lamella.fourier import frequency_axes
from lamella.particles.directional import directional_fsc, sphericity

VOXEL = 2.0


def test_even_data_are_round(rng: np.random.Generator) -> None:
    half1, half2 = with_noise(body_signal(64, 20, VOXEL, 150.0, rng), 0.02, rng)
    found = directional_fsc(half1, half2, VOXEL)
    assert found.sphericity > 0.98
    assert found.resolution_ang.std() < 0.06 * found.resolution_ang.mean()


def test_a_missing_cone_shows_along_its_axis(rng: np.random.Generator) -> None:
    """Without signal within 35° of z, cones about z end early and those about x and y do not."""
    signal = body_signal(64, 20, VOXEL, 60.0, rng)
    kz, ky, kx = frequency_axes(signal.shape)
    seen = kz.abs() * np.tan(np.radians(35)) < (kx**2 + ky**2).sqrt()
    terms = torch.fft.rfftn(torch.from_numpy(signal)) * seen
    half1, half2 = with_noise(torch.fft.irfftn(terms, s=signal.shape).numpy(), 0.02, rng)
    found = directional_fsc(half1, half2, VOXEL)
    polar = np.abs(found.directions[:, 2]) > np.cos(np.radians(12))
    side = np.abs(found.directions[:, 2]) < np.sin(np.radians(30))
    assert found.resolution_ang[polar].min() > 3 * np.median(found.resolution_ang[side])
    assert found.sphericity < 0.9
    assert found.correlation.shape == (len(found.directions), 33)
    np.testing.assert_allclose(np.linalg.norm(found.directions, axis=1), 1)


def test_sphericity_of_known_bodies() -> None:
    """An ellipsoid of revolution has a known area and volume."""
    from lamella.geometry import healpix_directions

    rot, tilt = np.radians(healpix_directions(5)).T
    directions = np.stack([np.sin(tilt) * np.cos(rot), np.sin(tilt) * np.sin(rot), np.cos(tilt)], axis=1)
    assert sphericity(directions, np.full(len(directions), 3.0)) == pytest.approx(1.0)
    a, c = 1.0, 0.5  # oblate
    radii = 1 / np.sqrt((directions[:, :2] ** 2).sum(axis=1) / a**2 + directions[:, 2] ** 2 / c**2)
    e = np.sqrt(1 - c**2 / a**2)
    area = 2 * np.pi * a**2 * (1 + (1 - e**2) / e * np.arctanh(e))
    volume = 4 / 3 * np.pi * a**2 * c
    assert sphericity(directions, radii) == pytest.approx(np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area, rel=2e-3)
