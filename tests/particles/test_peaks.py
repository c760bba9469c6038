import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lamella.particles.peaks import local_maxima, noise_among, noise_peaks, strongest_apart, top_hat


def test_maxima_are_found_and_none_stands_near_a_stronger_one():
    score = np.zeros((20, 20, 20), np.float32)
    for place, height in (((5, 5, 5), 3.0), ((5, 5, 9), 2.0), ((15, 15, 15), 4.0)):
        score[place] = height
    places, heights = local_maxima(np.where(score > 0, score, -np.inf))
    assert sorted(heights) == [2.0, 3.0, 4.0]
    kept = strongest_apart(places.astype(float), heights, 5.0)
    np.testing.assert_array_equal(places[kept], [[15, 15, 15], [5, 5, 5]])
    assert len(strongest_apart(places.astype(float), heights, 3.0)) == 3
    assert len(strongest_apart(places.astype(float), heights, 3.0, limit=1)) == 1
    assert len(strongest_apart(np.empty((0, 3)), np.empty(0), 3.0)) == 0


def test_the_threshold_lets_as_many_peaks_of_noise_pass_as_it_says(rng):
    # the greatest of many Gaussian numbers, as a search over orientations makes them
    draw = lambda count: np.abs(rng.normal(size=(count, 400))).max(axis=1)  # noqa: E731
    fit = noise_peaks(draw(4000))
    assert fit is not None
    for wanted in (20.0, 100.0):
        counted = np.mean([(draw(4000) > fit.threshold(wanted)).sum() for _ in range(6)])
        assert counted == pytest.approx(wanted, rel=0.5)
    assert float(fit.expected(fit.threshold(5.0))) == pytest.approx(5.0, rel=1e-6)


@pytest.mark.parametrize("particles", [0, 20, 150])
def test_particles_among_chosen_peaks_do_not_lift_the_threshold(rng, particles):
    noise = np.abs(rng.normal(size=(300, 400))).max(axis=1)
    scores = np.concatenate([noise, rng.normal(12, 1.5, particles)])
    fit = noise_among(scores, 330.0)
    assert fit is not None
    assert fit.threshold(1.0) < 6.0
    assert (noise > fit.threshold(1.0)).sum() <= 8


def test_places_that_differ_do_not_push_the_threshold_into_the_gap(rng):
    # crowded and empty places: peaks are spread over what lumps leave there, up to a bound that the densest sets
    def draw(count):
        return np.abs(rng.normal(size=(count, 400))).max(axis=1) + 6 * rng.beta(1.5, 1.5, count)

    particles = rng.normal(19, 1, 60)
    noise = [draw(240) for _ in range(8)]
    fits = [noise_among(np.concatenate([one, particles]), 300.0) for one in noise]
    middle = [noise_peaks(one) for one in noise]
    least = np.array([fit.threshold(1.0) for fit in fits])
    assert (least < np.array([fit.threshold(1.0) for fit in middle]) - 0.7).all()
    passed = np.array([(one >= value).sum() for one, value in zip(noise, least, strict=True)])
    assert passed.mean() <= 2.0  # about the one that was asked for
    assert (particles > least.max()).all()


def test_too_few_peaks_tell_nothing():
    assert noise_peaks(np.arange(10.0)) is None
    assert noise_among(np.arange(10.0), 300.0) is None


def test_a_ridge_is_no_peak(rng):
    score = gaussian_filter(rng.normal(size=(40, 40, 40)), 1.5).astype(np.float32) * 2
    score[20, :, 10:12] += 5.0
    score[20, 20:22, 30:32] += 5.0
    score[19, 20:22, 30:32] += 3.0
    ridge, peak = top_hat(score, np.array([[20, 15, 11], [20, 20, 30]]), 6.0)
    assert peak > 3.5
    assert top_hat(np.full((9, 9, 9), 2.0, np.float32), np.array([[4, 4, 4]]), 4.0)[0] == 0
    wall = np.zeros((30, 30, 30), np.float32)
    wall[10:20] = 5.0
    assert top_hat(wall, np.array([[15, 15, 15]]), 6.0)[0] == 0
    assert np.isfinite(ridge)
