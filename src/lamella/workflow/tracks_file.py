"""What `align` followed through the views, as two STAR tables: points, and where each was seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lamella.errors import FormatError
from lamella.formats.star import StarTable, number_text, read_star, write_star
from lamella.records.tracks import Tracks

__all__ = ["read_tracks", "write_tracks"]

_POINT, _VIEW, _WEIGHT = "lamellaPoint", "lamellaView", "lamellaWeight"
_POSITION = ("rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateZAngst")
_SEEN = ("lamellaObservedXAngst", "lamellaObservedYAngst")
_RESIDUAL = ("lamellaResidualXAngst", "lamellaResidualYAngst")


def write_tracks(path: Path, tracks: Tracks) -> None:
    """Write tracks; points and views are counted from 1, Å throughout."""
    points = StarTable(
        "points",
        {_POINT: tuple(str(i + 1) for i in range(tracks.count)), "lamellaViews": (str(tracks.views),) * tracks.count}
        | {name: tuple(map(number_text, tracks.points_ang[:, axis])) for axis, name in enumerate(_POSITION)},
    )
    view, point = np.nonzero(tracks.seen)
    columns = {
        _VIEW: tuple(str(i + 1) for i in view),
        _POINT: tuple(str(i + 1) for i in point),
        _WEIGHT: tuple(map(number_text, tracks.weights[view, point])),
    }
    for axis in range(2):
        columns[_SEEN[axis]] = tuple(map(number_text, tracks.observations_ang[view, point, axis]))
    for axis in range(2):
        columns[_RESIDUAL[axis]] = tuple(map(number_text, tracks.residuals_ang[view, point, axis]))
    write_star(path, [points, StarTable("observations", columns)])


def read_tracks(path: Path) -> Tracks:
    """Read what `write_tracks` wrote.

    Raises
    ------
    FormatError
        if it is another file, or names points or views that it does not have.
    """
    tables = read_star(path)
    if "points" not in tables or "observations" not in tables:
        raise FormatError(f"{path}: no tracks in it", mend="run align again")
    points, seen = tables["points"], tables["observations"]
    count, views = len(points), int(points.integers("lamellaViews").max(initial=0))
    view, point = seen.integers(_VIEW) - 1, seen.integers(_POINT) - 1
    if len(view) and not (view.min() >= 0 and view.max() < views and point.min() >= 0 and point.max() < count):
        raise FormatError(f"{path}: an observation of a point or view that is not there", mend="run align again")
    observed = np.full((views, count, 2), np.nan)
    residuals = np.full((views, count, 2), np.nan)
    weights = np.zeros((views, count))
    weights[view, point] = seen.numbers(_WEIGHT)
    for axis in range(2):
        observed[view, point, axis] = seen.numbers(_SEEN[axis])
        residuals[view, point, axis] = seen.numbers(_RESIDUAL[axis])
    return Tracks(
        observations_ang=observed,
        weights=weights,
        points_ang=np.stack([points.numbers(name) for name in _POSITION], axis=-1),
        residuals_ang=residuals,
    )
