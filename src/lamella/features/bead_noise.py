"""The noise under beads: its spectrum, and how its variance falls where a bead lets fewer electrons through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.fourier import frequency_grid

__all__ = ["NOISE_BINS", "Leftover", "NoiseShape", "NoiseSpectrum", "bin_of_frequency"]

Array = NDArray[np.float64]

NOISE_BINS = 16
"""Bins of the noise's power, from 0 to the corner of Fourier space."""


def bin_of_frequency(size: int) -> Tensor:
    """Where each term of a rfft of size × size pixels lies among the bins, not rounded."""
    return frequency_grid((size, size)) / 0.7072 * (NOISE_BINS - 1)


@dataclass(frozen=True, eq=False)
class Leftover:
    """What a fit left: of the noise.

    Attributes
    ----------
    power, terms
        ``(p, 16)`` summed power of each bead's residuals and number of terms, less those that the fit took, by bin of
        frequency.
    squares, pixels
        ``(p, k)`` summed squared residuals and number of pixels, by ring.
    share
        part of a window's pixels that count: so many terms are independent.
    """

    power: Array
    terms: Array
    squares: Array
    pixels: Array
    share: float


@dataclass(frozen=True, eq=False)
class NoiseSpectrum:
    """Power of the noise by spatial frequency: ``(16,)`` from 0 to 0.71 cycles/px, variance of a pixel × pixels."""

    power: Array

    @classmethod
    def white(cls, variance: float) -> NoiseSpectrum:
        """The same power everywhere."""
        return cls(np.full(NOISE_BINS, variance))

    @classmethod
    def measured(cls, left: Leftover, like: NDArray[np.bool_]) -> NoiseSpectrum:
        """The power of what is left, bin by bin: its mean over beads ``(p,)`` that are believed to be some.

        No more than twice the median over all, so that a few edges of ice do not count.
        """
        freedom = np.maximum(left.terms.mean(axis=0) * left.share, 1.0)
        # median of χ² over its mean (Wilson & Hilferty 1931)
        usual = np.median(left.power / left.terms, axis=0) / (1 - 2 / (9 * freedom)) ** 3
        if like.any():
            usual = np.minimum((left.power[like] / left.terms[like]).mean(axis=0), 2 * usual)
        # fitting the ground takes off what is coarsest: there the noise is no weaker than beside
        usual[0] = max(usual[0], usual[1])
        return cls(np.maximum(usual, 1e-3 * usual.mean() + 1e-30))

    def over(self, size: int) -> Tensor:
        """The power at the frequencies of a rfft of size × size pixels."""
        place = bin_of_frequency(size)
        low = place.long().clamp(0, NOISE_BINS - 2)
        table = torch.from_numpy(np.log(self.power)).float()
        return torch.exp(torch.lerp(table[low], table[low + 1], (place - low).float().clamp(0, 1)))


@dataclass(frozen=True, eq=False)
class NoiseShape:
    """How the variance of a pixel falls towards a bead's middle, where fewer electrons are counted.

    Attributes
    ----------
    ratios
        ``(k,)`` variance over that of the ground, in rings one pixel wide.
    """

    ratios: Array

    @classmethod
    def even(cls) -> NoiseShape:
        """The same variance everywhere."""
        return cls(np.ones(2))

    @classmethod
    def measured(cls, squares: Array, counts: Array, radius_px: float) -> NoiseShape:
        """From summed squares of residuals and numbers of pixels, by ring; the ground begins at 1.3 radii."""
        rings = np.arange(len(squares)) + 0.5
        outer = rings > 1.3 * radius_px
        ground = squares[outer].sum() / max(counts[outer].sum(), 1)
        # as many pixels of the ground beside each ring: the few pixels of the middle say little alone
        blur = np.exp(-0.5 * ((rings[:, None] - rings[None]) / max(1.0, 0.1 * radius_px)) ** 2)
        variance = (blur @ squares) / np.maximum(blur @ counts, 1e-9)
        ratios = np.where(outer, 1.0, np.clip(variance / max(ground, 1e-30), 0.05, 50.0))
        return cls(ratios)

    def at(self, distance_px: Tensor) -> Tensor:
        """Ratios at distances."""
        table = torch.from_numpy(self.ratios).float()
        place = (distance_px - 0.5).clamp(0, len(table) - 1.001)
        low = place.long()
        return torch.lerp(table[low], table[low + 1], place - low)
