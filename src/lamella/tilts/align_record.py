"""The record of an aligned series: geometry, thickness, and every number that says how good they are."""

from __future__ import annotations

import numpy as np

from lamella.geometry import TiltGeometry
from lamella.records import TiltSeries
from lamella.tilts.align_settings import NOMINAL_SCORE
from lamella.tilts.choose import Choice
from lamella.tilts.levelling import LevelResult
from lamella.tilts.solve import Solution

__all__ = ["METHOD", "VERDICT", "aligned_record"]

METHOD, VERDICT = "lamellaAlignMethod", "lamellaAlignVerdict"
"""Columns of the global table: whose geometry it is, and whether the series is aligned."""


def aligned_record(series: TiltSeries, nominal: TiltGeometry, level: LevelResult, choice: Choice) -> TiltSeries:
    """The series with its geometry.

    Parameters
    ----------
    series
        as it was.
    nominal
        the geometry that the microscope stated.
    level
        the chosen candidate in its own frame.
    choice
        what the candidates were worth.
    """
    geometry, solution = level.candidate.geometry, level.candidate.solution
    scores = {"AlignScore": choice.score.per_view}
    if solution is not None:
        scores |= _errors(solution)
    quality = {
        "AlignScore": choice.score.value,
        **{f"AlignScore{method.capitalize()}": score.value for method, score in choice.scores.items()},
        NOMINAL_SCORE: choice.before,
        "AlignScoreSignificance": choice.score.significance,
        "AlignAxisDeg": float(geometry.z_rot_deg.mean()),
        "AlignAxisChangeDeg": float((geometry.z_rot_deg - nominal.z_rot_deg).mean()),
        **level.candidate.quality,
        **level.quality,
    }
    other: dict[str, str] = {METHOD: level.candidate.method, VERDICT: choice.verdict}
    if level.slab is not None and level.slab.known:
        other["lamellaAlignLevelledBy"] = level.slab.source
    return series.with_changes(
        geometry=geometry,
        scores=scores,
        quality={name: value for name, value in quality.items() if np.isfinite(value)},
        other=other,
        thickness_ang=level.thickness_ang,
    )


def _errors(solution: Solution) -> dict[str, np.ndarray]:
    """Residuals and standard errors per view."""
    errors = solution.standard_errors
    return {
        "AlignResidualAngst": np.asarray(solution.tracks.rms_ang(axis=1)),
        "AlignLeaveOneOutAngst": np.asarray(solution.leave_one_out_rms_ang(axis=1)),
        "AlignXShiftErrorAngst": errors["x_shift"],
        "AlignYShiftErrorAngst": errors["y_shift"],
        "AlignAxisErrorDeg": errors["z_rot"],
        "AlignTiltErrorDeg": errors["y_tilt"],
        "AlignMagnificationErrorPercent": 100 * errors["magnification"],
    }
