"""Whether a template has the hand of the particles in a tomogram."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lamella.parallel import part_of
from lamella.particles.peak_poses import Poses, orient_points, polish_poses
from lamella.particles.search_plan import SearchPlan
from lamella.particles.template import Template
from lamella.particles.template_weights import SearchWeights
from lamella.progress import Progress, no_progress
from lamella.records import VolumeSource

__all__ = ["FEWEST_PLACES", "HandTest", "compare_hands"]

Array = NDArray[np.float64]

SURE, DOUBT = 4.0, 2.5
"""In standard errors of the mean difference: from which the template is said to fit better, and its mirror image.

The places were chosen by the template's score, which favours it: the mirror image needs less.
"""
_PLACES = 16
FEWEST_PLACES = 4
_FINEST = 8.0  # part of the search's step to which orientations are polished


@dataclass(frozen=True, kw_only=True)
class HandTest:
    """What a template and its mirror image score at the same places.

    Attributes
    ----------
    own, mirrored
        mean score of the template, and of its mirror image.
    margin
        mean of the differences over its standard error; positive where the template fits better.
    places
        how many.
    """

    own: float
    mirrored: float
    margin: float
    places: int

    @property
    def wrong(self) -> bool:
        """Whether the mirror image fits better beyond doubt."""
        return self.margin <= -DOUBT

    def sentence(self) -> str:
        """What was found, for people."""
        scores = f"{self.own:.1f} at the {self.places} best places, its mirror image {self.mirrored:.1f}"
        more = f"{abs(self.margin):.0f} standard errors"
        if self.wrong:
            return (
                f"WRONG HAND? the template scores {scores} ({more} more): the template or the tomogram is of the other "
                "hand; see which with ctf's hand, and mirror the template or align anew with the axis turned by 180°"
            )
        if self.margin >= SURE:
            return f"the template's hand fits: it scores {scores} ({more} less)"
        return f"the template's hand makes no difference here: it scores {scores}"


def compare_hands(
    volume: VolumeSource,
    template: Template,
    weights: SearchWeights,
    plan: SearchPlan,
    symmetry: str,
    poses: Poses,
    *,
    progress: Progress = no_progress,
) -> HandTest | None:
    """Compare a template with its mirror image where it scored best; None where it did at too few places.

    Parameters
    ----------
    volume, template, weights, plan
        as for the search.
    symmetry
        of the template: its mirror image has the same.
    poses
        the picks, the best first.

    Notes
    -----
    The best pose of the mirror image is another than the template's, so at each place both are turned through all
    orientations of the search and then polished, alike.
    """
    some = poses.select(np.arange(min(_PLACES, len(poses.scores))))
    if len(some.scores) < FEWEST_PLACES:
        return None
    scores = [
        _best_scores(volume, one, weights, plan, symmetry, some.places_px, part_of(progress, begin, begin + 0.5))
        for one, begin in ((template, 0.0), (template.mirrored(), 0.5))
    ]
    more: Array = scores[0] - scores[1]
    error = float(more.std(ddof=1)) / math.sqrt(len(more))
    return HandTest(
        own=float(scores[0].mean()), mirrored=float(scores[1].mean()), margin=float(more.mean()) / max(error, 1e-9),
        places=len(more),
    )  # fmt: skip


def _best_scores(
    volume: VolumeSource,
    template: Template,
    weights: SearchWeights,
    plan: SearchPlan,
    symmetry: str,
    places_px: Array,
    progress: Progress,
) -> Array:
    """``(n,)`` of the best of all orientations at and near places: at the search's detail first, then at the finest."""
    coarse = replace(plan, resolution_ang=plan.search_resolution_ang)
    up = np.tile([0.0, 0.0, 1.0], (len(places_px), 1))  # no orientation leans farther from it than 180°
    start = orient_points(
        volume, template, weights, places_px, up, plan=coarse, symmetry=symmetry, progress=part_of(progress, 0, 0.7)
    )
    return polish_poses(
        volume, template, weights, start, highest_px=template.voxel_size_ang / plan.resolution_ang,
        step_deg=plan.step_deg / 2, finest_deg=plan.step_deg / _FINEST, progress=part_of(progress, 0.7, 1),
    ).scores  # fmt: skip
