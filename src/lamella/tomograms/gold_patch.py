"""Discs of a view painted over with texture that continues what surrounds them.

Painting is conditional simulation of a Gaussian field with the view's own covariance (kriging; Journel 1974, Econ.
Geol. 69:673): a texture n is drawn without regard to the place, and what the surroundings have that it lacks is carried
into the disc by the best linear prediction,

    paint = n + K_fa K_aa⁻¹ (image − n)_a,

K the covariance, a the surroundings, f the disc. Its mean, variance and spectrum are the field's; at the rim it goes on
as the field does, so there is no edge that blending must hide. The mean is taken as unknown (ordinary kriging).

The surroundings are averaged over cells of some pixels where beads are many pixels wide, so that a few hundred numbers
are solved for at any pixel size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve

from lamella.fourier import fast_size
from lamella.tomograms.gold_noise import Texture

__all__ = ["Disc", "Prediction"]

Array = NDArray[np.float64]
Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

_CELLS = 6.0  # least radius of a disc, in cells
_RING = 3.0  # cells of the surroundings, beyond the disc
_UNKNOWN_MEAN = 10.0  # variance of the mean, over that of a cell
_NUGGET = 1e-3  # of a cell's variance: keeps the solve stable where neighbours are alike


@dataclass(frozen=True)
class Disc:
    """A disc in the middle of a square window, and the cells of the window.

    Attributes
    ----------
    radius_px
        of the disc, about the window's centre pixel ``size // 2``.
    """

    radius_px: float

    @cached_property
    def factor(self) -> int:
        """Pixels along a cell's edge."""
        return max(1, int(self.radius_px / _CELLS))

    @cached_property
    def size(self) -> int:
        """Edge of the window, px: so large that its covariance, which is periodic, does not meet itself."""
        reach = self.radius_px + (_RING + 1) * self.factor
        return self.factor * fast_size(int(np.ceil((2 * reach + self.radius_px) / self.factor)))

    @cached_property
    def mask(self) -> Mask:
        """``(s, s)`` the disc."""
        line = np.arange(self.size) - self.size // 2
        mask: Mask = line[:, None] ** 2 + line[None] ** 2 <= self.radius_px**2
        return mask

    @cached_property
    def cells(self) -> NDArray[np.int64]:
        """``(a, 2)`` row and column of each cell in the disc or in the ring round it."""
        middle = (self.size // 2) / self.factor
        line = np.arange(self.size // self.factor) + 0.5 - middle
        reach = self.radius_px / self.factor + _RING
        return np.argwhere(line[:, None] ** 2 + line[None] ** 2 <= reach**2)

    @cached_property
    def pixels(self) -> NDArray[np.int64]:
        """``(f, 2)`` row and column of each pixel of the disc."""
        return np.argwhere(self.mask)

    def averaged(self, windows: Image) -> Array:
        """``(m, a)`` means of the cells of windows ``(m, s, s)``."""
        count = self.size // self.factor
        small = windows.reshape(len(windows), count, self.factor, count, self.factor).mean(axis=(2, 4))
        return np.asarray(small[:, self.cells[:, 0], self.cells[:, 1]], dtype=np.float64)


class Prediction:
    """What cells round a disc say of its pixels."""

    def __init__(self, disc: Disc, texture: Texture) -> None:
        self.disc = disc
        factor, size = disc.factor, disc.size
        box = np.zeros((size, size))
        box[:factor, :factor] = 1 / factor**2
        spectrum = np.fft.fft2(box)
        point_cell = np.fft.ifft2(texture.power * spectrum.conj()).real  # pixel minus first pixel of a cell
        cell_cell = np.fft.ifft2(texture.power * np.abs(spectrum) ** 2).real
        apart = factor * (disc.cells[:, None] - disc.cells[None])
        among = cell_cell[apart[..., 0] % size, apart[..., 1] % size]
        unknown = _UNKNOWN_MEAN * float(among[0, 0])
        self.among = among + unknown + _NUGGET * float(among[0, 0]) * np.eye(len(among))
        apart = disc.pixels[:, None] - factor * disc.cells[None]
        self.across = (point_cell[apart[..., 0] % size, apart[..., 1] % size] + unknown).astype(np.float32)

    @cached_property
    def ring(self) -> Mask:
        """``(a,)`` which cells hold no pixel of the disc."""
        count = self.disc.size // self.disc.factor
        shape = (count, self.disc.factor, count, self.disc.factor)
        touched = np.asarray(self.disc.mask.reshape(shape).any(axis=(1, 3)))
        ring: Mask = ~touched[self.disc.cells[:, 0], self.disc.cells[:, 1]]
        return ring

    @cached_property
    def _factor(self) -> tuple[Array, bool]:
        factor: tuple[Array, bool] = cho_factor(self.among[np.ix_(self.ring, self.ring)], check_finite=False)
        return factor

    def inside(self, lacking: Array, known: Mask) -> Image:
        """``(f,)`` what to add to the pixels of the disc.

        Parameters
        ----------
        lacking
            ``(a,)`` what the surroundings have that the drawn texture lacks.
        known
            ``(a,)`` which of the cells are to be believed.
        """
        if not known.any():
            return np.zeros(len(self.disc.pixels), dtype=np.float32)
        weights = np.zeros(len(known))
        if (known == self.ring).all():
            weights[known] = cho_solve(self._factor, lacking[known], check_finite=False)
        else:
            weights[known] = solve(self.among[np.ix_(known, known)], lacking[known], assume_a="pos", check_finite=False)
        return np.asarray(self.across @ weights.astype(np.float32), dtype=np.float32)
