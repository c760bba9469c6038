"""Modes across the field."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.movies.modes import DEGREES, local_motion, tile_modes

SHAPE = (300, 420)
Array = np.ndarray


def centres(rows: int, columns: int) -> Array:
    y, x = np.meshgrid((2 * np.arange(rows) + 1) / rows - 1, (2 * np.arange(columns) + 1) / columns - 1, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=-1)


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (4, 6), (6, 5)])
def test_modes_are_orthonormal_over_the_tiles(rows: int, columns: int) -> None:
    modes, _ = tile_modes(centres(rows, columns))
    assert modes.shape == (rows * columns, 10)
    np.testing.assert_allclose(modes.T @ modes / len(modes), np.eye(10), atol=1e-10)
    np.testing.assert_allclose(modes[:, 0], 1)


def test_a_mode_is_a_polynomial_of_its_degree() -> None:
    tiles = centres(5, 6)
    modes, mixing = tile_modes(tiles)
    x, y = tiles.T
    powers = np.stack([x**0, x, y, x**2, x * y, y**2, x**3, x**2 * y, x * y**2, y**3], axis=1)
    np.testing.assert_allclose(powers @ mixing, modes, atol=1e-10)
    for mode, degree in enumerate(DEGREES):
        higher = [other for other in range(10) if DEGREES[other] > degree]
        np.testing.assert_allclose(mixing[higher, mode], 0, atol=1e-10)


@pytest.mark.parametrize("count", [3, 6, 10])
def test_the_spline_is_the_polynomial_at_every_pixel(count: int, rng: np.random.Generator) -> None:
    """Local motion at any pixel is what the modes' polynomials are there, the whole field's left out."""
    tiles = centres(4, 6)
    modes, mixing = tile_modes(tiles)
    strengths = rng.normal(size=(count, 5, 2))
    local = local_motion(strengths, mixing, SHAPE)
    height, width = SHAPE
    at_tiles = np.stack([(tiles[:, 0] + 1) * width / 2 - 0.5, (tiles[:, 1] + 1) * height / 2 - 0.5], axis=-1)
    expected = np.einsum("tm,mfc->ftc", modes[:, 1:count], strengths[1:])
    np.testing.assert_allclose(local.displacement(at_tiles), expected, atol=1e-9)
    pixels = np.stack([rng.uniform(0, width - 1, 200), rng.uniform(0, height - 1, 200)], axis=-1)
    x, y = (2 * (pixels[:, axis] + 0.5) / size - 1 for axis, size in ((0, width), (1, height)))
    powers = np.stack([x**0, x, y, x**2, x * y, y**2, x**3, x**2 * y, x * y**2, y**3], axis=1)
    expected = np.einsum("pm,mfc->fpc", (powers @ mixing)[:, 1:count], strengths[1:])
    np.testing.assert_allclose(local.displacement(pixels), expected, atol=1e-9)
