"""Tracks that were followed before, or imported, and serve again: an edit is then solved anew in seconds.

Following is what takes time; dropping a view, a bead or a patch changes nothing that was followed. So the step `align`
keeps every track in ``NAME_tracks.star`` and takes them up again while

- the views that are asked for are all among those followed (by their place in the stack), and show the same pixels:
  a sample of each is compared, of which a tenth may differ, as `clean` replaces other hot pixels once a view is gone;
- the settings by which features are found and followed, the pixel size and the step's version are the same. Settings
  of the solve do not count.

Imported tracks depend on no setting. They serve for as long as the views are the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError, InputError
from lamella.formats.tracks import read_followed_tracks
from lamella.records import ImageSource, TiltSeries
from lamella.records.followed_tracks import FollowedTracks
from lamella.records.tracks import Tracks
from lamella.tilts.align_settings import NOMINAL_SCORE, AlignSettings
from lamella.workflow.digests import digest
from lamella.workflow.tables import read_part

__all__ = [
    "SOLVE_SETTINGS",
    "TRACKS",
    "Recalled",
    "begun",
    "followed_by",
    "image_samples",
    "merged",
    "recall",
    "without_labels",
]

TRACKS = "_tracks.star"
"""Ending of the file of tracks in a record's folder, after the series' name."""

SOLVE_SETTINGS = frozenset(
    {
        "enabled",
        "method",
        "axis",
        "tilt_angles",
        "magnification",
        "local",
        "loss",
        "level",
        "drop_tracks",
        "reuse_tracks",
    }
)
"""Settings of `align` that change what is solved, not what is followed."""

_SAMPLE_PX = 64
_SAME_FRACTION = 0.9
_GOLDEN = (0.7548776662466927, 0.5698402909980532)  # steps of the plane's most even sequence (Roberts 2018)


@dataclass(frozen=True, eq=False)
class Recalled:
    """Tracks that serve again: everything that is kept, those in the record's views, and the file they stand in."""

    followed: FollowedTracks
    tracks: Tracks
    path: Path


def image_samples(images: ImageSource) -> NDArray[np.float32]:
    """``(n, 64)`` pixels of each view, spread evenly over it, from the same places every time."""
    n, height, width = images.shape
    number = np.arange(1, _SAMPLE_PX + 1)
    rows, columns = ((0.5 + number * step) % 1.0 * size for step, size in zip(_GOLDEN, (height, width), strict=True))
    places = rows.astype(np.int64), columns.astype(np.int64)
    return np.stack([np.asarray(images.view(view), dtype=np.float32)[places] for view in range(n)])


def followed_by(record: TiltSeries, settings: AlignSettings, version: int) -> str:
    """Digest of what tracks depend on besides the pixels."""
    values = settings.model_dump(mode="json", exclude=set(SOLVE_SETTINGS))
    about = {"pixel": record.pixel_size_ang, "shape": record.image_shape_px, "imaging": record.imaging}
    return digest({"settings": values, "version": version, **about})


def recall(
    paths: Iterable[Path],
    record: TiltSeries,
    samples: NDArray[np.float32],
    settings: AlignSettings,
    marks: str,
) -> tuple[Recalled | None, str]:
    """Tracks that were kept and still hold for a record.

    Parameters
    ----------
    paths
        files to look into, the likeliest first; those that are not there are passed over.
    record, samples
        the series as it is now, and `image_samples` of it.
    settings, marks
        of the step now, and what `followed_by` makes of them.

    Returns
    -------
    recalled, why
        the tracks, or None; and where a file was there but cannot serve, the reason.
    """
    if not settings.reuse_tracks:
        return None, ""
    why = ""
    for path in paths:
        if not path.is_file():
            continue
        try:
            followed = read_followed_tracks(path)
        except FormatError as error:
            why = why or error.problem
            continue
        reason = _why_not(followed, record, samples, settings, marks)
        if not reason:
            tracks = followed.in_views(_places(record))
            assert tracks is not None  # every view was found among them
            return Recalled(followed, tracks, path), ""
        why = why or reason
    return None, why


