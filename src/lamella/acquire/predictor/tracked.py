"""What a session learns of all targets together: the offset that tracking finds, and the one that focusing finds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["SharedOffset"]

Array = NDArray[np.float64]


class SharedOffset:
    """The last offset between what was measured and what was predicted of an area; holds for all targets.

    Attributes
    ----------
    place_um
        ``(2,)`` of the place; zero before the first measurement.
    height_um
        of the height.
    place_sd_um, height_sd_um
        of each, by how much it changed from tilt to tilt so far (rms); 0 before it was measured twice.
    """

    def __init__(self) -> None:
        self.place_um: Array = np.zeros(2)
        self.height_um = 0.0
        self._by_tilt: dict[int, Array] = {}
        self._height_steps: list[float] = []
        self._heights = 0

    def track(self, tilt: int, offset_um: Array) -> None:
        """Take in what tracking found at a tilt; a later exposure of the same tilt takes an earlier one's place."""
        self.place_um = offset_um
        self._by_tilt[tilt] = offset_um

    def focus(self, offset_um: float) -> None:
        """Take in what focusing found."""
        if self._heights:
            self._height_steps.append(offset_um - self.height_um)
        self.height_um = offset_um
        self._heights += 1

    def at(self, tilt: int) -> Array:
        """``(2,)`` offset of a tilt; where it was not tracked, the latest."""
        return self._by_tilt.get(tilt, self.place_um)

    def knows(self, tilt: int) -> bool:
        """Whether a tilt was tracked."""
        return tilt in self._by_tilt

    @property
    def place_sd_um(self) -> float:
        """Rms change of one coordinate from tilt to tilt."""
        steps = np.diff(np.array(list(self._by_tilt.values())).reshape(-1, 2), axis=0)
        return float(np.sqrt(np.mean(steps**2))) if len(steps) else 0.0

    @property
    def height_sd_um(self) -> float:
        """Rms change of the height from one focusing to the next."""
        return float(np.sqrt(np.mean(np.square(self._height_steps)))) if self._height_steps else 0.0
