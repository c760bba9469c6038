"""The likeliest motion of one view against the posterior that quadratic maps have in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from tests.movies.moving import quadratic_maps
from tests.movies.test_modes import centres

from lamella.movies.course import Course, contrasts, default_course
from lamella.movies.modes import tile_modes
from lamella.movies.pair_maps import PairMaps
from lamella.movies.solve import most_likely, observed, posterior_variance

FRAMES = 6
FIELD = np.ones((1, 1))
FLAT = Course(np.zeros((2, FRAMES - 1)), 1e6 * np.eye(FRAMES - 1))
Array = np.ndarray


def drawn(rng: np.random.Generator, course: Course) -> Array:
    """``(frames, 2)`` a motion of the prior."""
    rows = contrasts(FRAMES)
    root = np.linalg.cholesky(course.covariance)
    return rows.T @ (course.means + rng.normal(size=(2, FRAMES - 1)) @ root.T).T


def prior(rng: np.random.Generator) -> Course:
    return Course(rng.normal(0, 0.5, (2, FRAMES - 1)), default_course(FRAMES, 2.0).covariance)


@pytest.mark.parametrize("kappa", [(0.05, 0.05), (2.0, 0.3), (30.0, 50.0)])
def test_the_summit_is_the_posteriors_mean(kappa: tuple[float, float], rng: np.random.Generator) -> None:
    """(C⁻¹ + F κ)⁻¹ (C⁻¹ μ + F κ y), with y where the maps alone have their summit."""
    rows, course = contrasts(FRAMES), prior(rng)
    maps = quadratic_maps(rng, drawn(rng, course), kappa, reach=16)
    alone, _ = most_likely(maps, FIELD, [(FLAT, (0, 1))], np.zeros((1, FRAMES, 2)))
    found, _ = most_likely(maps, FIELD, [(course, (0, 1))], np.zeros((1, FRAMES, 2)))
    inverse = np.linalg.inv(course.covariance)
    for axis in (0, 1):
        weight = FRAMES * kappa[axis] * np.eye(FRAMES - 1)
        seen = rows @ alone[0, :, axis]
        mean = np.linalg.solve(inverse + weight, inverse @ course.means[axis] + weight @ seen)
        np.testing.assert_allclose(found[0, :, axis], rows.T @ mean, atol=0.01)
    np.testing.assert_allclose(found.sum(axis=1), 0, atol=1e-9)


def test_anywhere_it_begins_it_ends_at_one_summit(rng: np.random.Generator) -> None:
    course = prior(rng)
    maps = quadratic_maps(rng, drawn(rng, course), (2.0, 2.0), reach=16)
    ends = [most_likely(maps, FIELD, [(course, (0, 1))], rng.normal(0, 2, (1, FRAMES, 2))) for _ in range(4)]
    for strengths, value in ends[1:]:
        np.testing.assert_allclose(strengths, ends[0][0], atol=2e-3)
        assert value == pytest.approx(ends[0][1], abs=1e-3)


def test_without_a_likelihood_the_motion_is_the_priors_mean(rng: np.random.Generator) -> None:
    course = prior(rng)
    blank = PairMaps(
        np.zeros((1, 15, 9, 9), np.float32), (0.5, 0.5), np.zeros((FRAMES, 2)), np.zeros((1, 2)), np.zeros(2)
    )
    found, _ = most_likely(blank, FIELD, [(course, (0, 1))], np.zeros((1, FRAMES, 2)))
    np.testing.assert_allclose(found[0], contrasts(FRAMES).T @ course.means.T, atol=1e-3)
    _, variance = observed(blank, FIELD, found)
    assert np.isinf(variance).all()
    rows = contrasts(FRAMES)
    expected = np.einsum("af,ab,bf->f", rows, course.covariance, rows)
    np.testing.assert_allclose(posterior_variance(blank, course), np.stack([expected] * 2, axis=-1))


def test_stated_errors_are_true(rng: np.random.Generator) -> None:
    """Over many draws of motion and noise, errors divided by the stated ones have unit variance, frame by frame."""
    course, kappa, standard = prior(rng), (0.6, 1.5), []
    for _ in range(400):
        truth = drawn(rng, course)
        maps = quadratic_maps(rng, truth, kappa, reach=16)
        found, _ = most_likely(maps, FIELD, [(course, (0, 1))], np.zeros((1, FRAMES, 2)))
        standard.append((found[0] - truth) / np.sqrt(posterior_variance(maps, course)))
    np.testing.assert_allclose(np.mean(np.square(standard), axis=0), 1, atol=0.25)
    assert np.mean(np.square(standard)) == pytest.approx(1, abs=0.07)


def test_what_a_view_says_by_itself(rng: np.random.Generator) -> None:
    """From anywhere near, the observation is where the maps alone have their summit, with the error of 1 / (F κ)."""
    kappa = (2.0, 0.5)
    truth = rng.normal(0, 1, (FRAMES, 2))
    maps = quadratic_maps(rng, truth, kappa, reach=16)
    alone, _ = most_likely(maps, FIELD, [(FLAT, (0, 1))], np.zeros((1, FRAMES, 2)))
    places, variance = observed(maps, FIELD, rng.normal(0, 1, (1, FRAMES, 2)))
    np.testing.assert_allclose(variance, [1 / (FRAMES * 2.0), 1 / (FRAMES * 0.5)])
    np.testing.assert_allclose(places[0], (contrasts(FRAMES) @ alone[0]).T, atol=5e-3)


def test_modes_are_solved_together(rng: np.random.Generator) -> None:
    """Tiles that move by modes give back the modes' strengths, each as if it were alone."""
    tiles = centres(4, 4)
    modes, _ = tile_modes(tiles)
    modes = modes[:, :3]
    course = Course(np.zeros((6, FRAMES - 1)), default_course(FRAMES, 2.0).covariance)
    strengths = np.stack([drawn(rng, Course(course.means[:2], course.covariance)) for _ in range(3)])
    truth = np.einsum("tm,mfc->tfc", modes, strengths)
    maps = quadratic_maps(rng, truth, (400.0, 400.0), tile_centres=tiles, reach=16)
    priors = [(course, (2 * mode, 2 * mode + 1)) for mode in range(3)]
    found, _ = most_likely(maps, modes, priors, np.zeros((3, FRAMES, 2)))
    error = found - strengths
    assert np.sqrt((error**2).mean()) < 1.3 / np.sqrt(FRAMES * 400.0)
    places, _ = observed(maps, modes, found)
    assert places.shape == (3, 2, FRAMES - 1)
