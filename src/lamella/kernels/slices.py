"""Slices of views summed in the transform of a plane: gridding, the fast way to evaluate Σ over views of p(τ) exactly.

A row of a view is a function p(τ) of the place along it; its transform is a line through the transform of the plane
(x, z) that it was projected from, τ = τx·x + τz·z. Each sample of each line is spread over 4 × 4 points of a finer
Cartesian grid with Kaiser-Bessel taps, whose transform the plane is divided by afterwards. With weights on the slices
the sum is the plane: direct Fourier inversion (Jackson, Meyer, Nishimura & Macovski 1991, IEEE Trans. Med. Imaging
10:473; O'Sullivan 1985, IEEE Trans. Med. Imaging 4:200).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from lamella.fourier import fast_size
from lamella.kernels.taps import TABLE_STEPS, kaiser_bessel, quad_table

__all__ = ["PlaneGrid", "invert_plane"]

Array = NDArray[np.float64]

_OVERSAMPLING = 1.5
_BEYOND = 1.06  # times the Nyquist frequency of voxels, up to where there may be samples


@dataclass(frozen=True, kw_only=True)
class PlaneGrid:
    """The finer grid of a plane's transform.

    Attributes
    ----------
    shape
        (z, x) of the plane, voxels.
    """

    shape: tuple[int, int]

    @cached_property
    def size(self) -> tuple[int, int]:
        """Shape of the grid."""
        z, x = (fast_size(max(int(np.ceil(_OVERSAMPLING * n)), 8)) for n in self.shape)
        return z, x

    @cached_property
    def table(self) -> NDArray[np.float32]:
        """``(TABLE_STEPS + 1, 4)`` weights of the taps."""
        return quad_table(kaiser_bessel(_OVERSAMPLING))

    @cached_property
    def levelling(self) -> NDArray[np.float32]:
        """``(z, x)`` what undoes the taps' fall towards the plane's edges."""
        taps = kaiser_bessel(_OVERSAMPLING)
        z, x = (1 / taps.transform((np.arange(n) - n // 2) / big) for n, big in zip(self.shape, self.size, strict=True))
        return np.outer(z, x).astype(np.float32)

    @property
    def bytes(self) -> int:
        """Memory that `invert_plane` takes, beside rows and result."""
        z, x = self.size
        return 8 * (2 * z * _columns(x) + 2 * self.shape[0] * x) + 4 * self.shape[0] * self.shape[1]


def _columns(size_x: int) -> int:
    """Columns of the half that is worked on: from −2 to a little beyond the highest frequency."""
    return min(int(0.5 * _BEYOND * size_x) + 6, size_x)


def invert_plane(
    rows: NDArray[np.float32], tau: Array, origin: Array, band: float, grid: PlaneGrid, out: NDArray[np.float32]
) -> None:
    """Sum the rows of all views into a plane.

    Parameters
    ----------
    rows
        ``(n, samples)`` values along a row of each view, going to 0 at both ends.
    tau
        ``(n, 2)`` samples per voxel along (x, z).
    origin
        ``(n,)`` place of the plane's middle voxel ``(z // 2, x // 2)``, in samples from the row's first.
    band
        highest frequency of the rows that is taken, cycles per sample: at most 0.53 per voxel.
    grid
        of the plane.
    out
        ``(z, x)``, overwritten.
    """
    samples = rows.shape[1]
    terms = torch.fft.rfft(torch.from_numpy(rows), dim=1).numpy()
    count = min(int(np.floor(band * samples)) + 1, terms.shape[1])
    size_z, size_x = grid.size
    # half of the transform, and beside it the few columns that taps reach on its other side
    half = np.zeros((size_z, _columns(size_x)), np.complex64)
    _spread(terms, count, samples, tau, origin, grid.table, size_x, half)
    inner = torch.fft.ifft(torch.from_numpy(half), dim=0, norm="forward")
    (nz, nx), (low_z, low_x) = out.shape, (out.shape[0] // 2, out.shape[1] // 2)
    inner = torch.roll(inner, low_z, dims=0)[:nz]
    whole = torch.zeros(nz, size_x, dtype=torch.complex64)
    whole[:, : half.shape[1] - 2] = inner[:, 2:]
    whole[:, -2:] += inner[:, :2]
    plane = torch.roll(torch.fft.ifft(whole, dim=1, norm="forward").real, low_x, dims=1)[:, :nx].numpy()
    np.multiply(plane, grid.levelling, out=out)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _spread(terms, count, samples, tau, origin, table, size_x, half):  # type: ignore[no-untyped-def]
    """Add the samples of all slices to the half of the transform with x-frequencies from 0 on (column 2 is 0)."""
    size_z = len(half)
    for view in range(len(terms)):
        sign = 1.0 if tau[view, 0] >= 0 else -1.0  # a real row holds each frequency twice: the one with x ≥ 0 is taken
        step_x, step_z = sign * tau[view, 0] * size_x / samples, sign * tau[view, 1] * size_z / samples
        for m in range(count):
            angle = 2 * np.pi * sign * ((m * origin[view] / samples) % 1.0)
            turn = complex(np.cos(angle), np.sin(angle))
            value = terms[view, m]
            if sign < 0:
                value = value.conjugate()
            scaled = np.complex64(value * turn * ((1.0 if m == 0 else 2.0) / samples))
            x, z = m * step_x, m * step_z
            ix, iz = int(np.floor(x)), int(np.floor(z))
            wx = table[int((x - ix) * TABLE_STEPS + 0.5)]
            wz = table[int((z - iz) * TABLE_STEPS + 0.5)]
            for i in range(4):
                row = half[(iz - 1 + i) % size_z]
                part = scaled * wz[i]
                for j in range(4):
                    row[ix + 1 + j] += part * wx[j]
