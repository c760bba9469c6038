"""A denoised half against views that it never saw: projected again, beside the same half before it was denoised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.errors import ImageError
from lamella.kernels.loops import Loops
from lamella.kernels.rows import Box, RowPlan
from lamella.kernels.sampling import ImageGrid, frequencies
from lamella.progress import no_progress
from lamella.records import ImageSource, TiltSeries, VolumeSource
from lamella.tomograms.corrected_views import ViewCorrection
from lamella.tomograms.correction import plan_correction
from lamella.tomograms.frame import Frame
from lamella.tomograms.reconstruct_settings import ReconstructSettings
from lamella.tomograms.reprojection import Reprojection, views_to_check
from lamella.tomograms.tilt_images import mean_level, store_views
from lamella.tomograms.view_order import views_in_order
from lamella.tomograms.view_weights import ViewWeights
from lamella.tomograms.weights import dose_weights

__all__ = ["other_half_views", "view_correlations"]

_SLAB = 2**22  # voxels that are projected together


def other_half_views(series: TiltSeries) -> NDArray[np.int64]:
    """The views of the odd half where halves are of tilts; where they are of frames, some of its views."""
    return np.sort(views_in_order(series)[0::2])


def view_correlations(
    series: TiltSeries,
    images: ImageSource,
    volumes: Sequence[VolumeSource],
    voxel_size_ang: float,
    settings: ReconstructSettings,
    *,
    device: str = "cpu",
) -> tuple[float, ...]:
    """Mean correlation of the views nearest to −30°, 0° and 30° with each volume, projected again.

    Parameters
    ----------
    series, images
        views that had no part in the volumes, with geometry, and their images: from the odd half, for volumes of the
        even half. A view that had would agree with the noise that it brought.
    volumes
        `(z, y, x)` of one shape.
    settings
        how the views are treated, as for a reconstruction: dose, contrast transfer.

    Returns
    -------
    tuple
        one number per volume, NaN where no ray crosses the volume from its lowest plane to its highest, or the tilt
        axis runs along x (see `Frame`).

    Raises
    ------
    ImageError
        if the volumes' shapes differ, or an image holds NaN.
    """
    if len({tuple(volume.shape) for volume in volumes}) > 1:
        raise ImageError("volumes of different shapes", mend="give a volume and the same volume denoised")
    assert series.geometry is not None
    box = Box(shape=volumes[0].shape, voxel_size_ang=voxel_size_ang)
    frame = Frame.of(series, box)
    if not frame.plain:
        return (float("nan"),) * len(volumes)
    geometry, views = series.geometry, views_to_check(series.geometry)
    grid = ImageGrid.of(geometry, series.image_shape_px, series.pixel_size_ang, voxel_size_ang)
    dose = dose_weights(series, frequencies(), voxel_size_ang) if settings.dose_weighting else None
    weights = ViewWeights(geometry=geometry, grid=grid, box=box, settings=settings, dose=dose)
    correction = plan_correction(series, box, settings).in_strips()
    stored = store_views(
        series, images, views, grid, weights.plain(RowPlan.rays(geometry)), mean_level, device=device,
        correction=None if correction.method == "none"
        else ViewCorrection(series, geometry, correction, grid, box, settings),
        progress=no_progress,
    )  # fmt: skip
    found = []
    for volume in volumes:
        check = Reprojection(geometry.select(views), grid, stored, Loops.on(stored.device.type))
        _project(volume, check, box, stored.device)
        found.append(check.correlation())
    return tuple(found)


def _project(volume: VolumeSource, check: Reprojection, box: Box, device: torch.device) -> None:
    nz, ny, nx = box.shape
    whole = check.slab(0, box.first(), box.shape, device)
    assert whole is not None
    step = max(1, _SLAB // (ny * nx))
    for z in range(0, nz, step):
        block = np.array(volume.block(slice(z, min(nz, z + step)), slice(0, ny), slice(0, nx)), np.float32, order="C")
        whole.add(z, torch.from_numpy(block).to(device))
    whole.finish()
