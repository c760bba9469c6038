"""Align a tilt series: whole views first, then beads, patches and projection matching; one score picks the result.

Every method gives a candidate, and all are scored alike by how well each view is predicted by the others
(`lamella.tilts.score`). One that predicts views worse than the nominal geometry is not taken. The result ends level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.errors import GeometryError, ImageError, PostconditionError
from lamella.features.masks import specimen_masks
from lamella.geometry import TiltGeometry
from lamella.parallel import one_thread_per_operation, part_of
from lamella.progress import Progress, no_progress
from lamella.records import ImageSource, TiltSeries
from lamella.records.tracks import Tracks
from lamella.runtime import give_memory_back
from lamella.tilts.align_record import aligned_record
from lamella.tilts.align_settings import NOMINAL_SCORE, AlignSettings
from lamella.tilts.bead_solve import align_beads
from lamella.tilts.candidate import Candidate, Method
from lamella.tilts.choose import Judge, choose
from lamella.tilts.compact import match_compact
from lamella.tilts.levelling import in_level_frame
from lamella.tilts.matching import match_projections
from lamella.tilts.patch_solve import align_patches
from lamella.tilts.session_start import session_start
from lamella.tilts.track_solve import solve_tracks, with_stated_angles
from lamella.tilts.view_order import check_order
from lamella.tilts.whole_views import align_whole_views
from lamella.tilts.working import SpecimenShape, WorkingImages, prepare

__all__ = ["AlignResult", "align"]

Array = NDArray[np.float64]

_STEEPEST_DEG = 89.0
# alike for all series, and more than most have: beads on both faces spread wider than a slab of that thickness
_SCORED_THICKNESS_ANG = 2400.0
_SCORED_SIZE_PX = 512  # no more is looked at by masks and score
_FEW_VIEWS = 6
_MANY_UNLIKE = 0.1  # of the views, like no other
_SURE_BEADS = 5  # beads that predict each other to half a pixel need no other method beside them
_SURE_ERROR_PX = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class AlignResult:
    """An aligned tilt series.

    Attributes
    ----------
    series
        the record with geometry, scores per view and quality numbers.
    tracks
        what the geometry was solved from, in the result's frame; None where no tracks were followed.
    candidates
        every geometry that was tried, before levelling; the nominal one last.
    notes
        what the user should know: fall-backs, refused results, views without tracks.
    """

    series: TiltSeries
    tracks: Tracks | None
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]


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
        the record; its nominal angles and axis are where the work starts. With `tracks`, the geometry that it has, and
        a number ``AlignScoreNone`` among its quality numbers is taken for the score of the nominal geometry.
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
        per view ``AlignScore`` (how well it is predicted by the others), and where tracks were followed
        ``AlignResidualAngst`` and standard errors; of the series the score of every method that was tried, the axis,
        residual and leave-one-out error, the inclination that was taken out, and the thickness.

    Raises
    ------
    GeometryError
        if there are fewer than three views, or their angles make no tilt series.
    ImageError
        if images and record do not belong together, or a view is constant or not finite.
    PostconditionError
        if the one method that the settings ask for cannot solve the series.
    """
    with one_thread_per_operation():
        nominal = _nominal_geometry(series, images)
        longest = settings.working_size if tracks is None else min(settings.working_size, _SCORED_SIZE_PX)
        working = prepare(images, series.pixel_size_ang, longest, part_of(progress, 0.0, 0.08))
        masks = _masks(working, series, settings)
        attempts = _Attempts(series, images, working.masked(masks), masks, nominal, settings)
        if tracks is not None:
            attempts.solve_known(tracks)
        else:
            attempts.follow(part_of(progress, 0.08, 0.85))
        return _concluded(attempts, part_of(progress, 0.85, 1.0))


def _concluded(attempts: _Attempts, progress: Progress) -> AlignResult:
    """Score what was tried, choose, level, and write it down."""
    settings, series = attempts.settings, attempts.series
    judge = Judge(attempts.images, attempts.shape, settings.thickness or _SCORED_THICKNESS_ANG, attempts.masks)
    choice = choose(
        attempts.candidates, judge, attempts.doubts, part_of(progress, 0.0, 0.7), before=attempts.score_before
    )
    level = in_level_frame(
        choice.candidate, attempts.images, attempts.shape, wanted=settings.level, progress=part_of(progress, 0.7, 1.0)
    )
    progress(1.0, "aligned")
    solution = level.candidate.solution
    return AlignResult(
        series=aligned_record(series, attempts.nominal, level, choice),
        tracks=solution.tracks if solution is not None else None,
        candidates=tuple(attempts.candidates),
        notes=(*attempts.notes, *choice.notes, *level.candidate.notes, *level.notes),
    )


