"""Rings of a tile's power spectrum: sectors of direction times bins of squared frequency."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rings", "hann", "overlap_factor"]

Array = NDArray[np.float64]

_TURN_PER_BIN = 1.6
"""Largest change of the phase 2χ within a bin, rad, at the largest defocus that is sought."""
_LEAST_BINS = 160
_NEIGHBOURS = (1 + 2 * (4 / 9 + 1 / 36)) ** 2
"""Terms of a spectrum under a Hann window that say the same: the sum over neighbours of their squared correlation."""


@dataclass(frozen=True, eq=False)
class Rings:
    """Which bin each term of a tile's spectrum belongs to.

    Attributes
    ----------
    tile_px
        (height, width) of the tile.
    index
        ``(h, w // 2 + 1)`` number of the bin as first made, sector-major, −1 for none.
    terms
        ``(sectors, bins)`` number of terms in each bin.
    square
        ``(sectors, bins)`` mean squared frequency in each, 1/Å².
    cos2, sin2
        ``(sectors, bins)`` mean cosine and sine of twice the direction, counted from x towards y.
    edges
        ``(bins + 1,)`` edges of the bins, 1/Å².
    """

    tile_px: tuple[int, int]
    index: NDArray[np.int32]
    terms: Array
    square: Array
    cos2: Array
    sin2: Array
    edges: Array

    @classmethod
    def of(
        cls,
        tile_px: tuple[int, int],
        pixel_ang: tuple[float, float],
        frequency_per_ang: tuple[float, float],
        *,
        turn_per_square: float,
        sectors: int = 12,
    ) -> Rings:
        """Bins of a tile of (height, width), between two frequencies.

        Parameters
        ----------
        pixel_ang
            (y, x) size of a pixel.
        frequency_per_ang
            lowest and highest.
        turn_per_square
            change of the phase 2χ with squared frequency at the largest defocus, 2π λ Δf, rad Å².
        sectors
            directions over half a turn.
        """
        low, high = (value**2 for value in frequency_per_ang)
        bins = max(_LEAST_BINS, int(np.ceil(turn_per_square * (high - low) / _TURN_PER_BIN)))
        edges = np.linspace(low, high, bins + 1)
        ky = np.fft.fftfreq(tile_px[0])[:, None] / pixel_ang[0]
        kx = np.fft.rfftfreq(tile_px[1])[None, :] / pixel_ang[1]
        square = ky**2 + kx**2
        direction = np.arctan2(np.broadcast_to(ky, square.shape), np.broadcast_to(kx, square.shape))
        sector = np.floor(direction % np.pi / np.pi * sectors + 0.5).astype(int) % sectors
        place = np.floor((square - low) / (high - low) * bins).astype(int)
        inside = (place >= 0) & (place < bins)
        inside[ky[:, 0] < 0, 0] = False  # the conjugates of the rows above
        if tile_px[1] % 2 == 0:
            inside[:, -1] = False
        index = np.where(inside, sector * bins + place, -1).astype(np.int32)

        def mean(values: Array) -> Array:
            sums = np.bincount(index[inside], values[inside], minlength=sectors * bins)
            return np.asarray(sums / np.maximum(terms, 1)).reshape(sectors, bins)

        terms = np.bincount(index[inside], minlength=sectors * bins)
        return cls(
            tile_px, index, terms.reshape(sectors, bins).astype(np.float64), mean(square),
            mean(np.cos(2 * direction)), mean(np.sin(2 * direction)), edges,
        )  # fmt: skip

    def merged(self, factor: int) -> Rings:
        """The same with so many neighbouring bins in one; bins left over at the end go."""
        sectors, count = len(self.terms), self.terms.shape[1] // factor
        terms = self.terms[:, : count * factor].reshape(sectors, count, factor)

        def mean(values: Array) -> Array:
            parts = values[:, : count * factor].reshape(sectors, count, factor)
            return np.asarray((parts * terms).sum(axis=2) / np.maximum(terms.sum(axis=2), 1))

        return Rings(
            self.tile_px, self.index, terms.sum(axis=2), mean(self.square), mean(self.cos2), mean(self.sin2),
            self.edges[: count * factor + 1 : factor],
        )  # fmt: skip

    @cached_property
    def middle(self) -> Array:
        """``(bins,)`` middle of the bins, 1/Å²."""
        return np.asarray((self.edges[1:] + self.edges[:-1]) / 2)

    @cached_property
    def modes(self) -> Array:
        """``(sectors, bins)`` independent terms of one tile in each bin."""
        return self.terms / _NEIGHBOURS


def hann(size: int) -> NDArray[np.float32]:
    """``(size,)`` Hann window, 0 at place 0 and 1 in the middle."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


def overlap_factor(size: int, step: int) -> float:
    """How many tiles under Hann windows, on a square grid of that step, count as one (sum of squared correlations)."""
    window = hann(size).astype(np.float64)
    total, norm = 1.0, float(window @ window)
    for shift in range(step, size, step):
        total += 2 * (float(window[shift:] @ window[:-shift]) / norm) ** 2
    return total**2
