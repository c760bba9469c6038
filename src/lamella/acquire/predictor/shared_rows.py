"""What the shared model expects to be measured, and the derivatives of that.

A target's place x₀, y (x₀ from the calibrated axis) and height z = given + common plane + its own error appears at

    x = x₀ cosθ + z sinθ + a (1 − cosθ) + δ h − (1 − cosθ) m_xy y − m_xx z sinθ + o_x cosθ + s_x + A_x e^(−t/τ) + l u_x
    y = y + m_yx ((1 − cosθ) x₀ − z sinθ) + o_y + s_y + A_y e^(−t/τ) + l u_y
    h = z cosθ − (x₀ − a) sinθ        (its height, from which the focus's follows:)
    H = (h − δ x + s_z + A_z e^(−t/τ)) / (1 + g)

a: axis offset; δ: error of the angle; m: error of the image shift's matrix M = 1 + m, seen as M⁻¹ (D M p) with
D = diag(cosθ, 1); o: what the first view was off by; s: place of the stage; A: amplitude of its settling, τ its time;
l: how far an image shift stays behind its last move, whose direction is u; g: how much more a change of focus does
than it says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.predictor.interface import View
from lamella.acquire.predictor.shared_state import SHARED, Index

__all__ = ["Expected", "expected_height", "expected_place"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Expected:
    """``(m,)`` values and their ``(m, n)`` derivatives."""

    value: Array
    rows: Array


@dataclass(frozen=True, eq=False)
class _Turned:
    """A target at an angle: the numbers of which every row is made."""

    x0: float
    y: float
    z: float
    cos: float
    sin: float
    height: float
    angle_error: float
    angle_index: int
    left: float
    left_by_log_time: float


def expected_place(
    mean: Array,
    index: Index,
    place_um: Array,
    view: View,
    *,
    axis_um: float,
    settling_s: float,
    of_first_view: bool,
    direction: Array | None = None,
) -> Expected:
    """Where a target is, as an image shift: its true place, or the point that its first view had in the middle.

    `direction` is the unit vector of the move that leads there, None where it is not known.
    """
    t = _turned(mean, index, place_um, view, axis_um, settling_s)
    m_xx, m_xy, m_yx = mean[SHARED.matrix_xx : SHARED.matrix_yx + 1]
    settling = mean[SHARED.settling]
    away = 1.0 - t.cos
    x = axis_um + t.x0 * t.cos + t.z * t.sin + mean[SHARED.axis] * away + t.angle_error * t.height
    x += -away * m_xy * t.y - m_xx * t.z * t.sin
    y = t.y + m_yx * (away * t.x0 - t.z * t.sin)
    value = np.array([x, y]) + mean[SHARED.place][:2] + settling[:2] * t.left
    rows = np.zeros((2, len(mean)))
    by_z = np.array([t.sin * (1.0 - m_xx) + t.angle_error * t.cos, -m_yx * t.sin])
    _add_height(rows, index, view.target, place_um, by_z)
    rows[0, SHARED.axis] = away + t.angle_error * t.sin
    rows[0, [t.angle_index, SHARED.angle_now]] = t.height
    rows[0, SHARED.matrix_xx] = -t.z * t.sin
    rows[0, SHARED.matrix_xy] = -away * t.y
    rows[1, SHARED.matrix_yx] = away * t.x0 - t.z * t.sin
    for axis in (0, 1):
        rows[axis, SHARED.place.start + axis] = 1.0
        rows[axis, SHARED.settling.start + axis] = t.left
    rows[:, SHARED.log_time] = settling[:2] * t.left_by_log_time
    if direction is not None:
        value = value + mean[SHARED.lag] * direction
        rows[:, SHARED.lag] = direction
    if of_first_view:
        origin = index.origin(view.target)
        value = value + mean[origin] * (t.cos, 1.0)
        rows[:, origin] = np.diag([t.cos, 1.0])
    return Expected(value, rows)


def expected_height(
    mean: Array,
    index: Index,
    place_um: Array,
    view: View,
    *,
    axis_um: float,
    settling_s: float,
    at_height_um: float | None = None,
) -> Expected:
    """The height for which the lens must be set; with `at_height_um`, the one measured with the lens set for that."""
    t = _turned(mean, index, place_um, view, axis_um, settling_s)
    scale = mean[SHARED.focus_scale]
    settling = mean[SHARED.settling][2]
    across = t.x0 * t.cos + t.z * t.sin
    true = t.height - t.angle_error * across + mean[SHARED.place][2] + settling * t.left
    at = true / (1.0 + scale) if at_height_um is None else at_height_um
    rows = np.zeros((1, len(mean)))
    _add_height(rows, index, view.target, place_um, np.array([t.cos - t.angle_error * t.sin]))
    rows[0, SHARED.axis] = t.sin
    rows[0, [t.angle_index, SHARED.angle_now]] = -across
    rows[0, SHARED.place.start + 2] = 1.0
    rows[0, SHARED.settling.start + 2] = t.left
    rows[0, SHARED.log_time] = settling * t.left_by_log_time
    rows[0, SHARED.focus_scale] = -at
    if at_height_um is None:
        rows /= 1.0 + scale
    return Expected(np.array([true - scale * at]), rows)


def _turned(mean: Array, index: Index, place_um: Array, view: View, axis_um: float, settling_s: float) -> _Turned:
    angle = np.deg2rad(view.tilt_deg)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    x, y, given = place_um
    plane = mean[SHARED.height] + mean[SHARED.slope_x] * x + mean[SHARED.slope_y] * y
    z = float(given + plane + mean[index.height(view.target)])
    x0 = float(x - axis_um)
    angle_index = SHARED.angle_falling if view.branch < 0 else SHARED.angle_rising
    passed = max(view.since_tilt_s, 0.0) / (settling_s * float(np.exp(mean[SHARED.log_time])))
    left = float(np.exp(-passed))
    return _Turned(
        x0=x0,
        y=float(y),
        z=z,
        cos=cos,
        sin=sin,
        height=z * cos - (x0 - float(mean[SHARED.axis])) * sin,
        angle_error=float(mean[angle_index] + mean[SHARED.angle_now]),
        angle_index=angle_index,
        left=left,
        left_by_log_time=passed * left,
    )


def _add_height(rows: Array, index: Index, target: int, place_um: Array, by_z: Array) -> None:
    """Derivatives with respect to everything that z is made of."""
    rows[:, SHARED.height] = by_z
    rows[:, SHARED.slope_x] = by_z * place_um[0]
    rows[:, SHARED.slope_y] = by_z * place_um[1]
    rows[:, index.height(target)] = by_z
