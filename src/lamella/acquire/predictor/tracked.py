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
        self._by_tilt: dict[int, tuple[float, Array]] = {}
        self._heights: list[tuple[float, float]] = []
        self._latest: int | None = None

    @property
    def place_um(self) -> Array:
        """Of the last look."""
        return np.zeros(2) if self._latest is None else self._by_tilt[self._latest][1]

    @property
    def height_um(self) -> float:
        """Of the last focusing."""
        return self._heights[-1][1] if self._heights else 0.0

    def track(self, tilt: int, offset_um: Array, tilt_deg: float) -> None:
        """Take in what tracking found at a tilt; a later exposure of the same tilt takes an earlier one's place."""
        self._by_tilt[tilt] = (tilt_deg, offset_um)
        self._latest = tilt

    def focus(self, offset_um: float, tilt_deg: float) -> None:
        """Take in what focusing found."""
        self._heights.append((tilt_deg, offset_um))

    def at(self, tilt: int) -> Array:
        """``(2,)`` offset of a tilt; where it was not tracked, the latest."""
        return self._by_tilt[tilt][1] if tilt in self._by_tilt else self.place_um

    def knows(self, tilt: int) -> bool:
        """Whether a tilt was tracked."""
        return tilt in self._by_tilt

    def move_axis(self, by_um: float) -> None:
        """The axis lies further out than was thought: the geometry explains that part of what was found so far.

        A point moves by ``by (1 − cosθ)`` across the axis and by ``by sinθ`` in height.
        """
        for tilt, (angle, offset) in self._by_tilt.items():
            away = by_um * (1.0 - np.cos(np.deg2rad(angle)))
            self._by_tilt[tilt] = (angle, offset - np.array([away, 0.0]))
        self._heights = [(angle, one - by_um * float(np.sin(np.deg2rad(angle)))) for angle, one in self._heights]

    @property
    def place_sd_um(self) -> float:
        """Rms change of one coordinate from tilt to tilt."""
        steps = np.diff(np.array([one for _, one in self._by_tilt.values()]).reshape(-1, 2), axis=0)
        return float(np.sqrt(np.mean(steps**2))) if len(steps) else 0.0

    @property
    def height_sd_um(self) -> float:
        """Rms change of the height from one focusing to the next."""
        steps = np.diff([one for _, one in self._heights])
        return float(np.sqrt(np.mean(steps**2))) if len(steps) else 0.0
