"""`align`: the geometry of every view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import lamella.tilts as tilts
from lamella.errors import InputError, PostconditionError
from lamella.formats.images import open_images
from lamella.formats.tracks import write_followed_tracks
from lamella.records import TiltSeries
from lamella.records.followed_tracks import FollowedTracks
from lamella.records.tracks import Tracks
from lamella.tilts.align_settings import AlignSettings
from lamella.workflow.context import Context
from lamella.workflow.known_tracks import (
    TRACKS,
    Recalled,
    begun,
    followed_by,
    image_samples,
    merged,
    recall,
    without_labels,
)
from lamella.workflow.steps import find_step

__all__ = ["run"]


def run(record: TiltSeries, settings: AlignSettings, context: Context) -> TiltSeries:
    """Align one series; everything that was followed in it is kept beside its table, and serves again where it can.

    Raises
    ------
    InputError
        if a track that is to be dropped does not exist.
    PostconditionError
        if a number of the geometry that was found is not finite, or views were lost.
    """
    if record.images is None:
        raise InputError(f"{record.name}: there are no tilt images", mend="run motion first")
    images = open_images(record.images, context.root)
    marks = _Marks(image_samples(images), followed_by(record, settings, find_step("align").version))
    known, used = _known(record, settings, context, marks)
    start = record if known is None else begun(known, record, marks.followed_by, context.root)
    result = tilts.align(start, images, settings, progress=context.progress, tracks=used)
    _check(record, result.series)
    for note in result.notes:
        context.say(str(note))
    followed = _followed(record, marks, known, used, result.tracks)
    if followed is not None:
        with context.new_file(TRACKS) as path:
            write_followed_tracks(path, followed)
    aligned: TiltSeries = result.series
    return aligned


@dataclass(frozen=True, eq=False)
class _Marks:
    """By what tracks are known again: samples of the images, and the digest of all else."""

    samples: NDArray[np.float32]
    followed_by: str


def _known(
    record: TiltSeries, settings: AlignSettings, context: Context, marks: _Marks
) -> tuple[Recalled | None, Tracks | None]:
    """What was followed before and serves again, and those of its tracks that are to be solved from."""
    name = f"{record.name}{TRACKS}"
    places = dict.fromkeys((context.folder / name, context.root / "align" / name))
    known, why = recall(places, record, marks.samples, settings, marks.followed_by)
    if known is None:
        if why:
            context.say(f"tracks are followed anew: {why}")
        if settings.drop_tracks:
            context.say(
                f"tracks {', '.join(map(str, settings.drop_tracks))} were not dropped: their numbers are those of "
                "tracks that were followed before, and these are new ones"
            )
        return None, None
    used = without_labels(known.tracks, settings.drop_tracks)
    source = f" ({known.followed.origin})" if known.followed.origin else ""
    count = len(np.unique(known.tracks.labels))
    context.say(f"solved from the {count} {known.tracks.kind or 'tracks'} followed before{source}")
    if settings.drop_tracks:
        context.say(f"left out of the solve: {known.tracks.kind} {', '.join(map(str, sorted(settings.drop_tracks)))}")
    return known, used


def _followed(
    record: TiltSeries, marks: _Marks, known: Recalled | None, used: Tracks | None, solved: Tracks | None
) -> FollowedTracks | None:
    """What to keep: what was kept before with its new solution, or what was followed now."""
    place = np.asarray(record.place, dtype=np.int64)
    if known is not None and used is not None:
        return merged(known, place, used, solved, marks.followed_by)
    if solved is None:
        return None
    return FollowedTracks(tracks=solved, place=place, samples=marks.samples, followed_by=marks.followed_by)


def _check(before: TiltSeries, after: TiltSeries) -> None:
    geometry = after.geometry
    if geometry is None or len(after) != len(before):
        raise PostconditionError(f"{before.name}: align lost views or found no geometry", mend="report this")
    points = geometry.project([[0.0, 0.0, 0.0], [1000.0, 1000.0, 100.0]])
    if not (abs(points) < 1e7).all():
        raise PostconditionError(
            f"{before.name}: the geometry found is not finite", mend="try another align.method, or exclude bad views"
        )
