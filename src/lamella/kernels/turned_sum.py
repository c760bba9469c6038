"""A transform added to itself as it looks from every element of a point group.

Symmetry costs one reading of the transform per rotation, whatever the number of slices that were inserted into it.
Values between grid points are trilinear, as `lamella.kernels.insertion` spreads them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from lamella.kernels.trilinear import corners, stored_half
from lamella.parallel import each
from lamella.runtime import threads

__all__ = ["turned_sum", "turned_sum_torch"]

_FAST: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": True}


def turned_sum(sums: Tensor, masses: Tensor, rotations: Tensor) -> tuple[Tensor, Tensor]:
    """Σ over rotations S of F(S k), of a transform and of its weights; compiled on a CPU.

    Parameters
    ----------
    sums, masses
        ``(n, n, n // 2 + 1)`` complex64 and float32, whole (`join_mates`), origin at index 0.
    rotations
        ``(s, 3, 3)`` float64 of x, y, z.

    Returns
    -------
    sums, masses
        of the same layout; 0 from the last sample but one on.
    """
    if sums.is_cuda:
        return turned_sum_torch(sums, masses, rotations)
    turned, mass = torch.zeros_like(sums), torch.zeros_like(masses)
    parts = np.linspace(0, sums.shape[0], 4 * threads() + 1).astype(np.int64)
    arguments = (
        torch.view_as_real(sums).numpy(),
        masses.numpy(),
        np.ascontiguousarray(rotations.numpy(), dtype=np.float64),
        torch.view_as_real(turned).numpy(),
        mass.numpy(),
    )
    each(lambda part: _turned(*arguments, parts[part], parts[part + 1]), range(len(parts) - 1))
    return turned, mass


@njit(**_FAST)
def _turned(sums, masses, rotations, turned, mass, low, high):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    n = sums.shape[0]
    reach = (n // 2 - 1) ** 2
    for i in range(low, high):
        z = i if i <= n // 2 else i - n
        for j in range(n):
            y = j if j <= n // 2 else j - n
            for x in range(sums.shape[2]):
                if x * x + y * y + z * z > reach:
                    break
                real, imaginary, weight = np.float32(0), np.float32(0), np.float32(0)
                for s in range(len(rotations)):
                    r = rotations[s]
                    px = r[0, 0] * x + r[0, 1] * y + r[0, 2] * z
                    py = r[1, 0] * x + r[1, 1] * y + r[1, 2] * z
                    pz = r[2, 0] * x + r[2, 1] * y + r[2, 2] * z
                    sign = np.float32(1)
                    if px < 0:  # its mate at −k is stored
                        px, py, pz, sign = -px, -py, -pz, np.float32(-1)
                    ix, iy, iz = int(px), int(np.floor(py)), int(np.floor(pz))
                    fx, fy, fz = np.float32(px - ix), np.float32(py - iy), np.float32(pz - iz)
                    for c in range(2):
                        plane = (iz + c) % n
                        part_z = fz if c else np.float32(1) - fz
                        for b in range(2):
                            row = (iy + b) % n
                            part = part_z * (fy if b else np.float32(1) - fy)
                            w0, w1 = part * (np.float32(1) - fx), part * fx
                            real += w0 * sums[plane, row, ix, 0] + w1 * sums[plane, row, ix + 1, 0]
                            imaginary += sign * (w0 * sums[plane, row, ix, 1] + w1 * sums[plane, row, ix + 1, 1])
                            weight += w0 * masses[plane, row, ix] + w1 * masses[plane, row, ix + 1]
                turned[i, j, x, 0], turned[i, j, x, 1], mass[i, j, x] = real, imaginary, weight


def turned_sum_torch(sums: Tensor, masses: Tensor, rotations: Tensor) -> tuple[Tensor, Tensor]:
    """`turned_sum` in plain torch, on any device."""
    n, device = sums.shape[0], sums.device
    line = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64, device=device)
    half = torch.arange(n // 2 + 1, dtype=torch.float64, device=device)
    inside = line[:, None, None] ** 2 + line[:, None] ** 2 + half**2 <= (n // 2 - 1) ** 2
    at = inside.nonzero()
    points = torch.stack([half[at[:, 2]], line[at[:, 1]], line[at[:, 0]]], dim=1)
    turned, mass = torch.zeros_like(sums), torch.zeros_like(masses)
    for rotation in rotations.to(device):
        place, flipped = stored_half(points @ rotation.T)
        found = torch.zeros(len(place), dtype=sums.dtype, device=device)
        weight = torch.zeros(len(place), device=device)
        for corner, tap in corners(place, n):
            found += tap * sums.reshape(-1)[corner]
            weight += tap * masses.reshape(-1)[corner]
        turned[inside] += torch.where(flipped, found.conj(), found)
        mass[inside] += weight
    return turned, mass
