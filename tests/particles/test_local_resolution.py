"""A map of two resolutions: local resolution tells both, and the map filtered by it keeps what each place has."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.particles.half_maps import with_noise

from lamella.fourier import apply_filter, band_pass, soft_mask
from lamella.particles.local_resolution import filter_locally, local_resolution

VOXEL = 2.0
SIZE = 80


def two_resolutions(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flat spectra cut at 6 Å in one ball and at 14 Å in another, and both balls."""
    shape = (SIZE,) * 3
    balls, parts = [], []
    for cut_ang, middle in ((6.0, 22), (14.0, 58)):
        ball = soft_mask(shape, 15, 2, (40, 40, middle))
        texture = torch.from_numpy(rng.normal(size=shape).astype(np.float32))
        cutoff = VOXEL / cut_ang
        texture = apply_filter(ball * texture, band_pass(shape, None, cutoff, 0.02 * cutoff))
        parts.append((texture / texture[ball > 0.5].std()).numpy())
        balls.append(soft_mask(shape, 9, 0, (40, 40, middle)).numpy() > 0.5)
    return parts[0] + parts[1], balls[0], balls[1]


def test_two_resolutions_are_told_apart(rng: np.random.Generator) -> None:
    signal, fine, coarse = two_resolutions(rng)
    half1, half2 = with_noise(signal, 1.0, rng)
    mask = (soft_mask(signal.shape, 18, 2, (40, 40, 22)) + soft_mask(signal.shape, 18, 2, (40, 40, 58))).numpy()
    found = local_resolution(half1, half2, mask, VOXEL)
    assert np.median(found.resolution_ang[fine]) == pytest.approx(6.0, rel=0.08)
    assert np.median(found.resolution_ang[coarse]) == pytest.approx(14.0, rel=0.15)
    assert (found.resolution_ang[mask < 0.5] == 0).all()
    assert found.percentiles_ang[0] <= found.median_ang <= found.percentiles_ang[1]
    filtered = filter_locally((half1 + half2) / 2, found.resolution_ang, VOXEL)
    for place in (fine, coarse):
        before = np.std(((half1 + half2) / 2 - signal)[place])
        after = np.std((filtered - signal)[place])
        assert after < 0.6 * before
    assert np.corrcoef(filtered[fine], signal[fine])[0, 1] > 0.9


def test_noise_alone_has_the_coarsest_resolution(rng: np.random.Generator) -> None:
    half1, half2 = with_noise(np.zeros((48, 48, 48)), 1.0, rng)
    found = local_resolution(half1, half2, np.ones_like(half1), VOXEL)
    assert found.median_ang > 0.6 * found.coarsest_ang


def test_filter_of_one_resolution_is_a_low_pass(rng: np.random.Generator) -> None:
    volume = rng.normal(size=(32, 32, 32)).astype(np.float32)
    cut = 0.48 * 1.08**-5  # one of the filter's own levels, cycles/px
    out = filter_locally(volume, np.full(volume.shape, VOXEL / cut, np.float32), VOXEL)
    wanted = apply_filter(torch.from_numpy(volume), band_pass(volume.shape, None, cut, 0.1 * cut)).numpy()
    np.testing.assert_allclose(out, wanted, atol=1e-3)
