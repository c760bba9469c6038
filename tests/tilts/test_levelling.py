from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lamella.geometry import TiltGeometry
from lamella.geometry.regauge import regauge
from lamella.records import ArrayImages
from lamella.records.tracks import Tracks
from lamella.tilts.candidate import Candidate
from lamella.tilts.compare import geometry_error
from lamella.tilts.levelling import in_level_frame
from lamella.tilts.solve import solve
from lamella.tilts.working import prepare

NO_IMAGES: Any = None


def beads_on_faces(rng: np.random.Generator, thickness: float = 900.0) -> np.ndarray:
    points = rng.uniform(-2000, 2000, (30, 3))
    points[:, 2] = np.where(np.arange(30) % 2, thickness / 2, -thickness / 2) + rng.normal(scale=8, size=30)
    return points


def test_beads_on_both_faces_level_and_measure(rng: np.random.Generator) -> None:
    points = beads_on_faces(rng)
    truth = TiltGeometry.from_angles(np.linspace(-60, 60, 21), 85.0)
    turned = regauge(truth, x_tilt_deg=-2.0, y_tilt_deg=7.0, shift_ang=(0, 0, 150.0), points_ang=points)
    tracks = Tracks.observed(truth.project(points) + rng.normal(scale=0.5, size=(21, 30, 2)), kind="beads")
    solution = solve(tracks, turned.geometry)
    result = in_level_frame(Candidate(method="beads", geometry=solution.geometry, solution=solution), NO_IMAGES, "film")
    assert result.slab is not None
    assert result.slab.source == "beads"
    assert result.thickness_ang == pytest.approx(900, rel=0.05)
    difference = geometry_error(result.candidate.geometry, truth, points)
    assert np.rad2deg(np.arccos(difference.rotation[2, 2])) < 0.3
    assert abs(difference.shift_ang[2]) < 10
    # points, residuals and geometry moved together
    moved = result.candidate.solution
    assert moved is not None
    shown = moved.geometry.project(moved.tracks.points_ang)
    np.testing.assert_allclose(moved.tracks.observations_ang - shown, moved.tracks.residuals_ang, atol=1e-6)


@pytest.mark.parametrize(("method", "shape", "wanted"), [("none", "film", True), ("coarse", "compact", True)])
def test_what_has_no_plane_is_centred_alone(method: Any, shape: Any, wanted: bool) -> None:
    geometry = TiltGeometry.from_angles([-20.0, 0.0, 20.0], 85.0, x_shift_ang=30.0, y_shift_ang=-12.0)
    result = in_level_frame(Candidate(method=method, geometry=geometry), NO_IMAGES, shape, wanted=wanted)
    np.testing.assert_allclose(result.candidate.geometry.y_tilt_deg, geometry.y_tilt_deg)
    np.testing.assert_allclose(result.candidate.geometry.shifts_ang()[1], 0, atol=1e-9)
    assert result.slab is None
    assert result.thickness_ang is None


def test_noise_has_no_plane_and_says_so(rng: np.random.Generator) -> None:
    noise = rng.normal(size=(11, 96, 96)).astype(np.float32)
    images = prepare(ArrayImages(noise), 10.0, 96)
    geometry = TiltGeometry.from_angles(np.linspace(-50, 50, 11), 85.0)
    result = in_level_frame(Candidate(method="coarse", geometry=geometry), images, "film")
    if result.slab is not None and not result.slab.known:
        assert any("could not be measured" in note for note in result.notes)
    assert result.thickness_ang is None or result.quality["AlignThicknessErrorAngst"] > 0
