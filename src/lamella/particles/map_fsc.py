"""How far two half maps agree: shell correlation unmasked, masked, and without what the mask itself correlates."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.errors import ImageError, InputError
from lamella.fourier import shell_correlation, shell_index
from lamella.geometry import point_group
from lamella.particles.map_mask import automatic_mask
from lamella.records.map_fsc import MapFsc

__all__ = ["check_halves", "half_map_fsc", "independent_part", "masked_fsc", "randomise_phases"]

Volume = NDArray[np.float32]
Curve = NDArray[np.float64]

_SAFE = 0.8  # phases are kept where the unmasked halves agree better than this
_BLEED = 2  # shells over which a mask's transform mixes true and random phases
_LARGEST_COPY = 1e-6  # of the halves' power: less difference than this is rounding


def check_halves(half1: Volume, half2: Volume) -> None:
    """Refuse half maps that no correlation can be measured with.

    Raises
    ------
    ImageError
        if they differ in size, are no cubes, hold NaN or infinity, or are empty.
    InputError
        if they are one and the same map.
    """
    if half1.shape != half2.shape or half1.ndim != 3 or len(set(half1.shape)) != 1:
        raise ImageError(
            f"half maps of {half1.shape} and {half2.shape} voxels", mend="give two cubes of one size and voxel size"
        )
    for number, half in ((1, half1), (2, half2)):
        if not np.isfinite(half).all():
            raise ImageError(f"half map {number} holds NaN or infinity", mend="average the particles again")
        if np.ptp(half) == 0:
            raise ImageError(f"half map {number} is constant", mend="look whether its half set has any particles")
    power = float(np.var(half1, dtype=np.float64)) + float(np.var(half2, dtype=np.float64))
    if float(np.var(half1 - half2, dtype=np.float64)) < _LARGEST_COPY * power:
        raise InputError(
            "both half maps are the same map, so their correlation says nothing",
            mend="give the averages of two half sets of particles",
        )


def half_map_fsc(half1: Volume, half2: Volume, voxel_size_ang: float, symmetry: str = "C1") -> MapFsc:
    """Correlate the halves of an average as every step states it: under the mask that is found in their mean.

    Where no body stands out of the noise there is no mask, and the correlation is that of the whole boxes.

    Parameters
    ----------
    half1, half2
        ``(n, n, n)`` averages of two half sets that never met, mass positive.
    voxel_size_ang
        Å.
    symmetry
        point group that was imposed on both.
    """
    try:
        found = automatic_mask((0.5 * (half1 + half2)).astype(np.float32), voxel_size_ang)
    except ImageError:
        parts = (torch.from_numpy(np.ascontiguousarray(half, dtype=np.float32)) for half in (half1, half2))
        frequency, unmasked, terms = (curve.numpy() for curve in shell_correlation(*parts))
        terms = terms / len(point_group(symmetry))
        return MapFsc(frequency_per_ang=frequency / voxel_size_ang, correlation=unmasked, terms=terms)
    return masked_fsc(half1, half2, found.mask, voxel_size_ang, symmetry=symmetry)


def masked_fsc(
    half1: Volume,
    half2: Volume,
    mask: Volume,
    voxel_size_ang: float,
    *,
    symmetry: str = "C1",
    phase_from_ang: float | None = None,
    seed: int = 1,
) -> MapFsc:
    """Correlate two half maps shell by shell, and take out what the mask adds.

    Parameters
    ----------
    half1, half2
        ``(n, n, n)`` averages of two half sets that never met.
    mask
        ``(n, n, n)``, 0…1, with a soft edge.
    voxel_size_ang
        Å.
    symmetry
        point group that was imposed on both, which leaves fewer independent terms.
    phase_from_ang
        resolution from which phases are made random; None: where the unmasked correlation first falls below 0.8.
    seed
        of the random phases.

    Returns
    -------
    MapFsc
        its `correlation` is (FSC_masked − FSC_random) / (1 − FSC_random) from two shells after that frequency on, where
        the random phases are no longer mixed with true ones, and FSC_masked before.

    Notes
    -----
    Chen et al., Ultramicroscopy 135, 24 (2013), eq. 4.
    """
    parts = [torch.from_numpy(np.ascontiguousarray(half, dtype=np.float32)) for half in (half1, half2)]
    window = torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))
    frequency, unmasked, terms = (curve.numpy() for curve in shell_correlation(*parts))
    per_ang = frequency / voxel_size_ang
    masked = shell_correlation(*(part * window for part in parts))[1].numpy()
    first = _first_random_shell(per_ang, unmasked, phase_from_ang)
    random = [randomise_phases(part, first, seed + number) for number, part in enumerate(parts)]
    randomised = shell_correlation(*(part * window for part in random))[1].numpy()
    corrected = masked.copy()
    tail = slice(first + _BLEED, None)
    corrected[tail] = (masked[tail] - randomised[tail]) / np.maximum(1 - randomised[tail], 1e-6)
    return MapFsc(
        frequency_per_ang=per_ang,
        correlation=corrected,
        unmasked=unmasked,
        masked=masked,
        randomised=randomised,
        terms=terms * independent_part(mask, symmetry),
    )


def independent_part(mask: Volume, symmetry: str = "C1") -> float:
    """Part of a shell's terms that are independent in half maps under a mask w, with noise that fills the box.

    (Σ w²)² / (n³ Σ w⁴), over the order of the point group: the mask's transform ties each term to its neighbours, so
    that Σ A B* over a shell varies as |FT(w²)|² of all pairs makes it, and symmetry makes terms equal.
    """
    squares = np.square(mask, dtype=np.float64)
    whole = squares.sum() ** 2 / np.square(squares).sum() / mask.size
    return float(whole) / len(point_group(symmetry))


def randomise_phases(volume: Tensor, first_shell: int, seed: int) -> Tensor:
    """The volume with its amplitudes, and with random phases from a shell on.

    The phases are those of white noise, so that the result is real.
    """
    generator = torch.Generator().manual_seed(seed)
    terms = torch.fft.rfftn(volume)
    noise = torch.fft.rfftn(torch.randn(volume.shape, generator=generator, dtype=volume.dtype))
    turned = noise * (terms.abs() / noise.abs().clamp_min(torch.finfo(volume.dtype).tiny))
    out: Tensor = torch.fft.irfftn(
        torch.where(shell_index(tuple(volume.shape)) >= first_shell, turned, terms), s=tuple(volume.shape)
    )
    return out


def _first_random_shell(per_ang: Curve, unmasked: Curve, phase_from_ang: float | None) -> int:
    """The first shell of random phases.

    Raises
    ------
    InputError
        if the voxels are too coarse for the frequency that was asked for.
    """
    if phase_from_ang is not None:
        found = int(np.searchsorted(per_ang, 1 / phase_from_ang))
        if found >= len(per_ang):
            raise InputError(
                f"phases cannot be random from {phase_from_ang:g} Å on in a map that ends at {1 / per_ang[-1]:.3g} Å",
                mend="set postprocess.phase_from coarser, or leave it auto",
            )
        return max(found, 1)
    low = np.flatnonzero(unmasked[1:] < _SAFE)
    return int(low[0]) + 1 if len(low) else len(per_ang)
