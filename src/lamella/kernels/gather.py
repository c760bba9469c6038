"""Between the finer grid of an image and its cosine-stretched rows: read rows (gather), and the transpose (scatter)."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit
from numba.core.types import float32
from numba.extending import intrinsic
from numpy.typing import NDArray
from scipy.ndimage import spline_filter

from lamella.geometry import TiltGeometry
from lamella.kernels.rows import RowPlan, RowWindow
from lamella.kernels.sampling import ImageGrid
from lamella.kernels.taps import TABLE_STEPS

__all__ = ["KNOT", "RowReader"]

KNOT = 8  # samples between the places where a local field is evaluated; between them goes a Catmull-Rom spline


class RowReader:
    """Reads the rows of a window from stored views, and adds rows to them.

    Parameters
    ----------
    grid, geometry, plan
        where pixels, points and rows lie.
    """

    def __init__(self, grid: ImageGrid, geometry: TiltGeometry, plan: RowPlan) -> None:
        self.grid, self.plan = grid, plan
        self.places = np.stack([grid.places(geometry, plan, view) for view in range(len(geometry))])  # (n, 2, 2, 3)
        self.bounds = grid.bounds()
        self.tables = grid.tables
        field = geometry.field
        if field is None:
            self.field = np.zeros((len(geometry), 0, 0, 0))
            self.field_scale = np.zeros(6)
            return
        nodes = field.nodes_ang
        self.field = np.stack([[spline_filter(part, order=3, mode="mirror") for part in view] for view in nodes])
        gy, gx = nodes.shape[2:]
        half_x, half_y = field.half_width_ang
        self.field_scale = np.array([half_x, half_y, (gx - 1) / 2, (gy - 1) / 2, *grid.per_ang()])

    def read(self, stored: NDArray[np.float32], view: int, window: RowWindow, rows: NDArray[np.float32]) -> None:
        """Fill one view's part of the flat buffer `rows` from its stored image."""
        offset, phases, samples, count, first_row, first_sample = (int(i) for i in window.layout[view])
        part = rows[offset : offset + count * phases * samples].reshape(count, phases, samples)
        _read(
            stored, part, self.places[view], self.bounds, self.tables, self.field[view], self.field_scale,
            first_row, first_sample, self.grid.swapped,
        )  # fmt: skip

    def add(self, rows: NDArray[np.float32], view: int, window: RowWindow, stored: NDArray[np.float32]) -> None:
        """The transpose of `read`: add one view's part of the flat buffer `rows` to its stored image."""
        offset, phases, samples, count, first_row, first_sample = (int(i) for i in window.layout[view])
        part = rows[offset : offset + count * phases * samples].reshape(count, phases, samples)
        _add(
            stored, part, self.places[view], self.bounds, self.tables, self.field[view], self.field_scale,
            first_row, first_sample, self.grid.swapped,
        )  # fmt: skip


@njit(inline="always")
def _mirror(index, count):  # type: ignore[no-untyped-def]
    """An index at most two beyond the ends, mirrored about the end samples."""
    index = abs(index)
    if index >= count:
        index = 2 * (count - 1) - index
    return min(max(index, 0), count - 1)


@njit(inline="always")
def _cubic_weights(t):  # type: ignore[no-untyped-def]
    """Cubic B-spline at −1 − t, −t, 1 − t, 2 − t."""
    s = 1 - t
    return s * s * s / 6, 2 / 3 - t * t * (1 - t / 2), 2 / 3 - s * s * (1 - s / 2), t * t * t / 6


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _displacement(coefficients, scale, qx, qy):  # type: ignore[no-untyped-def]
    """Displacement (x, y) in Å of a spline field at a point in Å: the same as `ImageField.displacement`."""
    gy, gx = coefficients.shape[1:]
    x = min(max((qx / scale[0] + 1) * scale[2], 0.0), gx - 1.0)
    y = min(max((qy / scale[1] + 1) * scale[3], 0.0), gy - 1.0)
    ix, iy = int(x), int(y)
    x0, x1, x2, x3 = _mirror(ix - 1, gx), _mirror(ix, gx), _mirror(ix + 1, gx), _mirror(ix + 2, gx)
    wx = _cubic_weights(x - ix)
    wy = _cubic_weights(y - iy)
    out_x, out_y = 0.0, 0.0
    for j in range(4):
        row = _mirror(iy - 1 + j, gy)
        a, b = coefficients[0, row], coefficients[1, row]
        out_x += wy[j] * (wx[0] * a[x0] + wx[1] * a[x1] + wx[2] * a[x2] + wx[3] * a[x3])
        out_y += wy[j] * (wx[0] * b[x0] + wx[1] * b[x1] + wx[2] * b[x2] + wx[3] * b[x3])
    return out_x, out_y


@njit(cache=True, nogil=True, error_model="numpy")
def _row_places(places, coefficients, scale, row, first_sample, step, count, swapped, knots, line):  # type: ignore[no-untyped-def]
    """Places (slow, fast) of `count` samples of a row into `line` ``(2, count)``; `step` is between samples."""
    q, stored = places[0], places[1]
    a0 = stored[0, 0] + stored[0, 1] * first_sample + stored[0, 2] * row
    b0 = stored[1, 0] + stored[1, 1] * first_sample + stored[1, 2] * row
    da, db = stored[0, 1] * step, stored[1, 1] * step
    for k in range(count):
        line[0, k] = a0 + da * k
        line[1, k] = b0 + db * k
    if coefficients.shape[1] == 0:
        return
    n_knots = (count - 1) // KNOT + 4
    for i in range(n_knots):
        sample = first_sample + step * KNOT * (i - 1)
        qx = q[0, 0] + q[0, 1] * sample + q[0, 2] * row
        qy = q[1, 0] + q[1, 1] * sample + q[1, 2] * row
        dx, dy = _displacement(coefficients, scale, qx, qy)
        slow, fast = (dx * scale[4], dy * scale[5]) if swapped else (dy * scale[5], dx * scale[4])
        knots[0, i], knots[1, i] = slow, fast
    for axis in range(2):
        for i in range(1, n_knots - 2):
            before, left, right, after = knots[axis, i - 1], knots[axis, i], knots[axis, i + 1], knots[axis, i + 2]
            c1, c2 = 0.5 * (right - before), before - 2.5 * left + 2 * right - 0.5 * after
            c3 = 0.5 * (after - before) + 1.5 * (left - right)
            start = (i - 1) * KNOT
            for k in range(min(KNOT, count - start)):
                t = k / KNOT
                line[axis, start + k] += left + t * (c1 + t * (c2 + t * c3))


