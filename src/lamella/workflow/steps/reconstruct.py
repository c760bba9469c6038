"""`reconstruct`: tomograms, whole and in two halves, from the aligned views."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import lamella.tomograms as tomograms
from lamella.errors import InputError, ProjectError
from lamella.formats.images import open_images
from lamella.geometry import TiltGeometry
from lamella.progress import Progress
from lamella.records import TiltSeries, Tomogram
from lamella.tomograms.box import tomogram_shape
from lamella.tomograms.reconstruct_settings import ReconstructSettings
from lamella.workflow.context import Context
from lamella.workflow.needs import Needs

__all__ = ["needs", "run"]


def needs(record: TiltSeries, settings: ReconstructSettings) -> Needs:
    """Room for the volumes, and the views on their finer grid, before the geometry is known."""
    geometry = record.geometry or TiltGeometry.from_angles(record.nominal_tilt_deg, record.nominal_axis_deg)
    tomogram = tomograms.plan_tomogram(record.with_changes(geometry=geometry), settings)
    voxels = float(np.prod(tomogram_shape(tomogram)))
    height, width = record.image_shape_px
    halves = 0 if settings.halves == "off" else 2
    stored = 6.0 * len(record) * height * width / tomogram.binning**2
    whole = 12.0 * voxels if settings.method == "sirt" else 0.0
    return Needs(disk=4 * voxels * (1 + halves), memory=stored + whole)


def run(record: TiltSeries, settings: ReconstructSettings, context: Context) -> Tomogram:
    """Reconstruct one series, and its two halves unless they are off.

    Raises
    ------
    ProjectError
        if the series is not aligned.
    """
    if record.images is None:
        raise InputError(f"{record.name}: there are no tilt images", mend="run motion first")
    if record.geometry is None:
        raise ProjectError(
            f"{record.name}: the views are not aligned", mend="run align first, or set its enabled = true"
        )
    has_frames = record.even_images is not None and record.odd_images is not None
    halves = tomograms.half_sets(record, settings, has_frames)
    tomogram = tomograms.plan_tomogram(record, settings)
    parts = 1 if halves.kind == "off" else 3
    tomogram = replace(
        tomogram,
        volume=_volume(record, record.images, tomogram, settings, context, "", context.part("", (0, 1 / parts))),
    )
    if halves.kind == "off":
        return tomogram
    names = {}
    for place, (half, views) in enumerate((("even", halves.even), ("odd", halves.odd)), start=1):
        images = getattr(record, f"{half}_images") if halves.kind == "frames" else record.images
        names[half] = _volume(
            record.select(views),
            tuple(images[view] for view in views),
            tomogram,
            settings,
            context,
            f"_{half}",
            context.part(f"{half} half", (place / parts, (place + 1) / parts)),
        )
    context.say(f"halves from even and odd {halves.kind}")
    return replace(tomogram, even_volume=names["even"], odd_volume=names["odd"])


def _volume(
    series: TiltSeries,
    images: tuple[str, ...],
    tomogram: Tomogram,
    settings: ReconstructSettings,
    context: Context,
    ending: str,
    progress: Progress,
) -> str:
    """Reconstruct one volume into its file; its name."""
    source = open_images(images, context.root)
    with context.new_mrc(f"{ending}.mrc", tomogram_shape(tomogram), tomogram.voxel_size_ang) as writer:
        result = tomograms.reconstruct(
            series, source, tomogram, settings, writer, device=context.device, progress=progress
        )
    if not ending:
        size = " × ".join(str(number) for number in reversed(result.shape))
        weighted = "weighted by dose" if result.dose_weighted else "not weighted by dose"
        context.say(f"{size} voxels of {result.voxel_size_ang:g} Å from {result.views} views, {weighted}")
        context.say(f"contrast transfer {result.correction.in_words()}")
        context.measure(Deviation=result.deviation)
        if np.isfinite(result.reprojection_correlation):
            context.measure(ReprojectionCorrelation=result.reprojection_correlation)
    return context.name(context.outputs[-1])
