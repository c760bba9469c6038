"""Mixing of rounds against iterations whose fixed point is known."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.geometry import ImageField, TiltGeometry
from lamella.tilts.matching_mixing import Mixing

TILTS = np.arange(-60, 61, 3.0)
HALF = (2000.0, 1500.0)


def geometry(wrong: np.ndarray) -> TiltGeometry:
    """A geometry whose shifts, axis, scale and field are off by three modes."""
    course = np.sin(np.deg2rad(TILTS))
    x, y = np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-1, 1, 5))
    nodes = np.zeros((len(TILTS), 2, 5, 5))
    nodes[:, 0] = wrong[2] * course[:, None, None] * x * y
    return TiltGeometry.from_angles(
        TILTS,
        85.0 + 0.1 * wrong[1] * course,
        x_shift_ang=wrong[0] * course,
        magnification=1 + 1e-4 * wrong[1],
        field=ImageField(nodes, HALF),
    )


def off(found: TiltGeometry) -> float:
    """Rms displacement of points of the field, Å."""
    points = np.random.default_rng(0).uniform(-1, 1, (50, 3)) * [*HALF, 300]
    return float(np.sqrt(((found.project(points) - geometry(np.zeros(3)).project(points)) ** 2).mean()))


def test_slow_modes_are_gone_after_a_few_rounds():
    carried = np.array([0.85, 0.7, 0.4])
    mixing, plain, mixed = Mixing(HALF), np.array([3.0, 1.0, -2.0]), geometry(np.array([3.0, 1.0, -2.0]))
    for _ in range(6):
        plain = carried * plain
        mixed = mixing.next(mixed, geometry(carried * modes(mixed)))
    assert off(mixed) < 0.3 * off(geometry(plain))


def modes(found: TiltGeometry) -> np.ndarray:
    """The three modes of a geometry, by projection."""
    course = np.sin(np.deg2rad(TILTS))
    assert found.field is not None
    corner = found.field.nodes_ang[:, 0, -1, -1]
    parts = [found.x_shift_ang, (found.z_rot_deg - 85.0) / 0.1, corner]
    return np.array([float(part @ course / (course @ course)) for part in parts])


def test_a_first_round_is_taken_as_it_is():
    before, after = geometry(np.array([3.0, 1.0, -2.0])), geometry(np.ones(3))
    assert Mixing(HALF).next(before, after) is after


def test_rounds_that_have_come_to_rest_stay():
    mixing, still = Mixing(HALF), geometry(np.ones(3))
    for _ in range(3):
        found = mixing.next(still, still)
    assert off(found) == pytest.approx(off(still), rel=1e-6)


def test_a_geometry_without_a_field_keeps_none():
    mixing, flat = Mixing(HALF), geometry(np.ones(3)).with_terms(field=None)
    moved = flat.with_terms(x_shift_ang=flat.x_shift_ang + 1.0)
    mixing.next(flat, moved)
    assert mixing.next(moved, moved).field is None
