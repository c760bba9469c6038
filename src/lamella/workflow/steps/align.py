"""`align`: the geometry of every view."""

from __future__ import annotations

import lamella.tilts as tilts
from lamella.errors import InputError, PostconditionError
from lamella.formats.images import open_images
from lamella.formats.tracks import write_tracks
from lamella.records import TiltSeries
from lamella.tilts.align_settings import AlignSettings
from lamella.workflow.context import Context

__all__ = ["run"]


def run(record: TiltSeries, settings: AlignSettings, context: Context) -> TiltSeries:
    """Align one series; its tracks, if it has any, are written beside its table.

    Raises
    ------
    PostconditionError
        if a number of the geometry that was found is not finite, or views were lost.
    """
    if record.images is None:
        raise InputError(f"{record.name}: there are no tilt images", mend="run motion first")
    images = open_images(record.images, context.root)
    result = tilts.align(record, images, settings, progress=context.progress)
    _check(record, result.series)
    for note in result.notes:
        context.say(str(note))
    if result.tracks is not None:
        with context.new_file("_tracks.star") as path:
            write_tracks(path, result.tracks)
    aligned: TiltSeries = result.series
    return aligned


def _check(before: TiltSeries, after: TiltSeries) -> None:
    geometry = after.geometry
    if geometry is None or len(after) != len(before):
        raise PostconditionError(f"{before.name}: align lost views or found no geometry", mend="report this")
    points = geometry.project([[0.0, 0.0, 0.0], [1000.0, 1000.0, 100.0]])
    if not (abs(points) < 1e7).all():
        raise PostconditionError(
            f"{before.name}: the geometry found is not finite", mend="try another align.method, or exclude bad views"
        )
