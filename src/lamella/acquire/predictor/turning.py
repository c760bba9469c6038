"""Where the tilt takes a point, and a target by its number: what every predictor begins with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.predictor.interface import TargetPlace, View
from lamella.errors import SettingsError
from lamella.geometry.rotations import rotation_y

__all__ = ["checked_places", "place_of", "turned"]

Array = NDArray[np.float64]


def turned(place_um: Array, tilt_deg: float, axis_um: float = 0.0) -> Array:
    """``(3,)`` where a point of the specimen is after a tilt: x, y across the beam, and its height.

    Parameters
    ----------
    place_um
        ``(3,)`` x, y, z at 0°, x from the middle of the beam.
    axis_um
        x of the tilt axis.
    """
    axis = np.array([axis_um, 0.0, 0.0])
    place: Array = rotation_y(tilt_deg) @ (place_um - axis) + axis
    return place


def checked_places(places: Mapping[int, TargetPlace]) -> dict[int, Array]:
    """``(3,)`` places by the targets' numbers.

    Raises
    ------
    SettingsError
        if there is none, or a coordinate or an error is not a finite number, or an error is negative.
    """
    if not places:
        raise SettingsError("no target is given to the predictor", mend="give the places of the targets")
    for target, place in places.items():
        if not np.isfinite(place.place_um).all() or not np.isfinite(place.sd_um).all() or min(place.sd_um) < 0:
            raise SettingsError(
                f"the place of target {target} is {place.place_um} with errors {place.sd_um}",
                mend="give three finite coordinates in µm, and three errors of 0 or more",
            )
    return {target: np.array(place.place_um, dtype=np.float64) for target, place in places.items()}


def place_of(places: Mapping[int, Array], view: View) -> Array:
    """The place of a view's target.

    Raises
    ------
    SettingsError
        if the predictor was made without it.
    """
    if view.target not in places:
        raise SettingsError(
            f"target {view.target} is unknown to the predictor", mend=f"it was made with {sorted(places)}"
        )
    return places[view.target]
