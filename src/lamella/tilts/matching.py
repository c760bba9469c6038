"""Projection matching: each view against the reprojection of the others, without markers.

Two parts. Large patches of all views are first brought together at once by what a slab lets them share, from coarse
detail to fine (`lamella.tilts.matching_joint`); that needs no good start. Then the clearest objects of a reconstruction
are matched, view by view, with the reprojection of what the other views show (`lamella.tilts.matching_volume`), and the
geometry is solved from where they were found, like one from beads, a local field included; a few times over.

In the spirit of AreTomo (Zheng et al. 2022), which matches whole views with the reprojection of those before them.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lamella.errors import GeometryError
from lamella.features.masks import specimen_masks
from lamella.geometry import TiltGeometry
from lamella.parallel import one_thread_per_operation, part_of
from lamella.progress import Progress, no_progress
from lamella.runtime import give_memory_back
from lamella.tilts.candidate import Candidate
from lamella.tilts.level import fit_plane, level
from lamella.tilts.matching_joint import JointMatch, match_jointly
from lamella.tilts.matching_mixing import Mixing
from lamella.tilts.matching_terms import Priors
from lamella.tilts.matching_volume import flattened, reproject_others, without_background
from lamella.tilts.matching_windows import Matched, match_objects
from lamella.tilts.solve import Solution, solve
from lamella.tilts.terms import PRIORS, LocalTerm, SolveModel, Term
from lamella.tilts.working import WorkingImages

__all__ = ["match_projections"]

Array = NDArray[np.float64]

_ROUNDS = 8
_SEARCHED = 2  # of them look for the objects anew
_OBJECTS = 400
_FEWEST_OBJECTS = 12  # a geometry of all views with slow changes and a field asks for some
_LARGEST_PX, _SMALLEST_PX = 384, 128  # of the images that are reprojected
_NYQUIST = 0.5  # cycles per pixel: where the finest detail that views share shall lie in them
_BACKGROUND_PX = 8.0  # standard deviation of the local mean that is taken off them
_CHANCE = 8.0  # standard deviations above chance by which views and predictions must agree
_COURSES, _FADING = 2, 0.2  # over the dose that each shape of a local deformation combines, each further one smaller
_LOCAL_ANG = 3.0  # rms of local deformation at which its estimate begins


def match_projections(
    images: WorkingImages,
    geometry: TiltGeometry,
    *,
    thickness_ang: float = 0.0,
    mask: Tensor | None = None,
    dose: ArrayLike | None = None,
    local: bool | Literal["auto"] = "auto",
    progress: Progress = no_progress,
) -> Candidate:
    """Refine a film's geometry by matching views with the reprojection of the others.

    Parameters
    ----------
    images
        working images; 512 to 768 px are enough.
    geometry
        the start: shifts right to some hundredths of the field, the axis to a few degrees. Its tilt angles are kept.
    thickness_ang
        of the specimen; 0: found by how much less detail views share the farther they are apart.
    mask
        ``(n, h, w)`` what each pixel counts, 0…1; None: opaque film, vacuum and filler are found and left out
        (`lamella.features.masks`).
    dose
        ``(n,)`` received before each view, e/Å²: local deformation begins at the first exposure and follows it. None:
        it follows the tilt from the least tilted view.
    local
        whether local deformation is solved; ``auto``: where it lowers the leave-one-out error.
    progress
        told the fraction done.

    Returns
    -------
    Candidate
        ``matching``, in the frame of the patches' mid-plane; its solution's tracks are the objects.

    Raises
    ------
    GeometryError
        if there are fewer than three views, neighbouring views share nothing, or no objects stand out.
    """
    if len(images) != len(geometry) or len(images) < 3:
        raise GeometryError(
            f"{len(images)} images and a geometry of {len(geometry)} views", mend="give as many of both, three at least"
        )
    doses = None if dose is None else np.asarray(dose, dtype=np.float64)
    if doses is not None and (doses.shape != (len(images),) or not np.isfinite(doses).all()):
        raise GeometryError("the doses do not fit the views", mend="give one finite number per view, or None")
    with one_thread_per_operation():
        return _matched(images, geometry, thickness_ang, mask, doses, local, progress)


def _matched(
    images: WorkingImages,
    geometry: TiltGeometry,
    thickness_ang: float,
    mask: Tensor | None,
    dose: Array | None,
    local: bool | Literal["auto"],
    progress: Progress,
) -> Candidate:
    if mask is not None and mask.shape != images.stack.shape:
        raise GeometryError(
            f"a mask of shape {tuple(mask.shape)} for images of {tuple(images.stack.shape)}",
            mend="give one weight per pixel",
        )
    images = WorkingImages(images.stack, images.pixel_ang, images.origin_px).binned(_LARGEST_PX)
    if mask is None:
        weights = specimen_masks(images.stack)
    else:
        weights = torch.nn.functional.interpolate(mask[:, None].float(), tuple(images.stack.shape[-2:]), mode="area")[
            :, 0
        ]
    priors = Priors() if local else Priors(field_ang=0.0)
    joint = match_jointly(
        images,
        geometry,
        weights,
        dose=dose,
        thickness_ang=thickness_ang,
        priors=priors,
        progress=part_of(progress, 0.05, 0.35),
    )
    rounds = _Rounds(images, weights, joint, dose, local)
    del images, weights
    give_memory_back()
    for number in range(_ROUNDS):
        start, end = (0.35 + 0.6 * step / _ROUNDS for step in (number, number + 1))
        rounds.run(number < _SEARCHED, part_of(progress, start, end))
        give_memory_back()
    progress(1.0, "matched")
    return rounds.candidate()


class _Rounds:
    """Reprojection, matching and solving in turns."""

    def __init__(
        self,
        images: WorkingImages,
        weights: Tensor,
        joint: JointMatch,
        dose: Array | None,
        local: bool | Literal["auto"],
    ) -> None:
        wanted = max(images.field_ang) * joint.finest_per_ang / _NYQUIST
        small = images.binned(int(np.clip(wanted, _SMALLEST_PX, _LARGEST_PX)))
        shape = (int(small.stack.shape[-2]), int(small.stack.shape[-1]))
        self.mask = torch.nn.functional.interpolate(weights[:, None], shape, mode="area")[:, 0]
        self.finest = 1.2 * joint.finest_per_ang * max(small.pixel_ang)
        even = flattened(without_background(small.stack, self.mask, _BACKGROUND_PX), self.mask, self.finest)
        self.views = WorkingImages(even, small.pixel_ang, small.origin_px)
        self.joint, self.dose, self.local = joint, dose, local
        self.geometry = joint.geometry
        self.points: Array = np.zeros((0, 3))
        self.sign = 0
        self.solution: Solution | None = None
        self.matched: Matched | None = None

    def run(self, search: bool, progress: Progress) -> None:
        """One round, with the objects of the last or others."""
        if search and self.solution is not None:  # where a reconstruction looks for the specimen
            self.geometry, self.points = self._levelled()
        seen = reproject_others(
            self.views,
            self.mask,
            self.geometry,
            self.joint.thickness_ang,
            self.finest,
            objects=_OBJECTS if search else 0,
            sign=self.sign,
            progress=part_of(progress, 0.0, 0.8),
        )
        give_memory_back()
        if search:
            self.points, self.sign = seen.points_ang, seen.sign
        self.matched = match_objects(self.views, seen.predictions, self.mask, self.geometry, self.points)
        usable = int((self.matched.tracks.seen.sum(axis=0) >= 3).sum())
        if self.matched.significance < _CHANCE or usable < _FEWEST_OBJECTS:
            raise GeometryError(
                f"views do not match the reprojection of the others ({self.matched.significance:.1f} standard "
                f"deviations above chance, {usable} objects)",
                mend="nothing stands out that could be matched: use align.method = patches or coarse",
            )
        self.solution = self._solved(self.matched, bool(self.local))
        if search:  # other objects, and another frame
            self.mixing = Mixing((self.views.field_ang[0] / 2, self.views.field_ang[1] / 2))
        self.geometry = self.mixing.next(self.geometry, self.solution.geometry)
        progress(1.0, "solving")

    def _levelled(self) -> tuple[TiltGeometry, Array]:
        """The geometry in the frame of the objects' mid-plane, and the objects."""
        assert self.matched is not None
        assert self.solution is not None
        found = self.solution.tracks.points_ang
        points = np.where(np.isfinite(found), found, self.points)
        moved = level(self.geometry, points, fit_plane(points))
        return moved.geometry, moved.points_ang

    def _solved(self, matched: Matched, local: bool) -> Solution:
        """The geometry from where the objects were found."""
        over: Literal["dose", "tilt"] = "tilt" if self.dose is None else "dose"
        model = SolveModel(
            z_rot=Term(mode="smooth", prior=PRIORS["z_rot"]),
            magnification=Term(mode="free", prior=PRIORS["magnification"]),
            local=LocalTerm(kind="image", over=over, shapes=_COURSES, prior_ang=_LOCAL_ANG, fading=_FADING)
            if local
            else None,
        )
        # what is believed of a view's axis and magnification is believed of the nominal ones, not of the last round's
        axis = float(self.geometry.z_rot_deg.mean())
        start = self.geometry.with_terms(z_rot_deg=axis, magnification=1.0, field=None)
        return solve(matched.tracks, start, model, dose=self.dose, tolerance=1e-5)

    def candidate(self) -> Candidate:
        """The result."""
        assert self.solution is not None  # rounds have been run
        assert self.matched is not None
        solution = self.solution
        if self.local == "auto":
            plain = self._solved(self.matched, False)
            solution = min(solution, plain, key=lambda one: one.leave_one_out_ang)
        lost = np.flatnonzero(~solution.tracks.seen.any(axis=1)) + 1
        notes = []
        if len(lost):
            notes.append(f"nothing was matched in view {', '.join(map(str, lost))}: shifts there are from patches")
        quality = {
            "AlignTracks": float(np.isfinite(solution.tracks.points_ang[:, 0]).sum()),
            "AlignResidualAngst": solution.rms_ang,
            "AlignSigmaAngst": solution.sigma_ang,
            "AlignLeaveOneOutAngst": solution.leave_one_out_ang,
            "AlignSharedDepthAngst": self.joint.thickness_ang,
            "AlignMatchCoherence": float(self.matched.coherence[1:].max()),
        }
        return Candidate(
            method="matching", geometry=solution.geometry, solution=solution, quality=quality, notes=tuple(notes)
        )
