"""The likelihood of a pose, its slope and its curvature, in one pass over the terms of a particle.

With data x = T · image, white noise of variance σ² and a central slice S of the reference, moved by d,

    L = Σ Re(x* S) / σ² − T² |S|² / (2 σ²).

The pose is A · exp([ω]×), so that a term's place in the reference's transform moves by −ω × k, and the picture by d:

    ∂S/∂ω = −k × ∇F,    ∂S/∂d = −2πi κ S / n,

with ∇F of the linear interpolation, κ the term's index in the picture of n pixels. The curvature is Gauss and Newton's,
Σ T² Re(∂S* ∂S) / σ²: it is Fisher's information where the reference is right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lamella.kernels.central_slices import take_terms

__all__ = ["pose_slopes", "pose_slopes_reference"]

Complex = NDArray[np.complex64]
Floats = NDArray[np.float32]
Array = NDArray[np.float64]
Integers = NDArray[np.int32]

_FAST: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": True}


def pose_slopes(
    transform: Complex, index: Integers, matrices: Array, moves_px: Array, data: Complex, weights: Floats, box_px: int
) -> tuple[Array, Array, Array]:
    """Likelihood of each picture with its first and second derivatives.

    Parameters
    ----------
    transform
        ``(m, m, m // 2 + 1)`` of `padded_transform`.
    index
        ``(t, 3)`` x, y, z of the terms in the pictures' transform; of a term and its mate only one.
    matrices
        ``(s, 3, 3)`` orientation M of the reference in each picture.
    moves_px
        ``(s, 3)`` x, y, z by which the reference is moved in each, px.
    data, weights
        ``(s, t)`` x / σ² and T² / σ², σ² being half of a term's noise power where its mate is left out.
    box_px
        n of the pictures.

    Returns
    -------
    value, slope, curvature
        ``(s,)``, ``(s, 6)`` and ``(s, 6, 6)`` with respect to (ω, d), rad and px; the curvature is −∂²L, positive.
    """
    count = len(matrices)
    value, slope, curvature = np.empty(count), np.empty((count, 6)), np.empty((count, 6, 6))
    reach = int(np.abs(index).max(initial=0))
    turns = np.exp(-2j * np.pi / box_px * np.arange(-reach, reach + 1) * moves_px[..., None]).astype(np.complex64)
    scaled = np.ascontiguousarray(matrices, dtype=np.float64) * (transform.shape[0] / box_px)
    _slopes(
        transform.view(np.float32).reshape(*transform.shape, 2), index, scaled, turns, reach, data, weights,
        2 * np.pi / box_px, value, slope, curvature,
    )  # fmt: skip
    return value, slope, curvature


def pose_slopes_reference(
    transform: Complex, index: Integers, matrices: Array, moves_px: Array, data: Complex, weights: Floats, box_px: int
) -> Array:
    """The value alone of `pose_slopes`, in plain numpy."""
    slices = take_terms(transform, index, matrices, box_px)
    slices = slices * np.exp(-2j * np.pi / box_px * (moves_px @ index.T))
    terms = (data.conj() * slices).real - 0.5 * weights * np.abs(slices) ** 2
    value: Array = terms.sum(axis=1, dtype=np.float64)
    return value


@njit(inline="always")
def _value_and_slope(transform, x, y, z):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """The transform at a place, linear between samples, and its slope; where x < 0, at the mate, whose conjugate it is.

    Returns the place that was read, the value and the slopes along x, y and z, each as real and imaginary part.
    """
    m = transform.shape[0]
    sign = np.float32(1)
    if x < 0:
        x, y, z, sign = -x, -y, -z, np.float32(-1)
    ix, iy, iz = int(x), int(np.floor(y)), int(np.floor(z))
    fx, fy, fz = np.float32(x - ix), np.float32(y - iy), np.float32(z - iz)
    z0 = iz + m if iz < 0 else iz
    z1 = iz + 1 + m if iz < -1 else iz + 1
    y0 = iy + m if iy < 0 else iy
    y1 = iy + 1 + m if iy < -1 else iy + 1
    # along x, then y, then z: values and differences
    p, q = transform[z0, y0, ix], transform[z0, y0, ix + 1]
    dr00, di00 = q[0] - p[0], q[1] - p[1]
    r00, i00 = p[0] + fx * dr00, p[1] + fx * di00
    p, q = transform[z0, y1, ix], transform[z0, y1, ix + 1]
    dr01, di01 = q[0] - p[0], q[1] - p[1]
    r01, i01 = p[0] + fx * dr01, p[1] + fx * di01
    p, q = transform[z1, y0, ix], transform[z1, y0, ix + 1]
    dr10, di10 = q[0] - p[0], q[1] - p[1]
    r10, i10 = p[0] + fx * dr10, p[1] + fx * di10
    p, q = transform[z1, y1, ix], transform[z1, y1, ix + 1]
    dr11, di11 = q[0] - p[0], q[1] - p[1]
    r11, i11 = p[0] + fx * dr11, p[1] + fx * di11
    r0, i0, r1, i1 = (
        r00 + fy * (r01 - r00),
        i00 + fy * (i01 - i00),
        r10 + fy * (r11 - r10),
        i10 + fy * (i11 - i10),
    )
    ur, ui = r0 + fz * (r1 - r0), sign * (i0 + fz * (i1 - i0))
    gzr, gzi = r1 - r0, sign * (i1 - i0)
    gyr = (r01 - r00) * (1 - fz) + (r11 - r10) * fz
    gyi = sign * ((i01 - i00) * (1 - fz) + (i11 - i10) * fz)
    dr0, di0 = dr00 + fy * (dr01 - dr00), di00 + fy * (di01 - di00)
    dr1, di1 = dr10 + fy * (dr11 - dr10), di10 + fy * (di11 - di10)
    gxr, gxi = dr0 + fz * (dr1 - dr0), sign * (di0 + fz * (di1 - di0))
    return x, y, z, ur, ui, gxr, gxi, gyr, gyi, gzr, gzi


@njit(**_FAST)
def _slopes(  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    transform, index, matrices, turns, reach, data, weights, wave, value, slope, curvature
):
    m = transform.shape[0]
    furthest = float((m // 2 - 1) ** 2)
    for s in range(len(matrices)):
        a, b, c = matrices[s, 0], matrices[s, 1], matrices[s, 2]
        turn_x, turn_y, turn_z = turns[s, 0], turns[s, 1], turns[s, 2]
        likelihood = 0.0
        g0 = g1 = g2 = g3 = g4 = g5 = 0.0
        h00 = h01 = h02 = h11 = h12 = h22 = 0.0
        h03 = h04 = h05 = h13 = h14 = h15 = h23 = h24 = h25 = 0.0
        h33 = h34 = h35 = h44 = h45 = h55 = 0.0
        for t in range(len(index)):
            i, j, l = index[t, 0], index[t, 1], index[t, 2]
            x = i * a[0] + j * b[0] + l * c[0]
            y = i * a[1] + j * b[1] + l * c[1]
            z = i * a[2] + j * b[2] + l * c[2]
            if x * x + y * y + z * z > furthest:
                continue
            x, y, z, ur, ui, gxr, gxi, gyr, gyi, gzr, gzi = _value_and_slope(transform, x, y, z)
            # the place and the slope both change sign where the mate is read: their cross product is the mate's
            fx32, fy32, fz32 = np.float32(x), np.float32(y), np.float32(z)
            wr0, wi0 = -(fy32 * gzr - fz32 * gyr), -(fy32 * gzi - fz32 * gyi)
            wr1, wi1 = -(fz32 * gxr - fx32 * gzr), -(fz32 * gxi - fx32 * gzi)
            wr2, wi2 = -(fx32 * gyr - fy32 * gxr), -(fx32 * gyi - fy32 * gxi)
            phase = turn_x[i + reach] * turn_y[j + reach]
            if l != 0:
                phase = phase * turn_z[l + reach]
            # the data are turned back instead of the reference and its slopes
            back = data[s, t] * phase.conjugate()
            xr, xi, w = back.real, back.imag, weights[s, t]
            power = ur * ur + ui * ui
            likelihood += xr * ur + xi * ui - np.float32(0.5) * w * power
            rr, ri = xr - w * ur, xi - w * ui
            g0 += rr * wr0 + ri * wi0
            g1 += rr * wr1 + ri * wi1
            g2 += rr * wr2 + ri * wi2
            moved = rr * ui - ri * ur  # Im(r* S)
            g3 += moved * i
            g4 += moved * j
            g5 += moved * l
            h00 += w * (wr0 * wr0 + wi0 * wi0)
            h01 += w * (wr0 * wr1 + wi0 * wi1)
            h02 += w * (wr0 * wr2 + wi0 * wi2)
            h11 += w * (wr1 * wr1 + wi1 * wi1)
            h12 += w * (wr1 * wr2 + wi1 * wi2)
            h22 += w * (wr2 * wr2 + wi2 * wi2)
            q0, q1, q2 = w * (wr0 * ui - wi0 * ur), w * (wr1 * ui - wi1 * ur), w * (wr2 * ui - wi2 * ur)
            h03 += q0 * i
            h04 += q0 * j
            h05 += q0 * l
            h13 += q1 * i
            h14 += q1 * j
            h15 += q1 * l
            h23 += q2 * i
            h24 += q2 * j
            h25 += q2 * l
            power *= w
            h33 += power * i * i
            h34 += power * i * j
            h35 += power * i * l
            h44 += power * j * j
            h45 += power * j * l
            h55 += power * l * l
        value[s] = likelihood
        slope[s, 0], slope[s, 1], slope[s, 2] = g0, g1, g2
        slope[s, 3], slope[s, 4], slope[s, 5] = g3 * wave, g4 * wave, g5 * wave
        upper = (
            (0, 0, h00), (0, 1, h01), (0, 2, h02), (1, 1, h11), (1, 2, h12), (2, 2, h22),
            (0, 3, h03 * wave), (0, 4, h04 * wave), (0, 5, h05 * wave),
            (1, 3, h13 * wave), (1, 4, h14 * wave), (1, 5, h15 * wave),
            (2, 3, h23 * wave), (2, 4, h24 * wave), (2, 5, h25 * wave),
            (3, 3, h33 * wave * wave), (3, 4, h34 * wave * wave), (3, 5, h35 * wave * wave),
            (4, 4, h44 * wave * wave), (4, 5, h45 * wave * wave), (5, 5, h55 * wave * wave),
        )  # fmt: skip
        for row, column, number in upper:
            curvature[s, row, column] = number
            curvature[s, column, row] = number
