"""What motions have in common: a Gaussian prior whose widths the series itself gives.

A frame of a tilt series holds too few electrons to be placed by itself, but specimens do not jump about: they move
fast when the beam comes on, then slowly, with a little jitter. How fast, how slowly and how much jitter is estimated
from all views (empirical Bayes), and so is whether they share a direction. Where the views have nothing in common, the
prior widens to what they do, and nothing is lost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lamella.kernels.variances import fit_variances

__all__ = ["Course", "Samples", "contrasts", "default_course", "evidence_gain", "fit_course"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

DRIFT_ANG = 1.5
"""Default rms of the steady drift over a movie."""
EARLY_ANG = 2.0
"""Default rms of the early move, which decays within the first frames."""
WANDER_ANG = 0.7
"""Default rms of a random walk, per frame."""
JITTER_ANG = 0.25
"""Default rms of each frame's own jitter."""

_DECAYS = (0.08, 0.2)
"""Time constants of early moves, as parts of the movie."""
_PSEUDO_SAMPLES = 0.4
"""As many samples' worth of belief as the default widths get."""
_BELIEF = 10.0
"""Frames times this: as many samples' worth of belief that the covariance is a sum of the components."""
_ROUNDS = 60
_UPDATES = 40
_SHARED_GAIN = 4.0
"""By how much what groups share must better the log-evidence to be believed."""
_LEAST_SAMPLES = 4


@dataclass(frozen=True, eq=False)
class Course:
    """Prior of one coordinate's motion over the frames, in contrasts between them, px.

    Attributes
    ----------
    means
        ``(groups, F − 1)`` what each group of samples has in common, such as x and y of the whole field.
    covariance
        ``(F − 1, F − 1)`` of a sample about its group's mean.
    """

    means: Array
    covariance: Array


@dataclass(frozen=True, eq=False)
class Samples:
    """What views say by themselves, each coordinate as a Gaussian.

    Attributes
    ----------
    places
        ``(n, F − 1)`` contrasts of the frames' shifts, px.
    variance
        ``(n,)`` variance of every contrast of a sample, px²; infinite where a view says nothing.
    group
        ``(n,)`` which samples may share a mean.
    """

    places: Array
    variance: Array
    group: Integers

    @property
    def known(self) -> Samples:
        """The samples that say something."""
        known = np.isfinite(self.variance)
        return Samples(self.places[known], self.variance[known], self.group[known])


@lru_cache(maxsize=64)
def contrasts(frames: int) -> Array:
    """``(F − 1, F)`` orthonormal rows whose sums are 0: what is left of F shifts when their mean is taken away."""
    rows = np.zeros((frames - 1, frames))
    for row in range(1, frames):
        rows[row - 1, :row] = 1.0
        rows[row - 1, row] = -row
        rows[row - 1] /= math.sqrt(row * (row + 1))
    return rows


def default_course(frames: int, pixel_size_ang: float, groups: int = 2) -> Course:
    """A wide prior for motions of which nothing is known."""
    widths = np.array([DRIFT_ANG, *(EARLY_ANG,) * len(_DECAYS), WANDER_ANG, JITTER_ANG]) / pixel_size_ang
    covariance = np.einsum("j,jab->ab", widths**2, _components(frames))
    return Course(np.zeros((groups, frames - 1)), covariance)


def fit_course(samples: Samples, start: Course) -> Course:
    """Estimate the prior of a series by maximising its evidence.

    Parameters
    ----------
    samples
        of all views, all of one number of frames.
    start
        where to begin; a little of it stays, which decides where there are few samples.

    Notes
    -----
    Expectation maximisation for a Gaussian hierarchy: a sample is its group's mean + its own deviation + error, with a
    covariance that is shrunk (inverse Wishart) towards a sum of drift, early moves, random walk and jitter, whose
    variances are fitted. Means are kept only where the evidence is better with them.
    """
    samples = samples.known
    without, alone = _maximise(samples, start, shared=False)
    if len(samples.places) < _LEAST_SAMPLES * len(start.means):
        return without
    shared, together = _maximise(samples, start, shared=True)
    return shared if together > alone + _SHARED_GAIN else without


def evidence_gain(samples: Samples, course: Course) -> float:
    """By how much motions of this prior explain samples better than no motion at all: difference of log-evidence."""
    samples = samples.known
    off = samples.places - course.means[samples.group]
    none = _log_probability(samples.places, samples.variance, np.zeros_like(course.covariance))
    return _log_probability(off, samples.variance, course.covariance) - none


