"""The record of a movie's motion against splines and polynomials made by other means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from lamella.errors import GeometryError
from lamella.records import LocalMotion, MovieMotion
from lamella.records.motion import spline_basis

SHAPE = (240, 320)
Array = np.ndarray


def scipy_spline(coefficients: Array, places: Array, size: int) -> Array:
    """A clamped uniform spline over pixels 0 … size − 1 along the first axis of its coefficients, by `BSpline`."""
    count = len(coefficients)
    degree = min(3, count - 1)
    inner = np.linspace(0, size - 1, count - degree + 1)
    knots = np.r_[[0.0] * degree, inner, [size - 1.0] * degree]
    return BSpline(knots, coefficients, degree)(places)


def local_motion(rng: np.random.Generator, frames: int = 3, rows: int = 5, columns: int = 6) -> LocalMotion:
    return LocalMotion(rng.normal(size=(frames, 2, rows, columns)), SHAPE)


@pytest.mark.parametrize(("rows", "columns"), [(5, 6), (4, 4), (2, 7), (3, 2)])
def test_displacement_is_the_clamped_spline(rows: int, columns: int, rng: np.random.Generator) -> None:
    motion = local_motion(rng, 3, rows, columns)
    x, y = rng.uniform(0, SHAPE[1] - 1, 20), rng.uniform(0, SHAPE[0] - 1, 20)
    for frame, moved in enumerate(motion.displacement(np.stack([x, y], axis=-1))):
        for axis in (0, 1):
            in_y = scipy_spline(motion.coefficients_px[frame, axis], y, SHAPE[0])  # (places, mx)
            expected = [
                scipy_spline(line[:, None], np.array([at]), SHAPE[1])[0, 0] for line, at in zip(in_y, x, strict=True)
            ]
            np.testing.assert_allclose(moved[:, axis], expected, atol=1e-12)


def test_it_is_flat_beyond_the_frame(rng: np.random.Generator) -> None:
    motion = local_motion(rng)
    height, width = SHAPE
    outside = motion.displacement([[-30.0, 50.0], [width + 9.0, -4.0], [10.0, height + 100.0]])
    edge = motion.displacement([[0.0, 50.0], [width - 1.0, 0.0], [10.0, height - 1.0]])
    np.testing.assert_allclose(outside, edge, atol=1e-12)


def test_grid_and_places_agree(rng: np.random.Generator) -> None:
    motion = local_motion(rng)
    y, x = np.array([0.0, 17.5, 239.0]), np.array([3.0, 100.25, 250.0, 319.0])
    grid_x, grid_y = np.meshgrid(x, y)
    at_places = motion.displacement(np.stack([grid_x, grid_y], axis=-1))
    assert at_places.shape == (3, 3, 4, 2)
    np.testing.assert_allclose(motion.on_grid(y, x), np.moveaxis(at_places, -1, 1), atol=1e-12)


@given(st.integers(4, 9), st.integers(4, 9), st.integers(0, 3), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_cubic_polynomials_are_held_exactly(rows: int, columns: int, x_power: int, y_power: int, seed: int) -> None:
    """Greville's points and least squares: any cubic lies in the space of the splines, however many nodes."""
    rng = np.random.default_rng(seed)
    height, width = SHAPE

    def field(x: Array, y: Array) -> Array:
        return (x / width - 0.3) ** x_power * (y / height - 0.6) ** y_power

    x, y = np.linspace(0, width - 1, 25), np.linspace(0, height - 1, 25)
    in_x, in_y = spline_basis(x, width, columns), spline_basis(y, height, rows)
    values = field(x[None, :], y[:, None])
    coefficients = np.linalg.pinv(in_y) @ values @ np.linalg.pinv(in_x).T
    motion = LocalMotion(np.stack([coefficients, -coefficients])[None], SHAPE)
    places = np.stack([rng.uniform(0, width - 1, 50), rng.uniform(0, height - 1, 50)], axis=-1)
    expected = field(places[:, 0], places[:, 1])
    np.testing.assert_allclose(motion.displacement(places)[0], np.stack([expected, -expected], axis=-1), atol=1e-9)


@given(st.integers(1, 9), st.integers(1, 300))
def test_a_basis_sums_to_one(count: int, size: int) -> None:
    places = np.linspace(-3, size + 3, 11)
    np.testing.assert_allclose(spline_basis(places, size, count).sum(axis=1), 1, atol=1e-12)


def test_one_coefficient_is_one_displacement_for_all_places(rng: np.random.Generator) -> None:
    motion = LocalMotion(np.array([1.5, -2.0]).reshape(1, 2, 1, 1), SHAPE)
    places = rng.uniform(0, 200, (4, 2))
    np.testing.assert_array_equal(motion.displacement(places), np.broadcast_to([1.5, -2.0], (1, 4, 2)))


def test_a_movies_motion_is_the_sum_of_both(rng: np.random.Generator) -> None:
    local, together = local_motion(rng), rng.normal(size=(3, 2))
    whole = MovieMotion(shape_px=SHAPE, pixel_size_ang=1.5, global_px=together)
    both = MovieMotion(shape_px=SHAPE, pixel_size_ang=1.5, global_px=together, local=local)
    places = rng.uniform(0, 200, (4, 5, 2))
    assert len(both) == 3
    assert whole.displacement(places).shape == (3, 4, 5, 2)
    np.testing.assert_array_equal(whole.displacement(places)[:, 2, 3], together)
    np.testing.assert_allclose(
        both.displacement(places), together[:, None, None] + local.displacement(places), atol=1e-14
    )
    assert both.displacement([10.0, 20.0]).shape == (3, 2)


def test_a_displacement_is_the_callers_own(rng: np.random.Generator) -> None:
    motion = MovieMotion(shape_px=SHAPE, pixel_size_ang=1.0, global_px=np.ones((2, 2)))
    motion.displacement(np.zeros((3, 2)))[...] = 7
    np.testing.assert_array_equal(motion.global_px, 1)


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 3, 4, 4), (0, 2, 4, 4), (2, 2, 0, 4)])
def test_wrong_shapes_of_local_motion(shape: tuple[int, ...]) -> None:
    with pytest.raises(GeometryError, match="shape"):
        LocalMotion(np.zeros(shape), SHAPE)


@pytest.mark.parametrize("shape", [(2,), (0, 2), (4, 3), (2, 2, 2)])
def test_wrong_shapes_of_global_motion(shape: tuple[int, ...]) -> None:
    with pytest.raises(GeometryError, match="shape"):
        MovieMotion(shape_px=SHAPE, pixel_size_ang=1.0, global_px=np.zeros(shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_motion_that_is_not_finite(bad: float) -> None:
    together, coefficients = np.zeros((3, 2)), np.zeros((3, 2, 4, 4))
    together[1, 0] = coefficients[2, 1, 0, 3] = bad
    with pytest.raises(GeometryError, match="finite"):
        MovieMotion(shape_px=SHAPE, pixel_size_ang=1.0, global_px=together)
    with pytest.raises(GeometryError, match="finite"):
        LocalMotion(coefficients, SHAPE)


def test_local_and_global_motion_of_different_lengths(rng: np.random.Generator) -> None:
    with pytest.raises(GeometryError, match="3 frames for 4"):
        MovieMotion(shape_px=SHAPE, pixel_size_ang=1.0, global_px=np.zeros((4, 2)), local=local_motion(rng))
