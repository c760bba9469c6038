"""The prior of a series' motions: what is estimated from samples of a known hierarchy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.movies.moving import quadratic_maps

from lamella.movies.course import Course, Samples, contrasts, default_course, evidence_gain, fit_course
from lamella.movies.series_fit import solve_whole_field
from lamella.movies.solve import most_likely

FRAMES, PIXEL_ANG = 8, 1.35
TIME = np.linspace(0, 1, FRAMES)
DRIFT = TIME - TIME.mean()
EARLY = -np.expm1(-TIME / 0.15)
FIELD = np.ones((1, 1))
Array = np.ndarray


def samples_of(rng: np.random.Generator, true: Array, sigma: Array | float, groups: int = 2) -> Samples:
    """Motions ``(n, frames)`` as contrasts seen with errors; they belong to the groups in turns."""
    rows = contrasts(true.shape[1])
    sigmas = np.broadcast_to(np.asarray(sigma, dtype=np.float64), len(true))
    places = true @ rows.T + np.where(np.isfinite(sigmas), sigmas, 0.0)[:, None] * rng.normal(
        size=(len(true), len(rows))
    )
    return Samples(places, sigmas**2, np.arange(len(true)) % groups)


def motions(rng: np.random.Generator, count: int, drift: float, early: float, jitter: float) -> Array:
    """``(count, frames)`` with these widths of the strengths, px."""
    out = drift * rng.normal(size=(count, 1)) * DRIFT + early * rng.normal(size=(count, 1)) * EARLY
    return out + jitter * rng.normal(size=(count, FRAMES))


def covariance_of(drift: float, early: float, jitter: float) -> Array:
    rows = contrasts(FRAMES)
    parts = drift**2 * np.outer(DRIFT, DRIFT) + early**2 * np.outer(EARLY, EARLY) + jitter**2 * np.eye(FRAMES)
    return rows @ parts @ rows.T


@given(st.integers(2, 40))
def test_contrasts(frames: int) -> None:
    rows = contrasts(frames)
    assert rows.shape == (frames - 1, frames)
    np.testing.assert_allclose(rows @ rows.T, np.eye(frames - 1), atol=1e-12)
    np.testing.assert_allclose(rows.sum(axis=1), 0, atol=1e-12)


def test_one_frame_has_no_contrast() -> None:
    assert contrasts(1).shape == (0, 1)


@pytest.mark.parametrize(("frames", "pixel"), [(2, 1.0), (8, 1.35), (20, 4.0)])
def test_the_default_prior_is_wide_and_in_pixels(frames: int, pixel: float) -> None:
    course = default_course(frames, pixel)
    assert course.means.shape == (2, frames - 1)
    assert np.linalg.eigvalsh(course.covariance).min() > 0
    np.testing.assert_allclose(course.covariance * pixel**2, default_course(frames, 1.0).covariance)
    rows = contrasts(frames)
    from_first_to_last = rows[:, -1] - rows[:, 0]
    width_ang = np.sqrt(from_first_to_last @ course.covariance @ from_first_to_last) * pixel
    assert 2.5 < width_ang < 8  # some Å between the first frame and the last, rms


@pytest.mark.parametrize(
    ("drift", "early", "jitter"), [(2.0, 0.0, 0.3), (0.0, 2.5, 0.15), (1.5, 2.0, 0.5), (0.0, 0.0, 1.2)]
)
def test_a_known_covariance_is_recovered(drift: float, early: float, jitter: float, rng: np.random.Generator) -> None:
    """Along every direction that matters the variance is right to a fifth, though errors are as large as the jitter."""
    count, sigma = 1500, 0.4
    true = covariance_of(drift, early, jitter)
    fitted = fit_course(
        samples_of(rng, motions(rng, count, drift, early, jitter), sigma), default_course(FRAMES, PIXEL_ANG)
    )
    values, vectors = np.linalg.eigh(true)
    found = np.einsum("af,ab,bf->f", vectors, fitted.covariance, vectors)
    np.testing.assert_allclose(found, values, rtol=0.2, atol=0.03)
    assert np.linalg.norm(fitted.covariance - true) < 0.12 * np.linalg.norm(true)
    np.testing.assert_array_equal(fitted.means, 0)


def test_samples_of_unequal_errors(rng: np.random.Generator) -> None:
    """Dark views do not blur what clear ones say."""
    true = motions(rng, 800, 2.0, 1.0, 0.2)
    sigma = np.where(np.arange(800) % 4 == 0, 0.2, 4.0)
    fitted = fit_course(samples_of(rng, true, sigma), default_course(FRAMES, PIXEL_ANG)).covariance
    expected = covariance_of(2.0, 1.0, 0.2)
    assert np.linalg.norm(fitted - expected) < 0.25 * np.linalg.norm(expected)


def test_views_that_say_nothing_change_nothing(rng: np.random.Generator) -> None:
    true = motions(rng, 40, 2.0, 1.0, 0.2)
    seen = samples_of(rng, true, 0.3)
    blank = Samples(rng.normal(0, 50, (10, FRAMES - 1)), np.full(10, np.inf), np.arange(10) % 2)
    both = Samples(*(np.concatenate(parts) for parts in zip(*(vars(s).values() for s in (seen, blank)), strict=True)))
    start = default_course(FRAMES, PIXEL_ANG)
    np.testing.assert_array_equal(fit_course(both, start).covariance, fit_course(seen, start).covariance)
    assert evidence_gain(both, start) == evidence_gain(seen, start)
    nothing = fit_course(blank, start)
    np.testing.assert_array_equal(nothing.covariance, start.covariance)
    np.testing.assert_array_equal(nothing.means, 0)


def test_few_samples_leave_the_default_in_force(rng: np.random.Generator) -> None:
    """One view at rest does not make the prior forbid motion."""
    start = default_course(FRAMES, PIXEL_ANG)
    fitted = fit_course(samples_of(rng, np.zeros((2, FRAMES)), 1.0), start)
    assert np.trace(fitted.covariance) > 0.05 * np.trace(start.covariance)


def test_unrelated_motions_have_no_common_mean() -> None:
    """In less than one series of twenty is a mean believed where there is none."""
    believed = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        samples = samples_of(rng, motions(rng, 24, 2.0, 2.0, 0.3), 0.5)
        believed += bool(fit_course(samples, default_course(FRAMES, PIXEL_ANG)).means.any())
    assert believed <= 3


def test_a_shared_direction_becomes_the_mean(rng: np.random.Generator) -> None:
    true = motions(rng, 40, 0.3, 0.3, 0.1)
    true += np.where(np.arange(40) % 2 == 0, 3.0, -1.5)[:, None] * EARLY
    fitted = fit_course(samples_of(rng, true, 0.4), default_course(FRAMES, PIXEL_ANG))
    expected = contrasts(FRAMES) @ EARLY
    np.testing.assert_allclose(fitted.means, [3.0 * expected, -1.5 * expected], atol=0.35)
    # what is left to each view is its own part, not the shared one
    assert np.trace(fitted.covariance) < 3 * np.trace(covariance_of(0.3, 0.3, 0.1))


def test_evidence_for_motion_and_for_rest(rng: np.random.Generator) -> None:
    """The gain is the logarithm of the ratio of two Gaussian densities."""
    course = Course(rng.normal(0, 0.3, (2, FRAMES - 1)), covariance_of(1.0, 1.0, 0.3))
    samples = samples_of(rng, motions(rng, 6, 1.0, 1.0, 0.3), rng.uniform(0.2, 1.0, 6))
    expected = 0.0
    for place, variance, group in zip(samples.places, samples.variance, samples.group, strict=True):
        with_motion = course.covariance + variance * np.eye(FRAMES - 1)
        off = place - course.means[group]
        expected -= 0.5 * (off @ np.linalg.solve(with_motion, off) + np.linalg.slogdet(with_motion)[1])
        expected += 0.5 * (place @ place / variance + (FRAMES - 1) * np.log(variance))
    assert evidence_gain(samples, course) == pytest.approx(expected)
    assert evidence_gain(samples_of(rng, np.zeros((40, FRAMES)), 0.3), course) < 0


# Whole series. The likelihood is exactly Gaussian, so each view by itself is placed as well as its frames allow, and
# whatever the series adds or spoils shows.


def unrelated(rng: np.random.Generator, views: int) -> list[Array]:
    """A drift, a swing, a jump or a walk each, in any direction, and large jitter."""
    out = []
    for view in range(views):
        way = rng.normal(size=(1, 2))
        if view % 4 == 0:
            moved = 2 * way * TIME[:, None]
        elif view % 4 == 1:
            moved = 2 * way * np.sin(2 * np.pi * rng.uniform(0.5, 2) * TIME + rng.uniform(0, 6))[:, None]
        elif view % 4 == 2:
            moved = 2 * way * (rng.uniform(0, 1) < TIME)[:, None]
        else:
            moved = np.cumsum(rng.normal(0, 0.7, (FRAMES, 2)), axis=0)
        out.append(moved + rng.normal(0, 1, (FRAMES, 2)))
    return out


def white(rng: np.random.Generator, views: int) -> list[Array]:
    """Every frame anywhere."""
    return list(rng.normal(0, 1.5, (views, FRAMES, 2)))


def of_one_course(rng: np.random.Generator, views: int) -> list[Array]:
    """Fast at first, then slow, in any direction."""
    course = 3 * EARLY + TIME
    return [course[:, None] * rng.normal(size=(1, 2)) + rng.normal(0, 0.05, (FRAMES, 2)) for _ in range(views)]


def of_one_direction(rng: np.random.Generator, views: int) -> list[Array]:
    """The same, and always nearly in one direction and as far."""
    course, way = 3 * EARLY + TIME, np.array([[1.0, -0.6]])
    return [
        course[:, None] * (way + 0.15 * rng.normal(size=(1, 2))) + rng.normal(0, 0.05, (FRAMES, 2))
        for _ in range(views)
    ]


def rms(errors: list[Array]) -> float:
    return float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))


def series_errors(motion: object, sigma: float, seeds: int, single_of: int = 3) -> tuple[float, float, float]:
    """Rms error of views solved together, each alone by a wide prior, and some of them alone as a series of one."""
    views = 20
    together, wide, single = [], [], []
    flat = (Course(np.zeros((2, FRAMES - 1)), 100.0 * np.eye(FRAMES - 1)), (0, 1))
    for seed in range(seeds):
        rng = np.random.default_rng([seed, round(10 * sigma)])
        true = [one - one.mean(axis=0) for one in motion(rng, views)]  # type: ignore[operator]
        kappa = 1 / (FRAMES * sigma**2)
        maps = [quadratic_maps(rng, one, (kappa, kappa), reach=16) for one in true]
        starts = [np.zeros((FRAMES, 2)) for _ in true]
        for one, solved in zip(true, solve_whole_field(maps, starts, PIXEL_ANG), strict=True):
            together.append(solved.strengths_px[0] - one)
        for view, one in zip(maps, true, strict=True):
            wide.append(most_likely(view, FIELD, [flat], np.zeros((1, FRAMES, 2)))[0][0] - one)
        for view, one in zip(maps[::single_of], true[::single_of], strict=True):
            solved = solve_whole_field([view], [np.zeros((FRAMES, 2))], PIXEL_ANG)[0]
            single.append(solved.strengths_px[0] - one)
    return rms(together), rms(wide), rms(single)


@pytest.mark.parametrize("motion", [white, unrelated])
def test_unrelated_motions_lose_nothing(motion: object) -> None:
    """Views that have nothing in common are placed no worse together than alone."""
    together, wide, _ = series_errors(motion, 0.6, 2, single_of=20)
    assert together < 1.03 * wide


@pytest.mark.parametrize("motion", [of_one_course, of_one_direction])
def test_what_views_share_helps_them(motion: object) -> None:
    together, wide, single = series_errors(motion, 0.6, 2, single_of=7)
    assert together < 0.6 * wide
    assert together < 0.9 * single


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.3, 0.6, 1.2])
@pytest.mark.parametrize("motion", [white, unrelated])
def test_unrelated_motions_lose_nothing_at_any_dose(motion: object, sigma: float) -> None:
    together, wide, single = series_errors(motion, sigma, 4)
    assert together < 1.03 * wide
    assert together < 1.03 * single


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.3, 0.6, 1.2])
def test_a_shared_direction_helps_further_at_any_dose(sigma: float) -> None:
    """Motions of one direction are placed better than motions of one course in all directions."""
    course, wide, single = series_errors(of_one_course, sigma, 4)
    assert course < 0.6 * wide
    assert course < 0.9 * single
    assert series_errors(of_one_direction, sigma, 4, single_of=20)[0] < (0.93 if sigma > 0.5 else 1.05) * course
