"""Align a series by whole views: shifts, the tilt axis, and whether the specimen is a film or a compact object."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lamella.geometry import TiltGeometry
from lamella.parallel import part_of
from lamella.progress import Progress, no_progress
from lamella.tilts.align_settings import AlignSettings
from lamella.tilts.axis import search_axis
from lamella.tilts.candidate import Candidate
from lamella.tilts.coarse import CoarseResult, coarse_shifts, is_compact, linked_pairs
from lamella.tilts.common_line import search_common_line
from lamella.tilts.session_start import SessionStart, judge_session, pair_reach_ang
from lamella.tilts.view_order import CLEAR
from lamella.tilts.working import SpecimenShape, WorkingImages

__all__ = ["AXIS_SIZE_PX", "WholeViews", "align_whole_views"]

_FAR_OFF_DEG = 10.0
_ALL_AXES_DEG = 90.0
_SESSION_AXIS_DEG = 6.0  # of an axis by which image shifts were made, and held the targets
_AGREES = 0.25  # weight of a link that agrees with the others
_BETTER = 1.2  # times as high as the peak within reach is one out of reach that is believed
_LEAST_LINKED = 0.5  # of the pairs that must agree with each other for a session's start to be judged by them
AXIS_SIZE_PX = 192
"""Longer side of the images on which the axis is sought."""


@dataclass(frozen=True, eq=False)
class WholeViews:
    """What whole views say of a series.

    Attributes
    ----------
    candidate
        the geometry with shifts and axis, not levelled.
    shape
        what the specimen was taken for.
    doubts
        what speaks against the series whatever comes of it.
    as_recorded
        whether every view was found where the session that recorded it had measured it.
    """

    candidate: Candidate
    shape: SpecimenShape
    doubts: tuple[str, ...] = ()
    as_recorded: bool = False


def align_whole_views(
    images: WorkingImages,
    nominal: TiltGeometry,
    settings: AlignSettings,
    progress: Progress = no_progress,
    *,
    prior: SessionStart | None = None,
) -> WholeViews:
    """Shifts and axis from whole views.

    Parameters
    ----------
    images
        working images of about 256 px.
    nominal
        the angles and the axis as stated, without shifts.
    settings
        ``specimen``, ``axis`` and ``axis_range`` count here.
    progress
        told the fraction done.
    prior
        what the microscope's session knew: shifts are looked for within its errors, and the axis nearby, unless the
        views say that it is wrong.
    """
    notes: list[str] = []
    doubts: list[str] = []
    search = settings.axis_range if settings.axis != "fixed" else 0.0
    compact = settings.specimen == "compact"
    as_recorded = False
    if not compact:
        near = None if prior is None else _near_session(images, prior, notes, part_of(progress, 0.0, 0.2))
        if near is None:
            found = coarse_shifts(images, nominal, progress=part_of(progress, 0.0, 0.3))
        else:
            found, as_recorded = near
            search = min(search, _SESSION_AXIS_DEG)
        turned = _turned(images, found.geometry, search, notes, part_of(progress, 0.3, 0.6))
        compact = settings.specimen == "auto" and is_compact(images, turned)
        if compact and search < _ALL_AXES_DEG:
            doubts.extend(_film_elsewhere(images, found.geometry, part_of(progress, 0.4, 0.6)))
            compact = not doubts
        if compact:
            notes.append(
                "neighbouring views match better where they are not foreshortened: the specimen is taken as a compact "
                "object and aligned by whole views (align.specimen = film if it is not)"
            )
        elif search > 0:
            found = _again(images, found.geometry, turned, part_of(progress, 0.6, 1.0))
    if compact:
        as_recorded = False  # what the session compared as a film is none
        found = coarse_shifts(images, nominal, shape="compact", progress=part_of(progress, 0.6, 0.8))
        if search > 0:
            line = images.binned(AXIS_SIZE_PX)
            common = search_common_line(line, found.geometry, search, progress=part_of(progress, 0.8, 1.0))
            found = replace(found, geometry=common.geometry)
            if common.doubt:
                doubts.append(common.doubt)
    change = float((found.geometry.z_rot_deg - nominal.z_rot_deg).mean())
    if abs(change) > _FAR_OFF_DEG:
        notes.append(
            f"the tilt axis was found {change:+.1f}° from the stated one: check the axis that was given (--tilt-axis)"
        )
    wrong = int((found.link_weights < _AGREES).sum())
    quality = {"AlignCoarseLinks": float(len(found.pairs)), "AlignCoarseLinksWrong": float(wrong)}
    candidate = Candidate(method="coarse", geometry=found.geometry, quality=quality, notes=tuple(notes))
    return WholeViews(candidate, "compact" if compact else "film", tuple(doubts), as_recorded)


def _near_session(
    images: WorkingImages, start: SessionStart, notes: list[str], progress: Progress
) -> tuple[CoarseResult, bool] | None:
    """Shifts near those of a session, and whether all views lie where it had them; None, told, where it does not hold.

    Views that lie elsewhere are looked for once more, as far as a view may be off.
    """
    field = max(images.field_ang)
    found = _within_errors(images, start, part_of(progress, 0.0, 0.6))
    matched, lost = _matched(found, len(images))
    verdict = judge_session(start, found.geometry, field, lost)
    agreeing = float((found.link_weights >= _AGREES).mean()) if len(found.pairs) else 0.0
    if not verdict.holds or agreeing < _LEAST_LINKED:
        notes.append(
            f"the shifts that the session measured do not hold ({len(verdict.elsewhere)} of {verdict.measured} views "
            f"lie elsewhere, {100 * agreeing:.0f} % of the neighbouring pairs agree): they were sought without them"
        )
        return None
    if not len(verdict.elsewhere):
        notes.append("the session's shifts were the start: every view lies where they have it, within their errors")
        return found, verdict.whole and bool(matched.all())
    listed = ", ".join(str(view + 1) for view in verdict.elsewhere)
    notes.append(
        f"the session's shifts were the start; view {listed} lies elsewhere than it had it, and was sought anew"
    )
    error = start.error_ang.copy()
    error[verdict.elsewhere] = np.inf
    return _within_errors(images, replace(start, error_ang=error), part_of(progress, 0.6, 1.0)), False


def _matched(found: CoarseResult, count: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """``(n,)`` views that match another one clearly, and those that match most others better out of reach."""
    clear = (found.significance >= CLEAR) & (found.link_weights >= _AGREES)
    better = (found.rival >= CLEAR) & (found.rival > _BETTER * found.significance)
    links, sure, out = (
        np.bincount(found.pairs.ravel(), weights=np.repeat(those, 2).astype(float), minlength=count)
        for those in (np.ones_like(clear), clear, better)
    )
    return sure > 0, out > 0.5 * links


def _within_errors(images: WorkingImages, start: SessionStart, progress: Progress) -> CoarseResult:
    field = max(images.field_ang)
    reach = pair_reach_ang(start, linked_pairs(start.geometry), field) / field
    return coarse_shifts(images, start.geometry, rounds=1, first_reach=reach, progress=progress)


def _again(images: WorkingImages, before: TiltGeometry, turned: TiltGeometry, progress: Progress) -> CoarseResult:
    """Shifts about a new axis; far from the one before, what was found with that says nothing of steep views."""
    if _change_deg(before, turned) > _FAR_OFF_DEG:
        return coarse_shifts(images, turned, progress=progress)
    return coarse_shifts(images, turned, rounds=2, first_reach=0.12, progress=progress)


def _film_elsewhere(images: WorkingImages, geometry: TiltGeometry, progress: Progress) -> list[str]:
    """Whether what looks like a compact object is a film with its axis far from where it may be, in words.

    Stretched along the axis instead of across it, a film's views match worse than as they are, like a compact object's.
    """
    search = search_axis(images.binned(AXIS_SIZE_PX), geometry, _ALL_AXES_DEG, progress=progress)
    turned = geometry.with_terms(z_rot_deg=geometry.z_rot_deg + search.change_deg)
    if _change_deg(geometry, turned) <= _FAR_OFF_DEG or is_compact(images, turned):
        return []
    return [
        f"the views match as those of a film whose tilt axis lies {search.change_deg:+.0f}° from the stated one, "
        "farther than it may be turned: check the axis that was given (--tilt-axis), or widen align.axis_range"
    ]


def _change_deg(before: TiltGeometry, after: TiltGeometry) -> float:
    """How far the axis was turned."""
    return abs(float((after.z_rot_deg - before.z_rot_deg).mean()))


def _turned(
    images: WorkingImages, geometry: TiltGeometry, range_deg: float, notes: list[str], progress: Progress
) -> TiltGeometry:
    """A geometry with the axis by which a film's views match best."""
    if range_deg == 0:
        return geometry
    search = search_axis(images.binned(AXIS_SIZE_PX), geometry, range_deg, progress=progress)
    if search.refused_deg is not None:
        notes.append(
            f"an axis {search.refused_deg:+.0f}° from the nominal one matches the views slightly better; it is too far "
            "off to be believed, and the best one near the nominal was taken"
        )
    return geometry.with_terms(z_rot_deg=geometry.z_rot_deg + search.change_deg)
