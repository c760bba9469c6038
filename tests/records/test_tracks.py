from __future__ import annotations

import numpy as np
import pytest

from lamella.errors import InputError
from lamella.records.tracks import Tracks


def some_tracks(rng: np.random.Generator) -> Tracks:
    seen_at = rng.normal(size=(5, 4, 2))
    seen_at[0, 1] = np.nan
    return Tracks.observed(seen_at, np.arange(1.0, 21.0).reshape(5, 4))


def test_what_is_unseen_has_no_weight(rng: np.random.Generator) -> None:
    tracks = some_tracks(rng)
    assert (tracks.views, tracks.count) == (5, 4)
    assert not tracks.seen[0, 1]
    assert tracks.weights[0, 1] == 0
    assert tracks.seen.sum() == 19
    assert np.isnan(tracks.points_ang).all()


def test_is_frozen(rng: np.random.Generator) -> None:
    tracks = some_tracks(rng)
    with pytest.raises(ValueError, match="read-only"):
        tracks.weights[0, 0] = 2


def test_keeps_nothing_of_the_caller(rng: np.random.Generator) -> None:
    seen_at = rng.normal(size=(5, 4, 2))
    tracks = Tracks.observed(seen_at)
    seen_at[:] = 0
    assert np.abs(tracks.observations_ang).min() > 0


def test_selects_points_and_views(rng: np.random.Generator) -> None:
    tracks = some_tracks(rng)
    part = tracks.select_points([1, 3]).select_views(np.array([True, False, True, True, False]))
    np.testing.assert_array_equal(part.observations_ang, tracks.observations_ang[[0, 2, 3]][:, [1, 3]])
    np.testing.assert_array_equal(part.weights, tracks.weights[[0, 2, 3]][:, [1, 3]])


def test_rms_counts_each_observation_once(rng: np.random.Generator) -> None:
    tracks = some_tracks(rng)
    residuals = np.where(tracks.seen[..., None], [3.0, 4.0], np.nan)
    solved = tracks.with_solution(np.zeros((4, 3)), residuals)
    assert solved.rms_ang() == pytest.approx(5.0)
    np.testing.assert_allclose(solved.rms_ang(axis=1), 5.0)
    np.testing.assert_allclose(solved.rms_ang(axis=0), 5.0)
    assert np.isnan(tracks.rms_ang(axis=1)).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"observations_ang": np.zeros((3, 2))}, "shape"),
        ({"observations_ang": np.full((5, 4, 2), np.inf)}, "shape"),
        ({"weights": np.full((5, 4), -1.0)}, "weights"),
        ({"weights": np.ones((4, 5))}, "weights"),
        ({"points_ang": np.zeros((3, 3))}, "points"),
    ],
)
def test_refuses_what_does_not_fit(rng: np.random.Generator, change: dict[str, np.ndarray], words: str) -> None:
    tracks = some_tracks(rng)
    names = ("observations_ang", "weights", "points_ang", "residuals_ang")
    with pytest.raises(InputError, match=words):
        Tracks(**({name: getattr(tracks, name) for name in names} | change))


def test_refuses_half_a_place() -> None:
    seen_at = np.zeros((3, 2, 2))
    seen_at[0, 0, 1] = np.nan
    with pytest.raises(InputError, match="x without y"):
        Tracks.observed(seen_at)
