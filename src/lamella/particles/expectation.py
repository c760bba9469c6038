"""Where a particle may lie and how it may be turned: the posterior of its pose, given a reference.

1. Every orientation of a grid, with every place of a grid, is scored at once: slices of the reference times data moved
   to each place are one product of matrices.
2. From the best nodes that are no neighbours the posterior is climbed to its highest points (`climb`).
3. Each peak weighs by the mass of the Gaussian that fits its curvature (Laplace), so that several stay where the
   pictures do not decide.
4. Where a peak is wider than the detail that is compared, it is spread over twelve points of the third-degree
   spherical cubature for that Gaussian (Stroud 1971), each weighed by how the true posterior there compares with the
   Gaussian; where it is sharp, its highest point alone stands for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lamella.kernels.central_slices import take_terms
from lamella.particles.likelihood import ParticleTerms, Peak, Prior, climb, likelihood

__all__ = ["Posterior", "Search", "expect", "grid_scores"]

Array = NDArray[np.float64]
Complex = NDArray[np.complex64]

_BYTES_AT_ONCE = 1 << 24
_LEAST_WEIGHT = 1e-3
_SHARP = 0.02
"""Mean square phase (rad²) that a peak's width gives the finest terms, below which it counts as a point."""
_FURTHEST = 4.0
"""Times the Gaussian's, the most that a cubature point may weigh."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Search:
    """What is searched for one particle.

    Attributes
    ----------
    matrices
        ``(b, 3, 3)`` orientations.
    places_px
        ``(p, 3)`` places.
    spacing_rad, step_px
        of neighbours in either grid.
    detail_px
        finest detail that nodes are compared by.
    peaks
        most nodes that are climbed from.
    radius_px
        of the particle: it turns an angle into a move.
    any_scale
        score by the best factor of the reference, where its grey values have no meaning yet.
    """

    matrices: Array
    places_px: Array
    spacing_rad: float
    step_px: float
    detail_px: float
    peaks: int
    radius_px: float
    any_scale: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior:
    """Poses of one particle and what each counts.

    Attributes
    ----------
    matrices, places_px, weights
        ``(m, 3, 3)``, ``(m, 3)`` and ``(m,)``, whose sum is 1.
    best
        the highest of the peaks.
    certainty
        part of the posterior that is at the best peak.
    evidence
        logarithm of the whole posterior's mass, but for a constant that all references share.
    """

    matrices: Array
    places_px: Array
    weights: Array
    best: Peak
    certainty: float
    evidence: float

    @property
    def errors(self) -> tuple[float, float]:
        """Standard deviation of the best peak in each angle (degrees) and coordinate (px)."""
        variance = np.diag(np.linalg.inv(self.best.curvature))
        return float(np.rad2deg(np.sqrt(variance[:3].mean()))), float(np.sqrt(variance[3:].mean()))


def expect(transform: Complex, terms: ParticleTerms, search: Search, prior: Prior) -> Posterior:
    """The posterior of one particle's pose.

    Parameters
    ----------
    transform
        of the reference (`padded_transform`).
    terms
        of the particle, over the noise (`ParticleTerms.over_noise`).
    search
        grids to begin from.
    prior
        of the pose.
    """
    shells = float(terms.at.shell.max())
    coarse = terms.up_to(round(terms.at.box_px / search.detail_px))
    starts = [(search.matrices[0], search.places_px[0])]
    if len(search.matrices) * len(search.places_px) > 1:
        scores, places = grid_scores(transform, coarse, search, prior)
        starts = [(search.matrices[node], search.places_px[places[node]]) for node in _apart(search, scores)]
    peaks = []
    for matrix, place in starts:
        if coarse is not terms:
            peak = climb(transform, coarse, matrix, place, prior, *_longest_step(coarse, search))
            matrix, place = peak.matrix, peak.place_px
        peaks.append(climb(transform, terms, matrix, place, prior, *_longest_step(terms, search)))
    kept, shares, evidence = _weigh(_unlike(peaks, search))
    points = [
        point
        for peak, share in zip(kept, shares, strict=True)
        for point in _points(transform, terms, peak, share, prior, search.radius_px, shells)
    ]
    weights = np.array([weight for _, _, weight in points])
    return Posterior(
        matrices=np.stack([matrix for matrix, _, _ in points]),
        places_px=np.stack([place for _, place, _ in points]),
        weights=weights / weights.sum(),
        best=kept[0],
        certainty=float(shares[0]),
        evidence=evidence,
    )


def _longest_step(terms: ParticleTerms, search: Search) -> tuple[float, float]:
    """How far the slope of a likelihood can be trusted, rad and px."""
    detail_px = terms.at.box_px / float(terms.at.shell.max())
    return 0.5 * detail_px / search.radius_px, 0.35 * detail_px


def grid_scores(
    transform: Complex, terms: ParticleTerms, search: Search, prior: Prior
) -> tuple[Array, NDArray[np.int64]]:
    """Log-posterior ``(b,)`` of each orientation at its best place, and the number ``(b,)`` of that place."""
    count, size = terms.data.shape
    data = terms.moved(search.places_px).reshape(len(search.places_px), -1).view(np.float32).T
    squares = terms.squares.reshape(-1)
    place_prior = prior.of_places(search.places_px)
    scores, places = np.empty(len(search.matrices)), np.empty(len(search.matrices), np.int64)
    at_once = max(1, _BYTES_AT_ONCE // (8 * count * size))
    for first in range(0, len(search.matrices), at_once):
        part = search.matrices[first : first + at_once]
        turned = np.einsum("vij,bjk->bvik", terms.frames, part).reshape(-1, 3, 3)
        slices = take_terms(transform, terms.at.index, turned, terms.at.box_px).reshape(len(part), -1)
        cross = (slices.view(np.float32) @ data).astype(np.float64)
        power = ((slices.real**2 + slices.imag**2) @ squares).astype(np.float64)[:, None]
        if search.any_scale:
            found = np.where(cross > 0, cross, 0) ** 2 / (2 * np.maximum(power, 1e-30))
        else:
            found = cross - power / 2
        found += place_prior + np.array([prior.of_matrix(matrix) for matrix in part])[:, None]
        best = found.argmax(axis=1)
        places[first : first + at_once] = best
        scores[first : first + at_once] = found[np.arange(len(part)), best]
    return scores, places


def _apart(search: Search, scores: Array) -> list[int]:
    """The best nodes of which no two are neighbours."""
    chosen: list[int] = []
    closest = 3 - 4 * np.sin(0.75 * search.spacing_rad) ** 2  # trace of a turn by one and a half steps
    for node in np.argsort(-scores, kind="stable"):
        if len(chosen) == search.peaks:
            break
        near = search.matrices[chosen].reshape(-1, 9) @ search.matrices[node].reshape(9)
        if not (near > closest).any():
            chosen.append(int(node))
    return chosen


def _unlike(peaks: list[Peak], search: Search) -> list[Peak]:
    """Peaks from the highest on, those left out that were found twice."""
    kept: list[Peak] = []
    for peak in sorted(peaks, key=lambda one: -one.evidence):
        twice = any(
            np.sum(peak.matrix * other.matrix) > 3 - 4 * np.sin(0.2 * search.spacing_rad) ** 2
            and np.linalg.norm(peak.place_px - other.place_px) < 0.5 * search.step_px
            for other in kept
        )
        if not twice:
            kept.append(peak)
    return kept


def _weigh(peaks: list[Peak]) -> tuple[list[Peak], Array, float]:
    """Peaks that count, their shares, and the logarithm of their mass."""
    evidence = np.array([peak.evidence for peak in peaks])
    top = float(evidence.max())
    shares = np.exp(evidence - top)
    total = float(shares.sum())
    shares /= total
    kept = shares >= _LEAST_WEIGHT
    held = shares[kept] / shares[kept].sum()
    return [peak for peak, use in zip(peaks, kept, strict=True) if use], held, top + float(np.log(total))


def _points(
    transform: Complex, terms: ParticleTerms, peak: Peak, share: float, prior: Prior, radius_px: float, shells: float
) -> Iterator[tuple[Array, Array, float]]:
    """Poses that stand for a peak, with their weights."""
    covariance = np.linalg.inv(peak.curvature)
    square_px = (2 / 3) * radius_px**2 * np.trace(covariance[:3, :3]) / 3 + np.trace(covariance[3:, 3:]) / 3
    if (2 * np.pi * shells / terms.at.box_px) ** 2 * square_px < _SHARP:
        yield peak.matrix, peak.place_px, share
        return
    values, vectors = np.linalg.eigh(covariance)
    dimensions = len(values)
    for value, vector in zip(values, vectors.T, strict=True):
        for sign in (-1, 1):
            step = sign * np.sqrt(dimensions * max(value, 0.0)) * vector
            matrix = peak.matrix @ Rotation.from_rotvec(step[:3]).as_matrix()
            place = peak.place_px + step[3:]
            there = likelihood(transform, terms, matrix, place) + prior.value(matrix, place)
            ratio = float(np.exp(min(there - peak.value + dimensions / 2, np.log(_FURTHEST))))
            yield matrix, place, share * ratio / (2 * dimensions)
