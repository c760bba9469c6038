from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from lamella.errors import GeometryError
from lamella.geometry import (
    angular_grid,
    directions_of,
    euler_matrix,
    grid_spacing_deg,
    healpix_directions,
    local_grid,
    local_rotations,
    order_for_spacing,
    point_group,
    rotation_angle_deg,
)


def vectors(directions: np.ndarray) -> np.ndarray:
    rot, tilt = np.deg2rad(directions).T
    return np.stack([np.sin(tilt) * np.cos(rot), np.sin(tilt) * np.sin(rot), np.cos(tilt)], axis=-1)


def test_published_pixels() -> None:
    """Górski et al. 2005: z = ±2/3 and 0 at order 0; nested pixels of order 1 worked out by hand from figure 4."""
    np.testing.assert_allclose(
        np.cos(np.deg2rad(healpix_directions(0)[:, 1])), [2 / 3] * 4 + [0] * 4 + [-2 / 3] * 4, atol=1e-12
    )
    np.testing.assert_allclose(healpix_directions(0)[:, 0], [45, 135, 225, 315, 0, 90, 180, 270, 45, 135, 225, 315])
    nested = healpix_directions(1)
    # the four children of pixel 0: south, east, west, north
    np.testing.assert_allclose(np.cos(np.deg2rad(nested[:4, 1])), [1 / 3, 2 / 3, 2 / 3, 1 - 1 / 12], atol=1e-12)
    np.testing.assert_allclose(nested[:4, 0], [45, 67.5, 22.5, 45])
    # pixel 4 of order 0 lies across longitude 0
    np.testing.assert_allclose(nested[16:20, 0], [0, 22.5, 337.5, 0])
    np.testing.assert_allclose(np.cos(np.deg2rad(nested[16:20, 1])), [-1 / 3, 0, 0, 1 / 3], atol=1e-12)


@pytest.mark.parametrize("order", [0, 1, 2, 4])
def test_rings(order: int) -> None:
    """Ring i of the cap has 4 i pixels, the first half a step from longitude 0; equations 4 to 9."""
    nside = 2**order
    rings = healpix_directions(order, nested=False)
    assert len(rings) == 12 * nside**2
    start = 0
    for i in range(1, nside):
        ring = rings[start : start + 4 * i]
        np.testing.assert_allclose(np.cos(np.deg2rad(ring[:, 1])), 1 - i**2 / (3 * nside**2), atol=1e-12)
        np.testing.assert_allclose(ring[:, 0], (np.arange(4 * i) + 0.5) * 90 / i)
        start += 4 * i
    for i in range(nside, 3 * nside + 1):
        ring = rings[start : start + 4 * nside]
        offset = 0.5 if (i - nside) % 2 == 0 else 0.0
        np.testing.assert_allclose(np.cos(np.deg2rad(ring[:, 1])), 4 / 3 - 2 * i / (3 * nside), atol=1e-12)
        np.testing.assert_allclose(ring[:, 0], (np.arange(4 * nside) + offset) * 90 / nside)
        start += 4 * nside
    np.testing.assert_allclose(rings[::-1, 1], 180 - rings[:, 1], atol=1e-9)  # the south mirrors the north


@pytest.mark.parametrize("order", [1, 3])
def test_both_numberings_hold_the_same_pixels(order: int) -> None:
    nested, rings = (healpix_directions(order, nested=flag) for flag in (True, False))
    distance, partner = cKDTree(vectors(rings)).query(vectors(nested))
    assert distance.max() < 1e-9
    assert len(set(partner)) == len(nested)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_children_lie_in_their_parent(order: int) -> None:
    parents, children = vectors(healpix_directions(order)), vectors(healpix_directions(order + 1)).reshape(-1, 4, 3)
    angle = np.rad2deg(np.arccos(np.clip((children * parents[:, None]).sum(-1), -1, 1)))
    assert angle.max() < 0.6 * grid_spacing_deg(order)
    middle = children.sum(axis=1)
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    assert np.rad2deg(np.arccos(np.clip((middle * parents).sum(-1), -1, 1))).max() < 0.12 * grid_spacing_deg(order)


