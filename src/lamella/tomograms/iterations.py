"""Iterative reconstruction of a tomogram, slab by slab: SIRT, SART and what lies between."""

from __future__ import annotations

import math
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from lamella.geometry import TiltGeometry
from lamella.kernels.gather import RowReader
from lamella.kernels.loops import Loops
from lamella.kernels.rows import Box, RowPlan
from lamella.kernels.sampling import ImageGrid
from lamella.progress import Progress
from lamella.records import VolumeSource
from lamella.runtime import threads
from lamella.tomograms.algebraic import Iteration, bytes_held
from lamella.tomograms.memory import MemoryBudget
from lamella.tomograms.reprojection import Reprojection
from lamella.tomograms.scheme import Scheme
from lamella.tomograms.slabs import Output, cut_slabs, each_slab
from lamella.tomograms.tilt_images import StoredViews

__all__ = ["Fit", "Slabs", "iterate_views"]

_CACHE_BYTES = 6 * 2**20  # for voxels, corrections and weights of a slab, which every group of views passes over
_MOST_ROWS, _LEAST_ROWS = 64, 4
_HALOS = 8  # rows of a slab, in units of those around it that are solved with it on each side


class Slabs:
    """Starts the reconstruction of any slab of a tomogram from stored views.

    Slabs do not see each other. Without x-tilt no ray runs from one into the next, and the result is that of the whole
    box. With x-tilt a slab is reconstructed together with the rows that its rays run through on both sides, which are
    then dropped.

    Parameters
    ----------
    stored, geometry, grid, box
        the views, filtered by nothing but dose and contrast transfer; how they were taken and are sampled; the box.
    scheme
        which views correct voxels, in what order, and how far.
    mask
        of the box's shape; voxels where it is 0 stay 0.
    """

    def __init__(
        self, stored: StoredViews, geometry: TiltGeometry, grid: ImageGrid, box: Box, scheme: Scheme,
        mask: VolumeSource | None = None,
    ) -> None:  # fmt: skip
        self.stored, self.box, self.scheme, self.mask = stored, box, scheme, mask
        self.loops = Loops.on(stored.device.type)
        self.plan = RowPlan.rays(geometry)
        self.reader = RowReader(grid, geometry, self.plan)
        lean = float(np.abs(np.tan(np.deg2rad(geometry.x_tilt_deg))).max())
        self.halo = 0 if lean == 0 else math.ceil(box.shape[0] * lean) + 2
        self.lock = Lock()

    @property
    def workers(self) -> int:
        """Slabs that are worked on at the same time where memory allows it."""
        return threads() if self.loops.compiled else 1

    def start(self, y: int, rows: int) -> Iteration:
        """Begin with some rows of the tomogram and those around them, voxels at 0."""
        low, high = self._reach(y, rows)
        (nz, _ny, nx), (z0, y0, x0) = self.box.shape, self.box.first()
        first, shape = (z0, y0 + low, x0), (nz, high - low, nx)
        window = self.plan.window(first, shape)
        data = torch.empty(window.size, device=self.stored.device)
        for view in range(len(self.plan)):
            self.loops.read(self.reader, self.stored.on_device(view), view, window, data)
            self.stored.let_go()
        return Iteration(self.plan, window, first, shape, data, self.loops, self.scheme, self._mask(low, high))

    def own(self, work: Iteration, y: int, rows: int) -> Tensor:
        """The slab's own rows, image units per Å."""
        low, _high = self._reach(y, rows)
        return (work.volume[:, y - low : y - low + rows] / self.box.voxel_size_ang).contiguous()

    def rows_within(self, budget: MemoryBudget) -> tuple[int, int]:
        """Rows of a slab, and how many slabs are worked on at a time.

        Raises
        ------
        SettingsError
            if there is no room for one slab of a few rows.
        """
        ny = self.box.shape[1]
        least = min(_LEAST_ROWS, ny)
        workers = budget.side_by_side(self.bytes_of(least), self.workers, f"a slab of {least} rows by iteration")
        preferred = min(max(self._rows_in_cache(), _HALOS * self.halo), ny)
        few, many = self.bytes_of(least), self.bytes_of(preferred)
        per_row = max((many - few) / max(preferred - least, 1), 1.0)
        fit = least + (budget.for_slabs / workers - few) / per_row
        return int(np.clip(fit, least, preferred)), workers

    def bytes_of(self, rows: int) -> int:
        """Most bytes that the work on a slab of so many rows holds."""
        (nz, ny, nx), first = self.box.shape, self.box.first()
        shape = (nz, min(rows + 2 * self.halo, ny), nx)
        return bytes_held(self.plan, first, shape, self.scheme)

    def _rows_in_cache(self) -> int:
        nz, ny, nx = self.box.shape
        if not self.loops.compiled:  # a device that computes on many voxels at once
            return ny
        return int(np.clip(_CACHE_BYTES // (3 * 4 * nz * nx), 2 * _LEAST_ROWS, _MOST_ROWS))

    def _reach(self, y: int, rows: int) -> tuple[int, int]:
        return max(y - self.halo, 0), min(y + rows + self.halo, self.box.shape[1])

    def _mask(self, low: int, high: int) -> Tensor | None:
        if self.mask is None:
            return None
        nz, _ny, nx = self.box.shape
        with self.lock:  # a file is read by one thread at a time
            block = self.mask.block(slice(0, nz), slice(low, high), slice(0, nx))
        return torch.from_numpy(np.ascontiguousarray(block != 0, np.float32)).to(self.stored.device)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How the iterations went.

    Attributes
    ----------
    slabs
        number of slabs that were worked on one at a time.
    residual_first, residual_last
        Σ R (b − P x)² over all rays as the first and the last round met them; alike where there was one round.
    """

    slabs: int
    residual_first: float
    residual_last: float

    @property
    def left(self) -> float:
        """Root of the residual's part that the rounds before the last have left."""
        return math.sqrt(self.residual_last / self.residual_first) if self.residual_first > 0 else 1.0


def iterate_views(
    slabs: Slabs,
    output: Output,
    *,
    rounds: int,
    budget: MemoryBudget,
    check: Reprojection | None,
    progress: Progress,
) -> Fit:
    """Reconstruct a box from stored views and pass its slabs to `output`.

    Raises
    ------
    SettingsError
        if the budget holds no slab.
    """
    (nz, ny, nx), (z0, y0, x0) = slabs.box.shape, slabs.box.first()
    most, workers = slabs.rows_within(budget)
    places = cut_slabs(most, ny, workers)
    residuals = np.zeros(2)

    def slab(number: int, y: int, rows: int) -> None:
        work = slabs.start(y, rows)
        met = [work.round() for _ in range(rounds)]
        with slabs.lock:
            residuals[:] += met[0], met[-1]
        own = slabs.own(work, y, rows)
        del work
        output(0, y, 0, own.cpu().numpy())
        if check and (again := check.slab(number, (z0, y0 + y, x0), (nz, rows, nx), own.device)):
            again.add(0, own)
            again.finish()

    each_slab(slab, places, progress, f"{rounds} rounds", workers)
    return Fit(slabs=len(places), residual_first=float(residuals[0]), residual_last=float(residuals[1]))
