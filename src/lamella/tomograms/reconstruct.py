"""`reconstruct`: from aligned tilt images to a tomogram."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lamella.errors import GeometryError, InputError, PostconditionError, ProjectError
from lamella.kernels.loops import Loops
from lamella.kernels.rows import Box, RowPlan
from lamella.kernels.sampling import ImageGrid, ViewFilter, frequencies
from lamella.progress import Progress, no_progress
from lamella.records import ImageSource, TiltSeries, Tomogram, VolumeSink, VolumeSource
from lamella.tomograms.box import plan_tomogram, tomogram_shape
from lamella.tomograms.corrected_views import ViewCorrection
from lamella.tomograms.correction import Correction, plan_correction
from lamella.tomograms.fourier_inversion import inversion_plan, invert_views
from lamella.tomograms.frame import Frame
from lamella.tomograms.memory import MemoryBudget
from lamella.tomograms.reconstruct_settings import ReconstructSettings
from lamella.tomograms.reprojection import Reprojection, views_to_check
from lamella.tomograms.rounds import Rounds, check_mask, fit_rounds
from lamella.tomograms.slabs import Output
from lamella.tomograms.tilt_images import StoredViews, background, check_images, mean_level, store_views
from lamella.tomograms.view_order import views_in_order
from lamella.tomograms.view_weights import ViewWeights
from lamella.tomograms.wbp import back_project_views
from lamella.tomograms.weights import dose_weights

__all__ = ["HalfSets", "ReconstructResult", "half_sets", "plan_tomogram", "reconstruct", "tomogram_shape"]

Array = NDArray[np.float64]

_THIN = 0.7  # of the specimen's measured thickness; iterations need a box that holds it


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
    weighting
        by which views shared frequencies, where they were summed.
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
    weighting: Literal["ramp", "exact"] | None = None


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
        if the contrast transfer is to be corrected and cannot be, or the method does not suit the box or the views.
    SettingsError
        if `reconstruct.memory` does not hold the work on one view or one slab.
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
    and the samples and some planes of a slab. `reconstruct.memory` is a ceiling for both together: views that are too
    many for it lie in a temporary file, and slabs are made as large as it allows.

    Where the views' axis lies nearer to x, as that of a second series in the frame of the first, the work is done in a
    frame that is turned by 90°, voxel on voxel.
    """
    if series.geometry is None:
        raise ProjectError(f"{series.name}: the views are not aligned", mend="run align first")
    check_images(series, images)
    box = Box(shape=tomogram_shape(tomogram), voxel_size_ang=tomogram.voxel_size_ang)
    if mask is not None:
        check_mask(mask, box, settings.mask or "the mask")
    _check_sight(series, box)
    _check_thickness(series, box, settings)
    work = _Work(series, images, box, settings, device, mask)
    output = Output(sink, box.shape)
    slabs, check = work.run(output, progress)
    _check_output(series, output)
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
        weighting=work.weighting,
    )


def _check_output(series: TiltSeries, output: Output) -> None:
    if not output.complete or not np.isfinite(output.sums).all() or output.deviation == 0:
        raise PostconditionError(
            f"{series.name}: the tomogram has mean {output.mean} and standard deviation {output.deviation}",
            mend="look at the images with `lamella check`: are they empty, or far out of the tomogram's field?",
        )


