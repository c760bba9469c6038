from __future__ import annotations

import numpy as np
import pytest

from lamella.geometry import TiltGeometry
from lamella.records.tracks import Tracks
from lamella.tilts.solve import Solution, solve, triangulate
from lamella.tilts.terms import LocalTerm, SolveModel, Term

TILT = np.linspace(-60, 60, 13)
FREE = SolveModel(
    z_rot=Term(mode="free", prior=0.1),
    y_tilt=Term(mode="free", prior=0.1),
    magnification=Term(mode="smooth", prior=1e-3, knots=4),
)


def some_tracks(rng: np.random.Generator, points: int = 7, noise: float = 3.0) -> Tracks:
    truth = TiltGeometry.from_angles(TILT + rng.normal(scale=0.1, size=13), 85.0)
    places = rng.uniform(-1, 1, (points, 3)) * [2000, 2000, 600]
    return Tracks.observed(truth.project(places) + rng.normal(scale=noise, size=(13, points, 2)))


def without(tracks: Tracks, view: int, points: list[int]) -> Tracks:
    seen_at = tracks.observations_ang.copy()
    seen_at[view, points] = np.nan
    return Tracks.observed(seen_at, tracks.weights.copy(), tracks.labels)


def predicted(part: Solution, tracks: Tracks, view: int, point: int) -> np.ndarray:
    return tracks.observations_ang[view, point] - part.geometry.project(part.tracks.points_ang[point])[view]


@pytest.mark.parametrize("model", [SolveModel(), FREE], ids=["axis", "free"])
def test_is_what_leaving_out_and_solving_again_gives(rng: np.random.Generator, model: SolveModel) -> None:
    tracks, start = some_tracks(rng), TiltGeometry.from_angles(TILT, 84.5)
    exactly = {"loss": "none", "tolerance": 1e-13, "max_iterations": 300}
    solution = solve(tracks, start, model, **exactly)
    stated, true = [], []
    for view, point in rng.integers([13, 7], size=(25, 2)):
        part = solve(without(tracks, view, [point]), start, model, **exactly)
        stated.append(solution.left_out_ang[view, point])
        true.append(predicted(part, tracks, view, point))
    np.testing.assert_allclose(np.array(stated), np.array(true), atol=0.05 * np.std(true))  # σ differs


def test_points_alone_and_pieces_are_reckoned_alike(rng: np.random.Generator) -> None:
    """A second piece that was never seen changes nothing but the way of the reckoning."""
    tracks, start = some_tracks(rng), TiltGeometry.from_angles(TILT, 85.0)
    unseen = np.concatenate([tracks.observations_ang, np.full((13, 1, 2), np.nan)], axis=1)
    weights = np.concatenate([tracks.weights, np.zeros((13, 1))], axis=1)
    pieces = Tracks.observed(unseen, weights, np.append(tracks.labels, tracks.labels[0]))
    alone, shared = solve(tracks, start, FREE), solve(pieces, start, FREE)
    np.testing.assert_allclose(shared.left_out_ang[:, :7], alone.left_out_ang, rtol=1e-7)
    for name, errors in alone.standard_errors.items():
        np.testing.assert_allclose(shared.standard_errors[name], errors, rtol=1e-7)


def test_pieces_of_one_patch_are_left_out_together(rng: np.random.Generator) -> None:
    """Two pieces share the middle views: leaving out one of the two copies would be no test."""
    whole, start = some_tracks(rng, 8), TiltGeometry.from_angles(TILT, 85.0)
    seen_at = np.concatenate([whole.observations_ang, whole.observations_ang], axis=1)
    seen_at[9:, :8], seen_at[:4, 8:] = np.nan, np.nan
    weights = np.where(np.isfinite(seen_at[..., 0]), 1.0, 0.0)
    weights[4:9] = 0.5
    tracks = Tracks.observed(seen_at, weights, np.tile(np.arange(1, 9), 2))
    exactly = {"loss": "none", "tolerance": 1e-13, "max_iterations": 300}
    solution = solve(tracks, start, SolveModel(), **exactly)
    for view, point in ((5, 2), (8, 6), (2, 1)):
        part = solve(without(tracks, view, [point, point + 8]), start, SolveModel(), **exactly)
        np.testing.assert_allclose(solution.left_out_ang[view, point], predicted(part, tracks, view, point), atol=0.05)


def test_is_the_error_of_new_observations(rng: np.random.Generator) -> None:
    """Of noise σ per axis it is a little more than σ √2, however much freedom lowers the residual."""
    ratios = []
    for _ in range(10):
        tracks = some_tracks(rng, 12)
        solution = solve(tracks, TiltGeometry.from_angles(TILT, 85.0), FREE, loss="none")
        assert solution.rms_ang < 3 * np.sqrt(2) < solution.leave_one_out_ang * 1.05
        ratios.append(solution.leave_one_out_ang / solution.rms_ang)
    assert 1.1 < np.mean(ratios) < 1.8


def test_counts_the_freedom_of_local_terms(rng: np.random.Generator) -> None:
    tracks, start = some_tracks(rng, 15), TiltGeometry.from_angles(TILT, 85.0)
    plain = solve(tracks, start, FREE, loss="none")
    local = solve(tracks, start, SolveModel(**{**vars(FREE), "local": LocalTerm(prior_ang=300.0)}), loss="none")
    assert local.rms_ang < plain.rms_ang
    assert local.leave_one_out_ang > 0.995 * plain.leave_one_out_ang


def test_what_the_others_do_not_determine_has_no_prediction(rng: np.random.Generator) -> None:
    tracks = some_tracks(rng)
    seen_at = tracks.observations_ang.copy()
    seen_at[3, 1:] = np.nan  # one observation alone makes this view's shift
    solution = solve(Tracks.observed(seen_at), TiltGeometry.from_angles(TILT, 85.0))
    assert np.isnan(solution.left_out_ang[3]).all()
    assert np.isfinite(solution.leave_one_out_ang)
    assert np.isnan(solution.leave_one_out_rms_ang(1)[3])
    assert solution.leave_one_out_rms_ang(0).shape == (7,)


def test_an_outlier_does_not_help_to_predict_itself(rng: np.random.Generator) -> None:
    tracks = some_tracks(rng)
    seen_at = tracks.observations_ang.copy()
    seen_at[4, 2] += 500
    solution = solve(Tracks.observed(seen_at), TiltGeometry.from_angles(TILT, 85.0))
    assert np.hypot(*solution.left_out_ang[4, 2]) == pytest.approx(500 * np.sqrt(2), rel=0.02)
    rest = triangulate(without(tracks, 4, [2]), solution.geometry)
    np.testing.assert_allclose(solution.tracks.points_ang[2], rest[2], atol=5)
