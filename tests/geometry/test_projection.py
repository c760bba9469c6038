from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import GeometryError
from lamella.geometry import ImageField, TiltGeometry


def geometry(seed: int, *, field: bool = False, views: int = 9) -> TiltGeometry:
    """Every term in use, each different from view to view."""
    rng = np.random.default_rng(seed)
    terms = {
        "x_tilt_deg": rng.uniform(-5, 5, views),
        "x_shift_ang": rng.uniform(-800, 800, views),
        "y_shift_ang": rng.uniform(-800, 800, views),
        "magnification": 1 + rng.uniform(-0.01, 0.01, views),
    }
    if field:
        nodes = rng.normal(scale=10, size=(views, 2, rng.integers(2, 6), rng.integers(2, 7)))
        terms["field"] = ImageField(nodes, (2000.0, 1800.0))
    tilt = np.sort(rng.uniform(-70, 70, views))
    return TiltGeometry.from_angles(tilt, rng.uniform(-180, 180) + rng.uniform(-1, 1, views), **terms)


def points(seed: int, count: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).uniform([-1500, -1500, -400], [1500, 1500, 400], (count, 3))


seeds = st.integers(0, 10_000)


def test_the_formula_by_hand() -> None:
    """One view, written out with sines and cosines."""
    model = TiltGeometry.from_angles(30.0, 85.0, x_tilt_deg=2.0, x_shift_ang=11.0, y_shift_ang=-7.0, magnification=1.01)
    x, y, z = 100.0, -50.0, 30.0
    a = np.deg2rad(2)
    y, z = y * np.cos(a) - z * np.sin(a), y * np.sin(a) + z * np.cos(a)
    b = np.deg2rad(30)
    x, z = x * np.cos(b) + z * np.sin(b), -x * np.sin(b) + z * np.cos(b)
    c = np.deg2rad(85)
    x, y = x * np.cos(c) - y * np.sin(c), x * np.sin(c) + y * np.cos(c)
    np.testing.assert_allclose(model.project([100.0, -50.0, 30.0])[0], [1.01 * x + 11, 1.01 * y - 7])
    np.testing.assert_allclose(model.depth_ang([100.0, -50.0, 30.0])[0], z)


@given(seeds)
def test_axis_in_the_image(seed: int) -> None:
    """Points of the tilt axis stay where they are, along Rz(z_rot)·ŷ; all others move across it only."""
    axis = np.random.default_rng(seed).uniform(-180, 180)
    model = TiltGeometry.from_angles(np.linspace(-60, 60, 7), axis)
    along = np.array([-np.sin(np.deg2rad(axis)), np.cos(np.deg2rad(axis))])
    q = model.project([[0.0, 250.0, 0.0], [310.0, 80.0, -90.0]])
    np.testing.assert_allclose(q[:, 0], np.broadcast_to(250 * along, (7, 2)), atol=1e-9)
    np.testing.assert_allclose(q[:, 1] @ along, 80.0)
    assert np.ptp(q[:, 1] @ [along[1], -along[0]]) > 100


def test_image_axis_at_ninety_means_tilting_about_image_x() -> None:
    """z_rot = 90: Rz(90)·ŷ = −x̂, so points keep their image x."""
    q = TiltGeometry.from_angles([-40.0, 0.0, 40.0], 90.0).project([100.0, 200.0, 300.0])
    np.testing.assert_allclose(q[:, 0], -200.0)
    # mass at higher z moves towards +x of the specimen, which is +y of the image, at positive tilt
    assert q[2, 1] > q[1, 1]


@given(seeds, st.booleans())
def test_back_projection_undoes_projection(seed: int, with_field: bool) -> None:
    model, p = geometry(seed, field=with_field), points(seed)
    back = model.back_project(model.project(p), p[:, 2])
    np.testing.assert_allclose(back, np.broadcast_to(p, back.shape), atol=1e-6)


@given(seeds)
def test_projection_undoes_back_projection(seed: int) -> None:
    model = geometry(seed, field=True)
    q = np.random.default_rng(seed).uniform(-1500, 1500, (len(model), 4, 2))
    p = model.back_project(q, 120.0)
    again = np.stack([model.select([view]).project(p[view])[0] for view in range(len(model))])
    np.testing.assert_allclose(again, q, atol=1e-6)
    np.testing.assert_allclose(p[..., 2], 120.0)


@given(seeds, st.floats(0.1, 30))
def test_no_pixel_size_enters(seed: int, scale: float) -> None:
    """Everything in Å may be stated in any other unit."""
    model, p = geometry(seed, field=True), points(seed)
    scaled = model.with_terms(
        x_shift_ang=model.x_shift_ang * scale,
        y_shift_ang=model.y_shift_ang * scale,
        field=ImageField(model.field.nodes_ang * scale, tuple(w * scale for w in model.field.half_width_ang)),
    )
    np.testing.assert_allclose(scaled.project(p * scale), model.project(p) * scale, rtol=1e-9, atol=1e-6 * scale)


@given(seeds)
def test_select_and_with_terms(seed: int) -> None:
    model, p = geometry(seed, field=True), points(seed)
    views = np.random.default_rng(seed).permutation(len(model))[:4]
    np.testing.assert_array_equal(model.select(views).project(p), model.project(p)[views])
    moved = model.with_terms(x_shift_ang=model.x_shift_ang + 5, field=None)
    np.testing.assert_allclose(moved.project(p)[..., 0], model.with_terms(field=None).project(p)[..., 0] + 5)
    np.testing.assert_array_equal(model.with_terms(magnification=1.0).magnification, np.ones(len(model)))


def test_points_of_any_shape() -> None:
    model = geometry(1)
    p = points(1, 24)
    np.testing.assert_allclose(model.project(p.reshape(2, 3, 4, 3)), model.project(p).reshape(9, 2, 3, 4, 2))
    assert model.project(p[0]).shape == (9, 2)
    assert model.depth_ang(p.reshape(4, 6, 3)).shape == (9, 4, 6)


def test_matrices_and_depth_agree_with_the_rotation() -> None:
    model, p = geometry(4), points(4)
    rotated = np.einsum("nij,pj->npi", model.rotations(), p)
    np.testing.assert_allclose(model.depth_ang(p), rotated[..., 2])
    np.testing.assert_allclose(
        model.project(p), model.magnification[:, None, None] * rotated[..., :2] + model.shifts_ang()[:, None]
    )


def test_terms_are_frozen() -> None:
    with pytest.raises(ValueError, match="read-only"):
        geometry(0).y_tilt_deg[0] = 3


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"magnification": 0.0}, "magnification"),
        ({"x_shift_ang": float("nan")}, "x_shift_ang of view 1"),
        ({"field": ImageField(np.zeros((2, 2, 2, 2)), (1.0, 1.0))}, "2 views for 3"),
    ],
)
def test_contradictions(terms: dict, message: str) -> None:
    with pytest.raises(GeometryError, match=message):
        TiltGeometry.from_angles([0.0, 1.0, 2.0], **terms)


def test_view_along_the_plane_has_no_inverse() -> None:
    with pytest.raises(GeometryError, match="along the specimen's plane"):
        TiltGeometry.from_angles([90.0]).back_project(np.zeros((1, 2)), 0.0)


def test_field_that_folds_has_no_inverse() -> None:
    nodes = np.zeros((1, 2, 2, 3))
    nodes[0, 0, :, 1] = 400.0
    model = TiltGeometry.from_angles([0.0], field=ImageField(nodes, (100.0, 100.0)))
    with pytest.raises(GeometryError, match="folds"):
        model.back_project(np.full((1, 2), 30.0), 0.0)
