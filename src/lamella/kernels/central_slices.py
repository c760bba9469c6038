"""Central slices cut out of the transform of a volume; `lamella.kernels.insertion` is the transpose.

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

from lamella.kernels.trilinear import corners, linear_fall, square_reach, stored_half

__all__ = ["PADDING", "padded_transform", "take_terms", "take_terms_torch", "unpadded_volume"]

Complex = NDArray[np.complex64]
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
    padded[:n, :n, :n] = volume / linear_fall(n, m, volume.device)
    terms: Tensor = torch.fft.rfftn(padded.roll((-(n // 2),) * 3, (0, 1, 2)))
    return terms


def unpadded_volume(terms: Tensor, box_px: int) -> Tensor:
    """The volume ``(n, n, n)``, origin at n // 2, whose terms ``(m, m, m // 2 + 1)`` were interpolated linearly."""
    m, n = len(terms), box_px
    padded = torch.fft.irfftn(terms, s=(m, m, m)).roll((n // 2,) * 3, (0, 1, 2))
    volume: Tensor = padded[:n, :n, :n] / linear_fall(n, m, terms.device)
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
    scaled = np.ascontiguousarray(matrices, dtype=np.float64) * (len(transform) / box_px)
    _take(transform.view(np.float32).reshape(*transform.shape, 2), index, scaled, square_reach(len(transform)), out)
    return out


def take_terms_torch(transform: Tensor, index: Tensor, matrices: Tensor, box_px: int) -> Tensor:
    """`take_terms` in plain torch, on any device."""
    m = transform.shape[0]
    place = torch.einsum("tk,skx->stx", index.double(), matrices.double()) * (m / box_px)
    out = torch.zeros(place.shape[:2], dtype=torch.complex64, device=transform.device)
    inside = (place**2).sum(-1) <= square_reach(m)
    at, flipped = stored_half(place[inside])
    found, flat = torch.zeros(len(at), dtype=torch.complex64, device=transform.device), transform.reshape(-1)
    for corner, tap in corners(at, m):
        found += tap * flat[corner]
    out[inside] = torch.where(flipped, found.conj(), found)
    return out


@njit(**_FAST)
def _take(transform, index, matrices, reach, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    m = transform.shape[0]
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
