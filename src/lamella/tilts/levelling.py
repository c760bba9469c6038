"""The result of an alignment in the specimen's own frame: mid-plane level at z = 0, with what that rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lamella.progress import Progress, no_progress
from lamella.tilts.candidate import Candidate
from lamella.tilts.level import Levelled, centre, level
from lamella.tilts.slab_measure import PointSource, SlabMeasure, measure_slab
from lamella.tilts.working import SpecimenShape, WorkingImages

__all__ = ["LevelResult", "in_level_frame"]

_MOST_INCLINED_DEG = 30.0  # a plane steeper than this is no specimen's mid-plane


@dataclass(frozen=True, kw_only=True, eq=False)
class LevelResult:
    """A candidate in the levelled frame.

    Attributes
    ----------
    candidate
        geometry and tracks moved together; no picture changes.
    slab
        where the specimen lay before; None where it was not looked for.
    quality
        inclination taken out, its error and the thickness, by the names of the record.
    notes
        what could not be known.
    """

    candidate: Candidate
    slab: SlabMeasure | None
    quality: Mapping[str, float]
    notes: tuple[str, ...]

    @property
    def thickness_ang(self) -> float | None:
        """Of the specimen, where it was measured."""
        known = self.slab is not None and np.isfinite(self.slab.thickness_ang)
        return float(self.slab.thickness_ang) if self.slab is not None and known else None


def in_level_frame(
    candidate: Candidate,
    images: WorkingImages,
    shape: SpecimenShape,
    *,
    wanted: bool = True,
    progress: Progress = no_progress,
) -> LevelResult:
    """Turn and shift a candidate's frame so that the specimen is level and centred.

    Parameters
    ----------
    candidate
        what was chosen.
    images
        working images, from which the specimen's density is measured where points do not tell enough.
    shape
        only a film has a plane to be levelled by.
    wanted
        False: the frame is only centred.
    progress
        told the fraction done.
    """
    geometry, solution = candidate.geometry, candidate.solution
    points = solution.tracks.points_ang if solution is not None else np.zeros((0, 3))
    if not wanted or shape == "compact" or candidate.method == "none":
        return _moved(candidate, centre(geometry, points), None, ())
    source: PointSource | None = None
    if candidate.method == "beads" or candidate.method == "patches":
        source = candidate.method
    slab = measure_slab(
        images, geometry, points if solution is not None and source else None, source, progress=progress
    )
    if not slab.known:
        note = "where the specimen's mid-plane lies could not be measured: the frame is centred, not levelled"
        return _moved(candidate, centre(geometry, points), slab, (note,))
    if slab.inclination_deg > _MOST_INCLINED_DEG:
        note = (
            f"the specimen's plane seems inclined by {slab.inclination_deg:.0f}°, which no mid-plane is: not levelled"
        )
        return _moved(candidate, centre(geometry, points), slab, (note,))
    return _moved(candidate, level(geometry, points, slab), slab, ())


def _moved(candidate: Candidate, moved: Levelled, slab: SlabMeasure | None, notes: tuple[str, ...]) -> LevelResult:
    solution = candidate.solution
    if solution is not None:
        tracks = solution.tracks.with_solution(moved.points_ang, solution.tracks.residuals_ang)
        solution = replace(solution, geometry=moved.geometry, tracks=tracks)
    quality = {"AlignXTiltDeg": moved.x_tilt_deg, "AlignTiltOffsetDeg": moved.tilt_offset_deg}
    if slab is not None:
        quality |= {"AlignLevelErrorDeg": slab.error_deg, "AlignThicknessErrorAngst": slab.thickness_error_ang}
    return LevelResult(
        candidate=replace(candidate, geometry=moved.geometry, solution=solution),
        slab=slab,
        quality={name: float(value) for name, value in quality.items() if np.isfinite(value)},
        notes=notes,
    )
