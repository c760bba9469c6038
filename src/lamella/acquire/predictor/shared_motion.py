"""What time and a tilt do to the shared model: drift goes on and dies, a tilt makes the stage settle anew."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.predictor.shared_state import SHARED, Gaussian, Index, SharedPriors

__all__ = ["pass_time", "tilt_stage"]

Array = NDArray[np.float64]

_MOVING = slice(SHARED.place.start, SHARED.drift.stop)
_SETTLING = slice(SHARED.settling.start, SHARED.mean_falling.stop)


def pass_time(state: Gaussian, seconds: float, priors: SharedPriors) -> None:
    """Let the stage drift on: s += v τ (1 − e^(−t/τ)), v falls by e^(−t/τ)."""
    if seconds <= 0.0:
        return
    kept = float(np.exp(-seconds / priors.drift_s))
    matrix = np.eye(6)
    matrix[:3, 3:] = priors.drift_s * (1.0 - kept) * np.eye(3)
    matrix[3:, 3:] *= kept
    state.move(_MOVING, matrix)
    state.add(SHARED.place, priors.creep_um**2 * seconds)
    state.add(SHARED.drift, priors.drift_step_um_s**2 * seconds)


def tilt_stage(
    state: Gaussian,
    index: Index,
    priors: SharedPriors,
    *,
    branch: int,
    stood_s: float,
    settling_sd_um: float,
    wander_sd_um: float,
) -> None:
    """Make a tilt: the stage is elsewhere by its wander, and settles with an amplitude about the branch's mean.

    Parameters
    ----------
    stood_s
        how long the last tilt stood: what was left of its settling goes on beside the new one.
    settling_sd_um, wander_sd_um
        as learned so far.
    """
    kept = float(np.exp(-stood_s / (priors.settling_s * np.exp(state.mean[SHARED.log_time]))))
    matrix = np.eye(9)
    matrix[:3, :3] *= kept
    first = 6 if branch < 0 else 3
    matrix[:3, first : first + 3] = np.eye(3)
    state.move(_SETTLING, matrix)
    state.add(SHARED.settling, settling_sd_um**2)
    state.add(SHARED.place, np.array([wander_sd_um, wander_sd_um, priors.wander_height_um]) ** 2)
    state.forget(SHARED.angle_now, priors.angle_step_rad**2)
    own = np.arange(SHARED.size, index.size).reshape(-1, 3)
    state.add(own[:, 0], priors.target_height_step_um**2)
    state.add(own[:, 1:].ravel(), priors.target_step_um**2)
