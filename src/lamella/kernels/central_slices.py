"""Central slices cut out of the transform of a volume, and its transpose: terms added to a transform.

A picture that a volume shows when it is turned by M (x_picture = M · x_volume, summed along z) holds the volume's
transform on a plane: F_picture(k) = F_volume(Mᵀ k). So does a volume that is turned, in all of its terms. Terms are
given by their integer indices in the transform of a box of n pixels; the volume's transform is that of the volume in a
box `PADDING` times as large, so that it can be interpolated linearly between its eight nearest samples. What linear
interpolation does to the volume, a product with sinc² along each axis, is undone before (`padded_transform`) or after
(`unpadded_volume`).

One layout for all: complex64 ``(m, m, m // 2 + 1)`` zyx, origin at index 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from lamella.parallel import each
from lamella.runtime import threads

__all__ = ["PADDING", "add_terms", "padded_transform", "take_terms", "take_terms_torch", "unpadded_volume"]

Complex = NDArray[np.complex64]
Floats = NDArray[np.float32]
Array = NDArray[np.float64]
Integers = NDArray[np.int32]

PADDING = 2
_FAST: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": True}


def padded_transform(volume: Tensor) -> Tensor:
    """Transform of a volume, ready for `take_terms`.

    Parameters
    ----------
    volume
        ``(n, n, n)`` float32, origin at voxel n // 2.

    Returns
    -------
    Tensor
        ``(m, m, m // 2 + 1)`` complex64, m = `PADDING` · n.
    """
    n = volume.shape[0]
    m = PADDING * n
    padded = torch.zeros((m, m, m), dtype=torch.float32, device=volume.device)
    padded[:n, :n, :n] = volume / _linear_fall(n, volume.device)
    terms: Tensor = torch.fft.rfftn(padded.roll((-(n // 2),) * 3, (0, 1, 2)))
    return terms


def unpadded_volume(terms: Tensor) -> Tensor:
    """The volume ``(n, n, n)``, origin at n // 2, whose terms ``(m, m, m // 2 + 1)`` were interpolated linearly."""
    m = terms.shape[0]
    n = m // PADDING
    padded = torch.fft.irfftn(terms, s=(m, m, m)).roll((n // 2,) * 3, (0, 1, 2))
    volume: Tensor = padded[:n, :n, :n] / _linear_fall(n, terms.device)
    return volume


def take_terms(transform: Complex, index: Integers, matrices: Array, box_px: int) -> Complex:
    """Terms of pictures that show a volume turned.

    Parameters
    ----------
    transform
        of `padded_transform`.
    index
        ``(t, 3)`` x, y, z of the terms in the pictures' transform; z is 0 where they are pictures.
    matrices
        ``(s, 3, 3)`` orientation M of the volume in each picture.
    box_px
        n of the pictures.

    Returns
    -------
    NDArray
        ``(s, t)`` complex64; 0 beyond the volume's highest frequency.
    """
    out = np.empty((len(matrices), len(index)), np.complex64)
    _take(transform.view(np.float32).reshape(*transform.shape, 2), index, _scaled(transform, matrices, box_px), out)
    return out


def add_terms(values: Complex, weights: Floats, index: Integers, matrices: Array, box_px: int, grid: Floats) -> None:
    """The transpose of `take_terms`: add terms to a transform and their weights to its weights, in place.

    Parameters
    ----------
    values, weights
        ``(s, t)`` complex64 and float32. Of a term and its mate at −k only one is given.
    index, matrices, box_px
        as for `take_terms`.
    grid
        ``(m, m, m // 2 + 1, 3)`` real and imaginary part of each sum, and its weight: side by side, because each term
        goes to eight places far apart in memory. On the plane x = 0 the mates are still to be joined
        (`lamella.kernels.insertion.join_mates`).

    Notes
    -----
    Each thread adds to its own planes z, so that the sums do not depend on the number of threads.
    """
    arguments = (
        values.view(np.float32).reshape(*values.shape, 2), weights, index, _scaled(grid, matrices, box_px), grid,
    )  # fmt: skip
    parts = np.linspace(0, len(grid), threads() + 1).astype(np.int64)

    def add(part: int) -> None:
        _add(*arguments, parts[part], parts[part + 1])

    if len(parts) == 2:
        add(0)
    else:
        each(add, range(len(parts) - 1))


def take_terms_torch(transform: Tensor, index: Tensor, matrices: Tensor, box_px: int) -> Tensor:
    """`take_terms` in plain torch, on any device."""
    m = transform.shape[0]
    place = torch.einsum("tk,skx->stx", index.double(), matrices.double()) * (m / box_px)
    out = torch.zeros(place.shape[:2], dtype=torch.complex64, device=transform.device)
    inside = (place**2).sum(-1) <= (m // 2 - 1) ** 2
    place = place[inside]
    flipped = place[:, 0] < 0
    place = torch.where(flipped[:, None], -place, place)
    base = place.floor()
    part, low = (place - base).float(), base.long()
    found = torch.zeros(len(place), dtype=torch.complex64, device=transform.device)
    for corner in np.ndindex(2, 2, 2):
        at = low + torch.tensor(corner, device=transform.device)
        tap = torch.ones(len(place), device=transform.device)
        for axis, upper in enumerate(corner):
            tap = tap * (part[:, axis] if upper else 1 - part[:, axis])
        found += tap * transform[at[:, 2] % m, at[:, 1] % m, at[:, 0]]
    out[inside] = torch.where(flipped, found.conj(), found)
    return out


def _linear_fall(n: int, device: torch.device) -> Tensor:
    """``(n, n, n)`` what interpolation between samples of the padded transform multiplies a volume with."""
    line = torch.sinc((torch.arange(n, dtype=torch.float32, device=device) - n // 2) / (PADDING * n)) ** 2
    return line[:, None, None] * line[:, None] * line


def _scaled(transform: NDArray[Any], matrices: Array, box_px: int) -> Array:
    scaled: Array = np.ascontiguousarray(matrices, dtype=np.float64) * (transform.shape[0] / box_px)
    return scaled


@njit(**_FAST)
def _take(transform, index, matrices, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    m = transform.shape[0]
    reach = float((m // 2 - 1) ** 2)
    for s in range(len(matrices)):
        a, b, c = matrices[s, 0], matrices[s, 1], matrices[s, 2]
        for t in range(len(index)):
            i, j, l = index[t, 0], index[t, 1], index[t, 2]
            x = i * a[0] + j * b[0] + l * c[0]
            y = i * a[1] + j * b[1] + l * c[1]
            z = i * a[2] + j * b[2] + l * c[2]
            if x * x + y * y + z * z > reach:
                out[s, t] = 0
                continue
            sign = np.float32(1)
            if x < 0:
                x, y, z, sign = -x, -y, -z, np.float32(-1)
            ix, iy, iz = int(x), int(np.floor(y)), int(np.floor(z))
            fx, fy, fz = np.float32(x - ix), np.float32(y - iy), np.float32(z - iz)
            real, imaginary = np.float32(0), np.float32(0)
            for cz in range(2):
                plane = iz + cz
                plane = plane + m if plane < 0 else plane
                part_z = fz if cz else np.float32(1) - fz
                for cy in range(2):
                    row = iy + cy
                    row = row + m if row < 0 else row
                    part = part_z * (fy if cy else np.float32(1) - fy)
                    w0, w1 = part * (np.float32(1) - fx), part * fx
                    real += w0 * transform[plane, row, ix, 0] + w1 * transform[plane, row, ix + 1, 0]
                    imaginary += w0 * transform[plane, row, ix, 1] + w1 * transform[plane, row, ix + 1, 1]
            out[s, t] = complex(real, sign * imaginary)


@njit(**_FAST)
def _add(values, weights, index, matrices, grid, low, high):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    m = grid.shape[0]
    reach = float((m // 2 - 1) ** 2)
    for s in range(len(matrices)):
        a, b, c = matrices[s, 0], matrices[s, 1], matrices[s, 2]
        for t in range(len(index)):
            i, j, l = index[t, 0], index[t, 1], index[t, 2]
            x = i * a[0] + j * b[0] + l * c[0]
            z = i * a[2] + j * b[2] + l * c[2]
            sign = np.float32(1)
            if x < 0:
                x, z, sign = -x, -z, np.float32(-1)
            iz = int(np.floor(z))
            near = iz + m if iz < 0 else iz
            far = iz + 1 + m if iz < -1 else iz + 1
            take_near, take_far = low <= near < high, low <= far < high
            if not (take_near or take_far):
                continue
            y = sign * (i * a[1] + j * b[1] + l * c[1])
            if x * x + y * y + z * z > reach:
                continue
            ix, iy = int(x), int(np.floor(y))
            fx, fy, fz = np.float32(x - ix), np.float32(y - iy), np.float32(z - iz)
            real, imaginary, weight = values[s, t, 0], sign * values[s, t, 1], weights[s, t]
            for cz in range(2):
                if not (take_far if cz else take_near):
                    continue
                plane = far if cz else near
                part_z = fz if cz else np.float32(1) - fz
                for cy in range(2):
                    row = iy + cy
                    row = row + m if row < 0 else row
                    part = part_z * (fy if cy else np.float32(1) - fy)
                    w0, w1 = part * (np.float32(1) - fx), part * fx
                    grid[plane, row, ix, 0] += w0 * real
                    grid[plane, row, ix, 1] += w0 * imaginary
                    grid[plane, row, ix, 2] += w0 * weight
                    grid[plane, row, ix + 1, 0] += w1 * real
                    grid[plane, row, ix + 1, 1] += w1 * imaginary
                    grid[plane, row, ix + 1, 2] += w1 * weight
