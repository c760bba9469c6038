"""Views that processing found a place for after the session has gone on: the stage is elsewhere by then.

What the stage did when a view was recorded is kept as it was believed then. A place that is found later is compared
with it: what differs is the target's own, and the axis's. The error of that belief counts as noise of the measurement,
as if it had nothing to do with the targets' own places, which makes the place count for less than it could.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.predictor.interface import View
from lamella.acquire.predictor.shared_rows import Expected
from lamella.acquire.predictor.shared_state import SHARED, Gaussian

__all__ = ["StageThen"]

Array = NDArray[np.float64]

_PLACE = range(SHARED.place.start, SHARED.place.start + 2)
_SETTLING = range(SHARED.settling.start, SHARED.settling.start + 2)
_ADDED = np.array([*_PLACE, *_SETTLING, SHARED.lag, SHARED.angle_now])
"""What passes with a tilt, and comes into a place as its derivative times itself."""
_PASSING = np.append(_ADDED, SHARED.log_time)


@dataclass(eq=False)
class StageThen:
    """The stage's part in each view's place, ``(2,)``, and the ``(2, 2)`` covariance that it had.

    Attributes
    ----------
    tilt
        the latest of which a view was predicted.
    """

    tilt: int = -1
    _parts: dict[tuple[int, int], tuple[Array, Array]] = field(default_factory=dict)

    def keep(self, view: View, expected: Expected, state: Gaussian) -> None:
        """Keep the part of a view that is predicted now; a later prediction of the same view takes its place."""
        self.tilt = max(self.tilt, view.tilt)
        if view.target < 0 or view.tilt < 0:
            return
        rows = expected.rows[:, _PASSING]
        part = expected.rows[:, _ADDED] @ state.mean[_ADDED]
        self._parts[view.target, view.tilt] = (part, rows @ state.covariance[np.ix_(_PASSING, _PASSING)] @ rows.T)

    def expected(self, view: View, now: Expected, state: Gaussian) -> tuple[Expected, Array] | None:
        """What an earlier view shows by what is known now of the rest, and the covariance of the stage's part.

        None where the view was not predicted.
        """
        if (view.target, view.tilt) not in self._parts:
            return None
        part, covariance = self._parts[view.target, view.tilt]
        rows = now.rows.copy()
        rows[:, _PASSING] = 0.0
        return Expected(now.value - now.rows[:, _ADDED] @ state.mean[_ADDED] + part, rows), covariance
