"""The dose that each target's area really gets: from its own beam, and from its neighbours'."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["DoseBook", "disc_points"]

Array = NDArray[np.float64]

_POINTS = 256


def disc_points(radius_um: float, count: int = _POINTS) -> Array:
    """``(count, 2)`` points that fill a disc evenly (Vogel's sunflower, 1979)."""
    numbers = np.arange(count) + 0.5
    radii, angles = radius_um * np.sqrt(numbers / count), numbers * np.pi * (3 - np.sqrt(5))
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=-1)


class DoseBook:
    """Mean dose on the area of each target.

    Parameters
    ----------
    count
        of targets.
    radius_um
        of a target's area.

    Attributes
    ----------
    own, others
        ``(count,)`` e/Å² of the exposures that were meant for the target, and of all others.
    """

    def __init__(self, count: int, radius_um: float) -> None:
        self.radius_um = radius_um
        self.own: Array = np.zeros(count)
        self.others: Array = np.zeros(count)
        self._middles: Array = np.zeros((count, 3))
        self._points: Array = np.zeros((count, _POINTS, 3))

    def place(self, middles_um: Array, height: Callable[[Array], Array]) -> None:
        """Say where the targets' middles ``(count, 3)`` are, and the terrain's height over places ``(..., 2)``."""
        around = middles_um[:, None, :2] + disc_points(self.radius_um)
        own = middles_um[:, 2] - height(middles_um[:, :2])
        self._middles = middles_um
        self._points = np.concatenate([around, (height(around) + own[:, None])[..., None]], axis=-1)

    def expose(
        self, placed: Callable[[Array], Array], beam_um: tuple[Array, float], dose: float, target: int | None
    ) -> None:
        """Take in one exposure.

        Parameters
        ----------
        placed
            where points of the grid ``(..., 3)`` are now.
        beam_um
            middle ``(2,)`` of the beam, and its diameter.
        dose
            inside the beam, e/Å².
        target
            that it was meant for.
        """
        if not len(self.own) or not dose:
            return
        middle, diameter = beam_um
        off = placed(self._middles)[:, :2] - middle
        for hit in np.flatnonzero(np.hypot(off[:, 0], off[:, 1]) < diameter / 2 + 1.2 * self.radius_um):
            away = placed(self._points[hit])[:, :2] - middle
            share = float(np.mean((away**2).sum(axis=-1) <= (diameter / 2) ** 2))
            (self.own if hit == target else self.others)[hit] += share * dose
