"""Particles that are one, particles beside gold, and half sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.particles.gaussian_scene import random_particles, tilt_series

from lamella.errors import InputError
from lamella.particles.duplicates import apart, away_from_gold
from lamella.particles.half_sets import check_half_sets, with_half_sets
from lamella.records import ParticleSet


@given(st.integers(0, 60), st.integers(0, 10**6), st.floats(0.5, 30))
def test_what_stays_is_apart_and_what_goes_was_close_to_a_better_one(count: int, seed: int, distance: float) -> None:
    rng = np.random.default_rng(seed)
    places, scores = rng.uniform(0, 60, (count, 3)), rng.integers(0, 9, count).astype(float)
    keep = apart(places, scores, distance)
    gaps = np.linalg.norm(places[:, None] - places[None], axis=-1)
    stay = np.flatnonzero(keep)
    assert (gaps[np.ix_(stay, stay)] + np.eye(len(stay)) * 1e9 >= distance).all()
    for gone in np.flatnonzero(~keep):
        better = stay[scores[stay] >= scores[gone]]
        assert gaps[gone, better].min() < distance


def test_of_equals_the_later_goes_and_who_goes_makes_no_other_go() -> None:
    line = np.array([[0.0, 0, 0], [8, 0, 0], [16, 0, 0]])
    assert apart(line, None, 10).tolist() == [True, False, True]
    assert apart(line, [1, 3, 2], 10).tolist() == [False, True, False]
    assert apart(line, [np.nan, 3, np.nan], 10).tolist() == [False, True, False]
    assert apart(line, None, 8).all()
    assert apart(np.zeros((0, 3)), None, 8).shape == (0,)


def test_edges_count_not_centres() -> None:
    places = np.array([[100.0, 0, 0], [181, 0, 0]])
    assert away_from_gold(places, 60.0, [[0, 0, 0]], 100.0, 20.0).tolist() == [True, True]
    assert away_from_gold(places, 60.0, [[0, 0, 0]], 100.0, 21.0).tolist() == [False, True]
    assert away_from_gold(places, 60.0, np.zeros((0, 3)), 100.0, 21.0).all()


def test_half_sets_hang_on_the_seed_and_the_tomogram_alone() -> None:
    tilts = np.array([0.0])
    some = [random_particles(tilt_series(tilts, name=name), 51) for name in ("A", "B")]
    halves = [with_half_sets(one, "random", 1).half_set for one in some]
    assert all(abs(int((half == 1).sum()) - 25.5) == 0.5 for half in halves)
    assert (halves[0] != halves[1]).any()
    assert (with_half_sets(some[1], "random", 1).half_set == halves[1]).all()
    whole = [with_half_sets(one, "tomograms", 1, number) for number, one in enumerate(some)]
    assert [set(one.half_set.tolist()) for one in whole] == [{1}, {2}]
    check_half_sets(ParticleSet(members=tuple(whole)))


def test_one_half_set_is_refused() -> None:
    one = random_particles(tilt_series(np.array([0.0])), 4)
    with pytest.raises(InputError, match="not all particles have a half set"):
        check_half_sets(ParticleSet(members=(one,)))
    with pytest.raises(InputError, match="all 4 particles are in one half set"):
        check_half_sets(ParticleSet(members=(with_half_sets(one, "tomograms", 1),)))
    with pytest.raises(InputError, match="no particles"):
        check_half_sets(ParticleSet(members=()))
