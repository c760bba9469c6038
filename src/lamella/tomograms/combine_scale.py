"""The ratio of two tomograms' values: from the frequencies that both measure, as far as they agree."""

from __future__ import annotations

import numpy as np
import torch

from lamella.fourier import shell_sums
from lamella.tomograms.combine_register import Registration
from lamella.tomograms.combine_working import WorkingPair

__all__ = ["relative_scale"]


def relative_scale(pair: WorkingPair, found: Registration) -> float:
    """What the second tomogram's values are to be multiplied by to have the first one's amplitudes.

    Parameters
    ----------
    found
        how the second lies on the first.

    Notes
    -----
    The root of the ratio of their power over shells, each shell by the square of its correlation: where noise rules,
    power says nothing of the specimen.
    """
    shape = pair.first.grid.shape
    moved, inside = pair.laid_on(found.motion, found.warp)
    moved *= inside
    inside *= pair.first.voxels
    one, other = (torch.fft.rfftn(torch.from_numpy(part)) for part in (inside, moved))
    del moved, inside
    weight = pair.weights(found.motion, shape)
    powers = [shell_sums(part.abs().square_().mul_(weight), shape) for part in (one, other)]
    cross = shell_sums(one.mul_(other.conj()).real * weight, shape)
    agreement = (cross / (powers[0] * powers[1]).clamp_min(1e-30).sqrt()).clamp_min(0) ** 2
    ratio = float((agreement * powers[0]).sum() / (agreement * powers[1]).sum().clamp_min(1e-30))
    return float(np.sqrt(ratio)) * pair.first.deviation / pair.second.deviation
