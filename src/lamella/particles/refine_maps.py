"""Maps from poses: sums over slices, what noise they hold, and the reference that is regularised by it.

The map that fits its half set best is Σ x / (Σ T² + 1/τ²), both over the noise, with the signal's power τ² per shell
from the halves' correlation: SSNR = FSC / (1 − FSC) of one half map, τ² = SSNR / mean of Σ T² in the shell (Scheres
2012, J. Mol. Biol. 415:406; J. Struct. Biol. 180:519).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.fourier import shell_correlation, shell_count, shell_index, shell_sums
from lamella.kernels.central_slices import PADDING, unpadded_volume
from lamella.kernels.insertion import add_terms, join_mates
from lamella.particles.likelihood import ParticleTerms

__all__ = ["MapSums", "half_correlation", "signal_to_noise"]

Array = NDArray[np.float64]

_LEAST_MASS = 1e-3  # of a shell's mean: what was measured less is divided by this
_LEAST_CORRELATION = 0.02  # from the first shell below it, nothing is believed
_LEAST_SSNR = 1e-6


class MapSums:
    """Sums of terms and of their weights on the padded grid, to which particles are added.

    Parameters
    ----------
    box_px
        of the pictures and the map.
    group
        ``(g, 3, 3)`` rotations of the map's symmetry: each picture is added in all of them.
    """

    def __init__(self, box_px: int, group: Array) -> None:
        m = PADDING * box_px
        self.box_px, self._group = box_px, group
        self.grid = np.zeros((m, m, m // 2 + 1, 3), np.float32)

    def add(self, terms: ParticleTerms, matrices: Array, places_px: Array, weights: Array) -> None:
        """Add one particle in several poses.

        Parameters
        ----------
        terms
            over the noise.
        matrices, places_px, weights
            ``(p, 3, 3)``, ``(p, 3)`` and ``(p,)``: poses, and what each counts.
        """
        for matrix, place, weight in zip(matrices, places_px, weights, strict=True):
            values = terms.moved(place) * np.float32(weight)
            squares = terms.squares * np.float32(weight)
            for same in self._group:
                turned = terms.frames @ (matrix @ same)
                add_terms(values, squares, terms.at.index, turned, self.box_px, self.grid)

    def plus(self, other: MapSums) -> MapSums:
        """The sums of both together."""
        both = MapSums(self.box_px, self._group)
        both.grid = self.grid + other.grid
        return both

    def unfiltered(self) -> Tensor:
        """The map ``(n, n, n)`` without regularisation."""
        return self._map(torch.zeros(self.box_px // 2 + 1, dtype=torch.float64))

    def regularised(self, ssnr: Array) -> Tensor:
        """The map ``(n, n, n)`` with the signal-to-noise ratio ``(s,)`` of each of its shells."""
        return self._map(1 / torch.from_numpy(np.maximum(ssnr, _LEAST_SSNR)))

    def _map(self, share: Tensor) -> Tensor:
        """Divide by the weights and, of their mean over each shell, a share."""
        sums, masses = join_mates(torch.from_numpy(self.grid))
        shape = (PADDING * self.box_px,) * 3
        # means over fine shells, of the grid's own sample
        means = (shell_sums(masses, shape) / shell_count(shape).clamp_min(1)).float()
        fine = shell_index(shape)
        coarse = torch.arange(len(means)) // PADDING
        extra = means * share.float()[coarse.clamp_max(len(share) - 1)]
        inside = fine < len(means)
        place = fine.clamp_max(len(means) - 1)
        divisor = torch.maximum(masses, _LEAST_MASS * means[place]) + extra[place]
        held = inside & (divisor > 0)
        return unpadded_volume(torch.where(held, sums / divisor.clamp_min(1e-30), 0), self.box_px)


def half_correlation(half1: Tensor, half2: Tensor, mask: Tensor) -> Array:
    """Fourier shell correlation ``(n // 2 + 1,)`` of two masked half maps."""
    correlation: Array = shell_correlation(half1 * mask, half2 * mask)[1].numpy()
    return correlation


def signal_to_noise(fsc: Array, *, whole: bool = False) -> Array:
    """SSNR ``(s,)`` of each shell of a half map, or of the whole map, whose halves correlate so.

    Shells from the first that is uncorrelated on hold no signal.
    """
    below = np.flatnonzero(fsc[1:] < _LEAST_CORRELATION)
    last = 1 + int(below[0]) if len(below) else len(fsc)
    known = np.clip(np.where(np.arange(len(fsc)) < last, fsc, 0.0), 0.0, 0.9999)
    known[0] = known[1]
    ratio: Array = known / (1 - known)
    return 2 * ratio if whole else ratio
