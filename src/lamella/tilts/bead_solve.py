"""Align by gold beads: follow them, then solve with the terms that predict them best."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from lamella.geometry import TiltGeometry
from lamella.parallel import part_of
from lamella.progress import Progress, no_progress
from lamella.records import ImageSource
from lamella.tilts.align_settings import AlignSettings
from lamella.tilts.candidate import Candidate
from lamella.tilts.fiducials import follow_beads
from lamella.tilts.track_solve import solve_tracks, with_stated_angles

__all__ = ["align_beads"]


def align_beads(
    images: ImageSource,
    pixel_size_ang: float,
    start: TiltGeometry,
    settings: AlignSettings,
    *,
    imaging: Literal["bright", "dark"] = "bright",
    dose: ArrayLike | None = None,
    progress: Progress = no_progress,
) -> Candidate:
    """Geometry from gold beads, in the gauge of the start: not levelled.

    Parameters
    ----------
    images
        the tilt images, unbinned.
    pixel_size_ang
        of them.
    start
        geometry from whole views.
    settings
        see `AlignSettings`: the beads' diameter and what the solve may change.
    imaging
        whether beads are dark (``bright`` field) or bright (``dark`` field).
    dose
        ``(n,)`` before each view, e/Å².
    progress
        told the fraction done.

    Raises
    ------
    GeometryError
        if fewer than three beads can be followed, or they determine no geometry.
    ImageError
        if the beads are smaller than four pixels across.
    """
    found = follow_beads(
        images,
        pixel_size_ang,
        start,
        diameter_ang=settings.bead_diameter,
        imaging=imaging,
        centred_by=settings.bead_centres,
        progress=part_of(progress, 0.0, 0.9),
    )
    solved = solve_tracks(found.tracks, with_stated_angles(found.geometry, start), settings, method="beads", dose=dose)
    progress(1.0, "solving")
    bound = found.bound_ang[np.isfinite(found.bound_ang)]
    quality = {
        **found.quality,
        **solved.quality,
        "AlignBeadDiameterAngst": found.diameter_ang,
        "AlignBeadBoundAngst": float(np.median(bound)) if bound.size else float("nan"),
    }
    return Candidate(
        method="beads",
        geometry=solved.geometry,
        solution=solved.solution,
        quality=quality,
        notes=(*found.notes, *solved.notes),
        doubts=solved.doubts,
    )
