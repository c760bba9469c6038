"""First part of matching: large patches of all views against each other at once, from coarse detail to fine.

Gauss–Newton on the likelihood of `lamella.tilts.matching_likelihood` over all views' shifts, axis, magnification and
local field, and the patches' heights. It is linear prediction: far views share only what a slab lets them. What single
objects tell beyond that, the second part finds (`lamella.tilts.matching_volume`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.errors import GeometryError
from lamella.geometry import TiltGeometry
from lamella.parallel import each, part_of
from lamella.progress import Progress, no_progress
from lamella.tilts.level import fit_plane, level
from lamella.tilts.matching_cut import Cutter, Frequencies, PatchTerms, plane_of_patch, slopes_of_views
from lamella.tilts.matching_likelihood import PatchLikelihood, Weights
from lamella.tilts.matching_slab import SlabModel, measure_slab_model
from lamella.tilts.matching_step import Normal, view_jacobian
from lamella.tilts.matching_terms import FIELD_SHAPES, MatchTerms, Priors, field_of, field_shapes
from lamella.tilts.matching_volume import without_background
from lamella.tilts.patches import patch_grid
from lamella.tilts.working import WorkingImages

__all__ = ["JointMatch", "match_jointly"]

Array = NDArray[np.float64]

_PATCH = 0.22  # edge of a patch over the shorter side of the field
_SPACING = 0.5  # of patches, over their edge
_ROUNDS = ((192, 0.2), (384, 0.15), (384, 0.25))  # longer side of the images, finest cycles per pixel
_BACKGROUND = 0.05  # of the shorter side: standard deviation of the local mean that is taken off
_STEPS = 3  # of Gauss-Newton between two cuts
_SAMPLE = 20  # patches from which the model is measured
_FINEST = 0.45  # cycles per pixel to which the coherence is looked at in the end
_FEWEST_VIEWS = 5  # in which a patch is seen, or it is left out
_CHANCE = 6.0  # standard deviations that what views share must lie above chance


@dataclass(frozen=True, eq=False)
class JointMatch:
    """What the first part found.

    Attributes
    ----------
    geometry
        levelled, with a field where one was asked for.
    thickness_ang
        of the slab through which views share detail.
    finest_per_ang
        frequency up to which neighbouring views are coherent, cycles/Å.
    significance
        of what neighbouring views share, in standard deviations of chance.
    """

    geometry: TiltGeometry
    thickness_ang: float
    finest_per_ang: float
    significance: float


def match_jointly(
    images: WorkingImages,
    geometry: TiltGeometry,
    mask: Tensor,
    *,
    dose: Array | None = None,
    thickness_ang: float = 0.0,
    priors: Priors | None = None,
    progress: Progress = no_progress,
) -> JointMatch:
    """Bring all views together by large patches.

    Parameters
    ----------
    images, mask
        working images, and ``(n, h, w)`` what each pixel counts, 0…1.
    geometry
        the start.
    dose
        ``(n,)`` received before each view, e/Å², or None.
    thickness_ang
        of the slab; 0: found.
    priors
        how far what may change is believed to.
    progress
        told the fraction done.

    Raises
    ------
    GeometryError
        if neighbouring views share nothing.
    """
    joint = _Joint(geometry, dose, priors or Priors())
    for number, (size, finest) in enumerate(_ROUNDS):
        part = part_of(progress, number / len(_ROUNDS), (number + 1) / len(_ROUNDS))
        small = images.binned(size)
        weights = _resized(mask, small.stack.shape[-2:])
        even = without_background(small.stack, weights, _BACKGROUND * min(small.stack.shape[-2:]))
        small = WorkingImages(even, small.pixel_ang, small.origin_px)
        joint.round(small, weights, finest, thickness_ang, part)
    last = joint.measure(small, weights, _FINEST, thickness_ang)[0]
    rings = torch.nonzero(last.coherence.amax(dim=0) > 0)
    return JointMatch(
        joint.levelled(), last.thickness_ang, float(rings.max()) * last.step_per_ang, float(last.significance)
    )


class _Joint:
    """The state of the work."""

    def __init__(self, geometry: TiltGeometry, dose: Array | None, priors: Priors) -> None:
        self.start, self.dose, self.priors = geometry.with_terms(field=None), dose, priors
        self.terms: MatchTerms | None = None

    def full(self) -> TiltGeometry:
        """The geometry with its field."""
        assert self.terms is not None  # a round has been made
        if self.priors.field_ang == 0:
            return self.terms.geometry
        return self.terms.geometry.with_terms(field=field_of(self.terms.field, self.shapes))

    def levelled(self) -> TiltGeometry:
        """The geometry in the frame of the patches' mid-plane: there a reconstruction looks for the specimen."""
        assert self.terms is not None  # a round has been made
        return level(self.full(), self.terms.points_ang, fit_plane(self.terms.points_ang)).geometry

    def _begin(self, images: WorkingImages) -> MatchTerms:
        if self.terms is None:
            width, height = images.field_ang
            self.shapes = field_shapes((width / 2, height / 2))
            self.edge_ang = _PATCH * min(width, height)
            points = patch_grid(self.start, images.field_ang, 0.6 * self.edge_ang, _SPACING * self.edge_ang)
            self.terms = MatchTerms(self.start, np.zeros((len(self.start), 2, FIELD_SHAPES)), points)
        return self.terms

    def measure(
        self, images: WorkingImages, mask: Tensor, finest: float, thickness_ang: float
    ) -> tuple[SlabModel, Cutter, Frequencies]:
        """What the views share as they lie now."""
        terms = self._begin(images)
        cutter = Cutter(images, mask, 2 * int(np.ceil(self.edge_ang / max(images.pixel_ang) / 2)))
        frequencies = Frequencies.up_to(cutter.size_px, cutter.spacing_ang, finest)
        self.plane = plane_of_patch(terms.geometry, self._gradient())
        self.slopes = slopes_of_views(terms.geometry, self._gradient())
        self.places = self.full().project(terms.points_ang)
        count = len(terms.points_ang)
        chosen = np.unique(np.linspace(0, count - 1, min(count, _SAMPLE)).round().astype(int))
        some = [cutter.cut(self.places[:, patch], self.plane, frequencies) for patch in chosen]
        order = np.argsort(terms.geometry.y_tilt_deg, kind="stable")
        model = measure_slab_model(
            some,
            self.slopes,
            self.plane,
            order,
            frequencies,
            cutter.blur_per_ang,
            cutter.independent,
            thickness_ang,
        )
        if model.significance < _CHANCE:
            raise GeometryError(
                f"neighbouring views share nothing ({model.significance:.1f} standard deviations above chance)",
                mend="nothing can be matched: begin from a better geometry, or use align.method = coarse",
            )
        return model, cutter, frequencies

    def _gradient(self) -> Array:
        """Slope (x, y) of the plane through the patches."""
        assert self.terms is not None  # begun
        points = self.terms.points_ang
        design = np.column_stack([points[:, :2], np.ones(len(points))])
        return np.asarray(np.linalg.lstsq(design, points[:, 2], rcond=None)[0][:2])

    def round(
        self, images: WorkingImages, mask: Tensor, finest: float, thickness_ang: float, progress: Progress
    ) -> None:
        """Cut all patches where the geometry says, and take a few steps."""
        model, cutter, frequencies = self.measure(images, mask, finest, thickness_ang)
        terms = self.terms
        assert terms is not None  # measured
        low = frequencies.chosen(model.useful(frequencies, self.plane))
        covariance = model.covariance(self.slopes, low, self.plane)
        precision = torch.linalg.inv(covariance)
        patches = each(lambda patch: self._whitened(cutter, model, low, patch), range(len(terms.points_ang)))
        weights: dict[bytes, Weights] = {}
        ready: list[PatchLikelihood | None] = []
        for cut in patches:
            if cut.seen.sum() < _FEWEST_VIEWS:
                ready.append(None)
                continue
            key = cut.seen.tobytes()
            if key not in weights:
                weights[key] = Weights.of(covariance, precision, cut.seen, low)
            ready.append(PatchLikelihood(cut.terms, weights[key], low))
        progress(0.5, "matching patches")
        # patches that overlap show the same data, and a window makes neighbouring terms alike
        area = np.prod(np.ptp(terms.points_ang[:, :2], axis=0) + 0.6 * self.edge_ang)
        share = cutter.independent * min(1.0, float(area) / (len(terms.points_ang) * cutter.area_ang2))
        self.terms = self._stepped(terms, ready, share)
        progress(1.0, "matching patches")

    def _whitened(self, cutter: Cutter, model: SlabModel, low: Frequencies, patch: int) -> PatchTerms:
        cut = cutter.cut(self.places[:, patch], self.plane, low)
        return PatchTerms(model.whitened(cut.terms, low, self.plane), cut.seen)

    def _stepped(self, terms: MatchTerms, patches: list[PatchLikelihood | None], share: float) -> MatchTerms:
        """A few steps of Gauss-Newton on the patches as they were cut."""
        n = len(terms.geometry)
        jacobians = [view_jacobian(terms.geometry, point, self.shapes) for point in terms.points_ang]
        inverse = np.linalg.inv(self.plane)
        values = terms.values(self.start)
        moved, raised = np.zeros_like(values), np.zeros(len(terms.points_ang))
        for _ in range(_STEPS):
            normal = Normal(terms.geometry, terms.points_ang, self.dose, self.priors)
            for number, patch in enumerate(patches):
                if patch is None:
                    continue
                by_view, by_height = jacobians[number]
                place = np.einsum("nia,na->ni", by_view, moved) + by_height * raised[number]
                _, slope = patch.gradient(np.einsum("nij,nj->ni", inverse, place))
                information = share * patch.weights.information
                normal.add(number, by_view, by_height, self.plane, share * slope, information)
            step = normal.step(values + moved, terms.points_ang[:, 2] + raised)
            moved = moved + step[: moved.size].reshape(n, -1)
            raised = raised + step[moved.size :]
        return terms.stepped(np.concatenate([moved.ravel(), raised]))


def _resized(mask: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``(n, h, w)`` weights on fewer pixels."""
    if tuple(mask.shape[-2:]) == tuple(shape):
        return mask
    return torch.nn.functional.interpolate(mask[:, None], tuple(shape), mode="area")[:, 0]
