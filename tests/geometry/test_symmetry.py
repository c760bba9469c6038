from __future__ import annotations

import numpy as np
import pytest

from lamella.errors import GeometryError
from lamella.geometry import axis_rotation, point_group

ORDERS = {"C1": 1, "C2": 2, "C7": 7, "C12": 12, "D2": 4, "D3": 6, "D7": 14, "T": 12, "O": 24}
ORDERS |= dict.fromkeys(["I", "I1", "I2", "I3", "I4"], 60)


def contains(group: np.ndarray, rotation: np.ndarray, tolerance: float = 1e-6) -> bool:
    return bool((np.abs(group - rotation).max(axis=(1, 2)) < tolerance).any())


@pytest.mark.parametrize(("name", "order"), ORDERS.items())
def test_a_group_of_its_order(name: str, order: int) -> None:
    group = point_group(name)
    assert group.shape == (order, 3, 3)
    np.testing.assert_array_equal(group[0], np.eye(3))
    np.testing.assert_allclose(group @ np.swapaxes(group, 1, 2), np.broadcast_to(np.eye(3), group.shape), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(group), 1)
    for a in group[:: max(1, order // 12)]:
        assert contains(group, a.T)
        assert all(contains(group, a @ b, 1e-9) for b in group)
    # no rotation twice
    distances = np.abs(group[:, None] - group[None]).max(axis=(2, 3)) + np.eye(order)
    assert distances.min() > 1e-3


@pytest.mark.parametrize(
    ("name", "folds"),
    [("C7", {7: 1}), ("D7", {7: 1, 2: 7}), ("T", {3: 4, 2: 3}), ("O", {4: 3, 3: 4, 2: 6}), ("I", {5: 6, 3: 10, 2: 15})],
)
def test_numbers_of_axes(name: str, folds: dict[int, int]) -> None:
    """Textbook counts: n-fold axes contribute n − 1 rotations; primitive ones turn by 360 / n."""
    group = point_group(name)[1:]
    trace = np.trace(group, axis1=1, axis2=2)
    angle = np.rad2deg(np.arccos(np.clip((trace - 1) / 2, -1, 1)))
    for fold, axes in folds.items():
        others = [f for f in folds if f != fold and f % fold == 0]  # a 4-fold axis holds a half turn too
        expected = axes * (2 if fold > 2 else 1) + sum(folds[f] for f in others)
        assert np.isclose(angle, 360 / fold, atol=1e-6).sum() == expected


@pytest.mark.parametrize(
    ("name", "fold", "axis"),
    # the axes as RELION writes them, in its own decimals
    [
        ("C5", 5, (0, 0, 1)),
        ("D3", 3, (0, 0, 1)),
        ("D3", 2, (1, 0, 0)),
        ("T", 3, (0, 0, 1)),
        ("T", 2, (0, 0.816496, 0.577350)),
        ("O", 3, (0.5773502, 0.5773502, 0.5773502)),
        ("O", 4, (0, 0, 1)),
        ("I", 2, (0, 0, 1)),
        ("I", 5, (0.525731114, 0, 0.850650807)),
        ("I", 3, (0, 0.356822076, 0.934172364)),
        ("I1", 2, (1, 0, 0)),
        ("I1", 5, (0.85065080702670, 0, -0.5257311142635)),
        ("I1", 3, (0.9341723640, 0.3568220765, 0)),
        ("I2", 2, (0, 0, 1)),
        ("I2", 5, (0.525731114, 0, 0.850650807)),
        ("I2", 3, (0, 0.356822076, 0.934172364)),
        ("I3", 2, (-0.5257311143, 0, 0.8506508070)),
        ("I3", 5, (0, 0, 1)),
        ("I3", 3, (-0.4911234778630044, 0.3568220764705179, 0.7946544753759428)),
        ("I4", 2, (0.5257311143, 0, 0.8506508070)),
        ("I4", 5, (0.8944271932547096, 0, 0.4472135909903704)),
        ("I4", 3, (0.4911234778630044, 0.3568220764705179, 0.7946544753759428)),
    ],
)
def test_axes_are_where_relion_has_them(name: str, fold: int, axis: tuple[float, float, float]) -> None:
    assert contains(point_group(name), axis_rotation(axis, 360 / fold), 2e-6)


def test_the_four_icosahedral_settings_differ() -> None:
    groups = [point_group(f"I{n}") for n in (1, 2, 3, 4)]
    for i, a in enumerate(groups):
        for b in groups[:i]:
            assert not all(contains(b, rotation) for rotation in a)


def test_a_symmetric_object_stays() -> None:
    """The vertices (0, ±1, ±φ) of the icosahedron, and those with x, y and z turned round, under I1."""
    golden = (1 + 5**0.5) / 2
    vertices = np.array([(0, a, b * golden) for a in (-1, 1) for b in (-1, 1)])
    vertices = np.concatenate([np.roll(vertices, turn, axis=1) for turn in range(3)])
    for rotation in point_group("I1"):
        moved = vertices @ rotation.T
        assert all(np.abs(vertices - vertex).sum(axis=1).min() < 1e-9 for vertex in moved)


def test_names() -> None:
    np.testing.assert_array_equal(point_group(" d2 "), point_group("D2"))
    point_group("O")[0, 0, 0] = 5  # a copy: the next caller is safe
    assert point_group("O")[0, 0, 0] == 1
    for name in ("", "C0", "D", "I5", "E3", "C-2", "C1000", "Cn"):
        with pytest.raises(GeometryError, match="no point group"):
            point_group(name)
