"""Two tomograms in one frame become one: each frequency from the series that measures it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.errors import PostconditionError, SettingsError
from lamella.fourier import fast_size
from lamella.progress import Progress
from lamella.records import VolumeSink, VolumeSource
from lamella.runtime import give_memory_back
from lamella.tomograms.combine_coverage import Coverage

__all__ = ["Block", "Pair", "Voxels", "cut_blocks", "merge", "merge_weights"]

Voxels = NDArray[np.float32]
Block = tuple[slice, slice, slice]

_BYTES_PER_VOXEL = 28.0
"""Of a padded block: two volumes, their spectra, two weights, and what the transforms take (23 were seen)."""


@dataclass(frozen=True, eq=False)
class Pair:
    """One volume of the first series, what fills the same blocks from the second, and where the sum goes."""

    first: VolumeSource
    second: Callable[[Block], tuple[Voxels, Voxels]]
    sink: VolumeSink


def merge(
    pairs: Sequence[Pair],
    shape: tuple[int, int, int],
    coverages: tuple[Coverage, Coverage],
    scale: float,
    halo_px: int,
    budget_bytes: float,
    progress: Progress,
) -> int:
    """Combine volumes of the first series with those of the second, by the same weights.

    Parameters
    ----------
    pairs
        whole and half volumes.
    shape
        (z, y, x) of the first series' volumes.
    coverages
        of both series, in the first one's frame.
    scale
        factor for the second's values.
    halo_px
        voxels around a block that the weights' reach makes it read; where the volume ends, zeros.
    budget_bytes
        memory for one block.

    Returns
    -------
    number of blocks.

    Raises
    ------
    SettingsError
        if the budget is too small for any block.
    PostconditionError
        if what comes out is not finite.

    Notes
    -----
    Where the second tomogram has nothing, the first one's own voxels stand for it: what comes out there is the first
    tomogram, and nothing rings at the border.
    """
    blocks = cut_blocks(shape, halo_px, budget_bytes)
    padded = tuple(_padded(max(b[axis].stop - b[axis].start for b in blocks), halo_px) for axis in range(3))
    weights = merge_weights(coverages, (padded[0], padded[1], padded[2]))
    steps = len(blocks) * len(pairs)
    for number, (block, pair) in enumerate(product(blocks, pairs)):
        around = tuple(slice(b.start - halo_px, b.start - halo_px + n) for b, n in zip(block, padded, strict=True))
        z, y, x = around
        core = tuple(slice(halo_px, halo_px + b.stop - b.start) for b in block)
        second, inside = pair.second((z, y, x))
        second *= scale
        second *= inside
        np.subtract(1, inside, out=inside)
        first = _padded_block(pair.first, shape, (z, y, x))
        inside *= first
        second += inside
        del inside
        parts = [first, second]
        del first, second
        give_memory_back()  # spectra are of other sizes than what filling the blocks left
        total = _weighted_sum(parts, weights)
        if not np.isfinite(total).all():
            raise PostconditionError(
                "the combined tomogram holds numbers that are not finite",
                mend="look at the two tomograms: does one hold NaN?",
            )
        pair.sink(block[0].start, block[1].start, block[2].start, np.ascontiguousarray(total[core]))
        del total
        give_memory_back()
        progress((number + 1) / steps, "combining")
    return len(blocks)


def merge_weights(coverages: tuple[Coverage, Coverage], shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """What each series' spectrum is multiplied by, ``(z, y, x // 2 + 1)`` float32 each.

    The weights of both, over their sum, times the greater coverage: where both measure by the inverse of their noise's
    variance, where one does by it alone, and in the pyramid that both miss nothing.
    """
    nz, ny, nx = shape
    ky, kx = torch.fft.fftfreq(ny)[:, None], torch.fft.rfftfreq(nx)[None]
    out = (torch.empty(nz, ny, nx // 2 + 1), torch.empty(nz, ny, nx // 2 + 1))
    for z, kz in enumerate(torch.fft.fftfreq(nz)):
        (one, weight_one), (other, weight_other) = (coverage.at(kz, ky, kx) for coverage in coverages)
        factor = torch.maximum(one, other) / (weight_one + weight_other).clamp_min_(1e-20)
        out[0][z] = weight_one * factor
        out[1][z] = weight_other * factor
    return out


def cut_blocks(shape: tuple[int, int, int], halo_px: int, budget_bytes: float) -> list[Block]:
    """The fewest blocks whose work stays within a budget; each holds all planes.

    Raises
    ------
    SettingsError
        if it is too small.
    """
    nz, ny, nx = shape
    columns = _padded(nz, halo_px) * _BYTES_PER_VOXEL
    counts = [1, 1]
    while (
        columns * np.prod([_padded(-(-n // c), halo_px) for n, c in zip((ny, nx), counts, strict=True)]) > budget_bytes
    ):
        longest = int(np.argmax([n / c for n, c in zip((ny, nx), counts, strict=True)]))
        if (ny, nx)[longest] / counts[longest] < 32:
            need = columns * _padded(32, halo_px) ** 2 / 2**30
            raise SettingsError(
                f"the smallest block of a combination takes {need:.2g} GiB, and it may take {budget_bytes / 2**30:.2g}",
                mend="free memory or allow more with combine.memory, or reconstruct thinner tomograms or larger voxels",
            )
        counts[longest] += 1
    edges = [np.linspace(0, n, c + 1).round().astype(int) for n, c in zip((ny, nx), counts, strict=True)]
    return [
        (slice(0, nz), slice(int(edges[0][i]), int(edges[0][i + 1])), slice(int(edges[1][j]), int(edges[1][j + 1])))
        for i, j in product(range(counts[0]), range(counts[1]))
    ]


def _padded(length: int, halo_px: int) -> int:
    """Voxels along a block's axis with its halo, as many as are fast to transform."""
    return fast_size(length + 2 * halo_px)


def _padded_block(volume: VolumeSource, shape: tuple[int, int, int], block: Block) -> Voxels:
    """A block that may reach beyond the volume: zeros there."""
    out = np.zeros([part.stop - part.start for part in block], np.float32)
    inner = [slice(max(part.start, 0), min(part.stop, n)) for part, n in zip(block, shape, strict=True)]
    place = tuple(slice(i.start - part.start, i.stop - part.start) for i, part in zip(inner, block, strict=True))
    out[place] = volume.block(*inner)
    return out


def _weighted_sum(parts: list[Voxels], weights: tuple[Tensor, Tensor]) -> Voxels:
    """The two volumes of a list, each times its weights, as one; they are taken out of it when they are done with."""
    size = parts[0].shape
    terms = torch.fft.rfftn(torch.from_numpy(parts.pop(0))).mul_(weights[0])
    terms += torch.fft.rfftn(torch.from_numpy(parts.pop(0))).mul_(weights[1])
    total: Voxels = torch.fft.irfftn(terms, s=size).numpy()
    return total
