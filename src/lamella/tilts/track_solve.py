"""A candidate from tracks of any kind: the model that predicts them best, and the numbers that say how well."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from lamella.geometry import TiltGeometry
from lamella.records.tracks import Tracks
from lamella.tilts.align_settings import AlignSettings
from lamella.tilts.candidate import Candidate, Method
from lamella.tilts.parameterisations import Best, solve_best
from lamella.tilts.patch_models import solve_patches
from lamella.tilts.solve import Solution

__all__ = ["solve_tracks", "with_stated_angles"]

_NAMED = 12  # tracks or views that a note lists
_MANY_LOST = 0.15  # of the views


def solve_tracks(
    tracks: Tracks,
    start: TiltGeometry,
    settings: AlignSettings,
    *,
    method: Method,
    dose: ArrayLike | None = None,
) -> Candidate:
    """The geometry of the model that predicts tracks best, in the gauge of the start.

    Parameters
    ----------
    tracks
        of beads or patches.
    start
        where the solve begins.
    settings
        what the user pinned of the model.
    method
        whose candidate it will be.
    dose
        ``(n,)`` before each view, e/Å², along which local deformation may grow.

    Raises
    ------
    GeometryError
        if too few points can be solved.
    """
    if method == "patches":
        return _candidate(solve_patches(tracks, start, settings, dose=dose), method, tracks)
    best = solve_best(tracks, start, dose=dose, modes=settings.pinned_modes(), local=settings.local, loss=settings.loss)
    return _candidate(best, method, tracks)


def with_stated_angles(found: TiltGeometry, stated: TiltGeometry) -> TiltGeometry:
    """A start with the shifts and the mean axis of a solved geometry, all else as it was stated.

    Freedom that an earlier solve used would count for nothing in the choice of the model, and angles that it found be
    taken for those that the microscope stated.
    """
    turned = float((found.z_rot_deg - stated.z_rot_deg).mean())
    return stated.with_terms(
        x_shift_ang=found.x_shift_ang, y_shift_ang=found.y_shift_ang, z_rot_deg=stated.z_rot_deg + turned, field=None
    )


def _candidate(best: Best, method: Method, given: Tracks) -> Candidate:
    """A solved model as a candidate. Its tracks keep the weights that were given: another solve may trust them."""
    kind = method if method in ("beads", "patches") else given.kind
    tracks = replace(best.solution.tracks, weights=given.weights, labels=given.labels, kind=kind)
    solution = replace(best.solution, tracks=tracks)
    solved = np.isfinite(solution.tracks.points_ang[:, 0])
    quality = {
        "AlignTracks": float(solved.sum()),
        "AlignResidualAngst": solution.rms_ang,
        "AlignSigmaAngst": solution.sigma_ang,
        "AlignLeaveOneOutAngst": solution.leave_one_out_ang,
        "AlignCondition": solution.condition,
        "AlignObservationsLeftOut": float(best.outliers.sum()),
    }
    lost = _lost_views(solution)
    notes = [_model_in_words(best), *_rejections(solution)]
    if lost:
        notes.append(f"nothing was followed in view {_listed(lost)}: shifts there are those of whole views")
    many = len(lost) > _MANY_LOST * len(solution.geometry)
    return Candidate(
        method=method,
        geometry=solution.geometry,
        solution=solution,
        quality={name: value for name, value in quality.items() if np.isfinite(value)},
        notes=tuple(note for note in notes if note),
        doubts=(f"nothing was followed in {len(lost)} of {len(solution.geometry)} views",) if many else (),
    )


def _model_in_words(best: Best) -> str:
    errors = {**best.tried, **best.refused}
    others = sorted((value, name) for name, value in errors.items() if name != best.chosen)
    said = f"model that predicts what is left out best: {best.chosen} ({errors[best.chosen]:.2f} Å)"
    return said + (f"; next best: {others[0][1]} ({others[0][0]:.2f} Å)" if others else "")


def _rejections(solution: Solution) -> list[str]:
    by_reason: dict[str, list[int]] = {}
    for label, reason in zip(solution.tracks.labels, solution.rejected, strict=True):
        if reason:
            by_reason.setdefault(reason, []).append(int(label))
    return [
        f"{len(numbers)} tracks rejected ({_listed(sorted(set(numbers)))}): {reason}"
        for reason, numbers in by_reason.items()
    ]


def _lost_views(solution: Solution) -> list[int]:
    """Views, counted from 1, in which no solved point was seen."""
    solved = np.isfinite(solution.tracks.points_ang[:, 0])
    seen = solution.tracks.seen[:, solved]
    return [int(view) + 1 for view in np.flatnonzero(~seen.any(axis=1))] if solved.any() else []


def _listed(numbers: list[int]) -> str:
    more = len(numbers) - _NAMED
    return ", ".join(map(str, numbers[:_NAMED])) + (f" and {more} more" if more > 0 else "")
