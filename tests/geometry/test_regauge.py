from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lamella.errors import GeometryError
from lamella.geometry import (
    ImageField,
    TiltGeometry,
    euler_matrix,
    normalise_field,
    normalise_magnification,
    regauge,
    rotation_x,
    rotation_y,
    rotation_z,
)


def make(seed: int, views: int = 9) -> TiltGeometry:
    """Every term in use, with a field."""
    rng = np.random.default_rng(seed)
    return TiltGeometry.from_angles(
        np.linspace(-60, 60, views) + rng.normal(size=views),
        rng.uniform(-180, 180) + rng.normal(scale=0.3, size=views),
        x_tilt_deg=rng.uniform(-4, 4),
        x_shift_ang=rng.normal(scale=400, size=views),
        y_shift_ang=rng.normal(scale=400, size=views),
        magnification=1 + rng.normal(scale=0.003, size=views),
        field=ImageField(rng.normal(scale=8, size=(views, 2, 4, 5)), (2000.0, 1700.0)),
    )


def points(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1200, 1200, (30, 3))


seeds = st.integers(0, 10_000)


@given(seeds, st.booleans(), st.sampled_from([-1, 1]), st.floats(0, 1))
def test_pictures_do_not_change(seed: int, invert: bool, hand: int, amount: float) -> None:
    """Every projected point and its defocus stay, whatever the motion."""
    rng = np.random.default_rng(seed)
    model, p = make(seed), points(seed)
    rotation = Rotation.from_rotvec(rng.normal(size=3) * amount).as_matrix()
    shift = rng.normal(scale=500, size=3)
    defocus = rng.uniform(2e4, 5e4, (2, len(model)))
    new = regauge(model, rotation, shift, invert=invert, hand=hand, defocus_ang=defocus, points_ang=p)
    np.testing.assert_allclose(new.geometry.project(new.points_ang), model.project(p), atol=1e-9)
    before = defocus[..., None] + hand * model.depth_ang(p)
    after = new.defocus_ang[..., None] + new.hand * new.geometry.depth_ang(new.points_ang)
    np.testing.assert_allclose(after, before, atol=1e-7)
    np.testing.assert_allclose(new.points_ang, (-p if invert else p) @ rotation.T + shift, atol=1e-9)


@given(seeds)
def test_particles_keep_their_pictures(seed: int) -> None:
    """Atoms of a particle, x = A·r + position, stay where they were in every view."""
    rng = np.random.default_rng(seed)
    model, positions = make(seed), points(seed)[:5]
    sub = euler_matrix(*rng.uniform(-180, 180, (3, 5)))
    poses = euler_matrix(*rng.uniform(-180, 180, (3, 5)))
    origins = rng.normal(scale=10, size=(5, 3))
    atoms = rng.normal(scale=60, size=(7, 3))

    def atoms_of(position: np.ndarray, a_sub: np.ndarray) -> np.ndarray:
        centre = position - np.einsum("pij,pj->pi", a_sub, origins)
        return np.einsum("pij,aj->pai", a_sub @ poses, atoms) + centre[:, None]

    new = regauge(model, Rotation.random(random_state=seed).as_matrix(), [30.0, -80.0, 200.0], points_ang=positions,
                  matrices=sub)  # fmt: skip
    np.testing.assert_allclose(
        new.geometry.project(atoms_of(new.points_ang, new.matrices)), model.project(atoms_of(positions, sub)), atol=1e-8
    )


@given(seeds, st.floats(-500, 500), st.floats(-500, 500), st.floats(-500, 500))
def test_cropping_changes_shifts_only(seed: int, x: float, y: float, z: float) -> None:
    model = make(seed)
    new = regauge(model, shift_ang=[-x, -y, -z]).geometry
    for name in ("x_tilt_deg", "y_tilt_deg", "z_rot_deg", "magnification"):
        np.testing.assert_allclose(getattr(new, name), getattr(model, name), atol=1e-8)
    # the new centre voxel appears where the point (x, y, z) was
    np.testing.assert_allclose(
        new.with_terms(field=None).project([0.0, 0.0, 0.0]),
        model.with_terms(field=None).project([x, y, z]),
        atol=1e-9,
    )


@given(seeds, st.floats(-20, 20), st.floats(-20, 20))
def test_x_and_y_tilts_are_offsets(seed: int, x: float, y: float) -> None:
    model = make(seed)
    new = regauge(model, x_tilt_deg=x).geometry
    np.testing.assert_allclose(new.x_tilt_deg, model.x_tilt_deg - x, atol=1e-8)
    np.testing.assert_allclose(new.y_tilt_deg, model.y_tilt_deg, atol=1e-8)
    np.testing.assert_allclose(new.z_rot_deg, model.z_rot_deg, atol=1e-8)
    flat = model.with_terms(x_tilt_deg=0.0)
    new = regauge(flat, y_tilt_deg=y).geometry
    np.testing.assert_allclose(new.y_tilt_deg, model.y_tilt_deg - y, atol=1e-8)
    np.testing.assert_allclose(new.z_rot_deg, model.z_rot_deg, atol=1e-8)