def test_pixels_have_one_area() -> None:
    """Means over the pixels are integrals over the sphere, better with each order."""
    errors = []
    for order in (2, 4):
        x, y, z = vectors(healpix_directions(order)).T
        means = [x.mean(), y.mean(), z.mean(), (x * y).mean(), (y * z).mean()]
        np.testing.assert_allclose(means, 0, atol=1e-12)
        errors.append(max(abs((z**2).mean() - 1 / 3), abs((z**4).mean() - 1 / 5), abs((x**4 * z**2).mean() - 1 / 35)))
    assert errors[0] < 2e-2
    assert errors[1] < errors[0] / 10


def test_random_directions_are_shared_out_evenly() -> None:
    """Nearest pixel centre of many random directions: each gets its share."""
    order = 2
    tree = cKDTree(vectors(healpix_directions(order)))
    random = np.random.default_rng(0).normal(size=(200_000, 3))
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    distance, nearest = tree.query(random)
    share = np.bincount(nearest, minlength=192) / len(random) * 192
    assert share.min() > 0.8
    assert share.max() < 1.2
    assert np.rad2deg(2 * np.arcsin(distance.max() / 2)) < 0.85 * grid_spacing_deg(order)


def test_numbers_and_spacing_are_relions() -> None:
    for order in (0, 1, 2):
        angles = angular_grid(order)
        assert len(angles) == 12 * 4**order * 6 * 2**order
        assert np.unique(angles[:, 2]).size == 6 * 2**order
        assert np.diff(np.unique(angles[:, 2])).min() == pytest.approx(grid_spacing_deg(order))
    assert [grid_spacing_deg(k) for k in range(5)] == [60, 30, 15, 7.5, 3.75]
    assert [order_for_spacing(s) for s in (90, 60, 59, 15, 7.5, 2)] == [0, 0, 1, 2, 3, 5]


def test_direction_of_view() -> None:
    """A maps the direction (rot, tilt) of the reference onto z."""
    angles = angular_grid(1)
    matrices = euler_matrix(*angles.T)
    np.testing.assert_allclose(directions_of(matrices), vectors(angles[:, :2]), atol=1e-12)
    turned = np.einsum("kij,kj->ki", matrices, vectors(angles[:, :2]))
    np.testing.assert_allclose(turned, np.broadcast_to([0, 0, 1.0], turned.shape), atol=1e-12)


@pytest.mark.parametrize("symmetry", ["C1", "C2", "C3", "C7", "D2", "D7", "T", "O", "I1", "I2", "I3", "I4"])
@pytest.mark.parametrize("order", [0, 2])
def test_covers_every_orientation_up_to_symmetry(symmetry: str, order: int) -> None:
    random = Rotation.random(100, random_state=5).as_matrix()
    matrices = euler_matrix(*angular_grid(order, symmetry).T)
    least = np.full(len(random), np.inf)
    for same in point_group(symmetry):
        cosine = np.einsum("kij,nij->kn", matrices @ same, random).max(axis=0) / 2 - 0.5
        least = np.minimum(least, np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))
    assert least.max() < grid_spacing_deg(order)
    if order == 2:
        assert 0.3 * grid_spacing_deg(order) < least.mean() < 0.55 * grid_spacing_deg(order)


@pytest.mark.parametrize("symmetry", ["C2", "C4", "D2", "D4"])
def test_no_orientation_twice(symmetry: str) -> None:
    """Groups that map the grid onto itself leave exactly one of each; none is left out or kept twice."""
    group = point_group(symmetry)
    full = euler_matrix(*angular_grid(1).T)
    kept = euler_matrix(*angular_grid(1, symmetry).T)
    assert len(kept) * len(group) == len(full)
    everything = np.concatenate([kept @ same for same in group])
    distance = cKDTree(full.reshape(-1, 9)).query(everything.reshape(-1, 9))
    assert distance[0].max() < 1e-9
    assert len(set(distance[1])) == len(full)


