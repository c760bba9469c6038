"""The ratio of two tomograms' values: from the frequencies that both measure, as far as they agree."""

from __future__ import annotations

import numpy as np
import torch

from lamella.fourier import shell_sums
from lamella.tomograms.combine_coverage import Coverage
from lamella.tomograms.combine_register import Registration
from lamella.tomograms.combine_resample import resample
from lamella.tomograms.combine_working import WorkingVolume, joint_weights

__all__ = ["relative_scale"]


def relative_scale(
    first: WorkingVolume, second: WorkingVolume, coverages: tuple[Coverage, Coverage], found: Registration
) -> float:
    """What the second tomogram's values are to be multiplied by to have the first one's amplitudes.

    Parameters
    ----------
    first, second
        small copies of one voxel size.
    coverages
        of each series in its own frame.
    found
        how the second lies on the first.

    Notes
    -----
    The root of the ratio of their power over shells, each shell by the square of its correlation: where noise rules,
    power says nothing of the specimen.
    """
    shape = first.grid.shape
    block = (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
    moved, inside = resample(second.source, second.grid, found.motion, found.warp, first.grid, block)
    one, other = (torch.fft.rfftn(torch.from_numpy(part * inside)) for part in (first.voxels, moved))
    own = (coverages[0], coverages[1].turned(found.motion.rotation.T))
    weight = joint_weights(own, shape, first.grid.voxel_ang)
    cross = shell_sums((one.real * other.real + one.imag * other.imag) * weight, shape)
    powers = [shell_sums((part.real**2 + part.imag**2) * weight, shape) for part in (one, other)]
    agreement = (cross / (powers[0] * powers[1]).clamp_min(1e-30).sqrt()).clamp_min(0) ** 2
    ratio = float((agreement * powers[0]).sum() / (agreement * powers[1]).sum().clamp_min(1e-30))
    return float(np.sqrt(ratio)) * first.deviation / second.deviation
