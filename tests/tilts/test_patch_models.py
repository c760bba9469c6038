"""Models of patches are judged by patches elsewhere, so that errors which patches share are not taken for geometry."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.geometry import TiltGeometry
from lamella.records.tracks import Tracks
from lamella.tilts.align_settings import AlignSettings
from lamella.tilts.patch_models import solve_patches

TILTS = np.linspace(-60, 60, 31)


def grid(rng: np.random.Generator, side: int = 6) -> np.ndarray:
    line = np.linspace(-1500, 1500, side)
    x, y = np.meshgrid(line, line)
    return np.stack([x.ravel(), y.ravel(), rng.normal(scale=150, size=side * side)], axis=-1)


def wandering(rng: np.random.Generator, points: int, size: float) -> np.ndarray:
    """``(n, p, 2)`` errors of chains: random walks over the tilt, of rms `size`."""
    walk = np.cumsum(rng.normal(size=(len(TILTS), points, 2)), axis=0)
    walk -= walk.mean(axis=0)
    return walk * size / walk.std()


def test_walks_of_patches_are_not_taken_for_geometry(rng: np.random.Generator) -> None:
    truth, points = TiltGeometry.from_angles(TILTS, 85.0), grid(rng)
    tracks = Tracks.observed(truth.project(points) + wandering(rng, len(points), 8.0), kind="patches")
    best = solve_patches(tracks, TiltGeometry.from_angles(TILTS, 85.6), AlignSettings())
    assert "local" not in best.chosen
    assert any("local" in name for name in best.refused)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_axis_that_turns_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = TiltGeometry.from_angles(TILTS, 85.0 + 0.4 * np.sin(TILTS / 40))
    points = grid(rng)
    tracks = Tracks.observed(truth.project(points) + wandering(rng, len(points), 1.5), kind="patches")
    best = solve_patches(tracks, TiltGeometry.from_angles(TILTS, 85.6), AlignSettings(local="off"))
    np.testing.assert_allclose(best.solution.geometry.z_rot_deg, truth.z_rot_deg, atol=0.12)


def test_what_the_user_pins_stays(rng: np.random.Generator) -> None:
    truth, points = TiltGeometry.from_angles(TILTS, 85.0), grid(rng)
    tracks = Tracks.observed(truth.project(points) + rng.normal(scale=2, size=(31, 36, 2)), kind="patches")
    settings = AlignSettings(axis="fixed", magnification="smooth", local="off")
    best = solve_patches(tracks, TiltGeometry.from_angles(TILTS, 85.3), settings)
    np.testing.assert_allclose(best.solution.geometry.z_rot_deg, 85.3)
    assert "magnification smooth" in best.chosen


def test_few_patches_are_solved_by_the_plainest_model(rng: np.random.Generator) -> None:
    truth = TiltGeometry.from_angles(TILTS, 85.0)
    points = grid(rng, side=2)
    tracks = Tracks.observed(truth.project(points) + rng.normal(scale=2, size=(31, 4, 2)), kind="patches")
    best = solve_patches(tracks, TiltGeometry.from_angles(TILTS, 85.3), AlignSettings())
    assert len(best.tried) == 1  # nothing can be left out to judge others by
    assert "local" not in best.chosen
