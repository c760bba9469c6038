"""Simultaneous iterative reconstruction, slab by slab."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from lamella.geometry import TiltGeometry
from lamella.kernels.gather import RowReader
from lamella.kernels.loops import Loops
from lamella.kernels.rows import Box, RowPlan, RowWindow
from lamella.kernels.sampling import ImageGrid
from lamella.progress import Progress
from lamella.runtime import free_memory_bytes, threads
from lamella.tomograms.reprojection import Reprojection
from lamella.tomograms.slabs import Output, cut_slabs, each_slab
from lamella.tomograms.tilt_images import StoredViews

__all__ = ["Iteration", "iterate_views"]

_SHORTEST = 0.1  # rays that cross less than this part of the box's thickness say too little


class Iteration:
    """x ← x + λ C Pᵀ (b − P x / P 1), with C = 1 / (Pᵀ 1): the rows' and columns' sums normalise every step.

    Each ray's datum b is the mean density along it, in image units per voxel edge: image value over the length of its
    path. A ray that leaves the box through a side is compared as a mean too, so material beside the box does not pile
    up at its border. Gilbert 1972, J. Theor. Biol. 36:105; the weights are those of Gregor & Benson 2008.

    Parameters
    ----------
    plan, window, first, shape
        the rays and the block of voxels.
    data
        image values along the rays, 0 where there is no image; overwritten.
    sign
        +1 keeps voxels from falling below 0, −1 from rising above it, 0 lets them be.
    """

    def __init__(
        self,
        plan: RowPlan,
        window: RowWindow,
        first: tuple[int, int, int],
        shape: tuple[int, int, int],
        data: Tensor,
        loops: Loops,
        *,
        relaxation: float = 1.0,
        sign: int = 0,
    ) -> None:
        self.plan, self.window, self.first, self.loops = plan, window, first, loops
        self.relaxation, self.sign = relaxation, sign
        self.volume = torch.zeros(shape, device=data.device)
        self.sums = torch.zeros_like(data)
        loops.project(torch.ones_like(self.volume), plan, window, first, self.sums)
        full, length = ray_lengths(plan, shape)
        for view, (offset, phases, samples, rows, *_rest) in enumerate(window.layout.tolist()):
            part = slice(offset, offset + phases * samples * rows)
            data[part] /= length[view]
            self.sums[part] *= (self.sums[part] > _SHORTEST * full[view]) & (data[part] != 0)
        self.used = self.sums > 0
        self.data = data
        self.sums.clamp_(min=1e-6)
        self.step = torch.empty_like(self.volume)
        loops.back_project(self.used.float(), plan, window, first, self.step)
        self.step = torch.where(self.step > 1e-3, relaxation / self.step.clamp(min=1e-3), 0.0)
        self.rounds = 0

    def round(self) -> None:
        """One correction of all voxels from all views."""
        residual = torch.zeros_like(self.data)
        if self.rounds:
            self.loops.project(self.volume, self.plan, self.window, self.first, residual)
            residual.div_(self.sums)
        torch.sub(self.data, residual, out=residual)
        residual.mul_(self.used)
        correction = torch.empty_like(self.volume)
        self.loops.back_project(residual, self.plan, self.window, self.first, correction)
        self.volume.addcmul_(correction, self.step)
        if self.sign:
            self.volume.mul_(self.sign).clamp_(min=0).mul_(self.sign)
        self.rounds += 1


def ray_lengths(plan: RowPlan, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Per view the sum of weights on a ray through the whole box, and the length of its path in voxel edges."""
    nz, _ny, nx = shape
    cos = np.abs(plan.tau[:, 0] * plan.spacing_u)
    through = np.minimum(nz / np.maximum(cos, 1e-9), nx / np.sqrt(np.maximum(1 - cos**2, 1e-9)))
    steep = plan.phases == 0
    # ψ-weights sum to 1 per plane on stretched rays; steep rays are one voxel apart and sum to their length
    full = np.where(steep, through, nz)
    return full, np.where(steep, through, nz / np.maximum(cos, 1e-9)) / _cos_x(plan)


def _cos_x(plan: RowPlan) -> np.ndarray:
    return np.asarray(plan.spacing_v, np.float64)  # rays lie cos ξ apart along v


def iterate_views(
    stored: StoredViews,
    geometry: TiltGeometry,
    grid: ImageGrid,
    box: Box,
    output: Output,
    *,
    rounds: int,
    relaxation: float,
    sign: int,
    check: Reprojection | None,
    progress: Progress,
) -> int:
    """Reconstruct a box from stored views and pass its slabs to `output`.

    Slabs do not see each other. Without x-tilt no ray runs from one into the next, and the result is that of the whole
    box. With x-tilt a slab is reconstructed together with the rows that its rays run through on both sides, which are
    then dropped.

    Returns
    -------
    number of slabs.
    """
    device = stored.device
    loops = Loops.on(device.type)
    plan = RowPlan.rays(geometry)
    reader = RowReader(grid, geometry, plan)
    (nz, ny, nx), (z0, y0, x0) = box.shape, box.first()
    lean = float(np.abs(np.tan(np.deg2rad(geometry.x_tilt_deg))).max())
    halo = 0 if lean == 0 else math.ceil(nz * lean) + 2
    workers = threads() if loops.compiled else 1
    slabs = cut_slabs(_slab_rows(plan, box, halo, str(device), workers), ny, workers)

    def slab(number: int, y: int, rows: int) -> None:
        low, high = max(y - halo, 0), min(y + rows + halo, ny)
        first, shape = (z0, y0 + low, x0), (nz, high - low, nx)
        window = plan.window(first, shape)
        data = torch.empty(window.size, device=device)
        for view in range(len(geometry)):
            loops.read(reader, stored.on_device(view), view, window, data)
        work = Iteration(plan, window, first, shape, data, loops, relaxation=relaxation, sign=sign)
        for _ in range(rounds):
            work.round()
        own = (work.volume[:, y - low : y - low + rows] / box.voxel_size_ang).contiguous()
        output(0, y, 0, own.cpu().numpy())
        if check and (again := check.slab(number, (z0, y0 + y, x0), (nz, rows, nx), device)):
            again.add(0, own)
            again.finish()

    each_slab(slab, slabs, progress, f"{rounds} rounds of sirt", workers)
    return len(slabs)


def _slab_rows(plan: RowPlan, box: Box, halo: int, device: str, workers: int) -> int:
    """Rows of a slab, such that all workers' volumes and rays together take a quarter of the free memory."""
    nz, ny, nx = box.shape
    per_row = 4 * (4 * nz * nx + 5 * plan.window(box.first(), (nz, 64, nx)).size / 64)
    fit = free_memory_bytes(device) / 4 / workers / per_row - 2 * halo
    return int(np.clip(min(fit, max(64, 4 * halo)), 4, ny))
