"""`reconstruct`: tomograms, whole and in two halves, from the aligned views."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

import lamella.tomograms as tomograms
from lamella.errors import InputError, ProjectError
from lamella.formats.images import open_images
from lamella.formats.mrc import open_mrc
from lamella.geometry import TiltGeometry
from lamella.kernels.rows import Box
from lamella.progress import Progress
from lamella.records import ImageSource, TiltSeries, Tomogram, VolumeSource
from lamella.tomograms.box import tomogram_shape
from lamella.tomograms.correction import Correction, obstacle, plan_correction
from lamella.tomograms.reconstruct_settings import ReconstructSettings
from lamella.workflow.context import Context
from lamella.workflow.needs import Needs
from lamella.workflow.steps.reconstruct_gold import find_gold_of
from lamella.workflow.steps.reconstruct_mask import open_mask
from lamella.workflow.steps.reconstruct_position import tell_position
from lamella.workflow.steps.reconstruct_rounds import tell_rounds, with_rounds_of
from lamella.workflow.steps.tomogram_quality import measure_quality

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamella.tomograms.gold import GoldPlan
    from lamella.tomograms.reconstruct import HalfSets, ReconstructResult  # torch and numba come with it

__all__ = ["needs", "run"]


CORRECTION = "lamellaCtfCorrection"
"""Column of the tomograms' table: how the contrast transfer was corrected, or none."""


def needs(record: TiltSeries, settings: ReconstructSettings) -> Needs:
    """Room for the volumes, and the views on their finer grid, before the geometry is known."""
    geometry = record.geometry or TiltGeometry.from_angles(record.nominal_tilt_deg, record.nominal_axis_deg)
    tomogram = tomograms.plan_tomogram(record.with_changes(geometry=geometry), settings)
    voxels = float(np.prod(tomogram_shape(tomogram)))
    height, width = record.image_shape_px
    halves = 0 if settings.halves == "off" else 2
    finer = settings.supersampling if settings.method == "wbp" else 1
    stored = 6.0 * len(record) * height * width / max(tomogram.binning / finer, 1.0) ** 2
    box = Box(shape=tomogram_shape(tomogram), voxel_size_ang=tomogram.voxel_size_ang)
    if settings.ctf != "none":  # what the defocus will be is not known yet
        settings = settings.model_copy(update={"ctf": "auto"})
    plan = plan_correction(record.with_changes(geometry=geometry), box, settings)
    again = 5.0 * voxels if settings.deconvolve else 0.0
    views = stored * len(plan.layers)
    if settings.memory != "auto":  # views beyond it lie in a temporary file
        views = min(views, settings.memory * 2**30)
    return Needs(disk=4 * voxels * (1 + halves + settings.deconvolve), memory=max(views, again))


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
    parts = (1 if halves.kind == "off" else 3) + settings.deconvolve
    mask = open_mask(settings, tomogram, context.root)
    gold, gold_table = find_gold_of(record, record.images, settings, context, context.part("", (0, 0.1 / parts)))
    volume, result = _volume(
        record, record.images, tomogram, settings, context, "", context.part("", (0.1 / parts, 1 / parts)), mask,
        gold.images,
    )  # fmt: skip
    correction, settings = result.correction, with_rounds_of(settings, result.rounds)
    if result.weighting is not None:  # half of the views may look even where the whole is not
        settings = settings.model_copy(update={"weighting": result.weighting})
    series = record.with_changes(other={CORRECTION: correction.method})
    tomogram = replace(tomogram, volume=volume, gold=gold_table, tilt_series=series)
    if halves.kind != "off":
        tomogram = _with_halves(record, tomogram, halves, settings, context, parts, mask, gold)
    tell_position(tomogram, context)
    measure_quality(tomogram, context)
    if settings.deconvolve:
        _deconvolve(record, tomogram, correction, settings, context, context.part("", (1 - 1 / parts, 1.0)))
    return tomogram


def _with_halves(
    record: TiltSeries,
    tomogram: Tomogram,
    halves: HalfSets,
    settings: ReconstructSettings,
    context: Context,
    parts: int,
    mask: VolumeSource | None,
    gold: GoldPlan,
) -> Tomogram:
    """Reconstruct the two halves, the second and third of so many parts of the work."""
    names = {}
    sets: tuple[tuple[Literal["even", "odd"], NDArray[np.int64]], ...] = (("even", halves.even), ("odd", halves.odd))
    for place, (half, views) in enumerate(sets, start=1):
        images: tuple[str, ...] = getattr(record, f"{half}_images" if halves.kind == "frames" else "images")
        names[half], _result = _volume(
            record.select(views),
            tuple(images[view] for view in views),
            tomogram,
            settings,
            context,
            f"_{half}",
            context.part(f"{half} half", (place / parts, (place + 1) / parts)),
            mask,
            partial(gold.images, views=views, kind=half if halves.kind == "frames" else "full"),
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
    mask: VolumeSource | None,
    painted: Callable[[ImageSource], ImageSource],
) -> tuple[str, ReconstructResult]:
    """Reconstruct one volume into its file; its name, and what came of it."""
    source = painted(open_images(images, context.root))
    with context.new_mrc(f"{ending}.mrc", tomogram_shape(tomogram), tomogram.voxel_size_ang) as writer:
        result = tomograms.reconstruct(
            series, source, tomogram, settings, writer, mask=mask, device=context.device, progress=progress
        )
    name = context.name(context.outputs[-1])
    if not ending:
        size = " × ".join(str(number) for number in reversed(result.shape))
        weighted = "weighted by dose" if result.dose_weighted else "not weighted by dose"
        context.say(f"{size} voxels of {result.voxel_size_ang:g} Å from {result.views} views, {weighted}")
        if result.weighting == "exact":
            context.say("each frequency weighted by how many views see it")
        context.say(f"contrast transfer {result.correction.in_words()}")
        if result.rounds is not None:
            tell_rounds(result.rounds, settings, context)
        context.measure(Deviation=result.deviation)
        if np.isfinite(result.reprojection_correlation):
            context.measure(ReprojectionCorrelation=result.reprojection_correlation)
    return name, result


def _deconvolve(
    series: TiltSeries,
    tomogram: Tomogram,
    correction: Correction,
    settings: ReconstructSettings,
    context: Context,
    progress: Progress,
) -> None:
    """Write the tomogram with restored amplitudes beside it, where its contrast transfer is known."""
    why_not, _mend = obstacle(series)
    if why_not:
        context.say(f"not deconvolved: {why_not}")
        return
    assert tomogram.volume is not None
    transfer = tomograms.RadialTransfer.of(series, correction.method)
    source = open_mrc(context.root / tomogram.volume)
    with context.new_mrc("_deconvolved.mrc", tomogram_shape(tomogram), tomogram.voxel_size_ang) as writer:
        tomograms.deconvolve(source, tomogram.voxel_size_ang, transfer, settings, writer, progress=progress)
    context.say("deconvolved for the eye beside it; not for measuring, picking or averaging")
