"""Back-projection of cosine-stretched rows on a CPU: every voxel sums what it meets in each view."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lamella.kernels.rows import RowPlan, RowWindow
from lamella.kernels.taps import TABLE_STEPS

__all__ = ["back_project_rows", "lines_of", "lines_to_voxels"]

Volume = NDArray[np.float32]

# Sums of so many voxels stay in the first-level cache while the views pass by.
_BLOCK_X = 512
_BLOCK_Z = 16
_PLANES = 32  # whose lines are summed at a time

_FAST: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": True, "error_model": "numpy"}


def back_project_rows(
    rows: NDArray[np.float32], plan: RowPlan, window: RowWindow, first: tuple[int, int, int], out: Volume
) -> None:
    """Sum the rows of all views into a block of voxels. Other threads run meanwhile.

    Parameters
    ----------
    rows
        flat buffer laid out as `window` says.
    plan, window
        how voxels meet rows; `window` from ``plan.window`` for this block, or for one that holds it and begins at the
        same x.
    first
        (z, y, x) of the block's first voxel, counted from the centre voxel.
    out
        ``(nz, ny, nx)`` float32, overwritten.
    """
    if plan.line_table is None:
        _sum_views(
            rows, window.layout, window.shift, plan.coefficients(), plan.table_u, plan.table_v, plan.exact_v,
            np.array(first), out,
        )  # fmt: skip
        return
    nz, ny, nx = out.shape
    for z in range(0, nz, _PLANES):
        part = out[z : z + _PLANES]
        line, count = lines_of(plan, first[0] + z, len(part), first[1], ny)
        sums = np.empty((len(part), count, nx), np.float32)
        start = np.array([first[0] + z, line, first[2]])
        _sum_views(
            rows, window.layout, window.shift, plan.coefficients(), plan.table_u, plan.table_v, True, start, sums
        )
        lines_to_voxels(sums, plan.line_table, np.array(plan.rho), start, first[1], part)


def lines_of(plan: RowPlan, z: int, depth: int, y: int, height: int) -> tuple[int, int]:
    """First line, and number of lines, that four taps reach from some voxel rows."""
    places = [plan.rho[0] * row + plan.rho[1] * plane for row in (y, y + height - 1) for plane in (z, z + depth - 1)]
    first = int(np.floor(min(places))) - 1
    return first, int(np.floor(max(places))) + 3 - first


@njit(inline="always")
def meet(layout, shift, coefficients, table_u, table_v, exact_v, view, line, z, starts, weights):  # type: ignore[no-untyped-def]
    """Where a line of voxels meets the rows of a view: places of its taps in the flat buffer, and their weights.

    Returns τ, on which taps and weights depend from voxel to voxel in a steep view.
    """
    phases, samples = layout[view, 1], layout[view, 2]
    tau = coefficients[view, 1] * line + coefficients[view, 2] * z
    nu = coefficients[view, 3] * line + coefficients[view, 4] * z
    row = np.int64(np.floor(nu))
    step = np.int64((nu - row) * TABLE_STEPS + 0.5)
    near, far = table_v[step], table_v[TABLE_STEPS - step]
    base = layout[view, 0] + (row - layout[view, 4]) * phases * samples
    if coefficients[view, 5] != 0:  # steep
        starts[0], starts[2] = base, base + samples
        weights[0], weights[2] = near, far
        return tau
    n = np.int64(np.floor(tau))
    step = np.int64((tau - n) * TABLE_STEPS + 0.5)
    left, right = table_u[step], table_u[TABLE_STEPS - step]
    k = n // phases
    starts[0] = base + (n - k * phases) * samples + k - shift[view]
    k = (n + 1) // phases
    starts[1] = base + (n + 1 - k * phases) * samples + k - shift[view]
    starts[2] = starts[0] + phases * samples
    starts[3] = starts[1] + phases * samples
    weights[0], weights[1] = left * near, right * near
    weights[2], weights[3] = left * far, right * far
    return tau


@njit(**_FAST)
def _add_eight(rows, starts, weights, x, out):  # type: ignore[no-untyped-def]
    """Eight taps at once: sums are read and written an eighth as often."""
    n = len(out)
    a, b = rows[starts[0] + x : starts[0] + x + n], rows[starts[1] + x : starts[1] + x + n]
    c, d = rows[starts[2] + x : starts[2] + x + n], rows[starts[3] + x : starts[3] + x + n]
    e, f = rows[starts[4] + x : starts[4] + x + n], rows[starts[5] + x : starts[5] + x + n]
    g, h = rows[starts[6] + x : starts[6] + x + n], rows[starts[7] + x : starts[7] + x + n]
    w0, w1, w2, w3 = weights[0], weights[1], weights[2], weights[3]
    w4, w5, w6, w7 = weights[4], weights[5], weights[6], weights[7]
    for i in range(n):
        near = w0 * a[i] + w1 * b[i] + w2 * c[i] + w3 * d[i]
        out[i] += near + (w4 * e[i] + w5 * f[i] + w6 * g[i] + w7 * h[i])


@njit(**_FAST)
def _add_steep(rows, starts, weights, place, slope, shift, table_u, exact_v, out):  # type: ignore[no-untyped-def]
    """A line of voxels in a steep view: each voxel has its own taps, the first at `place`."""
    for i in range(len(out)):
        n = np.int64(np.floor(place + slope * i))
        step = np.int64((place + slope * i - n) * TABLE_STEPS + 0.5)
        left, right = table_u[step], table_u[TABLE_STEPS - step]
        k = starts[0] + n - shift
        value = weights[0] * (left * rows[k] + right * rows[k + 1])
        if not exact_v:
            k = starts[2] + n - shift
            value += weights[2] * (left * rows[k] + right * rows[k + 1])
        out[i] += value


@njit(**_FAST)
def _collect(layout, shift, coefficients, table_u, table_v, exact_v, views, line, z, starts, weights):  # type: ignore[no-untyped-def]
    """Taps of stretched views on one line of some planes, eight to a group: ``(groups, planes, 8)``."""
    taps = 2 if exact_v else 4
    place, weight = np.zeros(4, np.int64), np.zeros(4, np.float32)
    for group in range(starts.shape[0]):
        for i in range(starts.shape[1]):
            for slot in range(0, 8, taps):
                index = (8 // taps) * group + slot // taps
                if index < len(views):
                    meet(
                        layout, shift, coefficients, table_u, table_v, exact_v, views[index], line, z + i, place, weight
                    )
                else:
                    weight[:] = 0  # an empty slot reads what its neighbour reads, for nothing
                for tap in range(taps):
                    starts[group, i, slot + tap] = place[tap]
                    weights[group, i, slot + tap] = weight[tap]


@njit(**_FAST)
def _sum_views(rows, layout, shift, coefficients, table_u, table_v, exact_v, first, out):  # type: ignore[no-untyped-def]
    """Sum of all views on every line: `out` ``(z, line, x)``, `first` its first plane, line and x."""
    nz, n_lines, nx = out.shape
    stretched, steep = np.flatnonzero(coefficients[:, 5] == 0), np.flatnonzero(coefficients[:, 5])
    groups = (len(stretched) * (2 if exact_v else 4) + 7) // 8
    sums = np.empty((_BLOCK_Z, _BLOCK_X), np.float32)
    starts = np.zeros((groups, nz, 8), np.int64)
    weights = np.zeros((groups, nz, 8), np.float32)
    place, weight = np.zeros(4, np.int64), np.zeros(4, np.float32)
    for line in range(n_lines):
        _collect(
            layout,
            shift,
            coefficients,
            table_u,
            table_v,
            exact_v,
            stretched,
            first[1] + line,
            first[0],
            starts,
            weights,
        )
        for x in range(0, nx, _BLOCK_X):
            width = min(_BLOCK_X, nx - x)
            for z in range(0, nz, _BLOCK_Z):
                depth = min(_BLOCK_Z, nz - z)
                sums[:] = 0
                for group in range(groups):
                    for i in range(depth):
                        _add_eight(rows, starts[group, z + i], weights[group, z + i], x, sums[i, :width])
                for view in steep:
                    slope = coefficients[view, 0]
                    for i in range(depth):
                        tau = meet(
                            layout, shift, coefficients, table_u, table_v, exact_v, view, first[1] + line,
                            first[0] + z + i, place, weight,
                        )  # fmt: skip
                        _add_steep(
                            rows, place, weight, tau + slope * (first[2] + x), slope, shift[view], table_u, exact_v,
                            sums[i, :width],
                        )  # fmt: skip
                for i in range(depth):
                    out[z + i, line, x : x + width] = sums[i, :width]


@njit(**_FAST)
def lines_to_voxels(sums, table, rho, first, y0, out):  # type: ignore[no-untyped-def]
    """Voxel rows from the lines of their plane, four taps."""
    nz, ny, nx = out.shape
    for z in range(nz):
        for y in range(ny):
            place = rho[0] * (y0 + y) + rho[1] * (first[0] + z)
            line = np.int64(np.floor(place))
            w = table[np.int64((place - line) * TABLE_STEPS + 0.5)]
            line -= first[1]
            a, b, c, d = sums[z, line - 1], sums[z, line], sums[z, line + 1], sums[z, line + 2]
            w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
            target = out[z, y]
            for x in range(nx):
                target[x] = w0 * a[x] + w1 * b[x] + w2 * c[x] + w3 * d[x]