@lru_cache(maxsize=8)
def _components(frames: int) -> Array:
    """``(j, F − 1, F − 1)`` covariances of unit width, as contrasts: drift, early moves, random walk, jitter."""
    time = np.arange(frames) / max(frames - 1, 1)
    courses = [time - time.mean(), *(-np.expm1(-time / part) for part in _DECAYS)]
    steps = np.arange(frames, dtype=np.float64)
    parts = [np.outer(course, course) for course in courses] + [np.minimum.outer(steps, steps), np.eye(frames)]
    rows = contrasts(frames)
    return np.stack([rows @ part @ rows.T for part in parts])


def _maximise(samples: Samples, start: Course, *, shared: bool) -> tuple[Course, float]:
    """The prior of greatest evidence, and that log-evidence, the means integrated out."""
    parts = _components(start.covariance.shape[0] + 1)
    covariance, means = start.covariance, np.zeros_like(start.means)
    spread = 0.3 if shared else 0.0  # variance of the means, in units of the covariance
    belief = _BELIEF * (len(covariance) + 1)
    for _ in range(_ROUNDS if len(samples.places) else 0):
        of_means: Array = np.zeros(len(covariance))
        if shared:
            means, of_means, spread = _means(samples, covariance, spread, len(means))
        scatter = _own_scatter(samples.places - means[samples.group], samples.variance, covariance, of_means)
        scatter = scatter + _PSEUDO_SAMPLES * start.covariance
        count = len(samples.places) + _PSEUDO_SAMPLES
        fitted = _fit_components(scatter / count, parts)
        covariance = (scatter + belief * fitted) / (count + belief)
    return Course(means, covariance), _evidence(samples, covariance, spread)


def _eigen(covariance: Array) -> tuple[Array, Array]:
    values, vectors = np.linalg.eigh(covariance)
    return np.clip(values, 1e-12, None), vectors


def _own_scatter(deviations: Array, noise: Array, covariance: Array, of_means: Array) -> Array:
    """Sum over the samples of the expected outer product of their own deviations.

    `of_means` is how uncertain the means are, along the covariance's eigenvectors: a sample's own deviation holds as
    much of that as it holds of what the sample shows.
    """
    values, vectors = _eigen(covariance)
    gain = values / (values + noise[:, None])
    own = (deviations @ vectors) * gain
    uncertain = (gain * noise[:, None] + gain**2 * of_means).sum(axis=0)
    scatter: Array = vectors @ (own.T @ own + np.diag(uncertain)) @ vectors.T
    return scatter


def _means(samples: Samples, covariance: Array, spread: float, groups: int) -> tuple[Array, Array, float]:
    """Posterior ``(groups, F − 1)`` of the means, its variance along the eigenvectors, and its prior's new width."""
    values, vectors = _eigen(covariance)
    turned = samples.places @ vectors
    weight = 1 / (values + samples.variance[:, None])
    means, of_means, power = np.zeros((groups, len(values))), np.zeros(len(values)), 0.0
    for group in range(groups):
        here = samples.group == group
        precision = weight[here].sum(axis=0) + 1 / (max(spread, 1e-9) * values)
        means[group] = (weight[here] * turned[here]).sum(axis=0) / precision
        of_means += 1 / precision / groups
        power += float(((means[group] ** 2 + 1 / precision) / values).sum())
    return means @ vectors.T, of_means, power / (groups * len(values))


def _fit_components(scatter: Array, parts: Array) -> Array:
    """The sum of components, with variances ≥ 0, under which a scatter matrix is likeliest."""
    ridge = 1e-9 * float(np.trace(scatter)) / len(scatter)
    variances = fit_variances(np.ascontiguousarray(scatter), parts, ridge, _UPDATES)
    fitted: Array = np.einsum("j,jab->ab", variances, parts) + ridge * np.eye(len(scatter))
    return fitted


def _log_probability(places: Array, noise: Array, covariance: Array) -> float:
    values, vectors = np.linalg.eigh(covariance)
    weight = 1 / (np.clip(values, 0, None) + noise[:, None])
    return 0.5 * float(np.log(weight).sum()) - 0.5 * float((weight * (places @ vectors) ** 2).sum())


def _evidence(samples: Samples, covariance: Array, spread: float) -> float:
    """Log-probability of all samples, with the means (prior: spread × covariance) integrated out."""
    total = _log_probability(samples.places, samples.variance, covariance)
    if spread <= 0:
        return total
    values, vectors = _eigen(covariance)
    turned = samples.places @ vectors
    weight = 1 / (values + samples.variance[:, None])
    for group in np.unique(samples.group):
        here = samples.group == group
        together, sums = weight[here].sum(axis=0), (weight[here] * turned[here]).sum(axis=0)
        prior = spread * values
        total += float((0.5 * sums**2 / (together + 1 / prior) - 0.5 * np.log1p(prior * together)).sum())
    return total
