"""Align a film by patches: follow them, solve, follow them better in the solved geometry, coarse images first."""

from __future__ import annotations

import numpy as np
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
from lamella.tilts.solve import Solution, solve, triangulate
from lamella.tilts.terms import SolveModel, Term
from lamella.tilts.working import WorkingImages

__all__ = ["align_patches"]

_PRIORS = {"z_rot": 1.0, "y_tilt": 0.5, "magnification": 0.01}  # of a free view's own change


def align_patches(
    images: WorkingImages,
    start: TiltGeometry,
    settings: AlignSettings,
    *,
    mask: Tensor | None = None,
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
    shared_ang = 0.0
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
        solution = solve(pieces, geometry, _model(settings, last), loss=settings.loss, tolerance=1e-5 if last else 1e-4)
        geometry, shared_ang = solution.geometry, spectrum.thickness_ang
        found = triangulate(tracks, geometry)
        points = np.where(np.isfinite(found), found, points)
    if solution is None:
        raise PostconditionError("no round of patches was run", mend="set align.rounds to 1 at least")
    return _candidate(solution, shared_ang)


def _candidate(solution: Solution, shared_ang: float) -> Candidate:
    tracks = solution.tracks
    lost = np.flatnonzero(~tracks.seen.any(axis=1)) + 1
    notes = []
    if len(lost):
        notes.append(f"no patch was found in view {', '.join(map(str, lost))}: shifts there are those of whole views")
    quality = {
        "AlignTracks": float(np.isfinite(tracks.points_ang[:, 0]).sum()),
        "AlignResidualAngst": solution.rms_ang,
        "AlignSigmaAngst": solution.sigma_ang,
        "AlignSharedDepthAngst": shared_ang,
    }
    return Candidate(
        method="patches", geometry=solution.geometry, solution=solution, quality=quality, notes=tuple(notes)
    )


def _model(settings: AlignSettings, last: bool) -> SolveModel:
    """What the solve may change: the axis from the beginning, finer terms once the tracks are good."""
    axis = settings.axis if last or settings.axis == "fixed" else "common"
    return SolveModel(
        z_rot=Term(mode=axis, prior=_PRIORS["z_rot"] if axis == "free" else np.inf),
        y_tilt=Term(mode=settings.tilt_angles if last else "fixed", prior=_PRIORS["y_tilt"]),
        magnification=Term(mode=settings.magnification if last else "fixed", prior=_PRIORS["magnification"]),
    )
