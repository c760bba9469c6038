"""What the shared model knows: its quantities, their places in one vector, what is believed of them beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.predictor.interface import TargetPlace

__all__ = ["SHARED", "Gaussian", "Index", "SharedPriors"]

Array = NDArray[np.float64]
Places = slice | int | NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SharedPriors:
    """Standard deviations of what isn't known yet, as wide as microscopes differ.

    Attributes
    ----------
    height_um, slope
        the plane of all targets against the one given: at the axis, and per µm along x and y (0.2: 11°).
    axis_um
        x of the tilt axis against its calibration.
    shift_matrix
        each entry of the image shift's matrix against its calibration.
    angle_rad, angle_step_rad
        the true angle against the one read back: of a branch, and anew at each tilt.
    focus_um, focus_scale
        the lens's zero against the height's, and how much less a change of focus does than it says.
    lens_um
        by how much a focus is off that is set.
    place_um
        the stage's displacement at the session's start.
    settling_um, settling_mean_um
        amplitude of the settling after a tilt (each way) about its mean, and that mean of a branch.
    settling_s, settling_log_s
        time in which it falls to 1/e, and the standard deviation of its logarithm.
    wander_um, wander_height_um
        by how much the stage is elsewhere after a tilt, across the beam and along it.
    jump_um
        by how much it is where it jumped.
    drift_um_s, drift_s, drift_step_um_s
        speed at the session's start, the time in which it dies, and how much speed comes anew in a time of 1 s^½.
    creep_um
        random motion of the stage in 1 s^½.
    lag_um
        by how much an image shift stays behind its last move.
    scatter_um
        scatter of places beyond the error of measuring them.
    target_step_um, target_height_step_um
        by how much a target moves for itself from tilt to tilt.
    """

    height_um: float = 0.5
    slope: float = 0.2
    axis_um: float = 0.7
    shift_matrix: float = 0.01
    angle_rad: float = 0.003
    angle_step_rad: float = 0.0005
    focus_um: float = 1.0
    focus_scale: float = 0.05
    lens_um: float = 0.05
    place_um: float = 0.3
    settling_um: float = 0.1
    settling_mean_um: float = 0.2
    settling_s: float = 60.0
    settling_log_s: float = 0.4
    wander_um: float = 0.1
    wander_height_um: float = 0.04
    jump_um: float = 1.0
    drift_um_s: float = 0.0015
    drift_s: float = 200.0
    drift_step_um_s: float = 2e-5
    creep_um: float = 0.0005
    lag_um: float = 0.01
    scatter_um: float = 0.007
    target_step_um: float = 0.002
    target_height_step_um: float = 0.005


class _Layout:
    """Places of the quantities that all targets share, in the vector of all."""

    height: int = 0
    slope_x: int = 1
    slope_y: int = 2
    axis: int = 3
    matrix_xx: int = 4
    matrix_xy: int = 5
    matrix_yx: int = 6
    angle_rising: int = 7
    angle_falling: int = 8
    angle_now: int = 9
    focus_scale: int = 10
    log_time: int = 11
    place: slice = slice(12, 15)
    """x, y of the stage and height of what is seen."""
    drift: slice = slice(15, 18)
    settling: slice = slice(18, 21)
    mean_rising: slice = slice(21, 24)
    mean_falling: slice = slice(24, 27)
    lag: int = 27
    size: int = 28


SHARED = _Layout()


class Index:
    """Places of each target's own quantities: its height's and its first view's errors (z, x, y)."""

    def __init__(self, targets: Mapping[int, TargetPlace]) -> None:
        self._first = {target: SHARED.size + 3 * number for number, target in enumerate(targets)}
        self.size = SHARED.size + 3 * len(targets)

    def height(self, target: int) -> int:
        """Of the height over the common plane."""
        return self._first[target]

    def origin(self, target: int) -> slice:
        """Of two: x and y of the point that its first view had in its middle, from its true place."""
        return slice(self._first[target] + 1, self._first[target] + 3)


class Gaussian:
    """Mean and covariance, and what a measurement and the time make of them.

    The covariance is updated in Joseph's form, ``(1 − K J) P (1 − K J)ᵀ + K R Kᵀ``, written as products of few columns,
    and kept symmetric: it stays positive over thousands of measurements.
    """

    def __init__(self, mean: Array, covariance: Array) -> None:
        self.mean = mean
        self.covariance = covariance

    @classmethod
    def before(cls, index: Index, targets: Mapping[int, TargetPlace], priors: SharedPriors) -> Gaussian:
        """What is believed before the first measurement."""
        sd = np.zeros(index.size)
        sd[SHARED.height] = priors.height_um
        sd[SHARED.slope_x] = sd[SHARED.slope_y] = priors.slope
        sd[SHARED.axis] = priors.axis_um
        sd[SHARED.matrix_xx : SHARED.matrix_yx + 1] = priors.shift_matrix
        sd[SHARED.angle_rising] = sd[SHARED.angle_falling] = priors.angle_rad
        sd[SHARED.angle_now] = priors.angle_step_rad
        sd[SHARED.focus_scale] = priors.focus_scale
        sd[SHARED.log_time] = priors.settling_log_s
        sd[SHARED.lag] = priors.lag_um
        sd[SHARED.place] = [priors.place_um, priors.place_um, priors.focus_um]
        sd[SHARED.drift] = priors.drift_um_s
        sd[SHARED.settling] = np.hypot(priors.settling_um, priors.settling_mean_um)
        sd[SHARED.mean_rising] = sd[SHARED.mean_falling] = priors.settling_mean_um
        for target, place in targets.items():
            sd[index.height(target)] = place.sd_um[2]
            # The tracking area's first pictures define what the places mean, so it has no error of its own.
            if target >= 0:
                sd[index.origin(target)] = place.sd_um[:2]
        return cls(np.zeros(index.size), np.diag(sd**2))

    def update(self, innovation: Array, rows: Array, noise: Array) -> None:
        """Take in ``(m,)`` differences from what was expected, with ``(m, n)`` derivatives and ``(m, m)`` noise."""
        spread = self.covariance @ rows.T
        total = rows @ spread + noise
        gain = np.linalg.solve(total, spread.T).T
        self.mean = self.mean + gain @ innovation
        cross = gain @ spread.T
        self.covariance = self.covariance - cross - cross.T + gain @ total @ gain.T
        self.covariance = 0.5 * (self.covariance + self.covariance.T)

    def move(self, part: slice, matrix: Array) -> None:
        """Let time change a part of the quantities linearly."""
        self.mean[part] = matrix @ self.mean[part]
        self.covariance[part] = matrix @ self.covariance[part]
        self.covariance[:, part] = self.covariance[:, part] @ matrix.T

    def add(self, places: Places, variance: float | Array) -> None:
        """Become less sure of some quantities."""
        chosen = np.arange(len(self.mean))[places]
        self.covariance[chosen, chosen] += variance

    def tie(self, part: slice, rows: Array, variance: Array) -> None:
        """Make some quantities, as yet 0, what ``(m, n)`` rows make of all others' errors, plus ``(m,)`` variances."""
        rows = rows.copy()
        rows[:, part] = 0.0
        cross = rows @ self.covariance
        own = cross @ rows.T + np.diag(variance)
        self.mean[part] = 0.0
        self.covariance[part] = cross
        self.covariance[:, part] = cross.T
        self.covariance[part, part] = own

    def forget(self, place: int, variance: float) -> None:
        """Begin anew with a quantity."""
        self.mean[place] = 0.0
        self.covariance[place] = 0.0
        self.covariance[:, place] = 0.0
        self.covariance[place, place] = variance
