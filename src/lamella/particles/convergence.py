"""What an iteration of refinement changed, and when there is nothing left to gain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.fourier import resolved_shells
from lamella.records.map_fsc import GOLD_STANDARD

__all__ = ["IterationNumbers", "converged", "highest_shell", "resolved_shell"]

Array = NDArray[np.float64]

_SMOOTH = 5
_BEYOND = 4
"""Shells beyond the resolution that are compared: their signal shows only then."""
_STILL, _LONG_STILL = 2, 4
"""Iterations without a better resolution: after which poses must stand still too, and after which nothing helps."""
_GAIN = 0.25  # shells
_WORTH_DEG, _WORTH_PX = 0.15, 0.05


@dataclass(frozen=True, kw_only=True)
class IterationNumbers:
    """One iteration of refinement.

    Attributes
    ----------
    resolution_ang
        where the halves' correlation within the sphere falls below 0.143 for good.
    shell
        the same as a shell of the box, with fraction.
    compared_ang
        finest detail that was compared.
    angle_change_deg, shift_change_px
        median change of the poses.
    angle_error_deg, shift_error_px
        median standard deviation of an angle and a coordinate, from the likelihood's curvature.
    certainty
        mean part of a particle's posterior that lies at its best peak.
    orientations, places
        nodes of the grids that were searched for each particle.
    angle_step_deg
        of the grid of orientations.
    """

    resolution_ang: float
    shell: float
    compared_ang: float
    angle_change_deg: float
    shift_change_px: float
    angle_error_deg: float
    shift_error_px: float
    certainty: float
    orientations: int
    places: int
    angle_step_deg: float


def resolved_shell(fsc: Array) -> float:
    """Shell, with fraction, at which a correlation falls below 0.143 for good; the last where it never does."""
    return resolved_shells(fsc, GOLD_STANDARD).last


def highest_shell(fsc: Array) -> int:
    """The highest shell that the next iteration compares: beyond the last where the halves agree.

    Zeros that all transfers share make the correlation dip below 0.143 long before the last detail, so that the mean of
    a few shells is asked.
    """
    smooth = np.convolve(np.pad(fsc, _SMOOTH // 2, mode="edge"), np.full(_SMOOTH, 1 / _SMOOTH), mode="valid")
    agreed = np.flatnonzero(smooth >= GOLD_STANDARD)
    last = int(agreed[-1]) if len(agreed) else 1
    return min(last + _BEYOND, len(fsc) - 2)


def converged(history: tuple[IterationNumbers, ...]) -> bool:
    """Whether resolution and poses stand still: neither rose, nor moved by more than they are uncertain."""
    if len(history) <= _STILL or _gain(history, _STILL) > _GAIN:
        return False
    if len(history) > _LONG_STILL and _gain(history, _LONG_STILL) <= _GAIN:
        return True
    last = history[-1]
    angle, shift = max(_WORTH_DEG, 0.5 * last.angle_error_deg), max(_WORTH_PX, 0.5 * last.shift_error_px)
    return last.angle_change_deg <= angle and last.shift_change_px <= shift


def _gain(history: tuple[IterationNumbers, ...], last: int) -> float:
    """Shells that the last iterations won over all before."""
    return max(one.shell for one in history[-last:]) - max(one.shell for one in history[:-last])
