"""Align a tilt series without markers: coarse shifts, the tilt axis, patches, a robust solve, a level frame.

Every result is scored against the nominal geometry by how well the views agree (`lamella.tilts.agreement`); one that
agrees less is not taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lamella.errors import GeometryError, ImageError, PostconditionError
from lamella.geometry import TiltGeometry
from lamella.parallel import one_thread_per_operation, part_of
from lamella.progress import Progress, no_progress
from lamella.records import ImageSource, TiltSeries
from lamella.records.tracks import Tracks
from lamella.tilts.agreement import Agreement, agreement
from lamella.tilts.align_settings import AlignSettings
from lamella.tilts.axis import search_axis
from lamella.tilts.coarse import coarse_shifts, is_compact
from lamella.tilts.common_line import profile_correlation, search_common_line
from lamella.tilts.level import centre, fit_plane, level
from lamella.tilts.patch_solve import align_patches
from lamella.tilts.solve import Solution
from lamella.tilts.track_solve import solve_tracks
from lamella.tilts.working import SpecimenShape, WorkingImages, prepare

__all__ = ["AlignResult", "align"]

Array = NDArray[np.float64]

_AXIS_SIZE_PX = 192
_STEEPEST_DEG = 89.0
_MOST_INCLINED_DEG = 30.0  # a fitted plane steeper than this is no specimen's mid-plane
_USUAL_THICKNESS_ANG = 1500.0
_CLEARLY = 0.01  # correlation by which a result must be better to be preferred to a more exact kind


@dataclass(frozen=True, kw_only=True, eq=False)
class AlignResult:
    """An aligned tilt series.

    Attributes
    ----------
    series
        the record with geometry, scores per view and quality numbers.
    tracks
        what the geometry was solved from; None where no patches were followed.
    notes
        what the user should know: fall-backs, refused results, views without tracks.
    """

    series: TiltSeries
    tracks: Tracks | None
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A geometry that might be the result."""

    name: str
    geometry: TiltGeometry
    solution: Solution | None = None
    quality: Mapping[str, float] = field(default_factory=dict)
    agreement: Agreement | None = None

    @property
    def score(self) -> Agreement:
        """The agreement, once judged."""
        assert self.agreement is not None
        return self.agreement


def align(
    series: TiltSeries,
    images: ImageSource,
    settings: AlignSettings,
    progress: Progress = no_progress,
    tracks: Tracks | None = None,
) -> AlignResult:
    """Solve the geometry of a tilt series from its images.

    Parameters
    ----------
    series
        the record; its nominal angles and axis are where the work starts.
    images
        its images, in the record's order.
    settings
        see `AlignSettings`.
    progress
        told the fraction of the work that is done.
    tracks
        what was followed already, in the record's views: the geometry is solved from them and nothing is followed.

    Returns
    -------
    AlignResult
        per view ``AlignCorrelation`` (with the prediction from all other views), and where patches were followed
        ``AlignResidualAngst`` and standard errors; of the series, axis, residual, and agreement before and after.

    Raises
    ------
    GeometryError
        if there are fewer than three views, or their angles make no tilt series.
    ImageError
        if images and record do not belong together, or a view is constant or not finite.
    PostconditionError
        if ``method`` is ``patches`` and no geometry can be solved from them.
    """
    with one_thread_per_operation():
        return _aligned(series, images, settings, progress, tracks)


def _aligned(
    series: TiltSeries, images: ImageSource, settings: AlignSettings, progress: Progress, tracks: Tracks | None
) -> AlignResult:
    nominal = _nominal_geometry(series, images)
    notes: list[str] = []
    working = prepare(images, series.pixel_size_ang, settings.working_size, part_of(progress, 0.0, 0.1))
    small = working.binned(settings.coarse_size)
    candidates = [_Candidate("none", nominal)]
    shape: SpecimenShape = "compact" if settings.specimen == "compact" else "film"
    if settings.method != "none":
        coarse, shape = _coarse_candidate(small, nominal, settings, notes, part_of(progress, 0.1, 0.4))
        candidates.insert(0, coarse)
        if tracks is not None:
            candidates.insert(0, _tracked_candidate(tracks, coarse.geometry, settings, notes))
        elif settings.method == "patches" or (settings.method == "auto" and shape == "film"):
            patches = _patch_candidate(working, coarse.geometry, settings, notes, part_of(progress, 0.4, 0.95))
            candidates[:0] = [patches] if patches else []
    thickness = settings.thickness or candidates[0].quality.get("AlignSharedDepthAngst", _USUAL_THICKNESS_ANG)
    judge = _Judge(small, shape, thickness)
    chosen = _chosen(candidates, judge, settings, notes)
    progress(1.0, "aligned")
    return AlignResult(
        series=_record(series, nominal, chosen, judge),
        tracks=chosen.solution.tracks if chosen.solution else None,
        notes=tuple(notes),
    )


