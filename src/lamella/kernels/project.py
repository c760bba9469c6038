"""Projection of voxels into cosine-stretched rows on a CPU: the exact transpose of `back_project_rows`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lamella.kernels.backproject import lines_of, meet
from lamella.kernels.rows import RowPlan, RowWindow
from lamella.kernels.taps import TABLE_STEPS

__all__ = ["project_rows"]

Volume = NDArray[np.float32]

_BLOCK_Z = 16  # planes whose lines are made at a time

_FAST: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": True, "error_model": "numpy"}


def project_rows(
    volume: Volume, plan: RowPlan, window: RowWindow, first: tuple[int, int, int], rows: NDArray[np.float32]
) -> None:
    """Add a block of voxels to the rows of all views. Other threads run meanwhile.

    Parameters
    ----------
    volume
        ``(nz, ny, nx)`` float32.
    plan, window, first
        as for `back_project_rows`.
    rows
        flat buffer laid out as `window` says; added to.
    """
    nz, ny, nx = volume.shape
    for z in range(0, nz, _BLOCK_Z):
        part = volume[z : z + _BLOCK_Z]
        start = np.array([first[0] + z, first[1], first[2]])
        if plan.line_table is not None:
            line, count = lines_of(plan, first[0] + z, len(part), first[1], ny)
            lines = np.zeros((len(part), count, nx), np.float32)
            start[1] = line
            _voxels_to_lines(part, plan.line_table, np.array(plan.rho), start, first[1], lines)
            part = lines
        _spread(
            part,
            window.layout,
            window.shift,
            plan.coefficients(),
            plan.table_u,
            plan.table_v,
            plan.exact_v,
            start,
            rows,
        )


@njit(**_FAST)
def _voxels_to_lines(volume, table, rho, first, y0, lines):  # type: ignore[no-untyped-def]
    """The transpose of interpolating voxel rows from lines."""
    nz, ny, nx = volume.shape
    for z in range(nz):
        for y in range(ny):
            place = rho[0] * (y0 + y) + rho[1] * (first[0] + z)
            line = np.int64(np.floor(place))
            w = table[np.int64((place - line) * TABLE_STEPS + 0.5)]
            source = volume[z, y]
            for i in range(4):
                target, weight = lines[z, line - first[1] - 1 + i], w[i]
                if weight != 0:
                    for x in range(nx):
                        target[x] += weight * source[x]


@njit(**_FAST)
def _add_scaled(rows, start, weight, source):  # type: ignore[no-untyped-def]
    target = rows[start : start + len(source)]
    for i in range(len(source)):
        target[i] += weight * source[i]


@njit(**_FAST)
def _spread_steep(rows, starts, weights, place, slope, shift, table_u, exact_v, source):  # type: ignore[no-untyped-def]
    for i in range(len(source)):
        n = np.int64(np.floor(place + slope * i))
        step = np.int64((place + slope * i - n) * TABLE_STEPS + 0.5)
        left, right = table_u[step] * source[i], table_u[TABLE_STEPS - step] * source[i]
        k = starts[0] + n - shift
        rows[k] += weights[0] * left
        rows[k + 1] += weights[0] * right
        if not exact_v:
            k = starts[2] + n - shift
            rows[k] += weights[2] * left
            rows[k + 1] += weights[2] * right


@njit(**_FAST)
def _spread(lines, layout, shift, coefficients, table_u, table_v, exact_v, first, rows):  # type: ignore[no-untyped-def]
    """Every line of voxels into every view; the rows of one view and line stay in the cache while the planes pass."""
    nz, n_lines, _nx = lines.shape
    starts, weights = np.zeros(4, np.int64), np.zeros(4, np.float32)
    for line in range(n_lines):
        for view in range(len(layout)):
            for z in range(nz):
                source = lines[z, line]
                tau = meet(
                    layout, shift, coefficients, table_u, table_v, exact_v, view, first[1] + line, first[0] + z,
                    starts, weights,
                )  # fmt: skip
                if coefficients[view, 5] != 0:
                    slope = coefficients[view, 0]
                    place = tau + slope * first[2]
                    _spread_steep(rows, starts, weights, place, slope, shift[view], table_u, exact_v, source)
                    continue
                for tap in range(2 if exact_v else 4):
                    if weights[tap] != 0:
                        _add_scaled(rows, starts[tap], weights[tap], source)
