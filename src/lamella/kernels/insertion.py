"""Terms of pictures added to the transform of a volume: the transpose of `lamella.kernels.central_slices.take_terms`.

Each term is spread over the eight grid points around its place with trilinear weights, and its weight with it. The
volume is real, so of every term and its mate at −k one is stored: k with x ≥ 0. On the plane x = 0 both are, and
`join_mates` adds there what each half got.

One layout for all: float32 ``(m, m, m // 2 + 1, 3)`` zyx, origin at index 0: real and imaginary part of each sum, and
its weight. They lie side by side, because each term goes to eight places far apart in memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from lamella.kernels.trilinear import corners, square_reach, stored_half
from lamella.parallel import each
from lamella.runtime import threads

__all__ = ["add_pictures", "add_terms", "add_terms_torch", "join_mates", "joined_weights"]

Complex = NDArray[np.complex64]
Floats = NDArray[np.float32]
Array = NDArray[np.float64]
Integers = NDArray[np.int32]

_FAST: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": True}


def add_terms(values: Complex, weights: Floats, index: Integers, matrices: Array, box_px: int, grid: Floats) -> None:
    """Add terms to a transform and their weights to its weights, in place.

    Parameters
    ----------
    values, weights
        ``(s, t)`` complex64 and float32. Of a term and its mate at −k only one is given; the mean counts half.
    index
        ``(t, 3)`` int32 x, y, z of the terms in the pictures' transform; z is 0 where they are pictures.
    matrices
        ``(s, 3, 3)`` orientation M of the volume in each picture.
    box_px
        n of the pictures.
    grid
        ``(m, m, m // 2 + 1, 3)`` float32. What would reach its last sample is left out.

    Notes
    -----
    Each thread adds to its own planes z, so that the sums do not depend on the number of threads.
    """
    scaled = np.ascontiguousarray(matrices, dtype=np.float64) * (len(grid) / box_px)
    arguments = (
        values.view(np.float32).reshape(*values.shape, 2),
        weights,
        index,
        scaled,
        square_reach(len(grid)),
        grid,
    )
    parts = np.linspace(0, len(grid), threads() + 1).astype(np.int64)

    def add(part: int) -> None:
        _add(*arguments, parts[part], parts[part + 1])

    if len(parts) == 2:
        add(0)
    else:
        each(add, range(len(parts) - 1))


def add_terms_torch(
    values: Tensor, weights: Tensor, index: Tensor, matrices: Tensor, box_px: int, grid: Tensor
) -> None:
    """`add_terms` in plain torch, on any device."""
    m = len(grid)
    flat = grid.view(-1, 3)
    places = torch.einsum("tk,skx->stx", index.double(), matrices.double()) * (m / box_px)
    for place, value, weight in zip(places, values, weights, strict=True):
        inside = (place**2).sum(-1) <= square_reach(m)
        at, flipped = stored_half(place[inside])
        value = torch.where(flipped, value[inside].conj(), value[inside])
        given = torch.stack([value.real, value.imag, weight[inside]], dim=1)
        for corner, tap in corners(at, m):
            flat.index_add_(0, corner, given * tap[:, None])


def add_pictures(
    terms: Tensor, weights: Tensor, matrices: Tensor, grid: Tensor, *, highest: float = 0.5, factor: float = 1.0
) -> None:
    """Add whole pictures to a transform and their weights to its weights, in place.

    Parameters
    ----------
    terms
        ``(s, n, n // 2 + 1)`` complex64, rffts of pictures whose origin is at index 0.
    weights
        ``(s, n, n // 2 + 1)`` float32, what each term counts.
    matrices
        ``(s, 3, 3)`` float64, orientation M of the volume in each picture.
    grid
        of `add_terms`, on the device of the pictures.
    highest
        highest frequency that is taken, cycles per pixel of the volume.
    factor
        that terms and weights are multiplied with.
    """
    n, m = terms.shape[-2], len(grid)
    index, flat = _half_disc(n, min(highest * m, m // 2 - 1) * n / m)
    index, flat = index.to(grid.device), flat.to(grid.device)
    values, masses = _chosen(terms, flat), _chosen(weights, flat)
    for chosen in (values, masses):
        chosen *= factor
        chosen[:, 0] *= 0.5  # the mean is its own mate
    if grid.is_cuda:
        add_terms_torch(values, masses, index, matrices.to(grid.device), n, grid)
    else:
        add_terms(values.numpy(), masses.numpy(), index.numpy(), matrices.numpy(), n, grid.numpy())


def join_mates(grid: Tensor) -> tuple[Tensor, Tensor]:
    """Transform ``(m, m, m // 2 + 1)`` complex64 and weights, the halves of the plane x = 0 put together; copies."""
    sums = torch.view_as_complex(grid[..., :2].contiguous())
    sums[:, :, 0] += sums[:, :, 0].flip(0, 1).roll((1, 1), (0, 1)).conj()
    return sums, joined_weights(grid)


def joined_weights(grid: Tensor) -> Tensor:
    """The weights alone of `join_mates`."""
    masses = grid[..., 2].clone(memory_format=torch.contiguous_format)
    masses[:, :, 0] += masses[:, :, 0].flip(0, 1).roll((1, 1), (0, 1))
    return masses


def _half_disc(n: int, highest_px: float) -> tuple[Tensor, Tensor]:
    """Terms ``(t, 3)`` of a picture up to a distance, the mean first; and their places ``(t,)`` in its flattened rfft.

    Of every two mates one: both stand in an rfft's columns 0 and n / 2 alone, and the latter is beyond every distance.
    """
    v, u = np.fft.fftfreq(n, 1 / n)[:, None], np.arange((n + 1) // 2)
    rows, columns = np.nonzero((u**2 + v**2 <= highest_px**2) & ((u > 0) | (v >= 0)))
    index = np.stack([columns, v[rows, 0], np.zeros(len(rows))], axis=1).astype(np.int32)
    return torch.from_numpy(index), torch.from_numpy(rows * (n // 2 + 1) + columns)


def _chosen(terms: Tensor, flat: Tensor) -> Tensor:
    """Terms ``(s, t)`` at places of each flattened picture; a copy."""
    if terms.is_cuda:
        return terms.flatten(1).index_select(1, flat)
    # a third of torch's time for complex numbers
    return torch.from_numpy(np.take(terms.flatten(1).numpy(), flat.numpy(), axis=1))


@njit(**_FAST)
def _add(values, weights, index, matrices, reach, grid, low, high):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Add to the planes z = low … high − 1; another thread adds to the others."""
    m = grid.shape[0]
    for s in range(len(matrices)):
        a, b, c = matrices[s, 0], matrices[s, 1], matrices[s, 2]
        for t in range(len(index)):
            i, j, l = index[t, 0], index[t, 1], index[t, 2]
            x = i * a[0] + j * b[0] + l * c[0]
            z = i * a[2] + j * b[2] + l * c[2]
            sign = np.float32(1)
            if x < 0:  # its mate at −k is stored
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
