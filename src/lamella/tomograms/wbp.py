"""Weighted back-projection, slab by slab."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch

from lamella.geometry import TiltGeometry
from lamella.kernels.gather import RowReader
from lamella.kernels.loops import Loops
from lamella.kernels.rows import Box, RowPlan
from lamella.kernels.sampling import ImageGrid
from lamella.progress import Progress
from lamella.runtime import free_memory_bytes, threads
from lamella.tomograms.correction import Layer
from lamella.tomograms.reprojection import Reprojection, SlabReprojection
from lamella.tomograms.slabs import Output, cut_slabs, rows_that_fit
from lamella.tomograms.tilt_images import StoredViews, pages

__all__ = ["back_project_views"]

_PLANES = 16  # finished and written at a time by each thread
_BUDGET_BYTES = 36 * 2**20  # samples of a slab


def back_project_views(
    stored: StoredViews,
    geometry: TiltGeometry,
    grid: ImageGrid,
    plan: RowPlan,
    box: Box,
    output: Output,
    *,
    layers: Sequence[Layer],
    check: Reprojection | None,
    progress: Progress,
) -> int:
    """Sum filtered views into the voxels of a box and pass them to `output` as they are finished.

    A slab is some rows of the tomogram, all planes; each of its layers of planes reads views of its own, which are
    stored one layer after the other. The samples of a layer are read by all threads, a view at a time, and then summed
    by all threads, some planes at a time. Finished planes are written while other threads go on.

    Returns
    -------
    number of slabs.
    """
    loops = Loops.on(stored.device.type)
    reader = RowReader(grid, geometry, plan)
    (nz, ny, nx), (z0, y0, x0) = box.shape, box.first()
    workers = threads() if loops.compiled else 1
    thickest = max(layer.planes for layer in layers)
    planes = min(_PLANES, -(-thickest // workers)) if loops.compiled else thickest
    sheet = Box(shape=(thickest, ny, nx), voxel_size_ang=box.voxel_size_ang)
    slabs = cut_slabs(_slab_rows(plan, sheet, stored.device, planes), ny, 1)
    with ThreadPoolExecutor(workers) as pool:
        for number, (y, rows) in enumerate(slabs):
            again = check.slab(number, (z0, y0 + y, x0), (nz, rows, nx), stored.device) if check else None
            for place, layer in enumerate(layers):
                part = _Part(stored, reader, plan, box, loops, place, layer, y, rows)
                list(pool.map(part.read, range(len(geometry))))
                list(pool.map(partial(_finish, part, planes, output, again), range(0, layer.planes, planes)))
                del part  # its samples go before the next one's come
            if again:
                again.finish()
            progress((number + 1) / len(slabs), "back-projecting")
    return len(slabs)


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

    def sum(self, z: int, planes: int) -> torch.Tensor:
        """The voxels of some planes, from the part's plane `z` on."""
        (z0, y0, x0), (nz, rows, nx) = self.first, self.shape
        block = torch.empty((min(planes, nz - z), rows, nx), device=self.samples.device)
        self.loops.back_project(self.samples, self.plan, self.window, (z0 + z, y0, x0), block)
        return block


def _finish(part: _Part, planes: int, output: Output, again: SlabReprojection | None, z: int) -> None:
    block = part.sum(z, planes)
    output(part.z + z, part.y, 0, block.cpu().numpy())
    if again:
        again.add(part.z + z, block)


def _slab_rows(plan: RowPlan, box: Box, device: torch.device, planes: int) -> int:
    """Rows of a slab: samples and voxels within what is free on the device, and within the caches' reach on a CPU."""
    if device.type == "cpu":
        return rows_that_fit(plan, box, min(_BUDGET_BYTES, free_memory_bytes("cpu") / 8))
    budget = free_memory_bytes(str(device)) / 4
    by_voxels = budget / (8 * planes * box.shape[2])
    return int(np.clip(min(rows_that_fit(plan, box, budget), by_voxels), 1, box.shape[1]))