class _Work:
    """What all methods start from, in the frame and the voxels in which the work is done."""

    def __init__(
        self,
        series: TiltSeries,
        images: ImageSource,
        box: Box,
        settings: ReconstructSettings,
        device: str,
        mask: VolumeSource | None = None,
    ) -> None:
        frame = Frame.of(series, box, settings.supersampling if settings.method == "wbp" else 1)
        assert frame.series.geometry is not None
        self.series, self.geometry, self.images = frame.series, frame.series.geometry, images
        self.frame, self.box, self.mask, self.settings = frame, frame.box, mask, settings
        self.device = "cpu" if settings.method == "fourier" else device
        self.rounds: Rounds | None = None
        self.weighting: Literal["ramp", "exact"] | None = None
        self.budget = MemoryBudget.of(settings.memory)
        voxel = self.box.voxel_size_ang
        self.grid = ImageGrid.of(self.geometry, series.image_shape_px, series.pixel_size_ang, voxel)
        self.correction = plan_correction(series, box, settings)
        self.dose = dose_weights(series, frequencies(), voxel) if settings.dose_weighting else None
        self.weights = ViewWeights(
            geometry=self.geometry, grid=self.grid, box=self.box, settings=settings, finer=frame.finer,
            thickness_ang=series.thickness_ang, dose=self.dose,
        )  # fmt: skip

    def run(self, output: Output, progress: Progress) -> tuple[int, Reprojection]:
        """Make the voxels; the number of slabs, and how the tomogram agrees with its views."""
        here = output if self.frame.plain else Output(self.frame.into(output), self.box.shape)
        if self.settings.method == "wbp":
            return self._back_project(here, progress)
        if self.settings.method == "fourier":
            return self._invert(here, progress)
        return self._iterate(here, progress)

    def _back_project(self, output: Output, progress: Progress) -> tuple[int, Reprojection]:
        """Filter the views and sum them."""
        plan = RowPlan.fine(self.geometry)
        correction = self.frame.corrected(self.correction)
        self.weighting = "exact" if self.weights.exact else "ramp"
        filters = self.weights.weighted(plan, exact=self.weights.exact)
        check = self._reprojection()
        stored = self._stored(filters, mean_level, correction, _part(progress, 0.0, 0.3))
        slabs = back_project_views(
            stored, self.geometry, self.grid, plan, self.box, output, layers=correction.layers, step=self.frame.finer,
            budget=self._left(stored), check=check, progress=_part(progress, 0.3, 1.0),
        )  # fmt: skip
        return slabs, check

    def _invert(self, output: Output, progress: Progress) -> tuple[int, Reprojection]:
        """Sum the views' slices in the volume's transform."""
        plan = inversion_plan(self.geometry)
        self.weighting = "ramp" if self.settings.weighting == "ramp" else "exact"
        filters = self.weights.weighted(plan, exact=self.weighting == "exact")
        check = self._reprojection()
        stored = self._stored(filters, mean_level, self.correction, _part(progress, 0.0, 0.3))
        slabs = invert_views(
            stored, self.geometry, self.grid, plan, self.box, output, budget=self._left(stored), check=check,
            progress=_part(progress, 0.3, 1.0),
        )  # fmt: skip
        return slabs, check

    def _iterate(self, output: Output, progress: Progress) -> tuple[int, Reprojection]:
        """Fit the voxels to the views, round after round."""
        settings = self.settings
        check = self._reprojection()
        level = background(self.series.imaging) if settings.non_negative else mean_level
        filters = self.weights.plain(RowPlan.rays(self.geometry))
        stored = self._stored(filters, level, self.correction, _part(progress, 0.0, 0.1))
        mass = 1 if self.series.imaging == "dark" else -1
        slabs, self.rounds = fit_rounds(
            stored, self.geometry, self.grid, self.box, settings, output,
            sign=mass if settings.non_negative else 0, mask=self.frame.seen(self.mask), budget=self._left(stored),
            check=check, progress=_part(progress, 0.1, 1.0),
        )  # fmt: skip
        return slabs, check

    def _stored(
        self,
        filters: Callable[[int], ViewFilter],
        level: Callable[[NDArray[np.float32]], float],
        correction: Correction,
        progress: Progress,
        views: NDArray[np.int64] | None = None,
    ) -> StoredViews:
        corrects = None
        if correction.method != "none":
            corrects = ViewCorrection(self.series, self.geometry, correction, self.grid, self.box, self.settings)
        return store_views(
            self.series, self.images, np.arange(len(self.series)) if views is None else views, self.grid, filters,
            level, correction=corrects, device=self.device, progress=progress, budget=self.budget,
        )  # fmt: skip

    def _left(self, stored: StoredViews) -> MemoryBudget:
        """What the slabs may take."""
        if stored.device.type == "cpu":
            return self.budget.less(stored.held_bytes)
        return MemoryBudget.of(self.settings.memory, self.device)

    def _reprojection(self) -> Reprojection:
        views = views_to_check(self.geometry)
        filters = self.weights.plain(RowPlan.rays(self.geometry))
        stored = self._stored(filters, mean_level, self.correction.in_strips(), no_progress, views)
        self.budget = self.budget.less(stored.held_bytes)
        return Reprojection(self.geometry.select(views), self.grid, stored, Loops.on(stored.device.type))


def _check_sight(series: TiltSeries, box: Box) -> None:
    """Raise `GeometryError` where the centre of the box lies outside most images: a sign of shifts in other units."""
    assert series.geometry is not None
    half = np.array(series.image_shape_px[::-1]) * series.pixel_size_ang / 2
    reach = np.array(box.shape[:0:-1]) * box.voxel_size_ang / 2
    if (np.abs(series.geometry.shifts_ang()) > half + np.hypot(*reach)).any(axis=1).all():
        raise GeometryError(
            f"{series.name}: no view sees the tomogram", mend="look at the shifts of the alignment: are they in Å?"
        )


def _check_thickness(series: TiltSeries, box: Box, settings: ReconstructSettings) -> None:
    """Raise `InputError` where matter outside the box would be fitted by voxels inside: a sum of views has no such."""
    thickness = box.shape[0] * box.voxel_size_ang
    if settings.method not in ("sirt", "sart") or series.thickness_ang is None:
        return
    if thickness < _THIN * series.thickness_ang:
        raise InputError(
            f"{series.name}: {settings.method} fits the views by a box of {thickness:.0f} Å, and the specimen is "
            f"{series.thickness_ang:.0f} Å thick",
            mend="set reconstruct.thickness to auto and crop the tomogram, or reconstruct.method to wbp or fourier",
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
    order = views_in_order(series)
    return HalfSets(kind="tilts", even=np.sort(order[1::2]), odd=np.sort(order[0::2]))


def _part(progress: Progress, begin: float, end: float) -> Progress:
    return lambda fraction, text="": progress(begin + (end - begin) * fraction, text)
