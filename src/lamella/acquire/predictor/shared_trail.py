"""From where the image shift came: the lenses stay a little behind each move, in its direction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.predictor.interface import View

__all__ = ["ShiftTrail"]

Array = NDArray[np.float64]

_ASKED_AT_ONCE_S = 0.5  # what was asked for so shortly before something else was not exposed in between
_LEAST_MOVE_UM = 0.1  # of a shorter move the direction is not known: the session may have gone there by steps


class ShiftTrail:
    """The image shifts that were predicted, and so were set, one after the other."""

    def __init__(self) -> None:
        self._from: Array | None = None
        self._view: View | None = None
        self._shift: Array = np.zeros(2)

    def plan(self, view: View, shift_um: Array) -> None:
        """A shift is going to be set for a view; the one planned before it has been, unless there was no time."""
        last = self._view
        other = last is not None and (view.target, view.tilt) != (last.target, last.tilt)
        if last is not None and other and view.time_s > last.time_s + _ASKED_AT_ONCE_S:
            self._from = self._shift
        self._view, self._shift = view, shift_um

    def seen(self, view: View, place_um: Array) -> None:
        """An area was found elsewhere, and is followed there."""
        if self._view is not None and view.target == self._view.target:
            self._shift = place_um

    def direction(self, view: View) -> Array | None:
        """``(2,)`` unit vector of the move that leads to a view; None where it is not known."""
        last = self._view
        if last is None or self._from is None or (view.target, view.tilt) != (last.target, last.tilt):
            return None
        way = self._shift - self._from
        length = float(np.hypot(*way))
        return np.asarray(way / length) if length >= _LEAST_MOVE_UM else None