def _nominal_geometry(series: TiltSeries, images: ImageSource) -> TiltGeometry:
    """The geometry that the microscope stated, checked."""
    n = len(series)
    if n < 3:
        raise GeometryError(f"{series.name}: {n} views", mend="align needs three at least: exclude fewer")
    if images.shape != (n, *series.image_shape_px):
        height, width = series.image_shape_px
        raise ImageError(
            f"{series.name}: a record of {n} views of {width} × {height} px, images of shape {images.shape}",
            mend="give the images that belong to the record",
        )
    tilt = np.asarray(series.nominal_tilt_deg, dtype=np.float64)
    axis = np.asarray(series.nominal_axis_deg, dtype=np.float64)
    if not np.isfinite(tilt).all() or not np.isfinite(axis).all():
        raise GeometryError(f"{series.name}: an angle is not a number", mend="state tilt angles and axis")
    if np.abs(tilt).max() > _STEEPEST_DEG:
        raise GeometryError(
            f"{series.name}: a tilt angle of {tilt[np.abs(tilt).argmax()]:g}°",
            mend=f"give angles within ±{_STEEPEST_DEG:g}° of the untilted stage",
        )
    if np.ptp(tilt) < 1.0:
        raise GeometryError(f"{series.name}: all tilt angles are alike", mend="give the angle of each view")
    return TiltGeometry.from_angles(tilt, axis)


def _coarse_candidate(
    small: WorkingImages, nominal: TiltGeometry, settings: AlignSettings, notes: list[str], progress: Progress
) -> tuple[_Candidate, SpecimenShape]:
    """Shifts and axis from whole views, and the specimen's shape by which they were found."""
    search = settings.axis_range if settings.axis != "fixed" else 0.0
    compact = settings.specimen == "compact"
    if not compact:
        found = coarse_shifts(small, nominal, progress=part_of(progress, 0.0, 0.3))
        turned = _turned(small, found.geometry, search, notes, part_of(progress, 0.3, 0.6))
        compact = settings.specimen == "auto" and is_compact(small, turned)
        if compact:
            notes.append(
                "neighbouring views match better where they are not foreshortened: the specimen is taken as a compact "
                "object and aligned by whole views (align.specimen = film if it is not)"
            )
        elif search > 0:
            found = coarse_shifts(small, turned, rounds=2, first_reach=0.12, progress=part_of(progress, 0.6, 1.0))
    if compact:
        found = coarse_shifts(small, nominal, shape="compact", progress=part_of(progress, 0.6, 0.8))
        if search > 0:
            line = small.binned(_AXIS_SIZE_PX)
            turned = search_common_line(line, found.geometry, search, progress=part_of(progress, 0.8, 1.0)).geometry
            found = replace(found, geometry=turned)
    wrong = int((found.link_weights < 0.25).sum())
    quality = {"AlignCoarseLinks": float(len(found.pairs)), "AlignCoarseLinksWrong": float(wrong)}
    return _Candidate("coarse", centre(found.geometry).geometry, None, quality), "compact" if compact else "film"


def _turned(
    small: WorkingImages, geometry: TiltGeometry, range_deg: float, notes: list[str], progress: Progress
) -> TiltGeometry:
    """A geometry with the axis by which a film's views match best."""
    if range_deg == 0:
        return geometry
    search = search_axis(small.binned(_AXIS_SIZE_PX), geometry, range_deg, progress=progress)
    if search.refused_deg is not None:
        notes.append(
            f"an axis {search.refused_deg:+.0f}° from the nominal one matches the views slightly better; it is too far "
            "off to be believed, and the best one near the nominal was taken"
        )
    return geometry.with_terms(z_rot_deg=geometry.z_rot_deg + search.change_deg)


def _patch_candidate(
    working: WorkingImages, start: TiltGeometry, settings: AlignSettings, notes: list[str], progress: Progress
) -> _Candidate | None:
    """Geometry from followed patches, levelled; None, with a note, where it cannot be solved."""
    try:
        found = align_patches(working, start, settings, progress=progress)
    except GeometryError as failure:
        if settings.method == "patches":
            raise PostconditionError(
                f"no geometry could be solved from patches: {failure.problem}",
                mend="use larger patches (align.patch_size), or align.method = coarse",
            ) from failure
        notes.append(f"patches failed ({failure.problem}); the geometry is that of whole views")
        return None
    notes.extend(found.notes)
    assert found.solution is not None  # patches end in one
    levelled = _levelled(found.solution, settings, notes)
    return replace(levelled, quality={**found.quality, **levelled.quality})


def _tracked_candidate(tracks: Tracks, start: TiltGeometry, settings: AlignSettings, notes: list[str]) -> _Candidate:
    """Geometry solved from tracks that are there already, levelled."""
    try:
        found = solve_tracks(tracks, start, settings, method="patches")
    except GeometryError as failure:
        raise PostconditionError(
            f"no geometry could be solved from the tracks: {failure.problem}",
            mend="drop fewer of them, or follow them anew (--no-reuse-tracks)",
        ) from failure
    assert found.solution is not None  # tracks end in one
    levelled = _levelled(found.solution, settings, notes)
    return replace(levelled, name=tracks.kind or "tracks", quality={**found.quality, **levelled.quality})


