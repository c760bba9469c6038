"""Maps of classes from sums over slices, where no half sets say what may be believed.

The signal's power in each shell is what the masked map holds beyond what its noise must: with weights W over half the
noise, a term of the map has the noise 2 / W. A factor T above 1 trusts the data more (RELION's tau2_fudge; Scheres
2012, J. Struct. Biol. 180:519).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.fourier import shell_count, shell_index, shell_sums
from lamella.kernels.central_slices import PADDING
from lamella.kernels.insertion import joined_weights
from lamella.particles.refine_maps import MapSums

__all__ = ["BelievedDifference", "believed_difference", "believed_map", "centre_of_mass_px", "shell_ssnr"]

Array = NDArray[np.float64]

_LEAST_RATIO = 0.05


def believed_map(sums: MapSums, mask: Tensor, trust: float = 1.0, highest_shell: int | None = None) -> Tensor:
    """The masked map ``(n, n, n)`` of sums, regularised by its own signal-to-noise ratio.

    Parameters
    ----------
    sums
        of terms over half the noise.
    mask
        ``(n, n, n)`` 0 … 1.
    trust
        T.
    highest_shell
        beyond which the map is 0; None: none.
    """
    ssnr = trust * shell_ssnr(sums, mask)
    if highest_shell is not None:
        ssnr[highest_shell + 1 :] = 0
    return sums.regularised(ssnr) * mask


def shell_ssnr(sums: MapSums, mask: Tensor) -> Array:
    """Signal-to-noise ratio ``(n // 2 + 1,)`` of a term of the masked map in each shell, 0 or more."""
    return _ratio(_power(sums.unfiltered() * mask), _noise(sums, mask))


@dataclass(frozen=True, eq=False)
class BelievedDifference:
    """What a class's map differs by from that of all.

    Attributes
    ----------
    volume
        ``(n, n, n)``.
    own, shared
        ``(n // 2 + 1,)`` what one term x of a particle that counts fully adds to the same term of this map, over x: as
        one of the class, and as one of all, which is taken away.
    noise
        ``(n // 2 + 1,)`` mean power of a term that is noise.
    """

    volume: Tensor
    own: Array
    shared: Array
    noise: Array


def believed_difference(
    sums: MapSums, whole: MapSums, mask: Tensor, trust: float, highest_shell: int
) -> BelievedDifference:
    """What a class's map differs by from that of all, as far as it is more than their noise.

    Parameters
    ----------
    sums, whole
        of the class, and of all particles together with it.
    mask
        ``(n, n, n)`` where it may differ.
    trust, highest_shell
        as for `believed_map`.

    Notes
    -----
    Of the noise in a class's map the average shares its part W_class / W_all, so the difference has the noise
    2 / W_class − 2 / W_all. Shells that differ by no more than that count a little all the same: with nothing left,
    classes could not begin to differ.
    """
    difference = (sums.unfiltered() - whole.unfiltered()) * mask
    own, shared = _noise(sums, mask), _noise(whole, mask)
    noise = np.maximum(own - shared, 0)
    ratio = trust * np.maximum(_ratio(_power(difference), noise), _LEAST_RATIO)
    ratio[highest_shell + 1 :] = 0
    shape = tuple(difference.shape)
    gain = ratio / (1 + ratio)
    shells = shell_index(shape).clamp_max(len(ratio))
    terms = torch.fft.rfftn(difference) * torch.from_numpy(np.append(gain, 0.0)).float()[shells]
    filtered: Tensor = torch.fft.irfftn(terms, s=shape)
    # a term's share in the masked map is what the mask leaves, over W; its noise is twice that
    return BelievedDifference(filtered * mask, gain * own / 2, gain * shared / 2, gain**2 * noise)


def _ratio(power: Array, noise: Array) -> Array:
    return np.where(noise > 0, np.maximum(power / np.where(noise > 0, noise, 1) - 1, 0.0), 0.0)


def _power(volume: Tensor) -> Array:
    """Mean power ``(n // 2 + 1,)`` of a term in each shell."""
    shape = tuple(volume.shape)
    power: Array = (shell_sums(torch.fft.rfftn(volume).abs() ** 2, shape) / shell_count(shape)).numpy()
    return power


def _noise(sums: MapSums, mask: Tensor) -> Array:
    """The same of the noise in the masked map; 0 where nothing was measured."""
    n = sums.box_px
    masses = joined_weights(torch.from_numpy(sums.grid))
    fine = (PADDING * n,) * 3
    means = (shell_sums(masses, fine) / shell_count(fine)).numpy()[: PADDING * (n // 2) + 1 : PADDING]
    weights = PADDING**3 * means
    return np.where(weights > 0, 2 * float((mask**2).mean()) / np.where(weights > 0, weights, 1), 0.0)


def centre_of_mass_px(volume: Tensor) -> Array:
    """``(3,)`` x, y, z of the centre of what is positive, px from voxel n // 2."""
    positive = volume.clamp_min(0).double()
    line = torch.arange(volume.shape[0], dtype=torch.float64) - volume.shape[0] // 2
    total = float(positive.sum())
    if total <= 0:
        return np.zeros(3)
    sums = [float((positive.sum(dim=others) * line).sum()) for others in ((0, 1), (0, 2), (1, 2))]
    return np.array(sums) / total
