"""Weighted back-projection, slab by slab."""

from __future__ import annotations

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
    check: Reprojection | None,
    progress: Progress,
) -> int:
    """Sum filtered views into the voxels of a box and pass them to `output` as they are finished.

    The samples of one slab are read by all threads, a view at a time, and then summed by all threads, some planes at a
    time. Finished planes are written while other threads go on.

    Returns
    -------
    number of slabs.
    """
    loops = Loops.on(stored.device.type)
    reader = RowReader(grid, geometry, plan)
    nz, ny, _nx = box.shape
    workers = threads() if loops.compiled else 1
    planes = min(_PLANES, -(-nz // workers)) if loops.compiled else nz
    slabs = cut_slabs(_slab_rows(plan, box, stored.device, planes), ny, 1)
    with ThreadPoolExecutor(workers) as pool:
        for number, (y, rows) in enumerate(slabs):
            slab = _Slab(stored, reader, plan, box, loops, y, rows)
            list(pool.map(slab.read, range(len(geometry))))
            again = check.slab(number, slab.first, slab.shape, stored.device) if check else None

            list(pool.map(partial(_finish, slab, planes, output, again), range(0, nz, planes)))
            if again:
                again.finish()
            del slab  # its samples go before the next slab's come
            progress((number + 1) / len(slabs), "back-projecting")
    return len(slabs)


class _Slab:
    """Some rows of the tomogram, all planes: the samples that they need of every view."""

    def __init__(
        self, stored: StoredViews, reader: RowReader, plan: RowPlan, box: Box, loops: Loops, y: int, rows: int
    ) -> None:
        self.stored, self.reader, self.plan, self.loops, self.y = stored, reader, plan, loops, y
        (nz, _ny, nx), (z0, y0, x0) = box.shape, box.first()
        self.first, self.shape = (z0, y0 + y, x0), (nz, rows, nx)
        self.window = plan.window(self.first, self.shape)
        size = self.window.size
        self.samples = pages(size) if loops.compiled else torch.empty(size, device=stored.device)

    def read(self, view: int) -> None:
        """Take the samples of one view."""
        self.loops.read(self.reader, self.stored.on_device(view), view, self.window, self.samples)

    def sum(self, z: int, planes: int) -> torch.Tensor:
        """The voxels of some planes from `z` on."""
        (z0, y0, x0), (nz, rows, nx) = self.first, self.shape
        block = torch.empty((min(planes, nz - z), rows, nx), device=self.samples.device)
        self.loops.back_project(self.samples, self.plan, self.window, (z0 + z, y0, x0), block)
        return block


def _finish(slab: _Slab, planes: int, output: Output, again: SlabReprojection | None, z: int) -> None:
    block = slab.sum(z, planes)
    output(z, slab.y, 0, block.cpu().numpy())
    if again:
        again.add(z, block)


def _slab_rows(plan: RowPlan, box: Box, device: torch.device, planes: int) -> int:
    """Rows of a slab: samples and voxels within what is free on the device, and within the caches' reach on a CPU."""
    if device.type == "cpu":
        return rows_that_fit(plan, box, min(_BUDGET_BYTES, free_memory_bytes("cpu") / 8))
    budget = free_memory_bytes(str(device)) / 4
    by_voxels = budget / (8 * planes * box.shape[2])
    return int(np.clip(min(rows_that_fit(plan, box, budget), by_voxels), 1, box.shape[1]))
