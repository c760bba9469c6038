"""A tomogram by rounds of correction, from stored views to finished slabs: SIRT, SART, and how many rounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lamella.errors import ImageError, InputError, PostconditionError
from lamella.geometry import TiltGeometry
from lamella.kernels.rows import Box
from lamella.kernels.sampling import ImageGrid
from lamella.progress import Progress
from lamella.records import VolumeSource
from lamella.tomograms.held_out import LEAST_VIEWS, HeldOut, choose_rounds, held_out_views
from lamella.tomograms.iterations import Slabs, iterate_views
from lamella.tomograms.memory import MemoryBudget
from lamella.tomograms.reconstruct_settings import ReconstructSettings
from lamella.tomograms.reprojection import Reprojection
from lamella.tomograms.scheme import plan_scheme
from lamella.tomograms.slabs import Output
from lamella.tomograms.tilt_images import StoredViews

__all__ = ["Rounds", "check_mask", "fit_rounds"]

_MOST_ROUNDS = {"sirt": 100, "sart": 30}  # that are tried
_TRIAL = 0.3  # of the work


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """How an iterative reconstruction went.

    Attributes
    ----------
    count
        rounds that were made.
    residual
        what the rounds before the last left of the views' difference from the projected voxels, as a root mean square
        over that at the start; 1 where there was one round.
    held_out
        how the number was chosen; None where it was stated.
    """

    count: int
    residual: float
    held_out: HeldOut | None = None

    def in_words(self) -> str:
        """A sentence's end: ``15 rounds …``."""
        words = f"{self.count} round{'s' if self.count > 1 else ''}"
        if self.count > 1:
            words += f", {self.residual:.1%} of the views' difference left"
        if self.held_out is None:
            return words
        held = self.held_out
        words += f"; {len(held.views)} views that were left out are predicted best after {held.best}"
        return words + (", the last that was tried" if held.at_the_limit else "")


def fit_rounds(
    stored: StoredViews,
    geometry: TiltGeometry,
    grid: ImageGrid,
    box: Box,
    settings: ReconstructSettings,
    output: Output,
    *,
    sign: int,
    mask: VolumeSource | None,
    budget: MemoryBudget,
    check: Reprojection | None,
    progress: Progress,
) -> tuple[int, Rounds]:
    """Fit the voxels of a box to stored views and pass them to `output`, slab by slab.

    Parameters
    ----------
    stored, geometry, grid, box
        see `Slabs`.
    settings
        ``method``, ``iterations``, ``relaxation`` and ``subsets``.
    sign
        see `Scheme`.
    mask
        voxels where it is 0 stay 0.

    Returns
    -------
    number of slabs, and how the rounds went.

    Raises
    ------
    InputError
        if views are to be held out and there are too few of them.
    SettingsError
        if there are more subsets than views, or no room for a slab.
    PostconditionError
        if the last round met the views worse than the first.
    """
    held_out, count = None, settings.iterations
    tilts = geometry.y_tilt_deg
    if count == "auto":
        if len(geometry) < LEAST_VIEWS:
            raise InputError(
                f"{len(geometry)} views are too few to hold some of them out",
                mend="set reconstruct.iterations to a number",
            )
        left_out = held_out_views(tilts)
        trial = plan_scheme(tilts, settings, sign=sign, without=left_out)
        held_out = choose_rounds(
            Slabs(stored, geometry, grid, box, trial, mask), left_out, most=_MOST_ROUNDS[settings.method],
            budget=budget, progress=lambda part, text="": progress(_TRIAL * part, text),
        )  # fmt: skip
        count = held_out.rounds
    begin = 0.0 if held_out is None else _TRIAL
    fit = iterate_views(
        Slabs(stored, geometry, grid, box, plan_scheme(tilts, settings, sign=sign), mask), output, rounds=count,
        budget=budget, check=check, progress=lambda part, text="": progress(begin + (1 - begin) * part, text),
    )  # fmt: skip
    if count > 1 and not fit.residual_last < fit.residual_first:
        raise PostconditionError(
            f"{count} rounds of {settings.method} led away from the views: their difference grew {fit.left:.3g}-fold",
            mend="lower reconstruct.relaxation",
        )
    return fit.slabs, Rounds(count=count, residual=fit.left, held_out=held_out)


def check_mask(mask: VolumeSource, box: Box, name: str = "the mask") -> None:
    """Raise `ImageError` where a mask has another shape than the box, holds NaN, or lets no voxel through."""
    if tuple(mask.shape) != box.shape:
        theirs, ours = (" × ".join(str(n) for n in reversed(shape)) for shape in (mask.shape, box.shape))
        raise ImageError(
            f"{name} has {theirs} voxels (x, y, z), the tomogram {ours}",
            mend="make it from a tomogram of the same reconstruct.pixel_size, thickness, size_x and size_y",
        )
    nz, ny, nx = box.shape
    lets_through = False
    for z in range(nz):
        plane = mask.block(slice(z, z + 1), slice(0, ny), slice(0, nx))
        if not np.isfinite(plane).all():
            raise ImageError(
                f"{name} holds NaN or infinity in plane {z + 1}", mend="mend the mask: 0 outside, 1 inside"
            )
        lets_through = lets_through or bool((plane != 0).any())
    if not lets_through:
        raise ImageError(f"{name} is 0 everywhere", mend="give one that lets voxels through")
