"""One step of nonlinear anisotropic diffusion on a CPU: what `diffuse_reference` does, streamed slice by slice.

A step holds the volume, the result, and per thread a band of rows in rings of a few slices: the smoothed volume, the
products of its gradient, the diffusion tensor. Threads meet once per step. Every inner loop runs along x without a
branch, so that it becomes vector instructions.
"""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
from numba import get_num_threads, njit, prange
from numpy.typing import NDArray

from lamella.kernels.diffuse_model import EDGE_CONSTANT, DiffusionModel, cosine_third, gaussian_weights

__all__ = ["diffuse_step", "edge_strengths", "scratch_bytes"]

Array = NDArray[np.float32]
Scalar = Any  # single precision inside compiled code

_F = np.float32
_ROWS = 48  # most rows of a band: its rings should stay near the processor
_C0, _C1, _C2, _C3, _C4, _C5, _C6, _C7, _C8, _C9 = (np.float32(c) for c in cosine_third)
_EDGE = np.float32(EDGE_CONSTANT)
_TINY = np.float32(1e-10)
_MODES = {"eed": 0, "ced": 1, "hybrid": 2}


def diffuse_step(volume: Array, model: DiffusionModel, out: Array | None = None) -> Array:
    """One explicit step of a float32 volume ``(d, h, w)`` into `out` (made where None), which must be another array."""
    if volume.dtype != np.float32 or not volume.flags.c_contiguous:
        raise TypeError("the volume must be a C-contiguous float32 array")
    if out is None:
        out = np.empty_like(volume)
    elif out is volume or out.shape != volume.shape or out.dtype != np.float32:
        raise TypeError("the result needs an array of its own, of the volume's shape and type")
    strengths = np.array([model.contrast**2, model.coherence, model.alpha, model.time_step], dtype=np.float32)
    sigma, rho = gaussian_weights(model.sigma_px), gaussian_weights(model.rho_px)
    _step(volume, out, sigma, rho, strengths, _MODES[model.mode], _bands(volume.shape[1]))
    return out


def edge_strengths(volume: Array, model: DiffusionModel) -> tuple[Array, Array]:
    """μ₁ and μ₁ − μ₃ of the structure tensor at every voxel of a small float32 volume ``(d, h, w)``, in one thread."""
    out = np.empty((2, *volume.shape), np.float32)
    _strengths(np.ascontiguousarray(volume), gaussian_weights(model.sigma_px), gaussian_weights(model.rho_px), out)
    return out[0], out[1]


def scratch_bytes(shape: tuple[int, int, int], model: DiffusionModel) -> int:
    """Memory that a step takes beside the volume ``(d, h, w)`` and its result."""
    slices = 1 + 3 + 6 + 6 * (2 * len(gaussian_weights(model.rho_px)) - 1) + 3 * 6
    bands = _bands(shape[1])
    rows = min(shape[1], ceil(shape[1] / bands) + 2 * model.reach_px)
    return 4 * slices * rows * shape[2] * min(bands, get_num_threads())


