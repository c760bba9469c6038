"""`reconstruct`: from aligned tilt images to a tomogram."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lamella.errors import GeometryError, InputError, PostconditionError, ProjectError
from lamella.geometry import TiltGeometry
from lamella.kernels.loops import Loops
from lamella.kernels.rows import Box, RowPlan
from lamella.kernels.sampling import ImageGrid, ViewFilter, frequencies, view_filter
from lamella.kernels.sharing import Sharing, slab_paths_px
from lamella.progress import Progress, no_progress
from lamella.records import ImageSource, TiltSeries, Tomogram, VolumeSink, VolumeSource
from lamella.tomograms.box import plan_tomogram, tomogram_shape
from lamella.tomograms.corrected_views import ViewCorrection
from lamella.tomograms.correction import Correction, plan_correction
from lamella.tomograms.memory import MemoryBudget
from lamella.tomograms.reconstruct_settings import ReconstructSettings
from lamella.tomograms.reprojection import Reprojection, views_to_check
from lamella.tomograms.rounds import Rounds, check_mask, fit_rounds
from lamella.tomograms.slabs import Output
from lamella.tomograms.tilt_images import background, check_images, mean_level, store_views
from lamella.tomograms.wbp import back_project_views
from lamella.tomograms.weights import angular_spacing, dose_weights, radial_filter, shares_exactly, window

__all__ = ["HalfSets", "ReconstructResult", "half_sets", "plan_tomogram", "reconstruct", "tomogram_shape"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ReconstructResult:
    """What came of a reconstruction.

    Attributes
    ----------
    shape, voxel_size_ang
        (z, y, x) in voxels; edge of a voxel, Å.
    mean, deviation
        of all voxels, image units per Å.
    reprojection_correlation
        mean correlation of some views with the tomogram projected again, over part of the slabs; NaN where no ray
        crosses a slab as a whole.
    dose_weighted
        whether dose and voltage were known and used.
    correction
        of the contrast transfer.
    views, slabs
        number of views, and of slabs that were worked on one at a time.
    rounds
        how the iterations of ``sirt`` or ``sart`` went.
    """

    shape: tuple[int, int, int]
    voxel_size_ang: float
    mean: float
    deviation: float
    reprojection_correlation: float
    dose_weighted: bool
    correction: Correction
    views: int
    slabs: int
    rounds: Rounds | None = None


def reconstruct(
    series: TiltSeries,
    images: ImageSource,
    tomogram: Tomogram,
    settings: ReconstructSettings,
    sink: VolumeSink,
    *,
    mask: VolumeSource | None = None,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> ReconstructResult:
    """Reconstruct one tomogram; its geometry is taken as it is.

    Parameters
    ----------
    series, images
        the aligned series, or some of its views (a half set), and their images in the same order.
    tomogram
        the box, from `plan_tomogram`: a half set has the box of the whole.
    settings
        see `ReconstructSettings`; sizes are `tomogram`'s.
    sink
        takes finished blocks, in any order, from several threads at a time.
    mask
        for ``sirt`` and ``sart``: of the tomogram's shape; voxels where it is 0 stay 0.
    device
        ``cpu`` or a torch device.

    Raises
    ------
    ProjectError
        if the series has no geometry.
    InputError
        if the contrast transfer is to be corrected and cannot be.
    ImageError
        if images and record differ in number or size, an image holds NaN, or the mask does not fit.
    GeometryError
        if all views have one tilt, or no view sees the box.
    PostconditionError
        if the result is not finite, or constant, or rounds of ``sirt`` or ``sart`` led away from the views.

    Notes
    -----
    A voxel is the density whose integral along a ray, over Å, is the image's value minus its mean: image units per Å.
    Within the limits of the method, that is: what no view saw, such as the missing wedge and the mean, is 0.

    Memory, beside that of libraries: the views on a grid about 1.2 times finer than the voxels (1.5 times their size),
    and the samples and some planes of a slab.
    """
    if series.geometry is None:
        raise ProjectError(f"{series.name}: the views are not aligned", mend="run align first")
    check_images(series, images)
    box = Box(shape=tomogram_shape(tomogram), voxel_size_ang=tomogram.voxel_size_ang)
    if mask is not None:
        check_mask(mask, box, settings.mask or "the mask")
    work = _Work(series, series.geometry, images, box, settings, device, mask)
    _check_sight(series, work)
    output = Output(sink, box.shape)
    run = work.back_project if settings.method == "wbp" else work.iterate
    slabs, check = run(output, progress)
    if not output.complete or not np.isfinite(output.sums).all() or output.deviation == 0:
        raise PostconditionError(
            f"{series.name}: the tomogram has mean {output.mean} and standard deviation {output.deviation}",
            mend="look at the images with `lamella check`: are they empty, or far out of the tomogram's field?",
        )
    progress(1.0, "reconstructed")
    return ReconstructResult(
        shape=box.shape,
        voxel_size_ang=box.voxel_size_ang,
        mean=output.mean,
        deviation=output.deviation,
        reprojection_correlation=check.correlation(),
        dose_weighted=work.dose is not None,
        correction=work.correction,
        views=len(series),
        slabs=slabs,
        rounds=work.rounds,
    )


class _Work:
    """What both methods start from."""

    def __init__(
        self,
        series: TiltSeries,
        geometry: TiltGeometry,
        images: ImageSource,
        box: Box,
        settings: ReconstructSettings,
        device: str,
        mask: VolumeSource | None = None,
    ) -> None:
        self.series, self.geometry, self.images, self.mask = series, geometry, images, mask
        self.rounds: Rounds | None = None
        self.box, self.settings, self.device = box, settings, device
        self.grid = ImageGrid.of(geometry, series.image_shape_px, series.pixel_size_ang, box.voxel_size_ang)
        self.correction = plan_correction(series, box, settings)
        self.dose = dose_weights(series, frequencies(), box.voxel_size_ang) if settings.dose_weighting else None

    def back_project(self, output: Output, progress: Progress) -> tuple[int, Reprojection]:
        """Filter the views and sum them."""
        plan = RowPlan.fine(self.geometry)
        filters = self._weights(plan)
        check = self._reprojection()
        stored = store_views(
            self.series, self.images, np.arange(len(self.series)), self.grid,
            filters, mean_level, correction=self._corrected(self.correction),
            device=self.device, progress=_part(progress, 0.0, 0.3),
        )  # fmt: skip
        slabs = back_project_views(
            stored, self.geometry, self.grid, plan, self.box, output, layers=self.correction.layers,
            check=check, progress=_part(progress, 0.3, 1.0),
        )  # fmt: skip
        return slabs, check

    def iterate(self, output: Output, progress: Progress) -> tuple[int, Reprojection]:
        """Fit the voxels to the views, round after round."""
        plan, settings = RowPlan.rays(self.geometry), self.settings
        check = self._reprojection()
        stored = store_views(
            self.series, self.images, np.arange(len(self.series)), self.grid, lambda view: self._plain(plan, view),
            background(self.series.imaging) if settings.non_negative else mean_level,
            correction=self._corrected(self.correction), device=self.device, progress=_part(progress, 0.0, 0.1),
        )  # fmt: skip
        mass = 1 if self.series.imaging == "dark" else -1
        slabs, self.rounds = fit_rounds(
            stored, self.geometry, self.grid, self.box, settings, output,
            sign=mass if settings.non_negative else 0, mask=self.mask,
            budget=MemoryBudget.of(settings.memory, self.device), check=check, progress=_part(progress, 0.1, 1.0),
        )  # fmt: skip
        return slabs, check

    def _weights(self, plan: RowPlan) -> Callable[[int], ViewFilter]:
        """What gives the filter of a view: its weight, window and dose."""
        if not shares_exactly(self.geometry, self.settings):
            spacing = angular_spacing(self.geometry.y_tilt_deg)
            return lambda view: self._by_ramp(plan, view, spacing)
        nz, ny, nx = self.box.shape
        if self.series.thickness_ang is not None:
            nz = min(nz, max(self.series.thickness_ang / self.box.voxel_size_ang, 1.0))
        paths = slab_paths_px(self.geometry, (nz, ny, nx))
        kept = None if self.dose is None else np.stack(self.dose)
        return lambda view: self._by_sharing(plan, view, paths, kept)

    def _by_sharing(self, plan: RowPlan, view: int, paths_px: Array, kept: Array | None) -> ViewFilter:
        rounds = self.settings.filter_iterations if self.settings.filter == "sirt-like" else 0
        shared = Sharing.of(self.geometry, view, paths_px, kept, float(frequencies()[-1]), rounds)
        # weights are per voxel edge: with this voxels are image units per Å
        along_u = window(frequencies(), self.settings) / self.box.voxel_size_ang
        return view_filter(self.grid, self.geometry, plan, view, along_u=along_u, shared=shared)

    def _by_ramp(self, plan: RowPlan, view: int, spacing: Array) -> ViewFilter:
        cos = abs(np.cos(np.deg2rad(self.geometry.y_tilt_deg[view])))
        nz, _ny, nx = self.box.shape
        path = min(nz / max(cos, 1e-9), nx / max(np.sqrt(1 - cos**2), 1e-9))
        ramp = radial_filter(
            frequencies(),
            self.grid.binning / max(self.grid.padded),
            self.settings,
            path_px=path,
            range_rad=spacing.sum(),
        )
        # cycles per voxel → per Å: with it, voxels are image units per Å
        along_u = ramp * spacing[view] / self.box.voxel_size_ang
        return view_filter(self.grid, self.geometry, plan, view, along_u=along_u, radial=self._dose(view))

    def _plain(self, plan: RowPlan, view: int) -> ViewFilter:
        return view_filter(self.grid, self.geometry, plan, view, radial=self._dose(view))

    def _dose(self, view: int) -> Array | None:
        return None if self.dose is None else self.dose[view]

    def _corrected(self, correction: Correction) -> ViewCorrection | None:
        if correction.method == "none":
            return None
        return ViewCorrection(self.series, self.geometry, correction, self.grid, self.box, self.settings)

    def _reprojection(self) -> Reprojection:
        views = views_to_check(self.geometry)
        chosen = self.geometry.select(views)
        plan = RowPlan.rays(self.geometry)
        stored = store_views(
            self.series, self.images, views, self.grid, lambda view: self._plain(plan, view), mean_level,
            correction=self._corrected(self.correction.in_strips()), device=self.device, progress=no_progress,
        )  # fmt: skip
        return Reprojection(chosen, self.grid, stored, Loops.on(stored.device.type))


def _check_sight(series: TiltSeries, work: _Work) -> None:
    """Raise `GeometryError` where the centre of the box lies outside most images: a sign of shifts in other units."""
    assert series.geometry is not None
    half = np.array(series.image_shape_px[::-1]) * series.pixel_size_ang / 2
    reach = np.array(work.box.shape[:0:-1]) * work.box.voxel_size_ang / 2
    if (np.abs(series.geometry.shifts_ang()) > half + np.hypot(*reach)).any(axis=1).all():
        raise GeometryError(
            f"{series.name}: no view sees the tomogram", mend="look at the shifts of the alignment: are they in Å?"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class HalfSets:
    """What the two half tomograms are made from.

    Attributes
    ----------
    kind
        ``frames``: all views, from the even and the odd images; ``tilts``: every other view, from the whole images;
        ``off``: there are none.
    even, odd
        indices of the views of each half, empty where there are none.
    """

    kind: Literal["frames", "tilts", "off"]
    even: NDArray[np.int64]
    odd: NDArray[np.int64]


def half_sets(series: TiltSeries, settings: ReconstructSettings, has_frames: bool) -> HalfSets:
    """Which views, and which of their images, go into the two half tomograms.

    Raises
    ------
    InputError
        if halves by frames are asked for and there are no even and odd images, or halves by tilts of fewer than four
        views.
    """
    everything, nothing = np.arange(len(series)), np.arange(0)
    kind = settings.halves
    if kind == "off":
        return HalfSets(kind="off", even=nothing, odd=nothing)
    if kind == "frames" and not has_frames:
        raise InputError(
            f"{series.name}: there are no images of even and odd frames",
            mend="set reconstruct.halves to tilts or off, or begin from movies",
        )
    if has_frames and kind != "tilts":
        return HalfSets(kind="frames", even=everything, odd=everything)
    if len(series) < 4:
        raise InputError(
            f"{series.name}: {len(series)} views are too few to be split by tilt", mend="set reconstruct.halves to off"
        )
    order = np.argsort(series.tilt_deg, kind="stable")
    return HalfSets(kind="tilts", even=np.sort(order[1::2]), odd=np.sort(order[0::2]))


def _part(progress: Progress, begin: float, end: float) -> Progress:
    return lambda fraction, text="": progress(begin + (end - begin) * fraction, text)
