"""How well one class explains one particle, in its pose or near it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lamella.particles.likelihood import ParticleTerms, Prior, climb, likelihood

__all__ = ["best_in_class"]

Array = NDArray[np.float64]

_TURN, _MOVE = 0.5, 0.35  # longest step of a climb, in details
_PLACE_WIDTH = 0.1  # of the particle's radius: standard deviation of a coordinate about its place
_DEVIATIONS = 2.0  # of the orientation's prior at the end of its range


def best_in_class(
    transform: NDArray[np.complex64],
    terms: ParticleTerms,
    pose: tuple[Array, Array],
    limit: tuple[Array, float] | None,
    radius_px: float,
) -> tuple[float, Array, Array]:
    """Log-likelihood of a particle, its orientation and its place.

    Parameters
    ----------
    transform
        of the class's map (`padded_transform`).
    terms
        over the noise.
    pose
        ``(3, 3)`` and ``(3,)``.
    limit
        ``(3, 3)`` orientation and degrees: the pose is climbed from, held to that orientation by a Gaussian that has
        fallen by two standard deviations so far from it, and the likelihood is that of all poses near by (Laplace).
        None: the pose stays.
    radius_px
        of the particle.
    """
    matrix, place = pose
    if limit is None:
        return likelihood(transform, terms, matrix, place), matrix, place
    centre, reach_deg = limit
    width = np.deg2rad(reach_deg) / _DEVIATIONS

    def away(turned: Array) -> Array:
        residuals: Array = Rotation.from_matrix(centre.T @ turned).as_rotvec() / width
        return residuals

    prior = Prior(place_px=place, place_width_px=_PLACE_WIDTH * radius_px, residuals=away)
    detail = terms.at.box_px / float(terms.at.shell.max())
    peak = climb(transform, terms, matrix, place, prior, _TURN * detail / radius_px, _MOVE * detail)
    return peak.evidence, peak.matrix, peak.place_px