def begun(recalled: Recalled, record: TiltSeries, marks: str, root: Path) -> TiltSeries:
    """The record with which a solve from known tracks begins.

    Its geometry is the one last solved from them (or imported with them), without a field: a solve that begins there
    needs few steps. Where nothing but what is solved has changed, its score before alignment is that of then; the views
    that have left since hardly change it. Nothing is taken over where a view was not solved then.

    Parameters
    ----------
    recalled
        the tracks.
    record
        as it is now.
    marks
        what `followed_by` makes of it.
    root
        the project's folder.
    """
    before = read_part(recalled.path.parent / ".done" / record.name, root)
    if not isinstance(before, TiltSeries) or before.geometry is None:
        return record
    rows = {int(place): row for row, place in enumerate(_places(before))}
    wanted = [rows.get(int(place), -1) for place in _places(record)]
    if -1 in wanted:
        return record
    start = record.with_changes(geometry=before.geometry.select(wanted).with_terms(field=None))
    score = before.quality.get(NOMINAL_SCORE)
    same = recalled.followed.followed_by == marks and all(
        np.array_equal(now, then[wanted])
        for now, then in (
            (record.nominal_tilt_deg, before.nominal_tilt_deg),
            (record.nominal_axis_deg, before.nominal_axis_deg),
        )
    )
    return start.with_changes(quality={**record.quality, NOMINAL_SCORE: score}) if same and score else start


def without_labels(tracks: Tracks, labels: Iterable[int]) -> Tracks:
    """The tracks without those of some beads or patches.

    Raises
    ------
    InputError
        if there is none of that number, or none is left.
    """
    wanted = np.array(sorted(set(labels)), dtype=np.int64)
    unknown = wanted[~np.isin(wanted, tracks.labels)]
    if unknown.size:
        raise InputError(
            f"there is no track {', '.join(map(str, unknown.tolist()))}",
            mend=f"tracks have numbers from {int(tracks.labels.min())} to {int(tracks.labels.max())}: see the report",
        )
    kept = ~np.isin(tracks.labels, wanted)
    if not kept.any():
        raise InputError("every track would be dropped", mend="drop fewer")
    return tracks.select_points(kept)


def merged(
    recalled: Recalled, place: NDArray[np.int64], used: Tracks, solved: Tracks | None, marks: str
) -> FollowedTracks:
    """Everything that is kept, with the solution of those tracks that were used now.

    Parameters
    ----------
    recalled
        what served.
    place
        of the record's views.
    used, solved
        what the solve was given, and what it made of it: the same points in the same order; None where the geometry
        came from elsewhere.
    marks
        what `followed_by` makes of the record and the settings now.
    """
    everything, kept = recalled.followed, recalled.followed.tracks
    points, residuals = np.full(kept.points_ang.shape, np.nan), np.full(kept.residuals_ang.shape, np.nan)
    if solved is not None and solved.observations_ang.shape == used.observations_ang.shape:
        columns = np.flatnonzero(np.isin(kept.labels, used.labels))
        points[columns] = solved.points_ang
        residuals[np.ix_(everything.rows(place), columns)] = solved.residuals_ang
    return FollowedTracks(
        tracks=kept.with_solution(points, residuals),
        place=everything.place,
        samples=everything.samples,
        followed_by=marks,
        origin=everything.origin,
    )


def _places(record: TiltSeries) -> NDArray[np.int64]:
    return np.asarray(record.place, dtype=np.int64)


def _why_not(
    followed: FollowedTracks, record: TiltSeries, samples: NDArray[np.float32], settings: AlignSettings, marks: str
) -> str:
    """Why tracks cannot serve; empty where they can."""
    if settings.method not in ("auto", followed.tracks.kind or settings.method):
        return f"they are tracks of {followed.tracks.kind}, and align.method is {settings.method}"
    if settings.method in ("none", "coarse", "matching"):
        return f"align.method = {settings.method} solves from no tracks"
    if not followed.origin and followed.followed_by != marks:
        return "settings by which they are followed have changed"
    rows = followed.rows(_places(record))
    if (rows < 0).any():
        new = ", ".join(str(int(place)) for place in _places(record)[rows < 0])
        return f"view {new} of the stack was not followed"
    known = followed.samples[rows]
    if not known.shape[1]:
        return ""
    if known.shape != samples.shape:
        return "they carry no marks of the images"
    same = ((known == samples) | (np.isnan(known) & np.isnan(samples))).mean(axis=1) >= _SAME_FRACTION
    if not same.all():
        changed = ", ".join(str(int(place)) for place in _places(record)[~same])
        return f"the image of view {changed} has changed"
    return ""
