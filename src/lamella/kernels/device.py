"""The same loops in torch, for CUDA and any other device: rows from images, voxels from rows, and the transposes.

What they compute is what `gather`, `backproject` and `project` compute, tap by tap; they work through blocks that fit
the memory that is free.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lamella.kernels.gather import KNOT, RowReader
from lamella.kernels.rows import RowPlan, RowWindow
from lamella.kernels.taps import TABLE_STEPS
from lamella.runtime import free_memory_bytes

__all__ = ["add_rows_torch", "back_project_rows_torch", "project_rows_torch", "read_rows_torch"]

_BYTES_PER_VALUE = 64  # of scratch, per voxel or sample that is worked on at once


def read_rows_torch(reader: RowReader, stored: Tensor, view: int, window: RowWindow, rows: Tensor) -> None:
    """`RowReader.read` on the device of `stored`; `rows` is the flat buffer of all views."""
    for target, places, weights in _taps_of_rows(reader, stored, view, window):
        rows[target] = (stored.reshape(-1)[places] * weights).sum(dim=0)


def add_rows_torch(reader: RowReader, rows: Tensor, view: int, window: RowWindow, stored: Tensor) -> None:
    """`RowReader.add` on the device of `stored`."""
    flat = stored.view(-1)
    for source, places, weights in _taps_of_rows(reader, stored, view, window):
        flat.index_add_(0, places.reshape(-1), (rows[source] * weights).reshape(-1))


def _taps_of_rows(
    reader: RowReader, stored: Tensor, view: int, window: RowWindow
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """A part of the flat buffer, the 16 places in the stored image that each of its samples reads, and the weights."""
    device = stored.device
    offset, phases, samples, count, first_row, first_sample = (int(i) for i in window.layout[view])
    per_row = phases * samples
    at_once = max(1, int(free_memory_bytes(str(device)) // 4 // (per_row * 16 * _BYTES_PER_VALUE)))
    table_a, table_b = (torch.from_numpy(table).to(device) for table in reader.tables)
    low_a, high_a, low_b, high_b = (float(bound) for bound in reader.bounds)
    order = torch.arange(per_row, device=device, dtype=torch.float64)
    sample = first_sample + (order % samples) * phases + torch.div(order, samples, rounding_mode="floor")
    for start in range(0, count, at_once):
        row = torch.arange(start, min(start + at_once, count), device=device, dtype=torch.float64) + first_row
        a, b = _places(reader, view, row[:, None], sample[None], (phases, samples))
        inside = (a >= low_a) & (a <= high_a) & (b >= low_b) & (b <= high_b)
        a, b = (torch.where(inside, place, 1.0).reshape(-1) for place in (a, b))
        ia, ib = a.long(), b.long()
        wa = table_a[((a - ia) * TABLE_STEPS + 0.5).long()].T  # (4, samples)
        wb = table_b[((b - ib) * TABLE_STEPS + 0.5).long()].T
        weights = (wa[:, None] * wb[None] * inside.reshape(-1)).reshape(16, -1)
        tap = torch.arange(-1, 3, device=device)
        places = ((ia + tap[:, None]) * stored.shape[1])[:, None] + (ib + tap[:, None])[None]
        part = slice(offset + start * per_row, offset + start * per_row + a.numel())
        yield part, places.reshape(16, -1), weights


def _places(reader: RowReader, view: int, row: Tensor, sample: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Places (slow, fast) of samples in the stored image, local field included."""
    q, stored = reader.places[view]
    a, b = (float(c[0]) + float(c[1]) * sample + float(c[2]) * row for c in stored)
    if reader.field.shape[2] == 0:
        return a, b
    phases, samples = size
    knots = torch.arange(-1, (samples - 1) // KNOT + 3, device=row.device, dtype=torch.float64) * (KNOT * phases)
    at = sample[:, ::samples].reshape(1, phases, 1) + knots  # (1, phases, knots)
    qx, qy = (float(c[0]) + float(c[1]) * at + float(c[2]) * row[:, :, None] for c in q)
    scale = [float(s) for s in reader.field_scale]
    moved = _displacement(torch.from_numpy(reader.field[view]).to(row.device), scale, qx, qy)
    place = torch.arange(samples, device=row.device)
    knot, t = place // KNOT, (place % KNOT) / KNOT
    dx, dy = (_catmull_rom(d, knot, t).reshape(len(row), -1) * s for d, s in zip(moved, scale[4:], strict=True))
    return (a + dx, b + dy) if reader.grid.swapped else (a + dy, b + dx)


def _catmull_rom(knots: Tensor, knot: Tensor, t: Tensor) -> Tensor:
    """Values a part `t` past each knot; there is one knot more in front of the first."""
    before, left, right, after = (knots[..., knot + i] for i in range(4))
    c1, c2 = 0.5 * (right - before), before - 2.5 * left + 2 * right - 0.5 * after
    return left + t * (c1 + t * (c2 + t * (0.5 * (after - before) + 1.5 * (left - right))))


def _displacement(coefficients: Tensor, scale: list[float], qx: Tensor, qy: Tensor) -> tuple[Tensor, Tensor]:
    """Displacement (x, y) in Å of a spline field at points in Å."""
    gy, gx = coefficients.shape[1:]
    x = ((qx / scale[0] + 1) * scale[2]).clamp(0, gx - 1)
    y = ((qy / scale[1] + 1) * scale[3]).clamp(0, gy - 1)
    ix, iy = x.floor().long(), y.floor().long()
    out = [torch.zeros_like(x), torch.zeros_like(x)]
    for j in range(-1, 3):
        for i in range(-1, 3):
            weight = _cubic((y - (iy + j)).abs()) * _cubic((x - (ix + i)).abs())
            row, column = _mirror(iy + j, gy), _mirror(ix + i, gx)
            for axis in (0, 1):
                out[axis] += weight * coefficients[axis, row, column]
    return out[0], out[1]


def _mirror(index: Tensor, count: int) -> Tensor:
    period = 2 * (count - 1)
    index = index.abs() % period
    return torch.where(index >= count, period - index, index)


def _cubic(distance: Tensor) -> Tensor:
    """Cubic B-spline."""
    near = 2 / 3 - distance**2 * (1 - distance / 2)
    return torch.where(distance < 1, near, (2 - distance).clamp(min=0) ** 3 / 6)


def back_project_rows_torch(
    rows: Tensor, plan: RowPlan, window: RowWindow, first: tuple[int, int, int], out: Tensor
) -> None:
    """`back_project_rows` on the device of `rows`: `out` ``(nz, ny, nx)`` is overwritten."""
    for z, lines in _blocks_of_lines(plan, first, out):
        sums = torch.zeros(len(z), len(lines), out.shape[2], device=out.device)
        for view in range(len(plan)):
            for places, weights in _taps_of_lines(plan, window, view, z, lines, first[2], out.shape[2]):
                sums += rows[places] * weights
        part = slice(int(z[0]) - first[0], int(z[-1]) + 1 - first[0])
        if plan.line_table is None:
            out[part] = sums
            continue
        out[part] = 0
        for index, weights in _taps_of_voxels(plan, z, lines, first[1], out.shape[1]):
            out[part] += torch.gather(sums, 1, index.expand(-1, -1, out.shape[2])) * weights


def project_rows_torch(
    volume: Tensor, plan: RowPlan, window: RowWindow, first: tuple[int, int, int], rows: Tensor
) -> None:
    """`project_rows` on the device of `volume`: `rows` is added to."""
    for z, lines in _blocks_of_lines(plan, first, volume):
        part = volume[int(z[0]) - first[0] : int(z[-1]) + 1 - first[0]]
        if plan.line_table is not None:
            spread = torch.zeros(len(z), len(lines), volume.shape[2], device=volume.device)
            for index, weights in _taps_of_voxels(plan, z, lines, first[1], volume.shape[1]):
                spread.scatter_add_(1, index.expand(-1, -1, volume.shape[2]), part * weights)
            part = spread
        for view in range(len(plan)):
            for places, weights in _taps_of_lines(plan, window, view, z, lines, first[2], volume.shape[2]):
                rows.index_add_(0, places.reshape(-1), (part * weights).reshape(-1))


def _blocks_of_lines(plan: RowPlan, first: tuple[int, int, int], volume: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Planes and lines (whole numbers, float64 tensors) to be worked on at once."""
    nz, ny, nx = volume.shape
    per_plane = 2 * (ny + 4) * nx * _BYTES_PER_VALUE
    at_once = max(1, int(free_memory_bytes(str(volume.device)) // 4 // per_plane))
    for start in range(0, nz, at_once):
        z = torch.arange(first[0] + start, first[0] + min(start + at_once, nz), dtype=torch.float64)
        ends = [
            np.floor(plan.rho[0] * y + plan.rho[1] * float(plane))
            for y in (first[1], first[1] + ny - 1)
            for plane in z[[0, -1]]
        ]
        reach = (0, 1) if plan.line_table is None else (-1, 3)
        lines = torch.arange(int(min(ends)) + reach[0], int(max(ends)) + reach[1], dtype=torch.float64)
        yield z.to(volume.device), lines.to(volume.device)


def _taps_of_voxels(plan: RowPlan, z: Tensor, lines: Tensor, y0: int, ny: int) -> Iterator[tuple[Tensor, Tensor]]:
    """For each of four taps: index of the line ``(z, y, 1)`` that a voxel row reads, and weight ``(z, y, 1)``."""
    assert plan.line_table is not None
    table = torch.from_numpy(plan.line_table).to(z.device)
    y = torch.arange(y0, y0 + ny, dtype=torch.float64, device=z.device)
    place = plan.rho[0] * y[None] + plan.rho[1] * z[:, None]
    line = place.floor()
    weights = table[((place - line) * TABLE_STEPS + 0.5).long()]
    for tap in range(4):
        yield (line.long() - int(lines[0]) - 1 + tap)[..., None], weights[..., tap, None]


def _taps_of_lines(
    plan: RowPlan, window: RowWindow, view: int, z: Tensor, lines: Tensor, x0: int, nx: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """For each tap: places ``(z, line, x)`` in the flat buffer, and weights that broadcast to them."""
    device = z.device
    offset, phases, samples, _count, first_row, _first_sample = (int(i) for i in window.layout[view])
    tx, tl, tz, nl, nz, steep = (float(c) for c in plan.coefficients()[view])
    table_u, table_v = (torch.from_numpy(table).to(device) for table in (plan.table_u, plan.table_v))
    x = torch.arange(nx, device=device)
    tau = (tl * lines[None] + tz * z[:, None])[..., None]  # (z, line, 1)
    nu = (nl * lines[None] + nz * z[:, None])[..., None]
    if steep:
        tau = tau + tx * (x0 + x)
    n, row = tau.floor(), nu.floor()
    step_u, step_v = ((tau - n) * TABLE_STEPS + 0.5).long(), ((nu - row) * TABLE_STEPS + 0.5).long()
    for far in (0,) if plan.exact_v else (0, 1):
        weight_v = table_v[TABLE_STEPS - step_v if far else step_v]
        base = offset + (row.long() - first_row + far) * (phases * samples)
        for right in (0, 1):
            weight = weight_v * table_u[TABLE_STEPS - step_u if right else step_u]
            place = n.long() + right
            if steep:
                yield base + place - int(window.shift[view]), weight
                continue
            k = torch.div(place, phases, rounding_mode="floor")
            yield base + (place - k * phases) * samples + k - int(window.shift[view]) + x, weight
