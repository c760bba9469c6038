"""What a session asks of a predictor, and what it tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Observation", "Prediction", "Predictor", "TargetPlace", "View"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TargetPlace:
    """What is known of a target before the first tilt: its place at the start tilt, and the place's errors, µm.

    Attributes
    ----------
    place_um
        x, y, z.
    sd_um
        of x, y, z.
    """

    place_um: tuple[float, float, float]
    sd_um: tuple[float, float, float] = (0.05, 0.05, 0.3)


@dataclass(frozen=True, kw_only=True)
class View:
    """One target, or an area of its own, at one tilt: what is predicted and observed.

    Attributes
    ----------
    target
        from 0; −1 the tracking area, −2 the focus area.
    tilt
        number of the tilt in the order of recording, from 0.
    tilt_deg
        the stage's angle against the start tilt.
    time_s
        of the microscope's clock.
    since_tilt_s
        since the stage stood still.
    branch
        the side of the scheme, −1 or +1 (0 for the first tilt): whether tilts fall or rise.
    """

    target: int
    tilt: int
    tilt_deg: float
    time_s: float
    since_tilt_s: float
    branch: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """Where a target is now.

    Attributes
    ----------
    shift_um
        ``(2,)`` image shift that brings it into the image's middle.
    height_um
        its height (z of the tilted place) against that at which the lens's defocus is stated: the lens must be set to
        ``wanted − hand · height``.
    covariance_um2
        ``(3, 3)`` of both.
    """

    shift_um: Array
    height_um: float
    covariance_um2: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """Something measured of a view.

    Attributes
    ----------
    kind
        ``"place"``: `value_um` ``(2,)`` is the image shift that would have brought the area into the middle (the one
        set plus the displacement measured); of a view of an earlier tilt it is what processing found since.
        ``"height"``: `value_um` ``(1,)`` is the area's height, from its focus. ``"axis"``: `value_um` ``(1,)`` is x of
        the tilt axis from the middle of the beam, whatever the view. ``"lens"``: `value_um` ``(1,)`` is by how much
        more a change of focus does than it says, a fraction; a predictor that doesn't learn it leaves it.
    sd_um
        of each value.
    at_height_um
        of a height: the one that the lens was set for while it was measured (``wanted − hand · at_height_um``); None:
        the one predicted. Measured at two of them, it tells by how much a change of focus is smaller or larger than
        it says.
    """

    view: View
    kind: Literal["place", "height", "axis", "lens"]
    value_um: Array
    sd_um: float
    at_height_um: float | None = None


class Predictor(Protocol):
    """Predicts and learns. It is made with the targets' places, and draws no random number."""

    @property
    def tracks_on(self) -> Literal["area", "first"]:
        """What it wants observed after each tilt before any other target is predicted: the area −1, or target 0."""
        ...

    @property
    def focuses_on(self) -> Literal["focus-area", "tracking-area"]:
        """Whose height it wants measured by focus: that of the area −2, or of −1, whose places it knows as well."""
        ...

    def predict(self, view: View) -> Prediction:
        """Where the view's target is at its time."""
        ...

    def observe(self, observation: Observation) -> None:
        """Take in a measurement; those made earlier in the session come earlier, but for what processing found."""
        ...
