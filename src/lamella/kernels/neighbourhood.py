"""Median and bilateral filters of volumes: numba for a CPU, plain torch as the reference and for GPUs.

Both see a voxel's neighbourhood within the volume repeated beyond its borders.
"""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit, prange
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["ball", "bilateral", "bilateral_reference", "median", "median_reference"]

Array = NDArray[np.float32]

_F = np.float32
_FAST: dict[str, Any] = {"cache": True, "fastmath": {"contract", "reassoc", "nsz", "arcp"}, "error_model": "numpy"}
_RUN = 64  # voxels along x that are sorted together: their values stay in the first-level cache


def ball(spatial_px: float) -> tuple[NDArray[np.int64], Array]:
    """``(n, 3)`` offsets zyx within two widths of a Gaussian, the centre left out, and their ``(n,)`` weights."""
    radius = ceil(2 * spatial_px)
    grid = np.arange(-radius, radius + 1)
    offsets = np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), axis=-1).reshape(-1, 3)
    square = (offsets**2).sum(1)
    inside = (square > 0) & (square <= (2 * spatial_px) ** 2)
    return offsets[inside], np.exp(-0.5 * square[inside] / spatial_px**2).astype(np.float32)


def bilateral(volume: Array, spatial_px: float, value_range: float) -> Array:
    """Bilateral filter (Tomasi & Manduchi 1998; Jiang et al. 2003) of ``(d, h, w)`` float32.

    Parameters
    ----------
    spatial_px
        Gaussian width in space, voxels; the neighbourhood is a ball of two widths.
    value_range
        Gaussian width in grey value.
    """
    offsets, weights = ball(spatial_px)
    padded = np.pad(volume, int(np.abs(offsets).max(initial=0)), mode="edge")
    out = np.empty(volume.shape, np.float32)
    _bilateral(padded, offsets, weights, _F(0.5 / value_range**2), out)
    return out


def median(volume: Array, size_px: int) -> Array:
    """Median over cubes of odd edge `size_px` of ``(d, h, w)`` float32."""
    out = np.empty(volume.shape, np.float32)
    _median(np.pad(volume, size_px // 2, mode="edge"), size_px, out)
    return out


def bilateral_reference(volume: Tensor, spatial_px: float, value_range: float) -> Tensor:
    """`bilateral` in plain torch, offset by offset."""
    offsets, weights = ball(spatial_px)
    radius = int(np.abs(offsets).max(initial=0))
    padded = F.pad(volume[None, None], [radius] * 6, mode="replicate")[0, 0]
    total, norm = volume.clone(), torch.ones_like(volume)
    d, h, w = volume.shape
    for (z, y, x), weight in zip((offsets + radius).tolist(), weights.tolist(), strict=True):
        other = padded[z : z + d, y : y + h, x : x + w]
        likeness = weight * torch.exp(-0.5 * ((other - volume) / value_range) ** 2)
        total += likeness * other
        norm += likeness
    return total / norm


def median_reference(volume: Tensor, size_px: int) -> Tensor:
    """`median` in plain torch, slice by slice."""
    radius = size_px // 2
    padded = F.pad(volume[None, None], [radius] * 6, mode="replicate")[0, 0]
    out = torch.empty_like(volume)
    for z in range(len(volume)):
        slab = padded[z : z + size_px].unfold(1, size_px, 1).unfold(2, size_px, 1)  # (size, h, w, size, size)
        out[z] = slab.permute(1, 2, 0, 3, 4).flatten(2).median(dim=-1).values
    return out


@njit(inline="always")
def _decay(x: Any) -> Any:
    """exp(−x) for x ≥ 0, relative error below 1e-5: (1 + y + …)⁻³², y = x/32."""
    y = min(x, _F(24.0)) * _F(1.0 / 32.0)
    e = ((y * _F(1.0 / 24.0) + _F(1.0 / 6.0)) * y + _F(0.5)) * y * y + y + _F(1.0)
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    return _F(1.0) / (e * e)


@njit(parallel=True, **_FAST)
def _bilateral(padded: Array, offsets: NDArray[np.int64], weights: Array, scale: float, out: Array) -> None:
    depth, height, width = out.shape
    radius = (padded.shape[0] - depth) // 2
    for row in prange(depth * height):
        z, y = row // height, row % height
        here = padded[z + radius, y + radius, radius : radius + width]
        total, norm = here.copy(), np.ones(width, np.float32)
        for k in range(len(weights)):
            x = radius + offsets[k, 2]
            other = padded[z + radius + offsets[k, 0], y + radius + offsets[k, 1], x : x + width]
            weight = weights[k]
            for i in range(width):
                gap = other[i] - here[i]
                likeness = weight * _decay(scale * gap * gap)
                total[i] += likeness * gap
                norm[i] += likeness
        for i in range(width):
            out[z, y, i] = here[i] + (total[i] - here[i]) / norm[i]


@njit(**_FAST)
def _exchange(low: Array, high: Array) -> None:
    for i in range(len(low)):
        a, b = low[i], high[i]
        low[i] = min(a, b)
        high[i] = max(a, b)


@njit(parallel=True, **_FAST)
def _median(padded: Array, size: int, out: Array) -> None:
    """Forgetful selection: of half the values and one, drop the least and the greatest, take one more, and so on."""
    depth, height, width = out.shape
    count = size**3
    window = count // 2 + 2
    for row in prange(depth * height):
        z, y = row // height, row % height
        values = np.empty((window, _RUN), np.float32)
        for x in range(0, width, _RUN):
            n = min(_RUN, width - x)
            for k in range(window):
                values[k, :n] = padded[z + k // (size * size), y + k // size % size, x + k % size : x + k % size + n]
            left, taken = window, window
            while left > 2:
                half = left // 2
                for k in range(half):
                    _exchange(values[k, :n], values[left - 1 - k, :n])
                for k in range(1, left - half):
                    _exchange(values[0, :n], values[k, :n])
                for k in range(half, left - 1):
                    _exchange(values[k, :n], values[left - 1, :n])
                left -= 2
                if taken < count:
                    k = taken
                    values[0, :n] = padded[
                        z + k // (size * size), y + k // size % size, x + k % size : x + k % size + n
                    ]
                    taken += 1
                    left += 1
                else:
                    values[0, :n] = values[left, :n]
            out[z, y, x : x + n] = values[0, :n]