@dataclass
class _Attempts:
    """The methods that are tried on one series, and what came of them, the nominal geometry last."""

    series: TiltSeries
    raw: ImageSource
    images: WorkingImages
    masks: Tensor | None
    nominal: TiltGeometry
    settings: AlignSettings
    shape: SpecimenShape = "film"
    as_recorded: bool = False
    score_before: float | None = None
    candidates: list[Candidate] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.candidates = [Candidate(method="none", geometry=self.nominal)]
        if self.settings.specimen == "compact":
            self.shape = "compact"
        if len(self.series) < _FEW_VIEWS:
            self.doubts.append(f"{len(self.series)} views are too few for one to be predicted by the others")

    def follow(self, progress: Progress) -> None:
        """Whole views first; then what the settings ask for, each from the best geometry there is."""
        wanted = self.settings.method
        if wanted == "none":
            return
        found = align_whole_views(
            self.images.binned(self.settings.coarse_size),
            self.nominal,
            self.settings,
            part_of(progress, 0.0, 0.15),
            prior=session_start(self.series, self.nominal) if self.settings.session_start else None,
        )
        self.shape, self.as_recorded = found.shape, found.as_recorded
        self.doubts.extend(found.doubts)
        self.notes.extend(found.candidate.notes)  # they are on the series, whichever geometry is taken
        self._add(replace(found.candidate, notes=()))
        give_memory_back()
        if wanted in ("beads", "auto"):
            self._try("beads", lambda: self._beads(part_of(progress, 0.15, 0.35)))
        self._check_views()
        if wanted == "auto" and self._sure_by_beads():
            return
        if wanted == "patches" or (wanted in ("matching", "auto") and self.shape == "film"):
            # projection matching starts from patches: it has to begin within a few pixels
            self._try("patches", lambda: self._patches(part_of(progress, 0.35, 0.6)))
        if wanted in ("matching", "auto"):
            self._try("matching", lambda: self._matching(part_of(progress, 0.6, 1.0)))

    def solve_known(self, tracks: Tracks) -> None:
        """A geometry from tracks that are there already, begun with the one that was solved before, if there is one."""
        method: Method = tracks.kind or "beads"
        known, self.score_before = self.series.geometry, self.series.quality.get(NOMINAL_SCORE)
        before = self.nominal if known is None else with_stated_angles(known, self.nominal)
        try:
            self._add(solve_tracks(tracks, before, self.settings, method=method, dose=self.series.pre_exposure))
        except GeometryError as failure:
            raise PostconditionError(
                f"no geometry could be solved from the tracks: {failure.problem}",
                mend="drop fewer of them, or follow them anew (--no-reuse-tracks)",
            ) from failure

    def _check_views(self) -> None:
        """Whether the pictures themselves say that views show nothing, or that the angles are those of others.

        Not where beads predict each other in them: these say that it is not so, and there may be little else to see.
        Nor where each was found where the session had measured it as it recorded it.
        """
        if self.as_recorded or self._sure_by_beads():
            return
        checked = check_order(self.images, self.nominal)
        if len(unlike := checked.unlike):
            listed = ", ".join(str(view + 1) for view in unlike)
            said = f"view {listed} is like no other view, and shows nothing: leave it out (clean.exclude)"
            many = len(unlike) > _MANY_UNLIKE * len(self.series)
            (self.doubts if many else self.notes).append(said)
        if self.shape == "film" and checked.note:
            self.doubts.append(checked.note)

    def _sure_by_beads(self) -> bool:
        """Whether beads determine the geometry better than anything else could."""
        latest = self.candidates[0]
        if latest.method != "beads" or latest.solution is None:
            return False
        beads, error = latest.quality["AlignTracks"], latest.solution.leave_one_out_ang
        return beads >= _SURE_BEADS and error <= _SURE_ERROR_PX * self.series.pixel_size_ang

    def _add(self, candidate: Candidate) -> None:
        """The most exact kind first: it wins where scores are alike."""
        self.candidates.insert(0, candidate)

    def _try(self, method: Method, work: Callable[[], Candidate]) -> None:
        """Run a method; where it was asked for by name, its failure is the step's."""
        try:
            self._add(work())
        except (GeometryError, ImageError) as failure:
            if self.settings.method == method:
                why = "; ".join((failure.problem, *self.doubts))
                raise PostconditionError(
                    f"no geometry could be solved from {method}: {why}", mend=failure.mend
                ) from failure
            self.notes.append(f"{method}: {failure.problem}")
        finally:
            give_memory_back()  # or the next method's memory comes on top of it

    def _beads(self, progress: Progress) -> Candidate:
        return align_beads(
            self.raw,
            self.series.pixel_size_ang,
            self._start(),
            self.settings,
            imaging=self.series.imaging,
            dose=self.series.pre_exposure,
            progress=progress,
        )

    def _patches(self, progress: Progress) -> Candidate:
        return align_patches(
            self.images, self._start(), self.settings, dose=self.series.pre_exposure, progress=progress
        )

    def _matching(self, progress: Progress) -> Candidate:
        if self.shape == "compact":
            return match_compact(self.images, self._start(), progress)
        return match_projections(
            self.images,
            self._start(),
            thickness_ang=self.settings.thickness,
            mask=torch.ones(()).expand(self.images.stack.shape) if self.images.valid is None else self.images.valid,
            dose=self.series.pre_exposure,
            local="auto" if self.settings.local == "auto" else self.settings.local != "off",
            progress=progress,
        )

    def _start(self) -> TiltGeometry:
        """The latest geometry that is not the beads' own, which another method shall check."""
        return next(one.geometry for one in self.candidates if one.method != "beads")


def _masks(images: WorkingImages, series: TiltSeries, settings: AlignSettings) -> Tensor | None:
    """``(n, a, b)`` how much each pixel shows the specimen, or None where all do."""
    if not settings.mask or series.imaging == "dark":
        return None
    small = images.binned(_SCORED_SIZE_PX)
    weights = specimen_masks(small.stack, pixel_ang=max(small.pixel_ang))
    return weights if float(weights.min()) < 1.0 else None


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
