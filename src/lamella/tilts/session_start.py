"""Where alignment begins when the session that recorded a series says where its views lie, and whether that holds.

A session measured each view's displacement against its own earlier pictures, and says how sure it is; so neighbours are
looked for within what these errors allow. Whether it holds is judged by those
errors too: what whole views then say of each other must agree with the session's shifts, up to a rigid motion of the
specimen (which changes no picture), within its standard errors and what depth makes of such comparisons.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.geometry import TiltGeometry
from lamella.records import SESSION_SHIFT_ERROR, SESSION_SHIFTS, TiltSeries

__all__ = ["SessionStart", "SessionVerdict", "judge_session", "pair_reach_ang", "session_start"]

Array = NDArray[np.float64]

WHOLE_VIEWS = 0.01
"""Of the field: the error of whole-view comparisons, for what they show has depth."""
_REACH_SD = 4.0  # standard deviations within which a neighbour is looked for
_STRANGE = 13.8  # χ² of two degrees of freedom that one view in a thousand exceeds
_FARTHEST = 0.3  # of the field: beyond it a view shares too little with its neighbours to be looked for
_LEAST_HELD = 0.5  # of the views that the session measured
_FEWEST = 3  # measured views, or nothing can be judged
_USUAL_ERROR = 0.02  # of the field: of shifts whose error nobody stated


@dataclass(frozen=True, kw_only=True, eq=False)
class SessionStart:
    """What the session knew of the geometry.

    Attributes
    ----------
    geometry
        the nominal angles and axis; the session's shifts, and where it has none those between its neighbours'.
    error_ang
        ``(n,)`` standard error of each shift, each way; infinite where the session has none.
    """

    geometry: TiltGeometry
    error_ang: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class SessionVerdict:
    """Whether what the session measured holds.

    Attributes
    ----------
    holds
        whether most of it does.
    elsewhere
        views, counted from 0, that lie elsewhere than the session had them.
    off_ang
        ``(n,)`` by how much each view's shift differs from the session's.
    measured
        how many views the session had measured.
    """

    holds: bool
    elsewhere: NDArray[np.int64]
    off_ang: Array
    measured: int

    @property
    def whole(self) -> bool:
        """Whether every view lies where the session measured it."""
        return self.holds and self.measured == len(self.off_ang) and not len(self.elsewhere)


def session_start(series: TiltSeries, nominal: TiltGeometry) -> SessionStart | None:
    """What a series' session knew; None where it left nothing that can be begun with.

    Parameters
    ----------
    series
        with the scores ``SessionXShiftAngst``, ``SessionYShiftAngst`` and, where known, their errors.
    nominal
        the geometry that the microscope stated.
    """
    x, y = (series.scores.get(name) for name in SESSION_SHIFTS)
    if x is None or y is None:
        return None
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < _FEWEST:
        return None
    usual = _USUAL_ERROR * max(series.image_shape_px) * series.pixel_size_ang
    stated = np.asarray(series.scores.get(SESSION_SHIFT_ERROR, np.full(len(series), usual)), np.float64)
    error = np.where(known, np.where(np.isfinite(stated), np.abs(stated), usual), np.inf)
    order = np.argsort(nominal.y_tilt_deg, kind="stable")
    order = order[known[order]]
    x, y = (np.interp(nominal.y_tilt_deg, nominal.y_tilt_deg[order], shift[order]) for shift in (x, y))
    geometry = nominal.with_terms(x_shift_ang=x, y_shift_ang=y)
    return SessionStart(geometry=geometry, error_ang=error)


def pair_reach_ang(start: SessionStart, pairs: NDArray[np.int64], field_ang: float) -> Array:
    """``(l,)`` how far each pair of views is looked for from where the session has it."""
    least, most = WHOLE_VIEWS * field_ang, _FARTHEST * field_ang
    variance = np.square(np.minimum(start.error_ang, most))
    return np.asarray(np.minimum(_REACH_SD * np.sqrt(variance[pairs].sum(axis=1) + least**2), most))


def judge_session(
    start: SessionStart, found: TiltGeometry, field_ang: float, lost: NDArray[np.bool_] | None = None
) -> SessionVerdict:
    """Hold the session's shifts against those that whole views have now.

    Parameters
    ----------
    start
        what the session said.
    found
        the geometry of the same angles, its shifts from the views.
    field_ang
        longer side of the field.
    lost
        ``(n,)`` views that match the others better where they were not looked for; None: none does.
    """
    off = found.shifts_ang() - start.geometry.shifts_ang()
    variance = np.square(start.error_ang) + (WHOLE_VIEWS * field_ang) ** 2
    measured = np.isfinite(variance)
    weights = np.where(measured, 1.0 / variance, 0.0)
    seen = start.geometry.matrices()  # a shift of the specimen by t moves view v by its matrix times t
    for _ in range(8):  # Cauchy's weights: single views that are elsewhere shall not move the others
        left = off - seen @ _moved(seen, off, weights)
        strange = (left**2).sum(axis=1) / variance
        weights = np.where(measured, 1.0 / (variance * (1.0 + strange / _STRANGE)), 0.0)
    elsewhere = np.flatnonzero(measured & ((strange > _STRANGE) | (False if lost is None else lost)))
    count = int(measured.sum())
    holds = count >= _FEWEST and len(elsewhere) <= (1.0 - _LEAST_HELD) * count
    lengths = np.linalg.norm(left, axis=1)
    return SessionVerdict(holds=holds, elsewhere=elsewhere, off_ang=lengths, measured=count)


def _moved(seen: Array, off: Array, weights: Array) -> Array:
    """``(3,)`` the shift of the specimen that explains most of what views are off."""
    root = np.sqrt(weights)[:, None]
    rows, wanted = (root[..., None] * seen).reshape(-1, 3), (root * off).ravel()
    return np.asarray(np.linalg.lstsq(rows, wanted, rcond=None)[0])
