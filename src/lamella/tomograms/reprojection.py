"""How well a tomogram, projected again, agrees with its images: measured on a few slabs and views while it is made."""

from __future__ import annotations

from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.geometry import TiltGeometry
from lamella.kernels.gather import RowReader
from lamella.kernels.loops import Loops
from lamella.kernels.rows import RowPlan, RowWindow
from lamella.kernels.sampling import ImageGrid
from lamella.tomograms.tilt_images import StoredViews

__all__ = ["Reprojection", "SlabReprojection", "views_to_check"]

_EVERY = 4  # of so many slabs one is projected again
_TILTS_DEG = (-30.0, 0.0, 30.0)


def views_to_check(geometry: TiltGeometry) -> NDArray[np.int64]:
    """The views that are nearest to −30°, 0° and 30°."""
    return np.unique([int(np.argmin(np.abs(geometry.y_tilt_deg - tilt))) for tilt in _TILTS_DEG])


class Reprojection:
    """Sums from which the correlation of images and projected tomogram follows.

    Parameters
    ----------
    geometry
        of the views that are checked.
    grid, stored
        their images on the finer grid, filtered only by the band limit.
    """

    def __init__(self, geometry: TiltGeometry, grid: ImageGrid, stored: StoredViews, loops: Loops) -> None:
        self.plan = RowPlan.rays(geometry)
        self.reader = RowReader(grid, geometry, self.plan)
        self.stored, self.loops = stored, loops
        self.sums = np.zeros((len(geometry), 6))  # count, Σd, Σp, Σd², Σp², Σdp
        self.lock = Lock()

    def slab(
        self, number: int, first: tuple[int, int, int], shape: tuple[int, int, int], device: torch.device
    ) -> SlabReprojection | None:
        """Start on a slab of whole planes; None for slabs that are not checked."""
        return None if number % _EVERY else SlabReprojection(self, first, shape, device)

    def correlation(self) -> float:
        """Mean correlation coefficient of the views, NaN where no ray crossed a slab as a whole."""
        n, d, p, dd, pp, dp = self.sums[self.sums[:, 0] > 1].T
        variance = (dd - d * d / n) * (pp - p * p / n)
        good = variance > 0
        return float(((dp - d * p / n)[good] / np.sqrt(variance[good])).mean()) if good.any() else float("nan")


class SlabReprojection:
    """One slab, projected block by block as it is made."""

    def __init__(
        self, whole: Reprojection, first: tuple[int, int, int], shape: tuple[int, int, int], device: torch.device
    ) -> None:
        self.whole, self.first, self.shape = whole, first, shape
        self.window = whole.plan.window(first, shape)
        self.rows = torch.zeros(self.window.size, device=device)
        self.lock = Lock()

    def add(self, z: int, block: torch.Tensor) -> None:
        """Project a block of the slab, from its plane number `z` on."""
        z0, y0, x0 = self.first
        with self.lock:
            self.whole.loops.project(block, self.whole.plan, self.window, (z0 + z, y0, x0), self.rows)

    def finish(self) -> None:
        """Compare with the images, along rays that cross the slab as a whole."""
        plan, window = self.whole.plan, self.window
        data = torch.empty_like(self.rows)
        for view in range(len(plan.phases)):
            self.whole.loops.read(self.whole.reader, self.whole.stored.on_device(view), view, window, data)
        for view in range(len(plan.phases)):
            part = _inner_rays(plan, window, view, self.first, self.shape)
            if part is None:
                continue
            offset, _phases, samples, rows, _first_row, _first_sample = (int(i) for i in window.layout[view])
            both = [
                values[offset : offset + rows * samples].reshape(rows, samples)[part].cpu().numpy().astype(np.float64)
                for values in (data, self.rows)
            ]
            seen = both[0] != 0  # outside the image there is nothing
            d, p = both[0][seen], both[1][seen]
            with self.whole.lock:
                self.whole.sums[view] += (d.size, d.sum(), p.sum(), d @ d, p @ p, d @ p)


def _inner_rays(
    plan: RowPlan, window: RowWindow, view: int, first: tuple[int, int, int], shape: tuple[int, int, int]
) -> tuple[slice, slice] | None:
    """Rows and samples of a view whose rays cross the slab from its lowest plane to its highest."""
    if plan.phases[view] != 1:
        return None
    (z0, y0, x0), (nz, ny, nx) = first, shape
    planes = np.array([z0, z0 + nz - 1.0])
    if plan.exact_v:
        places = [[plan.rho[0] * y + plan.rho[1] * z for z in planes] for y in (y0, y0 + ny - 1)]
    else:
        places = [[float(plan.nu[view] @ (y, z)) for z in planes] for y in (y0, y0 + ny - 1)]
    low, high = int(np.ceil(max(places[0]))), int(np.floor(min(places[1])))
    lines = (low, high) if plan.exact_v else (y0, y0 + ny - 1)
    tau = [float(plan.tau[view, 1:] @ (line, z)) for line in lines for z in planes]
    left, right = int(np.ceil(x0 + max(tau))), int(np.floor(x0 + nx - 1 + min(tau)))
    if high < low or right < left:
        return None
    _offset, _phases, _samples, _rows, first_row, first_sample = (int(i) for i in window.layout[view])
    return slice(low - first_row, high + 1 - first_row), slice(left - first_sample, right + 1 - first_sample)
