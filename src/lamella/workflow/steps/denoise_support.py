"""What the data support of a denoised tomogram: the map, the table of places that they do not, and the numbers."""

from __future__ import annotations

import numpy as np

import lamella.tomograms as tomograms
from lamella.errors import LamellaError
from lamella.formats.denoised import DENOISED
from lamella.formats.images import open_images
from lamella.formats.star import StarTable, number_text, write_star
from lamella.progress import Progress
from lamella.records import Tomogram, VolumeSource
from lamella.tomograms.denoise_settings import DenoiseSettings
from lamella.tomograms.reconstruct_settings import ReconstructSettings
from lamella.tomograms.support import SupportResult
from lamella.workflow.context import Context
from lamella.workflow.steps.reconstruct import CORRECTION

__all__ = ["PLACES", "write_support"]

PLACES = "unsupported"
"""Name of the table of places whose structure the data do not show."""
_GIB = 2**30
_POSITION = "rlnCenteredCoordinate{}Angst"


def write_support(
    record: Tomogram,
    settings: DenoiseSettings,
    raw: tuple[VolumeSource, VolumeSource],
    denoised: tuple[VolumeSource, VolumeSource],
    context: Context,
    progress: Progress,
) -> str:
    """Write ``NAME_support.mrc``, and ``NAME_unsupported.star`` if there are such places; the map's name.

    Parameters
    ----------
    raw, denoised
        the even and the odd half, as reconstructed and after denoising, each by itself.
    """
    halves = tomograms.Halves(even=raw[0], odd=raw[1], denoised_even=denoised[0], denoised_odd=denoised[1])
    memory = None if settings.memory == "auto" else settings.memory * _GIB
    with context.new_mrc("_support.mrc", raw[0].shape, record.voxel_size_ang, label=DENOISED) as writer:
        result = tomograms.measure_support(
            halves, record.voxel_size_ang, writer, geometry=record.tilt_series.geometry, memory_bytes=memory,
            device=context.device, progress=progress,
        )  # fmt: skip
    name = context.name(context.outputs[-1])
    context.measure(
        SupportMedian=result.median,
        UnsupportedFraction=result.unsupported,
        SupportOverall=result.verdict.overall,
        UntestableFraction=result.untestable,
        SupportResolution=result.resolution_ang,
    )
    context.say(
        f"the data support {100 * result.median:.0f} % of what is visible (median) and "
        f"{100 * result.verdict.overall:.0f} % of all that is drawn, judged to {result.resolution_ang:.0f} Å; "
        f"{100 * result.untestable:.0f} % of the contrast lies where nothing is measured"
    )
    _say_texture(result, context)
    if result.places:
        with context.new_file("_unsupported.star") as path:
            write_star(path, [_table(record.name, result)])
        context.say(
            f"{len(result.places)} places with {100 * result.unsupported:.1f} % of the visible contrast are not in the "
            f"data: see {context.name(context.outputs[-1])}"
        )
    _compare_with_views(record, raw[0], denoised[0], context)
    return name


def _say_texture(result: SupportResult, context: Context) -> None:
    texture = result.texture
    if texture is None:
        return
    context.measure(UnsupportedTexture=texture.contrast, TextureSupport=texture.supported, TextureNoise=texture.passed)
    if texture.plain:
        context.say(
            f"between the structures there is texture with {100 * texture.contrast:.0f} % of their contrast that is "
            f"not in the data: {100 * texture.passed:.0f} % of its power is noise that was passed on, and "
            f"{100 * texture.supported:.0f} % the specimen's"
        )


def _compare_with_views(record: Tomogram, even: VolumeSource, denoised: VolumeSource, context: Context) -> None:
    """Project the even half, raw and denoised, into views of the odd one, and keep how well they agree."""
    series = record.tilt_series
    names = series.images if series.odd_images is None else series.odd_images
    if series.geometry is None or names is None:
        context.say("not compared with the views: the record names no aligned images")
        return
    views = tomograms.other_half_views(series)
    corrected = series.other.get(CORRECTION, "auto")
    settings = ReconstructSettings.model_validate({"ctf": corrected, "halves": "off"})
    try:
        before, after = tomograms.view_correlations(
            series.select(views), open_images(tuple(names[view] for view in views), context.root), (even, denoised),
            record.voxel_size_ang, settings, device=context.device,
        )  # fmt: skip
    except (LamellaError, OSError) as error:
        context.say(f"not compared with the views: {error}")
        return
    if np.isfinite((before, after)).all():
        context.measure(ReprojectionCorrelationRaw=before, ReprojectionCorrelationDenoised=after)
        context.say(f"correlation of views with the other half's projection: {before:.3f}, denoised {after:.3f}")


def _table(name: str, result: SupportResult) -> StarTable:
    columns: dict[str, list[float]] = {_POSITION.format(axis): [] for axis in "XYZ"}
    columns |= {
        f"lamella{what}": [] for what in ("DiameterAngst", "Contrast", "Support", "SupportError", "HalfCorrelation")
    }
    for place, position, diameter in result.places:
        row = (*position, diameter, place.contrast, place.support, place.error, place.halves)
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
    text = {label: tuple(number_text(value) for value in column) for label, column in columns.items()}
    return StarTable(PLACES, {"rlnTomoName": (name,) * len(result.places)} | text)
