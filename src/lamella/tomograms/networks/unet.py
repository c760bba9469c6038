"""A small 3-D U-Net whose output at a voxel depends on a fixed surrounding of it, so that tiles agree exactly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Architecture", "UNet"]

_SLOPE = 0.1  # of the leaky rectifier below zero
_BINOMIAL = (0.25, 0.5, 0.25)

Pool = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What a network is made of.

    Attributes
    ----------
    channels
        features of the finest level; each coarser one has twice as many.
    depth
        number of levels, each half as fine as the one before; the finest has every voxel.
    flat
        how many of the finest levels are halved in y and x only: for volumes that are thin along z.
    """

    channels: int
    depth: int
    flat: int = 0

    def pools(self) -> tuple[Pool, ...]:
        """By how much (z, y, x) shrink from each level to the next coarser one."""
        return tuple((1 if level < self.flat else 2, 2, 2) for level in range(self.depth - 1))

    @property
    def align(self) -> tuple[int, int, int]:
        """Blocks begin at multiples of this (z, y, x), so that the coarse voxels of all blocks are the same."""
        z = y = 1
        for pool in self.pools():
            z, y = z * pool[0], y * pool[1]
        return z, y, y

    @property
    def halo(self) -> tuple[int, int, int]:
        """How many voxels around it a voxel of the output depends on, rounded up to `align`."""
        reach = [_reach([pool[axis] for pool in self.pools()]) for axis in range(3)]
        z, y, x = (-(-r // a) * a for r, a in zip(reach, self.align, strict=True))
        return z, y, x

    @property
    def flops(self) -> float:
        """Multiplications and additions for one voxel of the output; training takes three times as many."""
        total, share = 27.0 * 2 * (self.channels + 1), 1.0  # the last two layers
        for level in range(self.depth):
            if level:
                pool = self.pools()[level - 1]
                share /= pool[0] * pool[1] * pool[2]
            width = self.channels * 2**level
            before = width // 2 + 1 if level else 1
            total += share * 27 * 2 * width * (before + width)
            if level:
                total += share * 2 * width * (width // 2)
            if level < self.depth - 1:
                total += share * 27 * 2 * width * width
        return total

    @property
    def values(self) -> float:
        """Numbers that are held at a time for one voxel of the output when the network is applied; measured."""
        return 25.0 + 3.9 * self.channels


def _reach(pools: list[int]) -> int:
    """Voxels on one side of a voxel that its output depends on, along one axis."""
    # layers of three voxels: two on the way down, one on the way up, which the coarsest level has not, two at the end
    step, reach = 1, 2 + 2 + (1 if pools else 0)
    for level, pool in enumerate(pools):
        step *= pool
        reach += (2 if level == len(pools) - 1 else 3) * step
    return reach + step - 1  # and where in its coarsest voxel it lies


class UNet(nn.Module):
    """U-Net without normalisation layers, and or a way past it that noise could take.

    Layers that normalise take statistics of the block that they see, which would show as seams between tiles. Skips are
    added, not appended, which saves half of the finest level's work. Levels shrink by means, not by largest values, and
    every level also sees the mean of the input over its voxels: that is where signal stands above a tomogram's noise.
    What the finest level says is smoothed, by a layer that begins as a binomial filter.

    Notes
    -----
    After Çiçek et al. 2016. Weights begin as He et al. 2015, the last layer at zero: an untrained network says
    nothing.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        widths = [architecture.channels * 2**level for level in range(architecture.depth)]
        entries = [1, *(width + 1 for width in widths[:-1])]
        self.down = nn.ModuleList(
            nn.ModuleList((_layer(entry, width), _layer(width, width)))
            for entry, width in zip(entries, widths, strict=True)
        )
        self.rise = nn.ModuleList(nn.Conv3d(2 * width, width, 1) for width in widths[:-1])
        self.up = nn.ModuleList(_layer(width, width) for width in widths[:-1])
        self.last = nn.Conv3d(widths[0], 1, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)
        self.smooth = nn.Conv3d(1, 1, 3, padding=1, bias=False)
        taps = torch.tensor(_BINOMIAL)
        self.smooth.weight = nn.Parameter((taps[:, None, None] * taps[:, None] * taps)[None, None].clone())

    def forward(self, volume: Tensor) -> Tensor:
        """Restore blocks ``(n, 1, z, y, x)``, in units of their noise about the mean, of sizes that `align` divides."""
        pools = self.architecture.pools()
        found, mean, skips = volume, volume, []
        for level, layers in enumerate(self.down):
            if level:
                mean = functional.avg_pool3d(mean, pools[level - 1])
                found = torch.cat([functional.avg_pool3d(found, pools[level - 1]), mean * 2.0**level], dim=1)
            for layer in layers:  # type: ignore[attr-defined]
                found = functional.leaky_relu(layer(found), _SLOPE, inplace=True)
            skips.append(found)
        for level in range(len(pools) - 1, -1, -1):
            coarse = self.rise[level](found)
            scale = [float(pool) for pool in pools[level]]
            found = skips[level] + functional.interpolate(coarse, scale_factor=scale, mode="nearest")
            found = functional.leaky_relu(self.up[level](found), _SLOPE, inplace=True)
        out: Tensor = self.smooth(self.last(found))
        return out


def _layer(before: int, after: int) -> nn.Conv3d:
    layer = nn.Conv3d(before, after, 3, padding=1)
    nn.init.kaiming_normal_(layer.weight, _SLOPE)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
