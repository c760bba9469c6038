"""Pseudo-subtomograms: what a particle's pictures say of a volume in the tomogram's frame.

The pictures x_v = T_v · image and the squared transfers T_v² of a particle, inserted into the transform of a volume,

    D = Σ_v Pᵀ_v x_v,    W = Σ_v Pᵀ_v T_v²,

hold all that the pictures say of a map S as long as |S|² varies little between neighbouring terms: over the noise,
log L = Σ_k Re(D* S) − W |S|² / 2. W is the multiplicity of a term, each view counted by its squared transfer.

RELION 3 expects a subtomogram X = C · S + noise of equal strength everywhere, with C in a volume of its own. From D and
W that is X = D / √W with C = √W: its noise is white, and X · C / C² summed over particles is Σ D / Σ W again.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.kernels.insertion import add_pictures, join_mates
from lamella.kernels.trilinear import linear_fall
from lamella.particles.extract_box import PictureBox
from lamella.particles.views import SeriesTransfer, view_rotations
from lamella.records import Particles

__all__ = ["VolumeMaker", "centred_terms", "centred_volume", "whitened_volume"]

Pixels = NDArray[np.float32]
Integers = NDArray[np.int64]

_LEAST_WEIGHT = 1e-3
"""Of the largest weight: terms below hold nothing."""
_FALL_OF_A_THIRD = 0.68  # sinc²(1 / 3): what linear interpolation leaves a third of the box from its middle


def centred_terms(pictures: Tensor, size: int | None = None) -> Tensor:
    """The rfft of pictures or volumes whose origin is pixel n // 2, as if it were at index 0.

    Parameters
    ----------
    pictures
        ``(v, n, n)``.
    size
        to which they are padded with 0 all round; None: as they are.
    """
    n = pictures.shape[-1]
    size = size or n
    padded = pictures.new_zeros(len(pictures), size, size)
    low = size // 2 - n // 2
    padded[:, low : low + n, low : low + n] = pictures
    terms: Tensor = torch.fft.rfft2(padded.roll((-(size // 2), -(size // 2)), (1, 2)))
    return terms


def centred_volume(terms: Tensor) -> Tensor:
    """The volume ``(n, n, n)``, origin at n // 2, of terms ``(n, n, n // 2 + 1)`` with the origin at index 0."""
    n = terms.shape[0]
    volume: Tensor = torch.fft.irfftn(terms, s=(n, n, n)).roll((n // 2,) * 3, (0, 1, 2))
    return volume


class VolumeMaker:
    """Makes the pseudo-subtomograms of one tomogram's particles.

    A subtomogram has the frame of A_sub: x_tomogram = A_sub · x_subtomogram + place.

    Parameters
    ----------
    particles
        of one tomogram.
    box
        of their pictures.
    """

    def __init__(self, particles: Particles, box: PictureBox) -> None:
        self._particles, self._box = particles, box
        self._positions = particles.positions_ang()
        self._rotations = view_rotations(particles.tilt_series)
        self._frames = particles.subtomogram_matrices()
        self._transfer = SeriesTransfer(particles.tilt_series, box.box_px, box.pixel_size_ang)
        self._fall = _held_fall(box.box_px)

    def make(self, index: int, pictures: Pixels, views: Integers) -> tuple[Pixels, Pixels]:
        """The volume and weights of one particle.

        Parameters
        ----------
        index
            of the particle.
        pictures
            ``(v, box, box)``, multiplied by the transfer.
        views
            ``(v,)`` of the series, that they show.

        Returns
        -------
        volume
            ``(box, box, box)``: D, whose origin is voxel box // 2.
        weights
            ``(box, box, box // 2 + 1)``: W in the layout of an rfft, origin at index 0.
        """
        n = self._box.box_px
        matrices = torch.from_numpy(self._rotations[views] @ self._frames[index])
        squares = self._transfer.at(self._positions[index], views) ** 2
        grid = torch.zeros(n, n, n // 2 + 1, 3)
        add_pictures(centred_terms(torch.from_numpy(pictures)), squares, matrices, grid)
        sums, masses = join_mates(grid)
        return (centred_volume(sums) / self._fall).numpy(), masses.numpy()


def _held_fall(n: int) -> Tensor:
    """What linear interpolation takes from a volume towards its faces; in the corners no less than in their middle."""
    return linear_fall(n, n).clamp_min((2 / np.pi) ** 2)


def whitened_volume(volume: Pixels, weights: Pixels) -> tuple[Pixels, Pixels]:
    """A subtomogram as RELION 3 expects it, of what `VolumeMaker` made.

    Parameters
    ----------
    volume, weights
        ``(box, box, box)`` D and ``(box, box, box // 2 + 1)`` W.

    Returns
    -------
    subtomogram, transfer
        ``(box, box, box)`` D / √W, and ``(box, box, box // 2 + 1)`` √W; both 0 where W is next to nothing.

    Notes
    -----
    D is divided by √W as it was interpolated, like W: with the fall towards the faces taken off before, what was folded
    into the box there would leak into the particle. The fall is divided out of the result, to a third of the box from
    its middle, and held beyond. A particle that fills half the box then agrees with √W times its map's transform within
    3 % in each shell; without, it is 11 % weaker, and the more so farther out.
    """
    held = weights > _LEAST_WEIGHT * weights.max()
    transfer = np.sqrt(np.where(held, weights, 0), dtype=np.float32)
    low = volume.shape[0] // 2
    fallen = torch.from_numpy(volume) * _held_fall(volume.shape[0])
    terms = torch.fft.rfftn(fallen.roll((-low,) * 3, (0, 1, 2)))
    gain = np.where(held, 1 / np.where(held, transfer, 1), 0).astype(np.float32)
    fall = linear_fall(volume.shape[0], volume.shape[0]).clamp_min(_FALL_OF_A_THIRD)
    return (centred_volume(terms * torch.from_numpy(gain)) / fall).numpy(), transfer
