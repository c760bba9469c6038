from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import GeometryError, SettingsError
from lamella.geometry import ImageField, TiltGeometry
from lamella.tilts.local_field import LocalShapes, interpolation
from lamella.tilts.terms import LocalTerm

TILT = np.linspace(-60, 60, 9)
DOSE = 3.0 * np.abs(TILT)


@given(st.integers(2, 9), st.integers(0, 1000))
def test_interpolates_as_the_field_itself(nodes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(1, 2, nodes, nodes))
    places = rng.uniform(-1.2, 1.2, (20, 2))
    wanted = ImageField(values, (1.0, 1.0)).displacement(0, places)
    x, y = (interpolation(places[:, axis], nodes) for axis in (0, 1))
    np.testing.assert_allclose(np.einsum("pa,pb,cab->pc", y, x, values[0]), wanted, atol=1e-9)


@pytest.mark.parametrize("kind", ["image", "specimen"])
def test_a_combination_of_shapes_is_the_field_it_makes(rng: np.random.Generator, kind: str) -> None:
    geometry = TiltGeometry.from_angles(TILT, 85.0, x_shift_ang=30.0)
    places = rng.uniform(-1000, 1000, (9, 40, 2))
    shapes = LocalShapes.of(LocalTerm(kind=kind, over="dose"), geometry, places.reshape(-1, 2), DOSE)
    coefficients = rng.normal(size=(9, shapes.nodes.shape[1]))
    field = shapes.field(coefficients)
    wanted = np.stack([field.displacement(view, places[view]) for view in range(9)])
    found = (shapes.displacements(places) @ coefficients[:, None, :, None])[..., 0]
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_holds_nothing_that_global_terms_can(rng: np.random.Generator) -> None:
    geometry = TiltGeometry.from_angles(TILT, 85.0)
    shapes = LocalShapes.of(LocalTerm(), geometry, rng.uniform(-1000, 1000, (40, 2)), None)
    line = np.linspace(-1, 1, shapes.nodes.shape[-1])
    x, y = np.meshgrid(line * shapes.half_width_ang[0], line * shapes.half_width_ang[1])
    for vector in ((x, y), (-y, x), (np.ones_like(x), 0 * x), (0 * x, np.ones_like(x))):
        np.testing.assert_allclose(np.einsum("neiyx,iyx->ne", shapes.nodes, np.stack(vector)), 0, atol=1e-6)


def test_starts_from_nothing(rng: np.random.Generator) -> None:
    geometry, places = TiltGeometry.from_angles(TILT, 85.0), rng.uniform(-1000, 1000, (40, 2))
    over = LocalShapes.of(LocalTerm(over="dose"), geometry, places, DOSE[::-1].copy()).over
    np.testing.assert_allclose(over[4], 0, atol=1e-12)
    np.testing.assert_allclose(over.T @ over, np.eye(3), atol=1e-12)


def test_specimen_shapes_are_seen_under_each_tilt(rng: np.random.Generator) -> None:
    """A motion along z shows across the axis, and not at all in the untilted view."""
    geometry = TiltGeometry.from_angles(TILT, 0.0)
    shapes = LocalShapes.of(LocalTerm(kind="specimen", degree=2), geometry, rng.uniform(-1000, 1000, (40, 2)), None)
    along_z = shapes.nodes[:, 2::3]
    assert np.abs(along_z[4]).max() < 1e-9
    assert np.abs(along_z[0]).max() > 0.1


def test_bad_terms_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(SettingsError):
        LocalTerm(degree=4)
    with pytest.raises(GeometryError, match="without a dose"):
        LocalShapes.of(LocalTerm(over="dose"), TiltGeometry.from_angles(TILT), rng.uniform(-1, 1, (4, 2)), None)
