"""The loops over half transforms against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.geometry import TiltGeometry
from lamella.kernels.half_shells import pair_sums, pair_sums_reference, shell_places, shell_places_reference

SHAPES = [(12, 16, 20), (9, 15, 13), (16, 8, 8)]


@pytest.mark.parametrize("shape", SHAPES)
def test_places_are_the_references(shape):
    geometry = TiltGeometry.from_angles(np.linspace(-50, 47, 9), 85.0, x_tilt_deg=4.0)
    normals = geometry.rotations()[:, 2]
    for half_step, half_width in ((0.05, 0.01), (0.0, 0.03), (1.0, 0.0)):
        ours = shell_places(shape, normals, half_step, half_width)
        np.testing.assert_array_equal(ours, shell_places_reference(shape, normals, half_step, half_width))
    assert (ours >= 0).any()


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_are_the_references_and_keep_the_power(shape, rng):
    volumes = [rng.normal(size=shape) for _ in range(2)]
    a, b = (np.fft.rfftn(volume).astype(np.complex64) for volume in volumes)
    everywhere = np.zeros(a.shape, np.int32)
    sums = []
    for work in (pair_sums, pair_sums_reference):
        out = np.zeros((4, 1))
        work(a, b, everywhere, shape[2] % 2 == 0, out)
        sums.append(out)
    np.testing.assert_allclose(sums[0], sums[1], rtol=1e-5)
    size = np.prod(shape)  # Parseval
    np.testing.assert_allclose(sums[0][1, 0], size * (volumes[0] ** 2).sum(), rtol=1e-5)
    np.testing.assert_allclose(sums[0][0, 0], size * (volumes[0] * volumes[1]).sum(), atol=1e-4 * size * size)
    assert sums[0][3, 0] == size