@given(seeds, st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.floats(-300, 300))
def test_levelling_as_documented(seed: int, a: float, b: float, z0: float) -> None:
    """A plane z = z0 + a·x + b·y becomes z = 0."""
    p = points(seed)
    p[:, 2] = z0 + a * p[:, 0] + b * p[:, 1]
    x_tilt, y_tilt = -np.rad2deg(np.arctan(b)), np.rad2deg(np.arctan(a / np.sqrt(1 + b**2)))
    turn = rotation_y(y_tilt) @ rotation_x(x_tilt)
    new = regauge(make(seed), x_tilt_deg=x_tilt, y_tilt_deg=y_tilt, shift_ang=-turn @ [0, 0, z0], points_ang=p)
    np.testing.assert_allclose(new.points_ang[:, 2], 0, atol=1e-9)
    np.testing.assert_allclose(new.geometry.project(new.points_ang), make(seed).project(p), atol=1e-9)


def test_raising_the_centre_changes_its_defocus_by_hand_times_depth() -> None:
    """By hand: untilted view, new centre 100 Å higher, hand −1: the new centre has 100 Å less defocus."""
    model = TiltGeometry.from_angles([0.0, 60.0])
    new = regauge(model, shift_ang=[0, 0, -100.0], hand=-1, defocus_ang=[30000.0, 30000.0])
    np.testing.assert_allclose(new.defocus_ang, [29900.0, 29950.0])
    np.testing.assert_allclose(new.geometry.x_shift_ang, [0, 100 * np.sin(np.deg2rad(60))])
    assert np.allclose(
        regauge(model, shift_ang=[0, 0, -100.0], hand=1, defocus_ang=[30000.0] * 2).defocus_ang, [30100.0, 30050.0]
    )


def test_there_and_back() -> None:
    model, p = make(3), points(3)
    turn = Rotation.from_rotvec([0.2, -0.1, 0.05]).as_matrix()
    there = regauge(model, turn, [10.0, 20.0, -30.0], defocus_ang=np.full(9, 2e4), points_ang=p)
    back = regauge(
        there.geometry,
        turn.T,
        -turn.T @ [10.0, 20.0, -30.0],
        defocus_ang=there.defocus_ang,
        points_ang=there.points_ang,
    )
    for name in ("x_tilt_deg", "y_tilt_deg", "z_rot_deg", "x_shift_ang", "y_shift_ang"):
        np.testing.assert_allclose(getattr(back.geometry, name), getattr(model, name), atol=1e-8)
    np.testing.assert_allclose(back.defocus_ang, 2e4)
    np.testing.assert_allclose(back.points_ang, p)


@pytest.mark.parametrize("axis", [-170.0, -95.0, -3.0, 85.0, 179.0, 265.0])
def test_axis_is_never_folded(axis: float) -> None:
    model = TiltGeometry.from_angles(np.linspace(-60, 60, 5), axis + np.linspace(-1, 1, 5), x_tilt_deg=1.0)
    new = regauge(model, Rotation.from_rotvec([3, -4, 2], degrees=True).as_matrix()).geometry
    assert np.abs(new.z_rot_deg - model.z_rot_deg).max() < 30


@given(seeds)
def test_inversion_turns_the_axis_and_the_hand(seed: int) -> None:
    model = make(seed)
    new = regauge(model, invert=True, hand=-1)
    np.testing.assert_allclose(np.abs(new.geometry.z_rot_deg - model.z_rot_deg), 180, atol=1e-9)
    assert -180 < new.geometry.z_rot_deg.mean() <= 180
    assert new.hand == 1
    np.testing.assert_array_equal(new.defocus_change_ang, np.zeros(9))
    np.testing.assert_allclose(new.geometry.y_tilt_deg, model.y_tilt_deg, atol=1e-9)
    # (axis + 180°, hand) shows what (axis, −hand) shows of the inverted specimen
    p = points(seed)
    turned = model.with_terms(z_rot_deg=model.z_rot_deg + 180, field=None)
    same = model.with_terms(field=None)
    np.testing.assert_allclose(turned.project(p), same.project(-p), atol=1e-9)
    np.testing.assert_allclose(turned.depth_ang(p), -same.depth_ang(-p), atol=1e-9)


def test_oriented_particles_are_not_inverted() -> None:
    with pytest.raises(GeometryError, match="cannot be inverted"):
        regauge(make(0), invert=True, matrices=np.eye(3)[None])


@pytest.mark.parametrize("matrix", [np.diag([1.0, 1.0, -1.0]), 2 * np.eye(3), np.eye(2), np.full((3, 3), np.nan)])
def test_only_rotations(matrix: np.ndarray) -> None:
    with pytest.raises(GeometryError, match="not a rotation"):
        regauge(make(0), matrix)


