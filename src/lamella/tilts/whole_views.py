"""Align a series by whole views: shifts, the tilt axis, and whether the specimen is a film or a compact object."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lamella.geometry import TiltGeometry
from lamella.parallel import part_of
from lamella.progress import Progress, no_progress
from lamella.tilts.align_settings import AlignSettings
from lamella.tilts.axis import search_axis
from lamella.tilts.candidate import Candidate
from lamella.tilts.coarse import CoarseResult, coarse_shifts, is_compact
from lamella.tilts.common_line import search_common_line
from lamella.tilts.working import SpecimenShape, WorkingImages

__all__ = ["AXIS_SIZE_PX", "WholeViews", "align_whole_views"]

_FAR_OFF_DEG = 10.0
_ALL_AXES_DEG = 90.0
_PRIOR_REACH = 0.12  # of the field: how far a session's shifts may be off
_PRIOR_AXIS_DEG = 5.0  # of an axis by which image shifts were made, and held the targets
_PRIOR_WRONG = 0.2  # of the links that may disagree before the prior is given up
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
    """

    candidate: Candidate
    shape: SpecimenShape
    doubts: tuple[str, ...] = ()


def align_whole_views(
    images: WorkingImages,
    nominal: TiltGeometry,
    settings: AlignSettings,
    progress: Progress = no_progress,
    *,
    prior: TiltGeometry | None = None,
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
        the same with shifts that the microscope's session measured: they are looked for nearby alone, and the axis too,
        unless neighbouring views say that they are wrong.
    """
    notes: list[str] = []
    doubts: list[str] = []
    search = settings.axis_range if settings.axis != "fixed" else 0.0
    compact = settings.specimen == "compact"
    if not compact:
        near = None if prior is None else _near_prior(images, prior, notes, part_of(progress, 0.0, 0.2))
        if near is None:
            found = coarse_shifts(images, nominal, progress=part_of(progress, 0.0, 0.3))
        else:
            found, search = near, min(search, _PRIOR_AXIS_DEG)
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
    wrong = int((found.link_weights < 0.25).sum())
    quality = {"AlignCoarseLinks": float(len(found.pairs)), "AlignCoarseLinksWrong": float(wrong)}
    candidate = Candidate(method="coarse", geometry=found.geometry, quality=quality, notes=tuple(notes))
    return WholeViews(candidate, "compact" if compact else "film", tuple(doubts))


def _near_prior(
    images: WorkingImages, prior: TiltGeometry, notes: list[str], progress: Progress
) -> CoarseResult | None:
    """Shifts near those of a session; None, told, where too many neighbours do not match there."""
    found = coarse_shifts(images, prior, rounds=2, first_reach=_PRIOR_REACH, progress=progress)
    wrong = int((found.link_weights < 0.25).sum())
    if len(found.pairs) and wrong <= _PRIOR_WRONG * len(found.pairs):
        notes.append("the shifts that the session measured were the start")
        return found
    notes.append(
        f"the shifts that the session measured do not hold ({wrong} of {len(found.pairs)} neighbouring pairs of views "
        "disagree): they were sought without them"
    )
    return None


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
