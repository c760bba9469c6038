"""Central slices added to the transform of a volume: the transpose of cutting slices out of one.

A picture that a volume shows when it is turned by M (x_view = M · x_volume, summed along z) holds the volume's
transform on a plane: F_picture(kx, ky) = F_volume(kx M₀ + ky M₁), M₀ and M₁ being M's first two rows. Each term is
spread over the eight grid points around its place with trilinear weights. The volume is real, so of every term and its
mate at −k one is stored: k with x ≥ 0. On the plane x = 0 both are, and `join_mates` adds there what each half got.

One layout for all: complex64 ``(n, n, n // 2 + 1)`` zyx, origin of volume and picture at index 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from lamella.parallel import each
from lamella.runtime import threads

__all__ = ["insert_slices", "insert_slices_torch", "join_mates"]

_FAST: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": True}


def insert_slices(
    terms: Tensor, weights: Tensor, matrices: Tensor, highest: float, factor: float, sums: Tensor, masses: Tensor
) -> None:
    """Add slices to a transform and their weights to its weights, in place; compiled on a CPU.

    Parameters
    ----------
    terms
        ``(s, m, m // 2 + 1)`` complex64, rffts of pictures whose origin is at index 0.
    weights
        ``(s, m, m // 2 + 1)`` float32, what each term counts.
    matrices
        ``(s, 3, 3)`` float64, orientation M of the volume in each picture.
    highest
        highest frequency that is taken, cycles/px; what would reach the grid's last sample is left out.
    factor
        that terms and weights are multiplied with.
    sums, masses
        ``(n, n, n // 2 + 1)`` complex64 and float32.
    """
    if sums.is_cuda:
        insert_slices_torch(terms, weights, matrices, highest, factor, sums, masses)
        return
    n = sums.shape[0]
    parts = np.linspace(0, n, threads() + 1).astype(np.int64)
    arguments = (
        np.ascontiguousarray(torch.view_as_real(terms).numpy()),
        np.ascontiguousarray(weights.numpy()),
        np.ascontiguousarray(matrices.numpy(), dtype=np.float64),
        _reach(n, highest),
        factor,
        torch.view_as_real(sums).numpy(),
        masses.numpy(),
    )

    def add(part: int) -> None:
        _insert(*arguments, parts[part], parts[part + 1])

    if len(parts) == 2:
        add(0)
    else:
        each(add, range(len(parts) - 1))


def _reach(n: int, highest: float) -> float:
    """Square of the longest index in the grid that a slice may have: its neighbours are below the last sample."""
    return float(min(highest * n, n // 2 - 1)) ** 2


@njit(**_FAST)
def _insert(terms, weights, matrices, reach, factor, sums, masses, low, high):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Add to the planes z = low … high − 1; another thread adds to the others."""
    n, m = sums.shape[0], terms.shape[1]
    scale = n / m
    for s in range(len(terms)):
        ax, ay, az = matrices[s, 0, 0] * scale, matrices[s, 0, 1] * scale, matrices[s, 0, 2] * scale
        bx, by, bz = matrices[s, 1, 0] * scale, matrices[s, 1, 1] * scale, matrices[s, 1, 2] * scale
        for j in range(m):
            v = j if j < (m + 1) // 2 else j - m
            left = reach / (scale * scale) - v * v
            if left < 0:
                continue
            last = min(int(np.sqrt(left)), m // 2)
            for i in range(last + 1):
                z = i * az + v * bz
                x = i * ax + v * bx
                sign = np.float32(1)
                if x < 0:  # its mate at −k is stored
                    x, z, sign = -x, -z, np.float32(-1)
                iz = int(np.floor(z))
                near = iz + n if iz < 0 else iz
                far = iz + 1 + n if iz < -1 else iz + 1
                take_near, take_far = low <= near < high, low <= far < high
                if not (take_near or take_far):
                    continue
                y = sign * (i * ay + v * by)
                iy, ix = int(np.floor(y)), int(x)
                fz, fy, fx = np.float32(z - iz), np.float32(y - iy), np.float32(x - ix)
                # a picture's column kx = 0 holds k and −k, each of the other columns one of them
                share = np.float32(factor * (0.5 if i == 0 else 1.0))
                real, imaginary = terms[s, j, i, 0] * share, terms[s, j, i, 1] * share * sign
                weight = weights[s, j, i] * share
                for c in range(2):
                    if not (take_far if c else take_near):
                        continue
                    plane = far if c else near
                    part_z = fz if c else np.float32(1) - fz
                    for b in range(2):
                        row = iy + b
                        row = row + n if row < 0 else row
                        part_y = part_z * (fy if b else np.float32(1) - fy)
                        w0, w1 = part_y * (np.float32(1) - fx), part_y * fx
                        sums[plane, row, ix, 0] += w0 * real
                        sums[plane, row, ix, 1] += w0 * imaginary
                        sums[plane, row, ix + 1, 0] += w1 * real
                        sums[plane, row, ix + 1, 1] += w1 * imaginary
                        masses[plane, row, ix] += w0 * weight
                        masses[plane, row, ix + 1] += w1 * weight


def insert_slices_torch(
    terms: Tensor, weights: Tensor, matrices: Tensor, highest: float, factor: float, sums: Tensor, masses: Tensor
) -> None:
    """`insert_slices` in plain torch, on any device."""
    n, m, device = sums.shape[0], terms.shape[1], sums.device
    v = (torch.fft.fftfreq(m, dtype=torch.float64, device=device) * n)[:, None]
    u = (torch.fft.rfftfreq(m, dtype=torch.float64, device=device) * n)[None]
    inside = (u**2 + v**2 <= _reach(n, highest)).nonzero(as_tuple=True)
    u, v = u.expand(m, -1)[inside], v.expand(-1, u.shape[1])[inside]
    share = torch.where(inside[1] == 0, 0.5 * factor, factor).float()
    flat_sums, flat_masses = torch.view_as_real(sums).view(-1, 2), masses.view(-1)
    for slice_terms, slice_weights, matrix in zip(terms, weights, matrices.to(device), strict=True):
        place = u[:, None] * matrix[0] + v[:, None] * matrix[1]  # x, y, z
        flipped = place[:, 0] < 0
        place = torch.where(flipped[:, None], -place, place)
        values = torch.view_as_real(slice_terms[inside] * share)
        values = torch.stack([values[:, 0], torch.where(flipped, -values[:, 1], values[:, 1])], dim=1)
        mass = slice_weights[inside] * share
        floor = place.floor()
        part, base = (place - floor).float(), floor.long()
        for corner in np.ndindex(2, 2, 2):
            at = base + torch.tensor(corner, device=device)
            index = ((at[:, 2] % n) * n + at[:, 1] % n) * sums.shape[2] + at[:, 0]
            tap = torch.ones_like(mass)
            for axis, upper in enumerate(corner):
                tap = tap * (part[:, axis] if upper else 1 - part[:, axis])
            flat_sums.index_add_(0, index, values * tap[:, None])
            flat_masses.index_add_(0, index, mass * tap)


def join_mates(sums: Tensor, masses: Tensor) -> tuple[Tensor, Tensor]:
    """The transform and its weights with both halves of the plane x = 0 together; copies."""
    sums, masses = sums.clone(), masses.clone()
    sums[:, :, 0] += sums[:, :, 0].flip(0, 1).roll((1, 1), (0, 1)).conj()
    masses[:, :, 0] += masses[:, :, 0].flip(0, 1).roll((1, 1), (0, 1))
    return sums, masses
