"""Noise2void: a network that must guess each voxel from its surroundings learns nothing of its noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional

from lamella.tomograms.networks.noise2noise import mean_square

__all__ = ["blind_reach", "blinded", "n2v_loss", "noise_correlation"]

_CORRELATED = 0.1  # of the variance: noise that is less alike than this may be seen
_FURTHEST = 4  # voxels on either side that are hidden at most
_BACKGROUND_PX = 3.0  # what is smoother than this Gaussian is not noise
_CALM = 0.25  # of the sample blocks, those with the least in them, show the noise
_HIDDEN = 0.15  # of all voxels at most are hidden at a time
_POINTS = 0.02  # of all voxels at most are guessed at a time


def noise_correlation(blocks: NDArray[np.float32]) -> NDArray[np.float64]:
    """Autocorrelation of noise along z, y and x, at lags 0 … 4 voxels.

    Parameters
    ----------
    blocks
        ``(n, a, b, c)`` samples of a volume. What is smoother than a Gaussian of 3 voxels is taken away, and the
        calmest quarter of them counts: there is no noise without signal in one volume, only places with little.

    Returns
    -------
    correlation
        ``(3, 5)``, 1 at lag 0.
    """
    rest = [block - gaussian_filter(block, _BACKGROUND_PX, mode="nearest") for block in blocks.astype(np.float64)]
    calm = sorted(rest, key=lambda block: float(block.var()))[: max(1, round(_CALM * len(rest)))]
    out = np.ones((3, _FURTHEST + 1))
    for axis in range(3):
        for lag in range(1, _FURTHEST + 1):
            pairs = [(_cut(b, axis, lag, None), _cut(b, axis, None, -lag)) for b in calm if b.shape[axis] > 2 * lag]
            if pairs:
                cross = sum(float((a * b).mean()) for a, b in pairs)
                out[axis, lag] = cross / max(sum(float((b * b).mean()) for b in calm), 1e-30)
            else:
                out[axis, lag] = 0.0
    return out


def _cut(block: NDArray[np.float64], axis: int, start: int | None, stop: int | None) -> NDArray[np.float64]:
    return block[(slice(None),) * axis + (slice(start, stop),)]


def blind_reach(correlation: NDArray[np.float64]) -> tuple[int, int, int]:
    """How many voxels on either side along z, y and x know of a voxel's noise, and must be hidden with it."""
    reach = []
    for line in np.abs(correlation[:, 1:]):
        near = np.flatnonzero(line < _CORRELATED)
        reach.append(int(near[0]) if near.size else line.size)
    return reach[0], reach[1], reach[2]


def blinded(volumes: Tensor, reach: Sequence[int], random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Hide some voxels and the box around each that shares its noise.

    Parameters
    ----------
    volumes
        ``(n, 1, z, y, x)``.
    reach
        half widths of the box along z, y, x.
    random
        on the volumes' device.

    Returns
    -------
    hidden, points
        the volumes, where hidden with values from elsewhere in them that were not; and the boxes' centres, bool.
    """
    widths = [2 * r + 1 for r in reach]
    share = min(_POINTS, _HIDDEN / float(np.prod(widths)))
    points = torch.rand(volumes.shape, generator=random, device=volumes.device) < share
    points[(0,) * 2 + tuple(n // 2 for n in volumes.shape[2:])] = True  # one at least
    boxes = functional.max_pool3d(points.to(volumes.dtype), widths, 1, list(reach)) > 0
    seen = volumes[~boxes]
    others = seen[torch.randint(len(seen), (int(boxes.sum()),), generator=random, device=volumes.device)]
    return volumes.masked_scatter(boxes, others), points


def n2v_loss(
    network: Callable[[Tensor], Tensor], volumes: Tensor, reach: Sequence[int], random: torch.Generator
) -> Tensor:
    """Mean squared difference of the guessed and the measured value at voxels that were hidden.

    Notes
    -----
    Krull et al. 2019; hidden boxes for noise that is correlated after Broaddus et al. 2020.
    """
    hidden, points = blinded(volumes, reach, random)
    return mean_square((network(hidden) - volumes)[points])
