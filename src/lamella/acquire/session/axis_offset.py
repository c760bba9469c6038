"""Where the tilt axis lies across the beam, from the defoci of all targets and tilts together.

A target at x across the axis and height z is at ``h = z cosθ − (x − a) sinθ`` after a tilt by θ, where a is the axis's
distance from the middle of the beam. The lens was set to L for it, and processing finds the defocus

    D = L + f + g (L − W) + hand · (h + s ± b)

f: the lens's zero; g: how much more a change of focus does than it says, counted from the defocus W that is wanted;
s: by how much the stage stood higher at that tilt, and b: on that side of the start tilt (a stage settles alike after
alike turns, and more after longer ones: b is a constant and a part that grows with sin²θ). What a changes has the
tilt's sign, and is the same for all targets; what an error of a height, of the plane or of the angle changes goes with
cosθ, and belongs to a target's own z.

The places of the targets are where the stage had them when the session began. A stage that stood elsewhere by d then
has the axis at a + d for this session: offsets of several sessions scatter by what their stages wander.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["AxisOffset", "SeenDefocus", "fit_axis_offset"]

Array = NDArray[np.float64]

_OFFSET_SD_UM = 2.0
_LENS_SD_UM = 1.0
_SCALE_SD = 0.05
_HEIGHT_SD_UM = 2.0
_STAGE_SD_UM = 0.06  # of one tilt against the others: wander, settling, and what the height drifts by
_SIDE_SD_UM = 0.1  # of one side of the scheme against the other
_FOCUS_SD_UM = 0.05  # with which one focus is set
_ROUNDS = 5
_DOUBT = 2.0  # standard deviations from which on a defocus counts for less
_LEAST = 6  # defoci


@dataclass(frozen=True, kw_only=True)
class SeenDefocus:
    """The defocus of one view.

    Attributes
    ----------
    target, tilt
        numbers of the target and of the tilt.
    x_um
        of the target at the start tilt.
    tilt_deg
        the stage's angle against the start tilt.
    lens_um
        what the lens was set to.
    defocus_um, sd_um
        as processing found it.
    """

    target: int
    tilt: int
    x_um: float
    tilt_deg: float
    lens_um: float
    defocus_um: float
    sd_um: float


@dataclass(frozen=True, kw_only=True)
class AxisOffset:
    """x of the tilt axis from the middle of the beam, and its standard deviation, µm."""

    axis_um: float
    sd_um: float


def fit_axis_offset(seen: Sequence[SeenDefocus], *, hand: int, wanted_um: float) -> AxisOffset | None:
    """Fit the axis's offset, and with it what else defoci depend on (least squares with beliefs about each).

    Parameters
    ----------
    seen
        defoci of any views, each once.
    hand
        sign by which the defocus grows with height.
    wanted_um
        defocus that the lens is set about.

    Returns
    -------
    AxisOffset
        None where there are too few defoci, or all of them on one side of the start tilt.
    """
    sines = np.sin(np.deg2rad([one.tilt_deg for one in seen]))
    if len(seen) < _LEAST or not (sines.min() < 0 < sines.max()):
        return None
    targets, target = np.unique([one.target for one in seen], return_inverse=True)
    tilts, tilt = np.unique([one.tilt for one in seen], return_inverse=True)
    lens = np.array([one.lens_um for one in seen])
    flat = hand * -np.array([one.x_um for one in seen]) * sines  # without offset and height
    values = np.array([one.defocus_um for one in seen]) - lens - flat
    own = 5  # the first columns are what all share
    rows = np.zeros((len(seen), own + len(targets) + len(tilts)))
    rows[:, 0] = hand * sines
    rows[:, 1] = 1.0
    rows[:, 2] = lens - wanted_um
    rows[:, 3] = hand * np.sign(sines)
    rows[:, 4] = rows[:, 3] * sines**2
    rows[np.arange(len(seen)), own + target] = hand * np.sqrt(1.0 - sines**2)
    rows[np.arange(len(seen)), own + len(targets) + tilt] = hand
    beliefs = np.concatenate(
        [
            [_OFFSET_SD_UM, _LENS_SD_UM, _SCALE_SD, _SIDE_SD_UM, _SIDE_SD_UM],
            np.full(len(targets), _HEIGHT_SD_UM),
            np.full(len(tilts), _STAGE_SD_UM),
        ]
    )
    sd = np.hypot([one.sd_um for one in seen], _FOCUS_SD_UM)
    found, covariance = _fit(rows, values, sd, beliefs)
    return AxisOffset(axis_um=float(found[0]), sd_um=float(np.sqrt(covariance[0, 0])))


def _fit(rows: Array, values: Array, sd: Array, beliefs: Array) -> tuple[Array, Array]:
    """Solution and covariance; a value far from it counts for less (Huber's weights)."""
    weight = np.ones(len(values))
    for _ in range(_ROUNDS):
        scaled = rows * (np.sqrt(weight) / sd)[:, None]
        covariance = np.linalg.inv(scaled.T @ scaled + np.diag(beliefs**-2.0))
        found = covariance @ (scaled.T @ (values * np.sqrt(weight) / sd))
        far = np.abs(values - rows @ found) / sd
        weight = np.minimum(1.0, _DOUBT / np.maximum(far, 1e-9))
    return found, np.asarray(covariance)
