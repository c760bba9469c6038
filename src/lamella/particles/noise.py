"""The noise of particles' pictures, shell by shell, for each half set and tomogram."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.kernels.central_slices import take_terms
from lamella.particles.likelihood import ParticleTerms

__all__ = ["NoiseSums", "noise_of", "power_of_noise"]

Array = NDArray[np.float64]
Complex = NDArray[np.complex64]

_LEAST_SQUARES = 1e-4  # of a term: where the transfer left nothing, nothing is known


@dataclass(frozen=True, eq=False)
class NoiseSums:
    """Power of what a pose leaves unexplained, and the squared transfers: ``(s,)`` each, over shells 0 … n // 2."""

    power: Array
    squares: Array


def noise_of(terms: ParticleTerms, transform: Complex | None, matrix: Array, place_px: Array) -> NoiseSums:
    """What one particle says of the noise: x − T² S has the power T² σ².

    Parameters
    ----------
    terms
        of the particle, not over the noise.
    transform
        of the reference; None: all of the data count as noise.
    matrix, place_px
        its pose.
    """
    left = terms.data
    if transform is not None:
        slices = take_terms(transform, terms.at.index, terms.frames @ matrix, terms.at.box_px)
        left = terms.moved(place_px) - terms.squares * slices
    shells = terms.at.box_px // 2 + 1
    power = (left.real**2 + left.imag**2).sum(axis=0, dtype=np.float64)
    squares = terms.squares.sum(axis=0, dtype=np.float64)
    sums = [np.bincount(terms.at.shell, part, minlength=shells).astype(np.float64) for part in (power, squares)]
    return NoiseSums(*sums)


def power_of_noise(power: Array, squares: Array) -> Array:
    """Noise ``(..., s)`` of each shell from sums over particles; shells without data take their neighbour's."""
    known = squares > _LEAST_SQUARES * squares.max(axis=-1, keepdims=True)
    noise = np.where(known, power / np.where(known, squares, 1), np.nan)
    flat = noise.reshape(-1, noise.shape[-1])
    for row in flat:
        found = np.flatnonzero(np.isfinite(row) & (row > 0))
        row[:] = row[found[np.abs(np.arange(len(row))[:, None] - found).argmin(axis=1)]] if len(found) else 1.0
    return flat.reshape(noise.shape)
