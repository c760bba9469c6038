"""Align a film by patches: follow them, solve, follow them better in the solved geometry, coarse images first."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lamella.fourier import fast_size
from lamella.geometry import TiltGeometry
from lamella.parallel import part_of
from lamella.progress import Progress, no_progress
from lamella.records.tracks import Tracks
from lamella.tilts.align_settings import AlignSettings
from lamella.tilts.candidate import Candidate
from lamella.tilts.film_plane import FilmPlanes
from lamella.tilts.level import fit_plane, level
from lamella.tilts.patch_spectrum import Spectrum, patch_spectrum
from lamella.tilts.patches import PatchPlan, break_tracks, follow_patches, patch_grid
from lamella.tilts.solve import solve, triangulate
from lamella.tilts.terms import SolveModel, Term
from lamella.tilts.track_solve import solve_tracks
from lamella.tilts.working import WorkingImages

__all__ = ["align_patches"]

Array = NDArray[np.float64]

_CERTAIN = 15.0  # height of a neighbours' peak over its noise that the finest patches need
_SMALLEST = 0.3  # of the stated edge: the last patches
_LARGEST = 0.5  # of the images' shorter side: patches of a series that shows little
_FEWEST_PX = 48  # edge of a patch
_LOOKED_AT = 12  # patches from which the finest one's size is found
_ROUGHLY = 2.0  # times as long are the pieces while the axis is still searched for, which short ones hardly show
_FEWEST_VIEWS = 10  # of a piece of a track
_LEAST_INCLINED_DEG, _MOST_INCLINED_DEG = 2.0, 30.0  # of a plane that is worth levelling, and that may be a specimen's


def align_patches(
    images: WorkingImages,
    start: TiltGeometry,
    settings: AlignSettings,
    *,
    mask: Tensor | None = None,
    dose: ArrayLike | None = None,
    progress: Progress = no_progress,
) -> Candidate:
    """Geometry from followed patches, in a frame near that of the specimen's plane: not levelled.

    Parameters
    ----------
    images
        working images; the first rounds bin them.
    start
        geometry whose shifts are right to a tenth of the field, from whole views.
    settings
        see `AlignSettings`: patches, rounds and what the solve may change.
    mask
        ``(n, a, b)`` how much each pixel shows the specimen, 0…1, in any sampling of the field; see `features.masks`.
    dose
        ``(n,)`` before each view, e/Å².
    progress
        told the fraction done.

    Raises
    ------
    GeometryError
        if too few patches could be followed to solve a geometry.
    """
    images = images.masked(mask)
    final = max(images.stack.shape[-2:])
    course = _Course(start, None, None)
    for number in range(settings.rounds - 1):
        part = part_of(progress, number / settings.rounds, (number + 1) / settings.rounds)
        course = _rough_round(images.binned(max(final // 2, min(final, 256))), course, settings, part)
    planes, spectrum = _sized_planes(images, course, settings, _SMALLEST)
    plan = PatchPlan(reach_px=_reach_px(course, planes), thickness_ang=spectrum.thickness_ang)
    tracks = follow_patches(planes, plan, spectrum, part_of(progress, 1 - 1 / settings.rounds, 0.9))
    pieces = _pieces(tracks, course.geometry, settings.patch_span)
    solved = solve_tracks(pieces, course.geometry, settings, method="patches", dose=dose)
    quality = {
        "AlignSharedDepthAngst": spectrum.thickness_ang,
        "AlignPatches": float(len(planes)),
        "AlignPatchAngst": planes.size_px * planes.spacing_ang,
    }
    progress(1.0, "followed patches")
    return replace(solved, quality={**solved.quality, **quality})


@dataclass(frozen=True, eq=False)
class _Course:
    """How far the rounds have come: the geometry, patches in it (None: not yet laid), and how far they were off."""

    geometry: TiltGeometry
    points_ang: Array | None
    off_ang: float | None


def _rough_round(images: WorkingImages, course: _Course, settings: AlignSettings, progress: Progress) -> _Course:
    """Follow large patches and solve shifts and axis."""
    planes, spectrum = _sized_planes(images, course, settings, smallest=1.0)
    plan = PatchPlan(reach_px=_reach_px(course, planes), thickness_ang=spectrum.thickness_ang)
    tracks = follow_patches(planes, plan, spectrum, progress)
    pieces = _pieces(tracks, course.geometry, _ROUGHLY * settings.patch_span)
    solution = solve(pieces, course.geometry, _early_model(settings), loss=settings.loss, tolerance=1e-4)
    lengths = np.linalg.norm(solution.tracks.residuals_ang, axis=-1)
    found = triangulate(tracks, solution.geometry)
    points = np.where(np.isfinite(found), found, planes.points_ang)
    geometry, points = _levelled(solution.geometry, points)
    return _Course(geometry, points, float(np.nanmedian(lengths)))


def _levelled(geometry: TiltGeometry, points_ang: Array) -> tuple[TiltGeometry, Array]:
    """The frame in which the patches' plane lies flat, where it clearly does not: views are stretched as it lies."""
    plane = fit_plane(points_ang)
    if not max(_LEAST_INCLINED_DEG, 3 * plane.error_deg) < plane.inclination_deg < _MOST_INCLINED_DEG:
        return geometry, points_ang
    moved = level(geometry, points_ang, plane)
    return moved.geometry, moved.points_ang


