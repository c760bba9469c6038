"""Align a film by patches: follow them, solve, follow them better in the solved geometry, coarse images first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from lamella.errors import PostconditionError
from lamella.fourier import fast_size
from lamella.geometry import TiltGeometry
from lamella.parallel import part_of
from lamella.progress import Progress, no_progress
from lamella.tilts.align_settings import AlignSettings
from lamella.tilts.candidate import Candidate
from lamella.tilts.film_plane import FilmPlanes
from lamella.tilts.patch_spectrum import patch_spectrum
from lamella.tilts.patches import PatchPlan, break_tracks, follow_patches, patch_grid
from lamella.tilts.solve import solve, triangulate
from lamella.tilts.terms import SolveModel, Term
from lamella.tilts.track_solve import solve_tracks
from lamella.tilts.working import WorkingImages

__all__ = ["align_patches"]


def align_patches(
    images: WorkingImages,
    start: TiltGeometry,
    settings: AlignSettings,
    *,
    mask: Tensor | None = None,
    dose: ArrayLike | None = None,
    progress: Progress = no_progress,
) -> Candidate:
    """Geometry from followed patches, in the gauge of the start: not levelled.

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
    geometry, solution, points = start, None, None
    final = max(images.stack.shape[-2:])
    for number in range(settings.rounds):
        part = part_of(progress, number / settings.rounds, (number + 1) / settings.rounds)
        last = number == settings.rounds - 1
        round_images = images if last else images.binned(max(final // 2, min(final, 256)))
        spacing = max(round_images.pixel_ang)
        size = fast_size(int(np.ceil(settings.patch_size * min(round_images.field_ang) / spacing)))
        if points is None:
            edge = size * spacing
            points = patch_grid(geometry, round_images.field_ang, 0.8 * edge, settings.patch_spacing * edge)
        reach = size / 5 if number == 0 else max(3.0, 4 * solution.sigma_ang / spacing) if solution else 3.0
        planes = FilmPlanes(round_images, geometry, points, size)
        spectrum = patch_spectrum(planes, settings.thickness)
        plan = PatchPlan(reach_px=reach, thickness_ang=spectrum.thickness_ang)
        tracks = follow_patches(planes, plan, spectrum, part)
        pieces = break_tracks(tracks, geometry.y_tilt_deg, settings.patch_span)
        if last:
            solved = solve_tracks(pieces, geometry, settings, method="patches", dose=dose)
            return replace(solved, quality={**solved.quality, "AlignSharedDepthAngst": spectrum.thickness_ang})
        solution = solve(pieces, geometry, _early_model(settings), loss=settings.loss, tolerance=1e-4)
        geometry = solution.geometry
        found = triangulate(tracks, geometry)
        points = np.where(np.isfinite(found), found, points)
    raise PostconditionError("no round of patches was run", mend="set align.rounds to 1 at least")


def _early_model(settings: AlignSettings) -> SolveModel:
    """What the solve may change while tracks are rough: the axis alone."""
    return SolveModel(z_rot=Term(mode="fixed" if settings.axis == "fixed" else "common"))
