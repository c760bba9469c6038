"""Which part of Fourier space the views of a series measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.geometry import TiltGeometry

__all__ = ["Coverage", "tilt_coverage"]

Array = NDArray[np.float64]

_SECOND_AXIS_DEG = 15.0  # a spread of the x-tilt that only a second tilt axis gives
_SAME_TILT_DEG = 0.05  # views nearer than this are repeats
_DIRECTIONS = 20_000
_WIDEST_STEP_DEG = 10.0  # a larger usual step leaves gaps, however regular it is


@dataclass(frozen=True, kw_only=True, eq=False)
class Coverage:
    """What the views measured.

    Attributes
    ----------
    lowest_deg, highest_deg
        tilt angles, of the axis with the wider range.
    largest_gap_deg
        between neighbouring tilt angles, of any axis.
    step_deg
        the usual distance of neighbouring tilt angles: their median.
    fraction
        part of the directions of Fourier space within half a usual step of a view's plane. The missing wedge is not
        among them, nor is a gap.
    normals
        ``(n, 3)`` xyz, the beam in the specimen's frame.
    """

    lowest_deg: float
    highest_deg: float
    largest_gap_deg: float
    step_deg: float
    fraction: float
    normals: Array

    @property
    def range_deg(self) -> float:
        """From the lowest to the highest tilt."""
        return self.highest_deg - self.lowest_deg

    @property
    def half_step(self) -> float:
        """Sine of half a usual step."""
        return float(np.sin(np.deg2rad(min(self.step_deg, _WIDEST_STEP_DEG)) / 2))


def tilt_coverage(geometry: TiltGeometry) -> Coverage:
    """What the views of a geometry measured; of one axis or of two.

    Notes
    -----
    A view measures the central plane of Fourier space across its beam (Crowther, DeRosier & Klug, Proc. R. Soc. A 317
    (1970) 319). Of two axes the second shows as x-tilts that spread as the tilts do.
    """
    axes = _tilts_by_axis(geometry)
    ranges = [float(np.ptp(tilts)) for tilts in axes]
    widest = axes[int(np.argmax(ranges))]
    gaps = [np.diff(np.sort(tilts)) for tilts in axes]
    steps = np.concatenate([gap[gap > _SAME_TILT_DEG] for gap in gaps])
    step = float(np.median(steps)) if len(steps) else 0.0
    normals: Array = geometry.rotations()[:, 2]
    coverage = Coverage(
        lowest_deg=float(widest.min()),
        highest_deg=float(widest.max()),
        largest_gap_deg=float(steps.max()) if len(steps) else 0.0,
        step_deg=step,
        fraction=0.0,
        normals=normals,
    )
    distance = np.min(np.abs(_directions() @ normals.T), axis=1)
    return Coverage(**coverage.__dict__ | {"fraction": float((distance <= coverage.half_step).mean())})


def _tilts_by_axis(geometry: TiltGeometry) -> list[Array]:
    x_tilt, y_tilt = geometry.x_tilt_deg, geometry.y_tilt_deg
    if float(np.std(x_tilt)) < _SECOND_AXIS_DEG:
        return [y_tilt]
    first, second = np.abs(y_tilt) >= np.abs(x_tilt), np.abs(x_tilt) >= np.abs(y_tilt)  # untilted views are in both
    return [part for part in (y_tilt[first], x_tilt[second]) if len(part)]


def _directions() -> Array:
    """Unit vectors spread evenly over the half sphere z ≥ 0 (a Fibonacci lattice)."""
    number = np.arange(_DIRECTIONS) + 0.5
    z = number / _DIRECTIONS
    azimuth = np.pi * (1 + np.sqrt(5)) * number
    across = np.sqrt(1 - z**2)
    return np.stack([across * np.cos(azimuth), across * np.sin(azimuth), z], axis=-1)