def _levelled(solution: Solution, settings: AlignSettings, notes: list[str]) -> _Candidate:
    """The solved geometry in the frame of its points' mid-plane."""
    points = solution.tracks.points_ang
    plane = fit_plane(points)
    quality = {
        "AlignPointSpreadAngst": plane.spread_ang,
    }
    if settings.level and plane.inclination_deg <= _MOST_INCLINED_DEG and np.isfinite(plane.error_deg):
        moved = level(solution.geometry, points, plane)
        quality |= {"AlignXTiltDeg": moved.x_tilt_deg, "AlignTiltOffsetDeg": moved.tilt_offset_deg}
        quality |= {"AlignLevelErrorDeg": plane.error_deg}
    else:
        if settings.level:
            notes.append(
                f"the points' plane is inclined by {plane.inclination_deg:.0f}°, which no mid-plane is: not levelled"
            )
        moved = centre(solution.geometry, points)
    tracks = solution.tracks.with_solution(moved.points_ang, solution.tracks.residuals_ang)
    levelled = replace(solution, geometry=moved.geometry, tracks=tracks)
    return _Candidate("patches", moved.geometry, levelled, quality)


class _Judge:
    """Scores geometries of one series alike, each once."""

    def __init__(self, images: WorkingImages, shape: SpecimenShape, thickness_ang: float) -> None:
        self.images, self.shape, self.thickness_ang = images, shape, thickness_ang
        self.known: list[tuple[TiltGeometry, Agreement]] = []

    def __call__(self, geometry: TiltGeometry) -> Agreement:
        for judged, score in self.known:
            if judged is geometry:
                return score
        score = agreement(self.images, geometry, self.thickness_ang, self.shape)
        self.known.append((geometry, score))
        return score


def _chosen(candidates: list[_Candidate], judge: _Judge, settings: AlignSettings, notes: list[str]) -> _Candidate:
    """The best candidate under which the views agree at least as well as under the nominal geometry, the last.

    The first is the most exact one by its nature; it is passed over only for one that clearly agrees better.
    """
    scored = [replace(candidate, agreement=judge(candidate.geometry)) for candidate in candidates]
    before = scored[-1].score
    kept = []
    for candidate in scored[:-1]:
        score = candidate.score
        if score.at_least(before):
            kept.append(candidate)
            continue
        notes.append(
            f"the geometry from {candidate.name} was refused: neighbouring views correlate by {score.neighbours:.3f} "
            f"and with their reprojection by {score.reprojection:.3f}, {before.neighbours:.3f} and "
            f"{before.reprojection:.3f} before alignment"
        )
    if not kept:
        if settings.method != "none":
            notes.append("the geometry is the nominal one, without shifts")
        return scored[-1]
    if len(kept) > 1 and kept[1].score.reprojection > kept[0].score.reprojection + _CLEARLY:
        notes.append(
            f"the geometry from {kept[1].name} was taken: views correlate with their reprojection by "
            f"{kept[1].score.reprojection:.3f}, by {kept[0].score.reprojection:.3f} under that from {kept[0].name}"
        )
        return kept[1]
    return kept[0]


def _record(series: TiltSeries, nominal: TiltGeometry, chosen: _Candidate, judge: _Judge) -> TiltSeries:
    """The series' record with its geometry and every number that says how good it is."""
    geometry, after = chosen.geometry, chosen.score
    before = judge(nominal)
    straight = geometry.with_terms(z_rot_deg=nominal.z_rot_deg)
    unturned = judge(straight)
    scores = {"AlignCorrelation": after.per_view}
    if chosen.solution is not None:
        errors = chosen.solution.standard_errors
        scores |= {
            "AlignResidualAngst": np.asarray(chosen.solution.tracks.rms_ang(axis=1)),
            "AlignXShiftErrorAngst": errors["x_shift"],
            "AlignYShiftErrorAngst": errors["y_shift"],
            "AlignAxisErrorDeg": errors["z_rot"],
            "AlignTiltErrorDeg": errors["y_tilt"],
        }
    quality = {
        "AlignAxisDeg": float(geometry.z_rot_deg.mean()),
        "AlignAxisChangeDeg": float((geometry.z_rot_deg - nominal.z_rot_deg).mean()),
        "AlignNeighbourCorrelation": after.neighbours,
        "AlignNeighbourCorrelationBefore": before.neighbours,
        "AlignNeighbourCorrelationUnturned": unturned.neighbours,
        "AlignReprojectionCorrelation": after.reprojection,
        "AlignReprojectionCorrelationBefore": before.reprojection,
        "AlignReprojectionCorrelationUnturned": unturned.reprojection,
        **chosen.quality,
    }
    if judge.shape == "compact":
        small = judge.images.binned(_AXIS_SIZE_PX)
        quality |= {
            "AlignProfileCorrelation": profile_correlation(small, geometry),
            "AlignProfileCorrelationBefore": profile_correlation(small, nominal),
            "AlignProfileCorrelationUnturned": profile_correlation(small, straight),
        }
    return series.with_changes(geometry=geometry, scores=scores, quality=quality)
