"""Samples of a volume between its voxels, by cubic splines: the loop of a rotation with local warping."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["sample_spline"]

Array = NDArray[np.float64]
Voxels = NDArray[np.float32]


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _weights(t: float) -> tuple[float, float, float, float]:
    """The cubic B-spline's four weights at a place t (0…1) beyond the second of four coefficients."""
    s = 1.0 - t
    return s * s * s / 6.0, 2.0 / 3.0 - t * t * (2.0 - t) / 2.0, 2.0 / 3.0 - s * s * (2.0 - s) / 2.0, t * t * t / 6.0


@njit(inline="always")
def _bracket(place, count):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """The nodes before and after a place, the last ones beyond the end, and how far it lies between them."""
    inside = min(place, count - 1.0)
    first = min(int(inside), max(count - 2, 0))
    return first, min(first + 1, count - 1), inside - first


@njit(inline="always")
def _displacement(warp, at_z, at_y, at_x, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """The three numbers of `warp` at a place between nodes, linear in each direction."""
    (z0, z1, fz), (y0, y1, fy), (x0, x1, fx) = at_z, at_y, at_x
    for c in range(3):
        front = (warp[c, z0, y0, x0] * (1 - fx) + warp[c, z0, y0, x1] * fx) * (1 - fy) + (
            warp[c, z0, y1, x0] * (1 - fx) + warp[c, z0, y1, x1] * fx
        ) * fy
        back = (warp[c, z1, y0, x0] * (1 - fx) + warp[c, z1, y0, x1] * fx) * (1 - fy) + (
            warp[c, z1, y1, x0] * (1 - fx) + warp[c, z1, y1, x1] * fx
        ) * fy
        out[c] = front * (1 - fz) + back * fz


@njit(cache=True, nogil=True, error_model="numpy")
def sample_spline(
    coefficients: Voxels,
    matrix: Array,
    offset: Array,
    warp: Voxels,
    warp_step: Array,
    low: Array,
    high: Array,
    margin: float,
    out: Voxels,
    inside: Voxels,
) -> None:
    """Fill a block with samples of a volume that is turned, shifted and warped.

    Parameters
    ----------
    coefficients
        ``(z, y, x)`` spline coefficients of a part of the volume (`scipy.ndimage.spline_filter`, order 3).
    matrix, offset
        ``(3, 3)``, ``(3,)``: the voxel i = (z, y, x) of `out` lies at ``matrix · (i + warp) + offset`` in
        `coefficients`.
    warp
        ``(3, gz, gy, gx)`` displacement (z, y, x) in voxels at nodes that stand every `warp_step` ``(3,)`` voxels of
        `out` from its first one on; linear in between.
    low, high
        ``(3,)`` the first and last place inside the volume, in voxels of `coefficients`.
    margin
        voxels from the volume's sides over which `inside` rises from 0 to 1.
    out, inside
        ``(z, y, x)``, overwritten: the samples, 0 beyond the coefficients; and how far inside they lie, 0…1.

    Notes
    -----
    Unser 1999, IEEE Signal Process. Mag. 16(6):22.
    """
    nz, ny, nx = out.shape
    mz, my, mx = coefficients.shape
    _, gz, gy, gx = warp.shape
    node = np.empty(3)
    place = np.empty(3)
    for z in range(nz):
        at_z = _bracket(z / warp_step[0], gz)
        for y in range(ny):
            at_y = _bracket(y / warp_step[1], gy)
            for x in range(nx):
                _displacement(warp, at_z, at_y, _bracket(x / warp_step[2], gx), node)
                node[0] += z
                node[1] += y
                node[2] += x
                nearest = margin
                for c in range(3):
                    place[c] = matrix[c, 0] * node[0] + matrix[c, 1] * node[1] + matrix[c, 2] * node[2] + offset[c]
                    nearest = min(nearest, place[c] - low[c], high[c] - place[c])
                inside[z, y, x] = max(nearest, 0.0) / margin
                iz, iy, ix = math.floor(place[0]), math.floor(place[1]), math.floor(place[2])
                out[z, y, x] = 0.0
                if iz < 1 or iy < 1 or ix < 1 or iz > mz - 3 or iy > my - 3 or ix > mx - 3:
                    continue
                wz, wy, wx = _weights(place[0] - iz), _weights(place[1] - iy), _weights(place[2] - ix)
                total = 0.0
                for a in range(4):
                    plane = 0.0
                    for b in range(4):
                        row = coefficients[iz - 1 + a, iy - 1 + b]
                        plane += wy[b] * (
                            wx[0] * row[ix - 1] + wx[1] * row[ix] + wx[2] * row[ix + 1] + wx[3] * row[ix + 2]
                        )
                    total += wz[a] * plane
                out[z, y, x] = total