def _bands(height: int) -> int:
    """Bands of rows that threads take one by one."""
    return max(1, min(height, get_num_threads(), max(1, height // 8)), ceil(height / _ROWS))


_FAST: dict[str, Any] = {"cache": True, "fastmath": {"contract", "reassoc", "nsz", "arcp"}, "error_model": "numpy"}


@njit(inline="always")
def _clamp(index: int, count: int) -> int:
    return min(max(index, 0), count - 1)


@njit(**_FAST)
def _add_pairs(
    w1: Scalar, w2: Scalar, w3: Scalar, a1: Array, b1: Array, a2: Array, b2: Array, a3: Array, b3: Array, out: Array
) -> None:
    """Add three pairs of rows at once: each pass over `out` costs as much as a pair."""
    for i in range(len(out)):
        out[i] += w1 * (a1[i] + b1[i]) + w2 * (a2[i] + b2[i]) + w3 * (a3[i] + b3[i])


@njit(**_FAST)
def _add_pair(w: Scalar, a: Array, b: Array, out: Array) -> None:
    for i in range(len(out)):
        out[i] += w * (a[i] + b[i])


@njit(**_FAST)
def _smooth_row(row: Array, weights: Array, out: Array) -> None:
    """Gaussian along x."""
    radius, n = len(weights) - 1, len(row)
    border = min(radius, n)
    for i in range(border):
        near, far = weights[0] * row[i], weights[0] * row[n - 1 - i]
        for j in range(1, radius + 1):
            near += weights[j] * (row[max(i - j, 0)] + row[min(i + j, n - 1)])
            far += weights[j] * (row[min(n - 1 - i + j, n - 1)] + row[max(n - 1 - i - j, 0)])
        out[i] = near
        out[n - 1 - i] = far
    inner = out[radius : max(radius, n - radius)]
    for i in range(len(inner)):
        inner[i] = weights[0] * row[radius + i]
    j = 1
    while j + 2 <= radius and len(inner) > 0:
        _add_pairs(
            weights[j],
            weights[j + 1],
            weights[j + 2],
            row[radius - j :],
            row[radius + j :],
            row[radius - j - 1 :],
            row[radius + j + 1 :],
            row[radius - j - 2 :],
            row[radius + j + 2 :],
            inner,
        )
        j += 3
    while j <= radius and len(inner) > 0:
        _add_pair(weights[j], row[radius - j :], row[radius + j :], inner)
        j += 1


@njit(**_FAST)
def _smooth_stack(stack: Array, at: int, count: int, c: int, y: int, weights: Array, out: Array) -> None:
    """Gaussian along the first axis of one row ``stack[at, c, y]``.

    The stack may be a ring that holds the last of `count` slices, slice k at k modulo its length.
    """
    n, last = len(stack), len(weights) - 1
    out[:] = weights[0] * stack[at % n, c, y]
    j = 1
    while j + 2 <= last:
        _add_pairs(
            weights[j],
            weights[j + 1],
            weights[j + 2],
            stack[_clamp(at - j, count) % n, c, y],
            stack[_clamp(at + j, count) % n, c, y],
            stack[_clamp(at - j - 1, count) % n, c, y],
            stack[_clamp(at + j + 1, count) % n, c, y],
            stack[_clamp(at - j - 2, count) % n, c, y],
            stack[_clamp(at + j + 2, count) % n, c, y],
            out,
        )
        j += 3
    while j <= last:
        below, above = stack[_clamp(at - j, count) % n, c, y], stack[_clamp(at + j, count) % n, c, y]
        _add_pair(weights[j], below, above, out)
        j += 1


@njit(**_FAST)
def _smooth_column(plane: Array, y: int, weights: Array, out: Array) -> None:
    """Gaussian along y of one row of a slice."""
    height, width = plane.shape
    _smooth_stack(plane.reshape((height, 1, 1, width)), y, height, 0, 0, weights, out)


@njit(**_FAST)
def _gradient_products(below: Array, here: Array, above: Array, y: int, products: Array) -> None:
    """The six products of the central gradient along one row; rows of `products`: xx xy xz yy yz zz."""
    height, n = here.shape
    row, up, down = here[y], here[_clamp(y + 1, height)], here[_clamp(y - 1, height)]
    front, back = above[y], below[y]
    half = _F(0.5)
    slope = products[2]
    for i in range(1, n - 1):
        slope[i] = half * (row[i + 1] - row[i - 1])
    slope[0] = half * (row[min(1, n - 1)] - row[0])
    slope[n - 1] = half * (row[n - 1] - row[max(n - 2, 0)])
    for i in range(n):
        gx = slope[i]
        gy = half * (up[i] - down[i])
        gz = half * (front[i] - back[i])
        products[0, i] = gx * gx
        products[1, i] = gx * gy
        products[2, i] = gx * gz
        products[3, i] = gy * gy
        products[4, i] = gy * gz
        products[5, i] = gz * gz


@njit(inline="always")
def _third(t: Scalar) -> Scalar:
    p = _C9
    p = p * t + _C8
    p = p * t + _C7
    p = p * t + _C6
    p = p * t + _C5
    p = p * t + _C4
    p = p * t + _C3
    p = p * t + _C2
    p = p * t + _C1
    return p * t + _C0


@njit(inline="always")
def _decay(x: Scalar) -> Scalar:
    """exp(−x) for x ≥ 0 to 2e-7, without a call: exp(x/32) by its series, raised to the 32nd power."""
    y = min(x, _F(24.0)) * _F(1.0 / 32.0)
    e = _F(1.0 / 720.0)
    e = e * y + _F(1.0 / 120.0)
    e = e * y + _F(1.0 / 24.0)
    e = e * y + _F(1.0 / 6.0)
    e = e * y + _F(0.5)
    e = e * y + _F(1.0)
    e = e * y + _F(1.0)
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    return _F(1.0) / e


@njit(inline="always")
def _spectrum(
    xx: Scalar, xy: Scalar, xz: Scalar, yy: Scalar, yz: Scalar, zz: Scalar
) -> tuple[Scalar, Scalar, Scalar, Scalar, Scalar, Scalar, Scalar, Scalar]:
    """Mean and spread of the eigenvalues, the greatest and the least of (matrix − mean) / spread, and its diagonal."""
    one, two, half = _F(1.0), _F(2.0), _F(0.5)
    mean = (xx + yy + zz) * _F(1.0 / 3.0)
    a, d, f = xx - mean, yy - mean, zz - mean
    spread = np.sqrt((a * a + d * d + f * f + two * (xy * xy + xz * xz + yz * yz)) * _F(1.0 / 6.0))
    spread = max(spread, _TINY)
    unit = one / spread
    a, b, c, d, e, f = a * unit, xy * unit, xz * unit, d * unit, yz * unit, f * unit
    r = half * (a * (d * f - e * e) - b * (b * f - c * e) + c * (b * e - c * d))
    r = min(max(r, -one), one)
    high = two * _third(np.sqrt((one + r) * half))
    low = -two * _third(np.sqrt((one - r) * half))
    return mean, spread, unit, high, low, a, d, f


@njit(inline="always")
def _eigenvector(
    a: Scalar, b: Scalar, c: Scalar, d: Scalar, e: Scalar, f: Scalar, value: Scalar
) -> tuple[Scalar, Scalar, Scalar]:
    """Unit eigenvector: the longest column of the adjugate of (matrix − value)."""
    a, d, f = a - value, d - value, f - value
    m00, m01, m02 = d * f - e * e, c * e - b * f, b * e - c * d
    m11, m12, m22 = a * f - c * c, b * c - a * e, a * d - b * b
    first = m00 >= m11
    x = m00 if first else m01
    y = m01 if first else m11
    z = m02 if first else m12
    third = m22 > (m00 if first else m11)
    x = m02 if third else x
    y = m12 if third else y
    z = m22 if third else z
    scale = _F(1.0) / np.sqrt(x * x + y * y + z * z + _F(1e-30))
    return x * scale, y * scale, z * scale


@njit(**_FAST)
def _tensor_row(j: Array, mode: int, strengths: Array, out: Array) -> None:
    """Diffusion tensor of one row: ``(6, n)`` structure tensor in, ``(6, n)`` out."""
    one, two = _F(1.0), _F(2.0)
    contrast2, coherence, alpha = strengths[0], strengths[1], strengths[2]
    with_edges, with_lines = _F(mode != 1), _F(mode != 0)
    hybrid = _F(mode == 2)
    for i in range(j.shape[1]):
        b, c, e = j[1, i], j[2, i], j[4, i]
        mean, spread, unit, high, low, a, d, f = _spectrum(j[0, i], b, c, j[3, i], e, j[5, i])
        b, c, e = b * unit, c * unit, e * unit
        mu1 = mean + spread * high
        mu12 = spread * (two * high + low)
        mu13 = spread * (high - low)

        ratio = min(mu13 / coherence, _F(100.0))
        ratio = ratio * ratio
        ratio = ratio * ratio
        weight = hybrid * (ratio / (one + ratio)) + (one - hybrid) * with_lines
        edge = min(contrast2 / max(mu1, _TINY), _F(10.0))
        edge = edge * edge
        across = (one - weight) * (one - _decay(_EDGE * edge * edge))
        plane = coherence / max(mu12, _TINY)
        line = coherence / max(mu13, _TINY)
        plane = alpha + (one - alpha) * _decay(min(plane * plane, _F(1e6)))
        line = alpha + (one - alpha) * _decay(min(line * line, _F(1e6)))
        along = (one - weight) * with_edges
        part1 = across * with_edges + weight * alpha
        part2 = along + weight * plane
        part3 = along + weight * line

        x, y, z = _eigenvector(a, b, c, d, e, f, high)
        s, t, u = _eigenvector(a, b, c, d, e, f, low)
        p, q = part1 - part2, part3 - part2
        out[0, i] = part2 + p * x * x + q * s * s
        out[1, i] = p * x * y + q * s * t
        out[2, i] = p * x * z + q * s * u
        out[3, i] = part2 + p * y * y + q * t * t
        out[4, i] = p * y * z + q * t * u
        out[5, i] = part2 + p * z * z + q * u * u


@njit(**_FAST)
def _strengths_row(j: Array, first: Array, gap: Array) -> None:
    """Eigenvalues of one row of structure tensors: μ₁, and μ₁ − μ₃."""
    for i in range(j.shape[1]):
        mean, spread, _, high, low, _, _, _ = _spectrum(j[0, i], j[1, i], j[2, i], j[3, i], j[4, i], j[5, i])
        first[i] = mean + spread * high
        gap[i] = spread * (high - low)


@njit(**_FAST)
def _strengths(volume: Array, w_sigma: Array, w_rho: Array, out: Array) -> None:
    depth, height, width = volume.shape
    slices = volume.reshape((depth, 1, height, width))
    rows, line = np.empty((6, width), np.float32), np.empty(width, np.float32)
    plane, planes = np.empty((height, width), np.float32), np.empty((6, height, width), np.float32)
    smoothed = np.empty(volume.shape, np.float32)
    products = np.empty((depth, 6, height, width), np.float32)
    for z in range(depth):
        for y in range(height):
            _smooth_stack(slices, z, depth, 0, y, w_sigma, line)
            _smooth_row(line, w_sigma, plane[y])
        for y in range(height):
            _smooth_column(plane, y, w_sigma, smoothed[z, y])
    for z in range(depth):
        below, above = smoothed[_clamp(z - 1, depth)], smoothed[_clamp(z + 1, depth)]
        for y in range(height):
            _gradient_products(below, smoothed[z], above, y, rows)
            for c in range(6):
                _smooth_row(rows[c], w_rho, planes[c, y])
        for y in range(height):
            for c in range(6):
                _smooth_column(planes[c], y, w_rho, products[z, c, y])
    for z in range(depth):
        for y in range(height):
            for c in range(6):
                _smooth_stack(products, z, depth, c, y, w_rho, rows[c])
            _strengths_row(rows, out[0, z, y], out[1, z, y])


@njit(**_FAST)
def _flux_row(
    u0: Array,
    u1: Array,
    u2: Array,
    d0: Array,
    d1: Array,
    d2: Array,
    sign0: float,
    sign2: float,
    y: int,
    tau: float,
    slope: Array,
    out: Array,
) -> None:
    """u + τ div(D ∇u) along one row.

    `u0, u1, u2` and `d0, d1, d2` are the slices below, here and above; beyond a border they are the last ones, with
    the signs −1 (below, above) so that no flux crosses it.
    """
    height, n = u1.shape
    half, quarter = _F(0.5), _F(0.25)
    y0, y2 = _clamp(y - 1, height), _clamp(y + 1, height)
    sign_y0, sign_y2 = _F(1.0 if y > 0 else -1.0), _F(1.0 if y < height - 1 else -1.0)
    row, up, down, front, back = u1[y], u1[y2], u1[y0], u2[y], u0[y]

    # the tensor's diagonal: compact differences
    dyy, dyy2, dyy0 = d1[y, 3], d1[y2, 3], d1[y0, 3]
    dzz, dzz2, dzz0 = d1[y, 5], d2[y, 5], d0[y, 5]
    for i in range(n):
        middle = row[i]
        flux = (dyy2[i] + dyy[i]) * (up[i] - middle) + (dyy0[i] + dyy[i]) * (down[i] - middle)
        flux += (dzz2[i] + dzz[i]) * (front[i] - middle) + (dzz0[i] + dzz[i]) * (back[i] - middle)
        out[i] = half * flux
    dxx = d1[y, 0]
    for i in range(1, n - 1):
        middle = row[i]
        flux = (dxx[i + 1] + dxx[i]) * (row[i + 1] - middle) + (dxx[i - 1] + dxx[i]) * (row[i - 1] - middle)
        out[i] += half * flux
    if n > 1:
        out[0] += half * (dxx[1] + dxx[0]) * (row[1] - row[0])
        out[n - 1] += half * (dxx[n - 2] + dxx[n - 1]) * (row[n - 2] - row[n - 1])

    # the rest along x: F = Dxy ∂y u + Dxz ∂z u of this row
    dxy, dxz = d1[y, 1], d1[y, 2]
    for i in range(n):
        slope[i] = quarter * (dxy[i] * (up[i] - down[i]) + dxz[i] * (front[i] - back[i]))
    for i in range(1, n - 1):
        out[i] += slope[i + 1] - slope[i - 1]
    if n > 1:
        out[0] += slope[1] + slope[0]
        out[n - 1] -= slope[n - 1] + slope[n - 2]

    # along y: F = Dxy ∂x u + Dyz ∂z u of the rows up and down; along z: F = Dxz ∂x u + Dyz ∂y u above and below
    _add_cross(up, d1[y2, 1], d1[y2, 4], u2[y2], u0[y2], quarter * sign_y2, out)
    _add_cross(down, d1[y0, 1], d1[y0, 4], u2[y0], u0[y0], -quarter * sign_y0, out)
    _add_cross(front, d2[y, 2], d2[y, 4], u2[y2], u2[y0], quarter * sign2, out)
    _add_cross(back, d0[y, 2], d0[y, 4], u0[y2], u0[y0], -quarter * sign0, out)
    for i in range(n):
        out[i] = row[i] + tau * out[i]


@njit(**_FAST)
def _add_cross(row: Array, dx: Array, dt: Array, plus: Array, minus: Array, factor: float, out: Array) -> None:
    """Add factor · (dx · ∂x + dt · ∂t) of one neighbouring row, differences undivided."""
    n = len(row)
    for i in range(1, n - 1):
        out[i] += factor * (dx[i] * (row[i + 1] - row[i - 1]) + dt[i] * (plus[i] - minus[i]))
    out[0] += factor * (dx[0] * (row[min(1, n - 1)] - row[0]) + dt[0] * (plus[0] - minus[0]))
    if n > 1:
        i = n - 1
        out[i] += factor * (dx[i] * (row[i] - row[i - 1]) + dt[i] * (plus[i] - minus[i]))


@njit(parallel=True, **_FAST)
def _step(volume: Array, out: Array, w_sigma: Array, w_rho: Array, strengths: Array, mode: int, bands: int) -> None:
    height = volume.shape[1]
    halo = len(w_sigma) + len(w_rho)
    for band in prange(bands):
        first, last = band * height // bands, (band + 1) * height // bands
        low, high = max(0, first - halo), min(height, last + halo)
        _band(volume, out, low, high, first - low, last - low, w_sigma, w_rho, strengths, mode)


@njit(**_FAST)
def _band(
    volume: Array,
    out: Array,
    low: int,
    high: int,
    first: int,
    last: int,
    w_sigma: Array,
    w_rho: Array,
    strengths: Array,
    mode: int,
) -> None:
    """The step of some rows of every slice: of the band from `low` to `high`, those from its `first` to its `last`."""
    depth, height, width = volume.shape[0], high - low, volume.shape[2]
    slices = volume.reshape((depth, 1, volume.shape[1], width))
    radius = len(w_rho) - 1
    ring = 2 * radius + 1
    line, rows = np.empty(width, np.float32), np.empty((6, width), np.float32)
    half_smooth, smoothed = np.empty((height, width), np.float32), np.empty((3, height, width), np.float32)
    half_products = np.empty((6, height, width), np.float32)
    products, tensors = np.empty((ring, 6, height, width), np.float32), np.empty((3, height, 6, width), np.float32)
    first_tensor, last_tensor = max(0, first - 1), min(height, last + 1)
    first_product, last_product = max(0, first_tensor - radius), min(height, last_tensor + radius)
    for k in range(depth + radius + 2):
        if k < depth:  # the smoothed volume's slice k
            for y in range(height):
                _smooth_stack(slices, k, depth, 0, low + y, w_sigma, line)
                _smooth_row(line, w_sigma, half_smooth[y])
            for y in range(height):
                _smooth_column(half_smooth, y, w_sigma, smoothed[k % 3, y])
        g = k - 1
        if 0 <= g < depth:  # products of the gradient of slice g, smoothed within the slice
            below, above = smoothed[_clamp(g - 1, depth) % 3], smoothed[_clamp(g + 1, depth) % 3]
            for y in range(first_product, last_product):
                _gradient_products(below, smoothed[g % 3], above, y, rows)
                for c in range(6):
                    _smooth_row(rows[c], w_rho, half_products[c, y])
            for y in range(first_tensor, last_tensor):
                for c in range(6):
                    _smooth_column(half_products[c], y, w_rho, products[g % ring, c, y])
        t = g - radius
        if 0 <= t < depth:  # the tensors of slice t
            for y in range(first_tensor, last_tensor):
                for c in range(6):
                    _smooth_stack(products, t, depth, c, y, w_rho, rows[c])
                _tensor_row(rows, mode, strengths, tensors[t % 3, y])
        s = t - 1
        if 0 <= s < depth:  # the step of slice s
            s0, s2 = _clamp(s - 1, depth), _clamp(s + 1, depth)
            sign0, sign2 = _F(1.0 if s > 0 else -1.0), _F(1.0 if s < depth - 1 else -1.0)
            u0, u1, u2 = volume[s0][low:high], volume[s][low:high], volume[s2][low:high]
            d0, d1, d2 = tensors[s0 % 3], tensors[s % 3], tensors[s2 % 3]
            for y in range(first, last):
                _flux_row(u0, u1, u2, d0, d1, d2, sign0, sign2, y, strengths[3], line, out[s, low + y])