@intrinsic
def _sixteen_taps(typing, image, place, stride, table_a, step_a, table_b, step_b):  # type: ignore[no-untyped-def]
    """Σ wa[i] wb[j] image[place + i·stride + j] over 4 × 4 taps, four neighbours at a time in one vector register.

    `image` and the tables are flat; the weights begin at ``4·step`` of their table. The compiler does not find these
    vectors by itself; with them a sample takes half the time.
    """
    del typing

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        four, number = ir.VectorType(ir.FloatType(), 4), ir.IntType(32)
        data = [context.make_array(signature.args[i])(context, builder, arguments[i]).data for i in (0, 3, 5)]

        def load(pointer: Any, index: Any) -> Any:
            start = builder.bitcast(builder.gep(pointer, [index]), four.as_pointer())
            return builder.load(start, align=4)

        def pick(vector: Any, lanes: list[int]) -> Any:
            mask = ir.Constant(ir.VectorType(number, 4), [ir.Constant(number, lane) for lane in lanes])
            return builder.shuffle_vector(vector, ir.Constant(four, ir.Undefined), mask)

        fast = ("fast",)
        quad = ir.Constant(ir.IntType(64), 4)
        weights_a = load(data[1], builder.mul(arguments[4], quad))
        weights_b = load(data[2], builder.mul(arguments[6], quad))
        index, total = arguments[1], None
        for i in range(4):
            part = builder.fmul(pick(weights_a, [i] * 4), load(data[0], index), flags=fast)
            total = part if total is None else builder.fadd(total, part, flags=fast)
            index = builder.add(index, arguments[2])
        total = builder.fmul(total, weights_b, flags=fast)
        total = builder.fadd(total, pick(total, [2, 3, 0, 1]), flags=fast)
        total = builder.fadd(total, pick(total, [1, 0, 3, 2]), flags=fast)
        return builder.extract_element(total, ir.Constant(number, 0))

    return float32(image, place, stride, table_a, step_a, table_b, step_b), generate


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _taps(line, bounds, stride, starts, steps_a, steps_b):  # type: ignore[no-untyped-def]
    """Index of the first of 4 × 4 taps of each place, −1 outside the image; and the lines of the tables of weights."""
    for k in range(line.shape[1]):
        a, b = line[0, k], line[1, k]
        inside = (a >= bounds[0]) & (a <= bounds[1]) & (b >= bounds[2]) & (b <= bounds[3])
        ia, ib = np.int32(a), np.int32(b)
        steps_a[k] = np.int32((a - ia) * TABLE_STEPS + 0.5)
        steps_b[k] = np.int32((b - ib) * TABLE_STEPS + 0.5)
        starts[k] = (ia - 1) * stride + ib - 1 if inside else -1


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _read(stored, rows, places, bounds, tables, coefficients, scale, first_row, first_sample, swapped):  # type: ignore[no-untyped-def]
    count, phases, samples = rows.shape
    line, knots = np.empty((2, samples)), np.empty((2, samples // KNOT + 5))
    starts, steps_a, steps_b = np.empty(samples, np.int64), np.empty(samples, np.int32), np.empty(samples, np.int32)
    flat, stride = stored.reshape(-1), stored.shape[1]
    table_a, table_b = tables[0].reshape(-1), tables[1].reshape(-1)
    for r in range(count):
        for p in range(phases):
            _row_places(
                places, coefficients, scale, first_row + r, first_sample + p, phases, samples, swapped, knots, line
            )
            _taps(line, bounds, stride, starts, steps_a, steps_b)
            target = rows[r, p]
            for k in range(samples):
                if starts[k] < 0:
                    target[k] = 0
                else:
                    target[k] = _sixteen_taps(  # type: ignore[call-arg]
                        flat, starts[k], stride, table_a, np.int64(steps_a[k]), table_b, np.int64(steps_b[k])
                    )


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _add(stored, rows, places, bounds, tables, coefficients, scale, first_row, first_sample, swapped):  # type: ignore[no-untyped-def]
    count, phases, samples = rows.shape
    line, knots = np.empty((2, samples)), np.empty((2, samples // KNOT + 5))
    starts, steps_a, steps_b = np.empty(samples, np.int64), np.empty(samples, np.int32), np.empty(samples, np.int32)
    flat, stride = stored.reshape(-1), stored.shape[1]
    for r in range(count):
        for p in range(phases):
            _row_places(
                places, coefficients, scale, first_row + r, first_sample + p, phases, samples, swapped, knots, line
            )
            _taps(line, bounds, stride, starts, steps_a, steps_b)
            for k in range(samples):
                if starts[k] < 0:
                    continue
                wa, wb = tables[0, steps_a[k]], tables[1, steps_b[k]]
                for i in range(4):
                    value = rows[r, p, k] * wa[i]
                    target = flat[starts[k] + i * stride : starts[k] + i * stride + 4]
                    for j in range(4):
                        target[j] += value * wb[j]
