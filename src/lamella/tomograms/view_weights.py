"""The filters of the views of one series: weight, window, dose, each made when a view is prepared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.geometry import TiltGeometry
from lamella.kernels.rows import Box, RowPlan
from lamella.kernels.sampling import ImageGrid, ViewFilter, frequencies, view_filter
from lamella.kernels.sharing import Sharing, slab_paths_px
from lamella.tomograms.reconstruct_settings import ReconstructSettings
from lamella.tomograms.weights import angular_spacing, radial_filter, shares_exactly, window

__all__ = ["ViewWeights"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ViewWeights:
    """Makes the filters of views.

    Attributes
    ----------
    geometry, grid, box
        of the views, and of the voxels that are worked on.
    settings
        names weighting and window, whose frequencies are in cycles per voxel of the tomogram.
    finer
        voxels that are worked on along one of the tomogram's.
    thickness_ang
        of the specimen, where it is known; else the box's is taken. With it, voxels do not depend on the box.
    dose
        per view what the dose left over `frequencies()`; None where unknown.
    """

    geometry: TiltGeometry
    grid: ImageGrid
    box: Box
    settings: ReconstructSettings
    finer: int = 1
    thickness_ang: float | None = None
    dose: list[Array] | None = None

    @property
    def exact(self) -> bool:
        """Whether frequencies are weighted by how many views see them."""
        return shares_exactly(self.geometry, self.settings)

    def plain(self, plan: RowPlan) -> Callable[[int], ViewFilter]:
        """Filters that only weight by dose."""
        return lambda view: view_filter(self.grid, self.geometry, plan, view, radial=self._dose(view))

    def weighted(self, plan: RowPlan, *, exact: bool) -> Callable[[int], ViewFilter]:
        """Filters such that the sum of back-projections is density, image units per Å.

        Raises
        ------
        GeometryError
            if all views have one tilt, with the ramp.
        """
        if exact:
            kept = None if self.dose is None else np.stack(self.dose)
            paths = slab_paths_px(self.geometry, self._specimen())
            return lambda view: self._by_sharing(plan, view, paths, kept)
        spacing = angular_spacing(self.geometry.y_tilt_deg)
        return lambda view: self._by_ramp(plan, view, spacing)

    def _by_sharing(self, plan: RowPlan, view: int, paths_px: Array, kept: Array | None) -> ViewFilter:
        rounds = self.settings.filter_iterations if self.settings.filter == "sirt-like" else 0
        shared = Sharing.of(self.geometry, view, paths_px, kept, float(frequencies()[-1]), rounds)
        # weights are per voxel edge: with this voxels are image units per Å
        along_u = window(frequencies() * self.finer, self.settings) / self.box.voxel_size_ang
        return view_filter(self.grid, self.geometry, plan, view, along_u=along_u, shared=shared)

    def _by_ramp(self, plan: RowPlan, view: int, spacing: Array) -> ViewFilter:
        cos = abs(np.cos(np.deg2rad(self.geometry.y_tilt_deg[view])))
        nz, _ny, nx = self.box.shape
        path = min(nz / max(cos, 1e-9), nx / max(np.sqrt(1 - cos**2), 1e-9))
        step = self.grid.binning / max(self.grid.padded)
        ramp = radial_filter(
            frequencies(), step, self.settings, path_px=path, range_rad=spacing.sum(), finer=self.finer
        )
        # cycles per voxel → per Å: with it, voxels are image units per Å
        along_u = ramp * spacing[view] / self.box.voxel_size_ang
        return view_filter(self.grid, self.geometry, plan, view, along_u=along_u, radial=self._dose(view))

    def _dose(self, view: int) -> Array | None:
        return None if self.dose is None else self.dose[view]

    def _specimen(self) -> tuple[float, float, float]:
        """Size (z, y, x) of what the views' rays run through, voxels: as wide as an image, whatever the box is."""
        voxel = self.box.voxel_size_ang
        thickness = self.box.shape[0] if self.thickness_ang is None else max(self.thickness_ang / voxel, 1.0)
        wide = max(self.grid.shape_px) / self.grid.binning
        return thickness, wide, wide
