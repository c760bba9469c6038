"""Samples by cubic splines, held to SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates, spline_filter

from lamella.geometry import rotation_x, rotation_z
from lamella.kernels.spline import sample_spline

SHAPE = (18, 26, 23)
OUT = (9, 12, 11)


def sampled(warp, step):
    """What the loop gives, and SciPy's own, of noise turned, shifted and warped."""
    volume = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    coefficients = spline_filter(volume, order=3, mode="mirror", output=np.float32)
    matrix = np.ascontiguousarray((rotation_z(20.0) @ rotation_x(7.0))[::-1, ::-1])
    offset = np.array(SHAPE) / 2 - matrix @ np.array(OUT) / 2
    out, inside = np.empty(OUT, np.float32), np.empty(OUT, np.float32)
    low, high = np.zeros(3), np.array(SHAPE) - 1.0
    sample_spline(coefficients, matrix, offset, warp, np.full(3, step), low, high, 3.0, out, inside)
    places = np.stack(np.meshgrid(*(np.arange(n, dtype=float) for n in OUT), indexing="ij"))
    moved = np.stack([map_coordinates(part, places / step, order=1, mode="nearest") for part in warp.astype(float)])
    source = np.einsum("ij,jzyx->izyx", matrix, places + moved) + offset[:, None, None, None]
    wanted = map_coordinates(coefficients.astype(float), source, order=3, mode="mirror", prefilter=False)
    return out, wanted, inside, source


@pytest.mark.parametrize("warped", [False, True])
def test_samples_are_those_of_scipy(warped):
    warp = np.zeros((3, 1, 1, 1), np.float32)
    if warped:
        warp = np.random.default_rng(2).normal(scale=0.4, size=(3, 4, 4, 4)).astype(np.float32)
    out, wanted, _inside, source = sampled(warp, 4.0)
    interior = ((source > 1) & (source < np.array(SHAPE)[:, None, None, None] - 3)).all(axis=0)
    assert interior.mean() > 0.8
    np.testing.assert_allclose(out[interior], wanted[interior], atol=2e-6)


def test_beyond_the_volume_is_nothing():
    warp = np.zeros((3, 1, 1, 1), np.float32)
    warp[2] = 100.0
    out, _wanted, inside, _source = sampled(warp, 4.0)
    assert not out.any()
    assert not inside.any()


def test_inside_rises_from_the_sides():
    _out, _wanted, inside, source = sampled(np.zeros((3, 1, 1, 1), np.float32), 4.0)
    distance = np.minimum(source, np.array(SHAPE)[:, None, None, None] - 1.0 - source).min(axis=0)
    np.testing.assert_allclose(inside, np.clip(distance / 3, 0, 1), atol=1e-6)
