"""Views that the user leaves out or keeps, by their place in the stack that the series came from."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lamella.errors import ImageError, SettingsError
from lamella.records import TiltSeries

__all__ = ["MIN_VIEWS", "views_left", "views_of_places"]

MIN_VIEWS = 3
"""Fewer views make no tomogram."""


def views_left(series: TiltSeries, step: str, exclude: Iterable[int], include: Iterable[int]) -> list[int]:
    """Views that the user did not exclude, counted from 0.

    Parameters
    ----------
    series
        the record.
    step
        name of the step whose settings these are, for messages.
    exclude, include
        1-based places in the user's stack (or motion's).

    Raises
    ------
    SettingsError
        if a view is named that is not in the series.
    ImageError
        if views are excluded and fewer than `MIN_VIEWS` are left.
    """
    places = np.asarray(series.place)
    given = {"exclude": tuple(exclude), "include": tuple(include)}
    for field, named in given.items():
        if unknown := sorted(set(named) - {int(place) for place in places}):
            raise SettingsError(
                f"{series.name}: {step}.{field} names view {', '.join(map(str, unknown))}, which is not in the series",
                mend=f"name views by their place in the stack, {places.min()} to {places.max()}",
            )
    left = np.flatnonzero(~np.isin(places, given["exclude"]))
    if given["exclude"] and len(left) < MIN_VIEWS:
        raise ImageError(
            f"{series.name}: {step}.exclude leaves {len(left)} of {len(series)} views, {MIN_VIEWS} are needed",
            mend="exclude fewer views",
        )
    return [int(view) for view in left]


def views_of_places(series: TiltSeries, places: Iterable[int]) -> frozenset[int]:
    """The views that stand at some places of the stack, counted from 0."""
    return frozenset(int(view) for view in np.flatnonzero(np.isin(np.asarray(series.place), tuple(places))))
