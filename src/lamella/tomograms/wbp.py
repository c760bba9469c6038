"""Weighted back-projection, slab by slab."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from lamella.geometry import TiltGeometry
from lamella.kernels.gather import RowReader
from lamella.kernels.loops import Loops
from lamella.kernels.rows import Box, RowPlan
from lamella.kernels.sampling import ImageGrid
from lamella.progress import Progress
from lamella.records import VolumeSink
from lamella.runtime import threads
from lamella.tomograms.correction import Layer
from lamella.tomograms.memory import MemoryBudget
from lamella.tomograms.reprojection import Reprojection, SlabReprojection
from lamella.tomograms.slabs import cut_slabs
from lamella.tomograms.tilt_images import StoredViews, pages

__all__ = ["back_project_views"]

_PLANES = 16  # finished and written at a time by each thread
_WASTE = 1.5  # samples that are read, over those of voxels that all share theirs
_BUDGET_BYTES = 36 * 2**20  # samples of a slab


def back_project_views(
    stored: StoredViews,
    geometry: TiltGeometry,
    grid: ImageGrid,
    plan: RowPlan,
    box: Box,
    output: VolumeSink,
    *,
    layers: Sequence[Layer],
    step: int = 1,
    budget: MemoryBudget,
    check: Reprojection | None,
    progress: Progress,
) -> int:
    """Sum filtered views into the voxels of a box and pass them to `output` as they are finished.

    A slab is some rows of the tomogram, all planes; each of its layers of planes reads views of its own, which are
    stored one layer after the other. The samples of a layer are read by all threads, a view at a time, and then summed
    by all threads, some planes at a time. Finished planes are written while other threads go on.

    Parameters
    ----------
    step
        edges of the blocks that are passed on are multiples of it, as those of the layers and the box must be.
    budget
        for the samples and the voxels that are worked on.

    Returns
    -------
    number of slabs.

    Raises
    ------
    SettingsError
        if the budget holds no slab.
    """
    loops = Loops.on(stored.device.type)
    reader = RowReader(grid, geometry, plan)
    (nz, ny, nx), (z0, y0, x0) = box.shape, box.first()
    workers = threads() if loops.compiled else 1
    rows, thickness = _slab_size(plan, box, layers, step, budget, stored.device, workers)
    parts = [piece for place, layer in enumerate(layers) for piece in _pieces(place, layer, thickness)]
    planes = step * max(min(_PLANES, -(-thickness // workers)) // step, 1) if loops.compiled else thickness
    slabs = cut_slabs(rows, ny, 1, step)
    with ThreadPoolExecutor(workers) as pool:
        for number, (y, height) in enumerate(slabs):
            again = check.slab(number, (z0, y0 + y, x0), (nz, height, nx), stored.device) if check else None
            for place, layer in parts:
                part = _Part(stored, reader, plan, box, loops, place, layer, y, height)
                list(pool.map(part.read, range(len(geometry))))
                list(pool.map(partial(_finish, part, planes, output, again), range(0, layer.planes, planes)))
                del part  # its samples go before the next one's come
            if again:
                again.finish()
            progress((number + 1) / len(slabs), "back-projecting")
    return len(slabs)


def _pieces(place: int, layer: Layer, planes: int) -> list[tuple[int, Layer]]:
    """A layer cut into pieces of at most so many planes, each with the layer's place."""
    ends = range(layer.first, layer.first + layer.planes, planes)
    last = layer.first + layer.planes
    return [(place, replace(layer, first=first, planes=min(planes, last - first))) for first in ends]


class _Part:
    """Some rows and planes of the tomogram: the samples that they need of every view."""

    def __init__(
        self, stored: StoredViews, reader: RowReader, plan: RowPlan, box: Box, loops: Loops, place: int, layer: Layer,
        y: int, rows: int,
    ) -> None:  # fmt: skip
        self.stored, self.reader, self.plan, self.loops = stored, reader, plan, loops
        self.stored_before, self.z, self.y = place * len(plan), layer.first, y
        (_nz, _ny, nx), (z0, y0, x0) = box.shape, box.first()
        self.first, self.shape = (z0 + layer.first, y0 + y, x0), (layer.planes, rows, nx)
        self.window = plan.window(self.first, self.shape)
        size = self.window.size
        self.samples = pages(size) if loops.compiled else torch.empty(size, device=stored.device)

    def read(self, view: int) -> None:
        """Take the samples of one view."""
        image = self.stored.on_device(self.stored_before + view)
        self.loops.read(self.reader, image, view, self.window, self.samples)
        self.stored.let_go()

    def sum(self, z: int, planes: int) -> torch.Tensor:
        """The voxels of some planes, from the part's plane `z` on."""
        (z0, y0, x0), (nz, rows, nx) = self.first, self.shape
        block = torch.empty((min(planes, nz - z), rows, nx), device=self.samples.device)
        self.loops.back_project(self.samples, self.plan, self.window, (z0 + z, y0, x0), block)
        return block


def _finish(part: _Part, planes: int, output: VolumeSink, again: SlabReprojection | None, z: int) -> None:
    block = part.sum(z, planes)
    output(part.z + z, part.y, 0, block.cpu().numpy())
    if again:
        again.add(part.z + z, block)


def _slab_size(
    plan: RowPlan,
    box: Box,
    layers: Sequence[Layer],
    step: int,
    budget: MemoryBudget,
    device: torch.device,
    workers: int,
) -> tuple[int, int]:
    """Rows of a slab and planes of its pieces, within the budget and as few samples per voxel as can be.

    On a CPU samples stay within the caches' reach, unless much would be read that is hardly used: where the views' rows
    lean against the voxels', thick pieces of few rows meet many lines.
    """
    _nz, ny, nx = box.shape
    thickest = max(layer.planes for layer in layers)
    at_once = workers * _PLANES if device.type == "cpu" else thickest
    ideal = plan.window((0, 0, -(nx // 2)), (1, ny, nx)).size / ny
    thicknesses = [thickest]
    while thicknesses[-1] >= 2 * max(step, _PLANES):
        thicknesses.append(step * math.ceil(thicknesses[-1] / 2 / step))
    room = float(min(_BUDGET_BYTES, budget.for_slabs)) if device.type == "cpu" else budget.for_slabs / 2
    while True:
        best = (math.inf, step, step)
        for planes in thicknesses:
            rows = _rows_within(plan, box, planes, room, 8 * min(planes, at_once) * nx, step)
            size = plan.window((0, 0, -(nx // 2)), (planes, rows, nx)).size
            best = min(best, (size / (planes * rows), rows, planes))
        if best[0] * thickest <= _WASTE * ideal * (1 + thickest / nx) or 2 * room > budget.for_slabs:
            break
        room *= 2
    _cost, rows, planes = best
    least = 4 * plan.window((0, 0, -(nx // 2)), (planes, rows, nx)).size + 8 * nx * rows * min(planes, at_once)
    budget.require(least, f"a slab of {rows} rows and {planes} planes by back-projection")
    return rows, planes


def _rows_within(plan: RowPlan, box: Box, planes: int, room: float, per_row: float, step: int) -> int:
    """Rows of some planes whose samples, and `per_row` bytes more for each, stay within the room."""
    _nz, ny, nx = box.shape
    first = 0, 0, -(nx // 2)
    few, many = (plan.window(first, (planes, step * n, nx)).size * 4 + step * n * per_row for n in (1, 33))
    each = max((many - few) / 32, 1.0)  # per `step` rows
    return int(np.clip(step * int((room - few) / each + 1), step, max(ny, step)))
