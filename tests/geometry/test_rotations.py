from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lamella.geometry import (
    angles_from_matrix,
    axis_rotation,
    euler_matrix,
    rotation_x,
    rotation_y,
    rotation_z,
    tilt_angles_from_matrix,
)

angles = st.floats(-720, 720)


@pytest.mark.parametrize(("rotation", "start", "end"), [(rotation_x, 1, 2), (rotation_y, 2, 0), (rotation_z, 0, 1)])
def test_quarter_turns_are_active_and_right_handed(rotation, start: int, end: int) -> None:
    axes = np.eye(3)
    np.testing.assert_allclose(rotation(90) @ axes[start], axes[end], atol=1e-15)
    np.testing.assert_allclose(rotation(90) @ axes[end], -axes[start], atol=1e-15)


@given(angles)
def test_against_scipy(angle: float) -> None:
    for rotation, name in ((rotation_x, "x"), (rotation_y, "y"), (rotation_z, "z")):
        np.testing.assert_allclose(
            rotation(angle), Rotation.from_euler(name, angle, degrees=True).as_matrix(), atol=1e-12
        )


def test_the_tilt_matrix_as_written() -> None:
    c, s = np.cos(np.deg2rad(30)), np.sin(np.deg2rad(30))
    np.testing.assert_allclose(rotation_y(30), [[c, 0, s], [0, 1, 0], [-s, 0, c]])


@given(angles, angles, angles)
def test_orthonormal(a: float, b: float, c: float) -> None:
    for matrix in (euler_matrix(a, b, c), rotation_z(a) @ rotation_y(b) @ rotation_x(c)):
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(matrix) == pytest.approx(1)


def test_arrays_of_angles() -> None:
    assert rotation_x(np.zeros((2, 3))).shape == (2, 3, 3, 3)
    assert euler_matrix(np.zeros((4, 1)), 10.0, np.zeros(5)).shape == (4, 5, 3, 3)


@given(angles, angles, angles)
def test_matrix_is_the_one_that_relion_writes(rot: float, tilt: float, psi: float) -> None:
    """Euler_angles2matrix, entry by entry."""
    a, b, g = np.deg2rad([rot, tilt, psi])
    ca, cb, cg, sa, sb, sg = np.cos(a), np.cos(b), np.cos(g), np.sin(a), np.sin(b), np.sin(g)
    expected = [
        [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
        [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
        [sb * ca, sb * sa, cb],
    ]
    np.testing.assert_allclose(euler_matrix(rot, tilt, psi), expected, atol=1e-11)


@given(angles, angles, angles)
def test_matrix_is_the_inverse_of_intrinsic_zyz(rot: float, tilt: float, psi: float) -> None:
    """Heymann et al. 2005: Rz(rot) · Ry(tilt) · Rz(psi), active, takes the specimen to the reference."""
    inverse = Rotation.from_euler("ZYZ", [rot, tilt, psi], degrees=True).as_matrix()
    np.testing.assert_allclose(euler_matrix(rot, tilt, psi), inverse.T, atol=1e-11)


@given(angles, angles, angles)
@example(33.0, 0.0, 12.0)
@example(33.0, 180.0, 12.0)
@example(0.0, 1e-12, 0.0)
@example(10.0, 1e-6, -50.0)
@example(10.0, 180 - 1e-6, -50.0)
def test_euler_round_trip(rot: float, tilt: float, psi: float) -> None:
    matrix = euler_matrix(rot, tilt, psi)
    back = angles_from_matrix(matrix)
    np.testing.assert_allclose(euler_matrix(*back), matrix, atol=1e-8)
    assert 0 <= back[1] <= 180


def test_euler_angles_themselves_come_back() -> None:
    rng = np.random.default_rng(0)
    given_angles = np.stack([rng.uniform(-180, 180, 50), rng.uniform(1, 179, 50), rng.uniform(-180, 180, 50)])
    np.testing.assert_allclose(np.stack(angles_from_matrix(euler_matrix(*given_angles))), given_angles, atol=1e-9)


@given(st.floats(-400, 400), st.floats(-89, 89), st.floats(-400, 400))
def test_tilt_angles_continue_what_they_were(x: float, y: float, z: float) -> None:
    matrix = rotation_z(z) @ rotation_y(y) @ rotation_x(x)
    np.testing.assert_allclose(np.stack(tilt_angles_from_matrix(matrix, (x, y, z))), [x, y, z], atol=1e-7)


@given(angles, angles, angles)
@example(3.0, 90.0, 85.0)
@example(3.0, -90.0, 85.0)
@example(0.0, 120.0, 85.0)
def test_tilt_angles_make_the_same_matrix(x: float, y: float, z: float) -> None:
    matrix = rotation_z(z) @ rotation_y(y) @ rotation_x(x)
    for near in ((0.0, 0.0, 0.0), (x, y, z)):
        found = tilt_angles_from_matrix(matrix, near)
        again = rotation_z(found[2]) @ rotation_y(found[1]) @ rotation_x(found[0])
        np.testing.assert_allclose(again, matrix, atol=1e-8)


def test_tilt_beyond_ninety_and_at_it_do_not_fold() -> None:
    for x, y, z in ((1.0, 100.0, 85.0), (1.0, 90.0, 85.0), (2.0, -90.0, 85.0), (0.0, -170.0, -95.0)):
        matrix = rotation_z(z) @ rotation_y(y) @ rotation_x(x)
        np.testing.assert_allclose(np.stack(tilt_angles_from_matrix(matrix, (x, y, z))), [x, y, z], atol=1e-6)


@given(st.floats(-180, 180))
def test_axis_rotation_against_scipy(angle: float) -> None:
    axis = np.array([1.0, -2.0, 0.5])
    expected = Rotation.from_rotvec(axis / np.linalg.norm(axis) * angle, degrees=True).as_matrix()
    np.testing.assert_allclose(axis_rotation(axis, angle), expected, atol=1e-12)
