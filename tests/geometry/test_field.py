from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from lamella.errors import GeometryError
from lamella.geometry import ImageField


def make(seed: int = 0, rows: int = 4, columns: int = 5) -> ImageField:
    return ImageField(np.random.default_rng(seed).normal(size=(2, 2, rows, columns)), (1000.0, 800.0))


def places(field: ImageField) -> np.ndarray:
    """(gy, gx, 2) x, y of the nodes."""
    rows, columns = field.nodes_ang.shape[2:]
    x = np.linspace(-1, 1, columns) * field.half_width_ang[0]
    y = np.linspace(-1, 1, rows) * field.half_width_ang[1]
    return np.stack(np.meshgrid(x, y), axis=-1)


@given(st.integers(0, 1000), st.integers(2, 7), st.integers(2, 7))
def test_passes_through_its_nodes(seed: int, rows: int, columns: int) -> None:
    field = make(seed, rows, columns)
    for view in (0, 1):
        at_nodes = field.displacement(view, places(field))  # (gy, gx, 2)
        np.testing.assert_allclose(np.moveaxis(at_nodes, -1, 0), field.nodes_ang[view], atol=1e-9)


def test_a_constant_is_a_constant() -> None:
    field = ImageField(np.broadcast_to(np.array([3.0, -2.0])[None, :, None, None], (1, 2, 3, 6)), (500.0, 500.0))
    q = np.random.default_rng(0).uniform(-900, 900, (50, 2))
    np.testing.assert_allclose(field.displacement(0, q), np.broadcast_to([3.0, -2.0], (50, 2)), atol=1e-12)


def test_is_the_cubic_spline_with_flat_ends() -> None:
    """Along a line of nodes, scipy's spline with zero slope at both ends, an independent construction."""
    nodes = np.zeros((1, 2, 2, 6))
    values = np.array([1.0, -2.0, 0.5, 3.0, 2.0, -1.0])
    nodes[0, 0] = values
    field = ImageField(nodes, (100.0, 100.0))
    x = np.linspace(-100, 100, 81)
    expected = CubicSpline(np.linspace(-100, 100, 6), values, bc_type="clamped")(x)
    found = field.displacement(0, np.stack([x, 0 * x], axis=-1))
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-9)
    np.testing.assert_allclose(found[:, 1], 0)


def test_smooth_between_and_across_the_border() -> None:
    field = make(3)
    line = np.stack([np.linspace(-1300, 1300, 20001), np.full(20001, 120.0)], axis=-1)
    value = field.displacement(0, line)
    step = 2600 / 20000
    slope = np.diff(value, axis=0) / step
    assert np.abs(np.diff(value, axis=0)).max() < 0.01
    assert np.abs(np.diff(slope, axis=0)).max() < 1e-4  # no kink, not even at ±1000
    bend = np.diff(slope, axis=0)[np.abs(line[1:-1, 0]) < 990] / step
    assert np.abs(np.diff(bend, axis=0)).max() < 1e-6 * np.abs(bend).max() / 1e-4


def test_flat_beyond_the_nodes() -> None:
    field = make(1)
    edge = field.displacement(1, [[1000.0, 800.0]])
    np.testing.assert_allclose(field.displacement(1, [[1700.0, 5000.0]]), edge)


def test_axes_are_x_then_y() -> None:
    """A bump of x-displacement at the node of highest x and lowest y."""
    nodes = np.zeros((1, 2, 3, 3))
    nodes[0, 0, 0, 2] = 7.0
    field = ImageField(nodes, (60.0, 30.0))
    np.testing.assert_allclose(field.displacement(0, [60.0, -30.0]), [7.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(field.displacement(0, [-60.0, 30.0]), [0.0, 0.0], atol=1e-12)


def test_select() -> None:
    field = make()
    np.testing.assert_array_equal(field.select([1]).nodes_ang[0], field.nodes_ang[1])
    assert len(field) == 2


@pytest.mark.parametrize("shape", [(2, 2, 1, 3), (2, 3, 3, 3), (2, 2, 3)])
def test_bad_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(GeometryError, match="field needs nodes"):
        ImageField(np.zeros(shape), (1.0, 1.0))


def test_bad_numbers() -> None:
    with pytest.raises(GeometryError, match="not finite"):
        ImageField(np.full((1, 2, 2, 2), np.nan), (1.0, 1.0))


def test_nodes_stand_where_they_are_said_to():
    field = make()
    np.testing.assert_allclose(field.places_ang, places(field))


def test_other_nodes_hold_the_same_field():
    q = np.arange(-1, 1.01, 0.1) * np.pi  # even about ±half_width, as the spline is
    coarse, fine = (np.linspace(-np.pi, np.pi, n) for n in (31, 41))
    nodes = np.cos(coarse)[:, None] * np.cos(2 * coarse)[None]
    field = ImageField(np.stack([nodes, -nodes])[None], (np.pi, np.pi)).on_nodes((len(fine), len(fine)), (np.pi, np.pi))
    points = np.stack(np.meshgrid(q, q), axis=-1)
    wanted = np.cos(points[..., 1]) * np.cos(2 * points[..., 0])
    np.testing.assert_allclose(field.displacement(0, points), np.stack([wanted, -wanted], axis=-1), atol=2e-3)


def test_joined_fields_take_the_finer_nodes():
    one, other = make(0, 4, 5), make(1, 6, 3)
    both = one.joined(other)
    assert both.nodes_ang.shape == (4, 2, 6, 5)
    corner = np.array([-1000.0, 800.0])
    np.testing.assert_allclose(both.displacement(1, corner), one.displacement(1, corner), atol=1e-9)
    np.testing.assert_allclose(both.displacement(3, corner), other.displacement(1, corner), atol=1e-9)
