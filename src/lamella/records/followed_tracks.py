"""Everything that was followed through a series' views, and what it was followed from: so that it can serve again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.errors import InputError
from lamella.records.tracks import Tracks

__all__ = ["FollowedTracks"]


@dataclass(frozen=True, kw_only=True, eq=False)
class FollowedTracks:
    """Tracks of a series, dropped ones and those of dropped views too, with the marks by which they are known again.

    Attributes
    ----------
    tracks
        of n views and p points.
    place
        ``(n,)`` 1-based place of each view in the stack, as `TiltSeries.place`.
    samples
        ``(n, k)`` float32 pixels of each view, always from the same places: a view is the same one while most of them
        are. k is 0 where no image was at hand.
    followed_by
        digest of what else the tracks depend on (settings, version, pixel size); empty for imported ones.
    origin
        the program and file that they were imported from; empty for lamella's own.
    """

    tracks: Tracks
    place: NDArray[np.int64]
    samples: NDArray[np.float32]
    followed_by: str = ""
    origin: str = ""

    def __post_init__(self) -> None:
        place = np.array(self.place, dtype=np.int64)
        samples = np.array(self.samples, dtype=np.float32)
        views = self.tracks.views
        if place.shape != (views,) or len(np.unique(place)) < views or samples.ndim != 2 or len(samples) != views:
            raise InputError("places or samples do not fit their tracks", mend="give one of each per view")
        for name, value in (("place", place), ("samples", samples)):
            value.flags.writeable = False
            object.__setattr__(self, name, value)

    def rows(self, place: NDArray[np.int64]) -> NDArray[np.int64]:
        """``(m,)`` row of each of m views that are named by their place, −1 where it was not followed."""
        row = {int(number): index for index, number in enumerate(self.place)}
        return np.array([row.get(int(number), -1) for number in place], dtype=np.int64)

    def in_views(self, place: NDArray[np.int64]) -> Tracks | None:
        """The tracks in the views at those places, or None where one of them was not followed."""
        rows = self.rows(place)
        return None if (rows < 0).any() else self.tracks.select_views(rows)