def test_bad_arguments() -> None:
    with pytest.raises(GeometryError, match="hand"):
        regauge(make(0), hand=0)
    with pytest.raises(GeometryError, match="finite"):
        regauge(make(0), shift_ang=[np.nan, 0, 0])
    with pytest.raises(GeometryError, match="one of them"):
        regauge(make(0), np.eye(3), x_tilt_deg=3.0)


@given(seeds, st.floats(0.5, 2))
def test_magnification_gauge(seed: int, scale: float) -> None:
    model, p = make(seed), points(seed)
    model = model.with_terms(magnification=model.magnification * scale)
    new, points_scale = normalise_magnification(model)
    assert new.magnification.mean() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(new.project(p * points_scale), model.project(p), atol=1e-8)


def similarity_field(x_shift: float, turn_deg: float, scale: float, wobble: float) -> ImageField:
    """Displacements of a similarity at the nodes, plus a smooth local part."""
    x, y = np.meshgrid(np.linspace(-2000, 2000, 9), np.linspace(-1800, 1800, 8))
    matrix = scale * rotation_z(turn_deg)[:2, :2]
    moved = np.einsum("ij,jyx->iyx", matrix, np.stack([x, y])) + np.array([x_shift, -0.5 * x_shift])[:, None, None]
    nodes = moved - np.stack([x, y])
    nodes += wobble * np.stack([np.cos(np.pi * x / 1000) * np.sin(y / 900), np.cos(np.pi * y / 900)])
    return ImageField(nodes[None], (2000.0, 1800.0))


@pytest.mark.parametrize("wobble", [0.0, 6.0])
def test_field_gauge_finds_the_similarity(wobble: float) -> None:
    field = similarity_field(40.0, 0.4, 1.003, wobble)
    model = TiltGeometry.from_angles([20.0], 85.0, x_shift_ang=300.0, y_shift_ang=-120.0, field=field)
    new = normalise_field(model)
    assert new.magnification[0] == pytest.approx(1.003, abs=1e-4)
    assert new.z_rot_deg[0] == pytest.approx(85.4, abs=0.02)
    residual = new.field.nodes_ang[0]
    assert np.abs(residual.mean(axis=(1, 2))).max() < 1e-6
    # of displacements up to 54 Å; the spline, flat at its ends, says a slope only nearly
    assert np.abs(residual).max() < 1.7 * wobble + 0.4
    # nothing that a similarity could say is left
    again = normalise_field(new)
    np.testing.assert_allclose(again.magnification, new.magnification, atol=1e-9)
    np.testing.assert_allclose(again.z_rot_deg, new.z_rot_deg, atol=1e-7)
    np.testing.assert_allclose(again.field.nodes_ang, new.field.nodes_ang, atol=1e-5)


def test_field_gauge_leaves_the_pictures() -> None:
    """Exactly at the nodes of the new field; in between, within what the spline itself can say."""
    model = TiltGeometry.from_angles(
        [20.0], 85.0, x_shift_ang=30.0, field=similarity_field(20.0, 0.05, 1.0004, 5.0), magnification=1.0
    )
    new = normalise_field(model)
    x, y = np.meshgrid(np.linspace(-1400, 1400, 21), np.linspace(-1300, 1300, 17))
    q = np.stack([x.ravel(), y.ravel()], axis=-1)[None]
    p = model.with_terms(field=None).back_project(q, 0.0)[0]
    error = np.abs(new.project(p) - model.project(p))
    assert error.max() < 0.35  # of displacements up to 28 Å
    # nodes: a point that the new global terms put on a node
    nodes = np.stack(np.meshgrid(np.linspace(-2000, 2000, 9), np.linspace(-1800, 1800, 8))[:2], axis=-1)[2:-2, 2:-2]
    p = new.with_terms(field=None).back_project(nodes.reshape(1, -1, 2), 0.0)[0]
    np.testing.assert_allclose(new.project(p), model.project(p), atol=1e-8)


def test_a_stretch_stays_in_the_field() -> None:
    x, y = np.meshgrid(np.linspace(-1000, 1000, 5), np.linspace(-1000, 1000, 5))
    model = TiltGeometry.from_angles([0.0], field=ImageField(0.002 * np.stack([x, -y])[None], (1000.0, 1000.0)))
    new = normalise_field(model)
    assert new.magnification[0] == pytest.approx(1)
    np.testing.assert_allclose(new.field.nodes_ang, model.field.nodes_ang, atol=1e-9)


def test_no_field_and_impossible_fields() -> None:
    model = TiltGeometry.from_angles([0.0])
    assert normalise_field(model) is model
    x, y = np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0])
    with pytest.raises(GeometryError, match="collapses"):
        normalise_field(model.with_terms(field=ImageField(-np.stack([x, y])[None], (1.0, 1.0))))
