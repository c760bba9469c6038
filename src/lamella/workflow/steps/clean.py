"""`clean`: leave out bad views, replace bad pixels."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import lamella.tilts as tilts
from lamella.errors import InputError
from lamella.formats.images import image_name, open_images
from lamella.formats.mrc_writer import MrcWriter
from lamella.records import ImageSource, TiltSeries
from lamella.tilts import CleanResult
from lamella.tilts.clean_settings import CleanSettings
from lamella.workflow.context import Context
from lamella.workflow.needs import Needs
from lamella.workflow.steps.excluded import keep_excluded

__all__ = ["needs", "run"]

_ENDINGS = {"images": ".mrcs", "even_images": "_even.mrcs", "odd_images": "_odd.mrcs"}


def needs(record: TiltSeries, settings: CleanSettings) -> Needs:
    """What cleaning one series takes: its images once more as float32, and a few of them in memory."""
    height, width = record.image_shape_px
    stacks = sum(getattr(record, field) is not None for field in _ENDINGS)
    disk = 4.0 * height * width * len(record) * stacks if settings.outliers else 0.0
    return Needs(disk=disk, memory=60.0 * height * width)


def run(record: TiltSeries, settings: CleanSettings, context: Context) -> TiltSeries:
    """Clean one series.

    New stacks are written only where pixels may change; else the record names the images that it named, without the
    views that were left out. Those stand in ``excluded/NAME.star``, with the reason for each.
    """
    if record.images is None:
        raise InputError(f"{record.name}: there are no tilt images", mend="run motion first")
    stacks = {field: names for field in _ENDINGS if (names := getattr(record, field)) is not None}
    sources = {field: open_images(names, context.root) for field, names in stacks.items()}
    if settings.outliers:
        result, written = _clean_into_files(record, settings, sources, context)
        series = result.series.with_changes(**written)
    else:
        result = tilts.clean(record, sources["images"], settings, None, progress=context.progress)
        series = result.series
    for warning in result.warnings:
        context.say(warning)
    keep_excluded("clean", result.excluded, result.reasons, context)
    replaced = int(result.replaced.sum())
    if settings.outliers:
        context.measure(ReplacedPixels=replaced, HotPixels=result.hot)
    if invalid := int(result.invalid.sum()):
        context.say(
            f"{invalid} pixels that were no numbers " + ("replaced" if settings.outliers else "left as they are")
        )
    return series


def _clean_into_files(
    record: TiltSeries, settings: CleanSettings, sources: Mapping[str, ImageSource], context: Context
) -> tuple[CleanResult, dict[str, tuple[str, ...]]]:
    """Clean into new stacks; also the names of the images in them."""
    shape = (len(record), *record.image_shape_px)
    with ExitStack() as stack:
        writers: dict[str, MrcWriter] = {
            field: stack.enter_context(context.new_mrc(_ENDINGS[field], shape, record.pixel_size_ang))
            for field in sources
        }
        sinks = {field: writer.image_sink() for field, writer in writers.items()}
        result: CleanResult = tilts.clean(
            record,
            sources["images"],
            settings,
            sinks["images"],
            even=sources.get("even_images"),
            odd=sources.get("odd_images"),
            write_even=sinks.get("even_images"),
            write_odd=sinks.get("odd_images"),
            progress=context.progress,
        )
        for writer in writers.values():
            writer.keep_first(len(result.series))
    names = {
        field: tuple(image_name(i, context.name(writer.path)) for i in range(len(result.series)))
        for field, writer in writers.items()
    }
    return result, names
