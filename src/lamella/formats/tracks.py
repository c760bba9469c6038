"""Tracks as STAR tables: the points and every observation of them, with residuals.

::

    data_points         one row per point: number, label (of the bead or patch), place in Å
                        (rlnCenteredCoordinate{X,Y,Z}Angst)
    data_observations   one row per observation: point, view (1-based row of data_views), place in the image, residual,
                        weight; Å from the image's centre pixel
    data_views          one row per view: its place in the stack, and a sample of its pixels (float32, base64), where
                        the tracks are kept so as to serve again

What a solve did not reach is written as ``nan``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError, InputError
from lamella.formats.star import StarTable, number_text, read_star, write_star
from lamella.records.followed_tracks import FollowedTracks
from lamella.records.tracks import Tracks

__all__ = ["read_followed_tracks", "read_tracks", "write_followed_tracks", "write_tracks"]

_POINT = ("rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateZAngst")
_PLACE = ("lamellaTrackXAngst", "lamellaTrackYAngst")
_RESIDUAL = ("lamellaTrackResidualXAngst", "lamellaTrackResidualYAngst")
_MOST = 10_000_000  # observations: views × points of a file that is believed


def write_tracks(path: Path | str, tracks: Tracks) -> None:
    """Write tracks; the file appears whole or not at all.

    Raises
    ------
    OutputError
        if it cannot be written.
    """
    write_star(path, _tables(tracks, {}))


def write_followed_tracks(path: Path | str, followed: FollowedTracks) -> None:
    """Write tracks with what they were followed from, in views that the record may since have lost.

    Raises
    ------
    OutputError
        if it cannot be written.
    """
    marks = {"lamellaTrackFollowedBy": followed.followed_by, "lamellaTrackOrigin": followed.origin}
    tables = _tables(followed.tracks, {label: (text,) for label, text in marks.items() if text})
    samples = followed.samples.astype("<f4")
    views = {
        "lamellaTrackView": _whole(np.arange(followed.tracks.views)),
        "lamellaPlace": tuple(str(int(place)) for place in followed.place),
        "lamellaTrackImageSample": tuple(base64.b64encode(row.tobytes()).decode() or "-" for row in samples),
    }
    write_star(path, [*tables, StarTable("views", views)])


def _tables(tracks: Tracks, marks: dict[str, tuple[str, ...]]) -> list[StarTable]:
    views, points = np.nonzero(tracks.seen)
    general = {"lamellaTrackViews": (str(tracks.views),), "lamellaTrackPoints": (str(tracks.count),)}
    if tracks.kind:
        general["lamellaTrackKind"] = (tracks.kind,)
    solved = {"lamellaTrackPoint": _whole(np.arange(tracks.count))}
    solved["lamellaTrackLabel"] = _whole(tracks.labels - 1)
    solved |= {label: _column(tracks.points_ang[:, axis]) for axis, label in enumerate(_POINT)}
    seen = {"lamellaTrackPoint": _whole(points), "lamellaTrackView": _whole(views)}
    for labels, values in ((_PLACE, tracks.observations_ang), (_RESIDUAL, tracks.residuals_ang)):
        seen |= {label: _column(values[views, points, axis]) for axis, label in enumerate(labels)}
    seen["lamellaTrackWeight"] = _column(tracks.weights[views, points])
    tables = [StarTable("general", general | marks, is_list=True), StarTable("points", solved)]
    return [*tables, StarTable("observations", seen)]


def read_tracks(path: Path | str, place: NDArray[np.int64] | None = None) -> Tracks:
    """Read tracks that `write_tracks` or `write_followed_tracks` wrote.

    Parameters
    ----------
    path
        the file.
    place
        ``(n,)`` places in the stack of the views that are wanted, in order; all of the file's, in its order, where none
        are named or the file states none.

    Raises
    ------
    FormatError
        if a table is missing, or a row names a view or point that there is not; if a view that is wanted is not there.
    """
    tables = read_star(path)
    tracks = _tracks(path, tables)
    if place is None or "views" not in tables:
        return tracks
    found = _followed(path, tables, tracks).in_views(place)
    if found is None:
        raise FormatError(f"{path}: a view of the series was not followed", mend="align again")
    return found


def read_followed_tracks(path: Path | str) -> FollowedTracks:
    """Read tracks with what they were followed from, as `write_followed_tracks` wrote them.

    Raises
    ------
    FormatError
        if a table is missing or damaged.
    """
    tables = read_star(path)
    if "views" not in tables:
        raise FormatError(f"{path}: it does not say what was followed", mend="align again")
    return _followed(path, tables, _tracks(path, tables))


def _followed(path: Path | str, tables: Mapping[str, StarTable], tracks: Tracks) -> FollowedTracks:
    general, views = tables["general"].columns, tables["views"]
    if sorted(views.integers("lamellaTrackView")) != list(range(1, tracks.views + 1)):
        raise FormatError(f"{path}: views are not numbered 1 to {tracks.views}", mend="check the table 'views'")
    order = np.argsort(views.integers("lamellaTrackView"))
    texts = [views.text("lamellaTrackImageSample")[row] for row in order]
    try:
        samples = [np.frombuffer(base64.b64decode("" if text == "-" else text, validate=True), "<f4") for text in texts]
        return FollowedTracks(
            tracks=tracks,
            place=views.integers("lamellaPlace")[order],
            samples=np.stack(samples),
            followed_by=general.get("lamellaTrackFollowedBy", ("",))[0],
            origin=general.get("lamellaTrackOrigin", ("",))[0],
        )
    except (binascii.Error, ValueError, InputError) as error:
        raise FormatError(f"{path}: the table 'views' is damaged ({error})", mend="align again") from error


def _tracks(path: Path | str, tables: Mapping[str, StarTable]) -> Tracks:
    for name in ("general", "points", "observations"):
        if name not in tables:
            raise FormatError(f"{path}: no table {name!r}", mend="give a file of tracks that lamella wrote")
    n, p = (int(tables["general"].integers(label)[0]) for label in ("lamellaTrackViews", "lamellaTrackPoints"))
    if n < 1 or p < 0 or n * p > _MOST or len(tables["points"]) != p:
        raise FormatError(f"{path}: {n} views and {p} points cannot be right", mend="check the table 'general'")
    seen = tables["observations"]
    view, point = seen.integers("lamellaTrackView") - 1, seen.integers("lamellaTrackPoint") - 1
    if len(view) and (view.min() < 0 or view.max() >= n or point.min() < 0 or point.max() >= p):
        raise FormatError(f"{path}: an observation of a view or point that there is not", mend="check the numbers")
    observations, residuals = np.full((n, p, 2), np.nan), np.full((n, p, 2), np.nan)
    weights = np.zeros((n, p))
    for labels, values in ((_PLACE, observations), (_RESIDUAL, residuals)):
        for axis, label in enumerate(labels):
            values[view, point, axis] = seen.numbers(label)
    weights[view, point] = seen.numbers("lamellaTrackWeight")
    places = np.stack([tables["points"].numbers(label) for label in _POINT], axis=-1)
    order = tables["points"].integers("lamellaTrackPoint") - 1
    if sorted(order) != list(range(p)):
        raise FormatError(f"{path}: points are not numbered 1 to {p}", mend="check the table 'points'")
    solved = np.empty_like(places)
    solved[order] = places
    owners = np.arange(1, p + 1, dtype=np.int64)
    if "lamellaTrackLabel" in tables["points"].columns:
        owners[order] = tables["points"].integers("lamellaTrackLabel")
    kind = tables["general"].columns.get("lamellaTrackKind", ("",))[0]
    return Tracks(
        observations_ang=observations,
        weights=weights,
        points_ang=solved,
        residuals_ang=residuals,
        labels=owners,
        kind="beads" if kind == "beads" else "patches" if kind == "patches" else "",
    )


def _whole(values: NDArray[np.int64]) -> tuple[str, ...]:
    """Indices as 1-based numbers."""
    return tuple(str(int(value) + 1) for value in values)


def _column(values: NDArray[np.float64]) -> tuple[str, ...]:
    return tuple(number_text(float(value)) for value in values)
