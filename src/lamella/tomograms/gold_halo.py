"""How far a bead reaches in the views: its mean radial profile, out to where it falls into the noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.features.bead_profile import Windows
from lamella.records import ImageSource

__all__ = ["Halo", "halo_of", "paint_radius_px"]

Array = NDArray[np.float64]

_VIEWS = 8  # from which the profile is taken
_BINS = 5  # per radius
_FARTHEST = 2.6  # radii: what is painted over at most
_GROUND = 3.0, 4.0  # radii: ring of the ground
_ALONE = 4.0  # radii: no other bead nearer than this
_LEAST = 1.3  # radii, painted in any case: edges are blurred by the pixels
_FAINT = 0.15  # of a pixel's noise
_SURE = 3.0  # standard errors
_MOST_BEADS = 200  # per view


@dataclass(frozen=True, eq=False)
class Halo:
    """Mean radial profile.

    Attributes
    ----------
    edges
        ``(k + 1,)`` of the rings, radii of a bead.
    depth, error
        ``(k,)`` mean of image minus ground over the standard deviation of the ground's pixels, and its standard error;
        NaN where no bead stands alone.
    """

    edges: Array
    depth: Array
    error: Array

    @property
    def reach(self) -> float:
        """Radius, in radii of the bead, beyond which nothing stands out of the noise."""
        with np.errstate(invalid="ignore"):
            out = (np.abs(self.depth) > np.maximum(_FAINT, _SURE * self.error)) & (self.edges[1:] <= _FARTHEST)
        return max(_LEAST, float(self.edges[1:][out].max(initial=0.0)))


def halo_of(images: ImageSource, places_px: Sequence[Array], radius_px: float) -> Halo:
    """The profile of beads that stand alone, over some views.

    Parameters
    ----------
    images
        the views.
    places_px
        per view ``(k, 2)`` (x, y) of the beads, pixels from the middle of pixel 0.
    radius_px
        of a bead.
    """
    edges = np.arange(0, _GROUND[1] + 1e-9, 1 / _BINS)
    total, count = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    for view in np.unique(np.linspace(0, len(images) - 1, _VIEWS).round().astype(int)):
        alone = _alone(places_px[int(view)], images.shape, _ALONE * radius_px)[:_MOST_BEADS]
        if len(alone):
            sums, pixels = _rings(images.view(int(view)), alone, radius_px, edges)
            total += sums
            count += pixels
    with np.errstate(invalid="ignore", divide="ignore"):
        return Halo(edges, total / count, 1 / np.sqrt(count))


def paint_radius_px(halo: Halo, radius_px: float, residual_px: float) -> float:
    """Radius that is painted over, px: a bead's reach, and what its place may be off."""
    return float(np.hypot(halo.reach * radius_px, 2 * residual_px) + 0.5)


def _alone(places: Array, shape: tuple[int, int, int], least_px: float) -> Array:
    """Places that lie far from each other and from the image's edges."""
    inside = ((places > least_px) & (places < np.array(shape[:0:-1]) - 1 - least_px)).all(axis=1)
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    alone: Array = places[inside & (apart.min(axis=1, initial=np.inf) > least_px)]
    return alone


def _rings(image: NDArray[np.float32], places: Array, radius_px: float, edges: Array) -> tuple[Array, Array]:
    """Summed depth by ring, in standard deviations of the ground, and numbers of pixels."""
    windows = Windows.cut(image, places, 2 * int(np.ceil(_GROUND[1] * radius_px)) + 1)
    x, y = (part.numpy() for part in windows.offsets(places))
    distance, pixels = np.hypot(x, y) / radius_px, windows.pixels.numpy()
    total, count = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    for far, values in zip(distance, pixels, strict=True):
        ground = values[(far > _GROUND[0]) & (far < _GROUND[1])]
        deviation = float(ground.std())
        if deviation > 0:
            number = np.digitize(far.ravel(), edges) - 1
            use = number < len(total)
            depth = (values.ravel()[use] - float(np.median(ground))) / deviation
            total += np.bincount(number[use], weights=depth, minlength=len(total))
            count += np.bincount(number[use], minlength=len(total))
    return total, count