def _sized_planes(
    images: WorkingImages, course: _Course, settings: AlignSettings, smallest: float
) -> tuple[FilmPlanes, Spectrum]:
    """The views laid out about patches as small as can still be found, and what these hold.

    The smaller a patch, the fewer things at different depths it shows, and the less its track bends; but a
    correlation's peak stands out of its noise by the patch's edge. Patches are made larger or smaller, down to
    `smallest` times the edge that the settings state, until neighbours match with enough certainty.
    """
    size = _size_px(images, settings.patch_size)
    points = course.points_ang if course.points_ang is not None else _grid(images, course.geometry, size, settings)
    chosen = np.unique(np.linspace(0, len(points) - 1, _LOOKED_AT).round().astype(int))
    planes = FilmPlanes(images, course.geometry, points[chosen], size)
    spectrum = patch_spectrum(planes, settings.thickness)
    wanted = size * _CERTAIN / max(spectrum.certainty(planes), 1e-6)
    lowest, highest = max(smallest * size, min(_FEWEST_PX, size)), max(_LARGEST / settings.patch_size, 1.0) * size
    size = fast_size(int(np.clip(wanted, lowest, highest)))
    points = _grid(images, course.geometry, size, settings)
    planes = FilmPlanes(images, course.geometry, points, size)
    return planes, patch_spectrum(planes, spectrum.thickness_ang)


def _size_px(images: WorkingImages, fraction: float) -> int:
    return fast_size(int(np.ceil(fraction * min(images.field_ang) / max(images.pixel_ang))))


def _grid(images: WorkingImages, geometry: TiltGeometry, size_px: int, settings: AlignSettings) -> Array:
    edge = size_px * max(images.pixel_ang)
    return patch_grid(geometry, images.field_ang, 0.8 * edge, settings.patch_spacing * edge)


def _reach_px(course: _Course, planes: FilmPlanes) -> float:
    """How far from their predictions patches are looked for."""
    if course.off_ang is None:
        return planes.size_px / 5
    return max(3.0, 4 * course.off_ang / planes.spacing_ang)


def _pieces(tracks: Tracks, geometry: TiltGeometry, span_deg: float) -> Tracks:
    """Tracks broken into pieces that hold enough views each."""
    step = float(np.median(np.diff(np.sort(geometry.y_tilt_deg))))
    return break_tracks(tracks, geometry.y_tilt_deg, max(span_deg, _FEWEST_VIEWS * step))


def _early_model(settings: AlignSettings) -> SolveModel:
    """What the solve may change while tracks are rough: the axis alone."""
    return SolveModel(z_rot=Term(mode="fixed" if settings.axis == "fixed" else "common"))