@pytest.mark.parametrize("symmetry", ["C3", "C7", "D7", "T", "I1", "I2", "I3", "I4"])
def test_little_is_redundant(symmetry: str) -> None:
    """Where the grid does not share the symmetry, the unit's border costs the fewer points the finer the grid."""
    order = 3
    kept = angular_grid(order, symmetry)
    surplus = len(kept) * len(point_group(symmetry)) / (72 * 8**order)
    assert 0.9 < surplus < 1.5
    matrices = euler_matrix(*kept.T)
    for same in point_group(symmetry)[1:]:
        distance = cKDTree(matrices.reshape(-1, 9)).query((matrices @ same).reshape(-1, 9))[0]
        assert distance.min() > 1e-6


def test_local_rotations_fill_a_ball() -> None:
    radius, step = 12.0, 3.0
    rotations = local_rotations(radius, step)
    np.testing.assert_array_equal(rotations[0], np.eye(3))
    vectors_deg = Rotation.from_matrix(rotations).as_rotvec(degrees=True)
    angle = np.linalg.norm(vectors_deg, axis=1)
    assert angle.max() <= radius + 1e-9
    assert np.all(np.diff(angle) >= -1e-9)
    # one neighbour every `step`, as a rotation, not only as a vector
    pairs = cKDTree(vectors_deg).query(vectors_deg, k=2)[1]
    between = rotation_angle_deg(rotations[pairs[:, 0]], rotations[pairs[:, 1]])
    assert between.max() <= step + 1e-9
    assert between.min() > 0.99 * step
    # volume of the ball over that of a lattice cell
    cell = (step * 2 / 3**0.5) ** 3 / 2
    assert len(rotations) == pytest.approx(4 / 3 * np.pi * radius**3 / cell, rel=0.1)
    # every rotation well inside is near one
    rng = np.random.default_rng(0)
    inside = rng.normal(size=(300, 3))
    inside *= ((radius - step) * rng.uniform(size=(300, 1)) ** (1 / 3)) / np.linalg.norm(inside, axis=1, keepdims=True)
    targets = Rotation.from_rotvec(inside, degrees=True).as_matrix()
    least = [rotation_angle_deg(rotations, target).min() for target in targets]
    assert max(least) < 0.65 * step


def test_local_grid_surrounds_each_orientation() -> None:
    centres = Rotation.random(4, random_state=1).as_matrix().reshape(2, 2, 3, 3)
    grid = local_grid(centres, 5.0, 2.0)
    assert grid.shape == (2, 2, len(local_rotations(5.0, 2.0)), 3, 3)
    np.testing.assert_allclose(grid[:, :, 0], centres)
    angle = rotation_angle_deg(grid, centres[:, :, None])
    assert angle.max() <= 5 + 1e-6
    np.testing.assert_allclose(angle[0, 0], angle[1, 1], atol=1e-6)


def test_no_radius_is_the_identity_alone() -> None:
    assert len(local_rotations(0.0, 1.0)) == 1


def test_angle_between_orientations_against_scipy() -> None:
    a, b = Rotation.random(50, random_state=2), Rotation.random(50, random_state=3)
    expected = np.rad2deg((a.inv() * b).magnitude())
    np.testing.assert_allclose(rotation_angle_deg(a.as_matrix(), b.as_matrix()), expected, atol=1e-6)
    tiny = Rotation.from_rotvec([1e-6, 0, 0], degrees=True).as_matrix()
    assert rotation_angle_deg(np.eye(3), tiny) == pytest.approx(1e-6, rel=1e-6)
    half_turn = euler_matrix(180.0, 0.0, 0.0)
    assert rotation_angle_deg(a.as_matrix(), a.as_matrix() @ half_turn, "C2").max() < 1e-6


@pytest.mark.parametrize(
    "call",
    [
        lambda: healpix_directions(-1),
        lambda: angular_grid(13),
        lambda: order_for_spacing(1e-3),
        lambda: local_rotations(200, 3),
        lambda: local_rotations(10, 0),
    ],
)
def test_impossible_grids(call) -> None:
    with pytest.raises(GeometryError):
        call()
