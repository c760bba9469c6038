"""Known tracks are solved from nominal angles alone, and come out as they went in, with their solution."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.geometry import TiltGeometry
from lamella.records.tracks import Tracks
from lamella.tilts.align_settings import AlignSettings
from lamella.tilts.track_solve import solve_tracks


@pytest.mark.parametrize("axis_off_deg", [0.0, 10.0])
def test_from_nominal_angles_without_shifts(rng, axis_off_deg):
    tilt = np.linspace(-50, 50, 21)
    truth = TiltGeometry.from_angles(
        tilt, 85.0 + axis_off_deg, x_shift_ang=rng.normal(0, 60, 21), y_shift_ang=rng.normal(0, 60, 21)
    )
    points = np.column_stack([rng.uniform(-1500, 1500, (12, 2)), rng.uniform(-300, 300, 12)])
    seen = truth.project(points) + rng.normal(0, 0.5, (21, 12, 2))
    seen[4, 5] += 40.0  # a bead taken for another
    weights = rng.uniform(0.5, 2, (21, 12))
    labels = np.array([1, 2, 3, 5, 8, 9, 10, 11, 12, 14, 15, 20])
    tracks = Tracks.observed(seen, weights, labels, kind="beads")
    settings = AlignSettings(axis="common", tilt_angles="fixed", magnification="fixed", local="off")
    found = solve_tracks(tracks, TiltGeometry.from_angles(tilt, 85.0), settings, method="beads")
    assert found.geometry.z_rot_deg.mean() == pytest.approx(85.0 + axis_off_deg, abs=0.1)
    solved = found.solution.tracks
    assert solved.kind == "beads"
    np.testing.assert_array_equal(solved.labels, labels)
    np.testing.assert_array_equal(solved.weights, weights)  # an outlier of this solve may be none of the next
    off = solved.residuals_ang.copy()
    off[4, 5] = 0
    assert np.sqrt((off**2).sum(axis=-1).mean()) < 1.0
    assert not np.linalg.norm(solved.residuals_ang[4, 5]) < 30  # far off, or left out (NaN)
