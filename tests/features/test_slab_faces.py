from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamella.features.slab_faces import fit_faces


def beads(
    rng: np.random.Generator,
    count: int,
    *,
    a: float = 0.12,
    b: float = -0.04,
    height: float = 150.0,
    thickness: float = 1500.0,
    faces: tuple[float, ...] = (-1.0, 1.0),
    scatter: float = 8.0,
) -> np.ndarray:
    """Beads on the faces of an inclined slab, as many on each."""
    xy = rng.uniform(-2000, 2000, (count, 2))
    side = np.resize(faces, count)
    z = a * xy[:, 0] + b * xy[:, 1] + height + side * thickness / 2 * np.sqrt(1 + a * a + b * b)
    return np.column_stack([xy, z + rng.normal(scale=scatter, size=count)])


@given(a=st.floats(-0.2, 0.2), b=st.floats(-0.08, 0.08), thickness=st.floats(400, 3000), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_finds_both_faces(a: float, b: float, thickness: float, seed: int) -> None:
    found = fit_faces(beads(np.random.default_rng(seed), 30, a=a, b=b, thickness=thickness))
    assert found is not None
    assert found.both
    np.testing.assert_allclose(found.slopes, [a, b], atol=0.01)
    assert found.height_ang == pytest.approx(150, abs=12)
    assert found.separation_ang == pytest.approx(thickness, rel=0.03)
    assert sorted(np.unique(found.face)) == [-1, 1]


def test_errors_are_those_that_repetition_shows() -> None:
    off, stated = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        found = fit_faces(beads(rng, 20, scatter=25.0))
        assert found is not None
        assert found.both
        off.append([*(found.slopes - [0.12, -0.04]), found.height_ang - 150])
        stated.append(np.sqrt(np.diag(found.covariance)[:3]))
    ratio = np.std(off, axis=0) / np.mean(stated, axis=0)
    assert (ratio > 0.7).all()
    assert (ratio < 1.3).all()


def test_one_face_has_a_normal_and_no_thickness(rng: np.random.Generator) -> None:
    found = fit_faces(beads(rng, 12, faces=(1.0,)))
    assert found is not None
    assert not found.both
    np.testing.assert_allclose(found.slopes, [0.12, -0.04], atol=0.02)


def test_beads_throughout_the_ice_lie_on_no_face(rng: np.random.Generator) -> None:
    points = beads(rng, 60, thickness=1e-3)
    points[:, 2] += rng.uniform(-750, 750, 60)
    found = fit_faces(points)
    assert found is not None
    assert not found.both
    assert not found.face.any()
    assert np.rad2deg(np.sqrt(np.trace(found.covariance[:2, :2]))) > 1  # and it says that it knows little


def test_strays_and_lost_points_do_not_count(rng: np.random.Generator) -> None:
    points = beads(rng, 30)
    points[:5, 2] += [900, -1400, 500, 1200, -600]
    points[5] = np.nan
    found = fit_faces(points)
    assert found is not None
    assert found.both
    np.testing.assert_allclose(found.slopes, [0.12, -0.04], atol=0.01)
    assert found.separation_ang == pytest.approx(1500, rel=0.02)
    assert not found.face[:6].any()


def test_few_beads_with_a_prior(rng: np.random.Generator) -> None:
    """Three beads leave a plane open; with slopes known to half a degree they tell both faces."""
    points = beads(rng, 3)
    prior = (np.array([0.12, -0.04]), np.eye(2) * np.tan(np.deg2rad(0.5)) ** 2)
    found = fit_faces(points, prior)
    assert found is not None
    assert found.both
    assert found.separation_ang == pytest.approx(1500, rel=0.05)
    np.testing.assert_allclose(found.slopes, [0.12, -0.04], atol=0.012)


def test_two_points_say_nothing(rng: np.random.Generator) -> None:
    assert fit_faces(beads(rng, 2)) is None
    assert fit_faces(np.zeros((0, 3))) is None
