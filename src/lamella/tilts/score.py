"""The score of a geometry: how well each view is predicted by others, which never saw it.

Predicted it is in two ways. A tomogram is made without a view and those next to it, and what stands out of it is
reprojected (`lamella.tilts.score_reprojection`): objects lie in one place, and any error of the geometry smears them.
And tiles of the view are predicted linearly, from what a slab's views share (`lamella.tilts.held_out`): from all other
views, from views beyond its neighbours, and from distant views. View and prediction are compared by Fourier ring
correlation, and the information in that is taken over what the views' own spectra promise: 0 where they share nothing,
1 for a prediction without error. No shift is looked for.

The value is that of reprojections, but for two parts in a hundred. Linear prediction alone ranks shifts well, but
hardly sees errors of tilt angles: they move tiles smoothly from view to view, and a slab's far views share coarse
detail only. It still tells geometries apart that are too wrong for objects to stand out, and by its failures what is
wrong: under a wrong axis neighbours agree, under shuffled angles distant views do.

In ten simulated series the value lost is about 1 − exp(−c · e²) for an error of e px, with much the same c for shifts,
single tilt angles, magnification and a wandering axis; a common error of the axis counts as one of three quarters its
size, a common stretch of the tilt angles and a left-out field as one of half.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lamella.errors import GeometryError
from lamella.geometry import TiltGeometry
from lamella.tilts.held_out import RINGS, RingSums, cross_spectra, held_out_sums, promised_spectra
from lamella.tilts.score_reprojection import reprojected_sums
from lamella.tilts.score_spectra import FINEST, view_spectra
from lamella.tilts.score_tiles import TermLayout, TileFrame, cut_tiles, tile_centres, tile_depths
from lamella.tilts.working import SpecimenShape, WorkingImages

__all__ = ["Score", "Verdict", "held_out_score", "verdict"]

Array = NDArray[np.float64]
Verdict = Literal["good", "doubtful", "failed"]

_LONGEST_PX = 512
_TILE = 0.25  # of the shorter side
_SMALLEST_TILE_PX = 32
_FAR, _DISTANT = 0.075, 0.3  # of the range of tilts: views nearer than this are left out of a prediction
_SLAB = 0.02  # of the value: by linear prediction, which leads while errors are too large for objects to stand out
_USUAL_THICKNESS_ANG = 1500.0
_STEP_DEG, _STEEPEST_DEG = 0.5, 80.0
# of linear prediction: true geometries of simulated series reach 0.26 (a lamella) or more, wrong axes and shuffled
# angles 0.03 in one of near and far
_FAILED, _DOUBTFUL = 0.1, 0.25
_CLEAR = 0.05  # of reprojections: true geometries reach 0.1 or more, errors of 3 px half of that, wrong ones 0.006
_LOST = 0.1  # of what is expected of a view: it agrees with nothing
_MANY_LOST = 0.3  # of the views


@dataclass(frozen=True, kw_only=True, eq=False)
class Score:
    """How well a geometry predicts each view from the others.

    Attributes
    ----------
    value
        0.98 · reprojected + 0.02 · (near · far · distant²)^¼: 0 where views share nothing.
    near, far, distant
        information in the agreement with predictions from all other views, from views beyond the neighbours (9° for a
        range of 120°), and from distant views (36°), over what the views' spectra promise a perfect geometry.
    reprojected
        information in the agreement with reprojections of tomograms without the view and its neighbours, over what a
        prediction without error would give.
    per_view
        ``(n,)`` agreement of each view over what is expected of it.
    frequency
        ``(rings,)`` 1/Å.
    correlation
        ``(rings,)`` Fourier ring correlation of views and predictions from all others.
    significance
        of the agreement with distant views, standard deviations of chance.
    """

    value: float
    near: float
    far: float
    distant: float
    reprojected: float
    per_view: Array
    frequency: Array
    correlation: Array
    significance: float

    @property
    def lost_views(self) -> NDArray[np.int64]:
        """Views, counted from 0, that agree with no prediction."""
        return np.flatnonzero(self.per_view < _LOST)


def held_out_score(
    images: WorkingImages,
    geometry: TiltGeometry,
    thickness_ang: float = _USUAL_THICKNESS_ANG,
    shape: SpecimenShape = "film",
    mask: Tensor | None = None,
) -> Score:
    """Score a geometry.

    Parameters
    ----------
    images
        working images; those over 512 px are binned.
    geometry
        to be scored, in any frame.
    thickness_ang
        of the specimen, about. Geometries that are to be compared must be scored with the same.
    shape
        a film is followed in its plane; a compact object without foreshortening.
    mask
        ``(n, a, b)`` how much each pixel counts, 0…1, in any sampling; None: as the images have it.

    Raises
    ------
    GeometryError
        if there are fewer than three views, or not as many as images.
    """
    if len(geometry) != len(images):
        raise GeometryError(f"a geometry of {len(geometry)} views for {len(images)} images", mend="give one per view")
    if len(images) < 3:
        raise GeometryError(f"{len(images)} views", mend="a view is predicted by two others at least: give three")
    small = images.masked(mask).binned(_LONGEST_PX) if mask is not None else images.binned(_LONGEST_PX)
    frame = TileFrame.of(geometry, shape)
    edge = max(2 * round(_TILE * min(small.stack.shape[-2:]) / 2), _SMALLEST_TILE_PX)
    spacing = max(small.pixel_ang)
    centres = tile_centres(frame, small.field_ang, edge * spacing)
    centres[:, 2] = _depths(small, frame, centres, edge * spacing, thickness_ang)
    own = view_spectra(small)
    order = np.argsort(geometry.y_tilt_deg, kind="stable")
    found = cross_spectra(cut_tiles(small, own, frame, centres, edge), frame, spacing, thickness_ang)
    even = TileFrame.of(_even(geometry, order), shape)
    layout = TermLayout.of(own, even, edge)
    promised = promised_spectra(layout, even, spacing, thickness_ang, len(centres))
    sums = [(held_out_sums(found, order, gap), held_out_sums(promised, order, gap)) for gap in _gaps(geometry)]
    near, far, distant = (_reached(*pair) for pair in sums)
    by_slab = float((max(near, 0.0) * max(far, 0.0) * max(distant, 0.0) ** 2) ** 0.25)
    depth = float(np.median(centres[:, 2]))
    reprojected = _reached(*reprojected_sums(small, own, frame, depth, thickness_ang))
    return Score(
        value=(1 - _SLAB) * max(reprojected, 0.0) + _SLAB * by_slab,
        near=near,
        far=far,
        distant=distant,
        reprojected=reprojected,
        per_view=0.5 * (_per_view(*sums[0]) + _per_view(*sums[1])),
        frequency=(np.arange(RINGS) + 0.5) * FINEST / RINGS / spacing,
        correlation=sums[0][0].correlation(),
        significance=_significance(sums[1][0]),
    )


def _even(geometry: TiltGeometry, order: NDArray[np.int64]) -> TiltGeometry:
    """Views at even steps about the untilted one, in the same order.

    What is promised is reckoned for them, so that it is the same for all geometries of a series: a geometry whose tilts
    are stretched must not be measured against less.
    """
    n = len(order)
    step = float(np.median(np.diff(geometry.y_tilt_deg[order])))
    step = max(np.round(step / _STEP_DEG), 1) * _STEP_DEG
    step = min(step, 2 * _STEEPEST_DEG / (n - 1))
    tilts = np.empty(n)
    tilts[order] = (np.arange(n) - (n - 1) / 2) * step
    return TiltGeometry.from_angles(tilts)


def _gaps(geometry: TiltGeometry) -> tuple[int, int, int]:
    """How many neighbours on each side are left out of the three predictions."""
    n = len(geometry)
    most = max((n - 1) // 2, 1)
    far, distant = (min(max(1, round(part * (n - 1))), most) for part in (_FAR, _DISTANT))
    return 0, far, distant


def _depths(images: WorkingImages, frame: TileFrame, centres: Array, edge_ang: float, thickness_ang: float) -> Array:
    """Depth of each tile's content, from images of half the size."""
    coarse = images.binned(max(images.stack.shape[-2:]) // 2)
    spacing = max(coarse.pixel_ang)
    tiles = cut_tiles(coarse, view_spectra(coarse), frame, centres, max(2 * round(edge_ang / spacing / 2), 16))
    return tile_depths(tiles, frame, spacing, thickness_ang)


def _information(sums: RingSums) -> float:
    """Information of the rings' correlations, nats: −½ log(1 − FRC²) for each independent term."""
    correlation = np.clip(sums.correlation(), -0.999, 0.999)
    return float((-0.5 * np.log(1 - correlation**2) * np.sign(correlation) * sums.count.sum(axis=0)).sum())


def _reached(found: RingSums, expected: RingSums) -> float:
    promised = _information(expected)
    return _information(found) / promised if promised > 0 else 0.0


def _per_view(found: RingSums, expected: RingSums) -> Array:
    """``(n,)`` correlation of each view with its prediction, over the expected one.

    Of a view whose own spectrum promises little, half of what the others promise is expected: blank views agree with
    nothing, and shall not look good for it.
    """
    agreed, promised = found.view_correlation(), expected.view_correlation()
    least = 0.5 * float(np.median(promised))
    return agreed / np.maximum(promised, least) if least > 0 else np.zeros_like(agreed)


def _significance(sums: RingSums) -> float:
    """Of the agreement, in deviations of chance: views that share nothing have Var Σ f·p = ½ Σ f² · p²."""
    chance = np.divide(sums.view * sums.prediction, sums.count, out=np.zeros_like(sums.count), where=sums.count > 0)
    total = 0.5 * float(chance.sum())
    return float(sums.product.sum()) / np.sqrt(total) if total > 0 else 0.0


def verdict(score: Score) -> tuple[Verdict, str]:
    """What a score says of an alignment, and why, in words.

    Both linear predictions must succeed: under a wrong axis neighbours still agree, under shuffled angles distant views
    do. Where the farther ones are poor, as in a specimen that is thick or inclined, a clear reprojection dispels doubt.
    """
    weakest = min(score.near, score.far)
    lost = score.lost_views + 1
    near, far = (100 * min(max(part, 0.0), 1.0) for part in (score.near, score.far))
    told = (
        f"views reach {near:.0f} % of the agreement with all others that their noise allows, and {far:.0f} % of that "
    )
    told += "with views beyond their neighbours"
    if weakest < _FAILED:
        return "failed", f"{told}: the geometry is wrong, or the views show nothing that they share"
    if len(lost) > _MANY_LOST * len(score.per_view):
        return "failed", f"{len(lost)} of {len(score.per_view)} views agree with no prediction: {_listed(lost)}"
    if weakest < _DOUBTFUL and score.reprojected < _CLEAR:
        return "doubtful", f"{told}: less than a good geometry of most specimens does"
    if len(lost):
        return "doubtful", f"{told}; {_listed(lost)} with no prediction"
    return "good", told


def _listed(views: NDArray[np.int64]) -> str:
    return f"view{'s' if len(views) > 1 else ''} {', '.join(str(view) for view in views)}"
