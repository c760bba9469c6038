"""Gold beads in three dimensions: found in the views of an aligned series, whatever it was aligned by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from lamella.errors import ProjectError
from lamella.features.bead_diameter import LARGEST_ANG, find_diameter
from lamella.features.beads import Spots, find_spots, typical_contrast
from lamella.geometry import TiltGeometry
from lamella.parallel import each, part_of
from lamella.progress import Progress, no_progress
from lamella.records import ImageSource, TiltSeries
from lamella.tomograms.gold_vote import Placed, SpotViews, vote

__all__ = ["GoldBeads", "find_gold", "gold_diameter"]

Array = NDArray[np.float64]

_WORK_PX = 4.5  # across a bead in the reduced pictures in which it is looked for
_LEAST_DIAMETER_PX = 3.0
_SIZED_VIEWS = 3
_DEPTHS = 0.5, 1.8  # of the typical contrast: what may be a bead
_ABSORBS_PER_ANG = 0.003
"""Of a beam through a bead's middle; gold takes 0.009 at 300 kV, ice and protein 0.0005."""
_MARGIN_ANG = 1000.0  # above and below a specimen of measured thickness
_HEIGHT_ANG = 3000.0  # where it was not measured
_ZERO_KEPT = 2.0  # least mean over standard deviation of an image that says how much of the beam comes through
_LOOSE = 0.75, 0.3  # likeness at least, and contrast off the beads' by at most this part of it
_LOOSE_APART = 0.35  # of a diameter, from any bead
_OPAQUE = 0.45  # of a view's level: ground that lets less through is a film or a grid bar
_BELIEVED = 0.06  # of a diameter: if places fit the geometry to this, the geometry says where a bead lies


@dataclass(frozen=True, kw_only=True, eq=False)
class GoldBeads:
    """Beads of one series.

    Attributes
    ----------
    points_ang
        ``(k, 3)`` xyz, Å from the tomogram's centre voxel.
    diameter_ang
        of the beads.
    places_ang
        ``(n, k, 2)`` (x, y) of each in each view, Å from the image's centre pixel.
    loose_ang
        per view ``(l, 2)`` spots that look like the beads in every way, but are seen in too few views to be placed.
    views_seen, views_shown
        ``(k,)`` number of views in which it was seen, and whose field it lies in.
    contrast
        median part of the beam that a bead's middle takes away; 0 where none was found.
    residual_ang
        root mean square distance of what was seen from what the geometry says, Å.
    why_none
        where no bead was found: the reason, in words.
    """

    points_ang: Array
    diameter_ang: float
    places_ang: Array
    loose_ang: tuple[Array, ...]
    views_seen: NDArray[np.int64]
    views_shown: NDArray[np.int64]
    contrast: float = 0.0
    residual_ang: float = 0.0
    why_none: str = ""

    def __len__(self) -> int:
        return len(self.points_ang)

    def in_views(self) -> tuple[Array, ...]:
        """Per view ``(m, 2)`` (x, y) of all that is gold there, Å from the image's centre pixel."""
        return tuple(np.concatenate(both) for both in zip(self.places_ang, self.loose_ang, strict=True))

    @classmethod
    def none(cls, views: int, why: str, diameter_ang: float = 0.0) -> GoldBeads:
        """No bead, and why."""
        nothing = np.zeros(0, dtype=np.int64)
        return cls(
            points_ang=np.empty((0, 3)), diameter_ang=diameter_ang, places_ang=np.empty((views, 0, 2)),
            loose_ang=(np.empty((0, 2)),) * views, views_seen=nothing, views_shown=nothing, why_none=why,
        )  # fmt: skip


def gold_diameter(series: TiltSeries, stated_ang: float = 0.0) -> float:
    """Diameter of the beads, Å, as it is stated or as the alignment knew it; 0 where nobody knows it."""
    return stated_ang or float(series.quality.get("AlignBeadDiameterAngst", 0.0))


def find_gold(
    series: TiltSeries,
    images: ImageSource,
    *,
    diameter_ang: float = 0.0,
    progress: Progress = no_progress,
) -> GoldBeads:
    """Find the gold beads of an aligned series.

    Parameters
    ----------
    series, images
        with geometry; bright field, with the images' zero kept if the alignment did not follow beads itself.
    diameter_ang
        of the beads; 0: the alignment's, else measured in the least tilted views.
    progress
        told the fraction of the work that is done.

    Raises
    ------
    ProjectError
        if the series has no geometry.

    Notes
    -----
    Spots of a bead's shape are found in every view, linked in three dimensions (`gold_vote`), and are beads where most
    views that show the place have one, of like contrast, that takes as much of the beam as only metal does. Films have
    no round spots that stay at one place; ribosomes and ice are not dark enough.
    """
    if series.geometry is None:
        raise ProjectError(f"{series.name}: the views are not aligned", mend="run align first")
    if series.imaging == "dark":
        return GoldBeads.none(len(series), "they are looked for in bright field alone")
    diameter = gold_diameter(series, diameter_ang)
    known = diameter > 0
    if not known:
        diameter, why = _measured(series, images)
        if why:
            return GoldBeads.none(len(series), why)
    if diameter < _LEAST_DIAMETER_PX * series.pixel_size_ang:
        px = diameter / series.pixel_size_ang
        return GoldBeads.none(len(series), f"beads of {diameter / 10:.1f} nm are only {px:.1f} pixels across", diameter)
    spots = _spots(images, diameter / series.pixel_size_ang, part_of(progress, 0.0, 0.9))
    views = _views(spots, series, series.geometry, diameter)
    placed = _alike(vote(views, _height(series)), spots)
    found = _found(placed, spots, views, series, series.geometry)
    if not len(found):
        return GoldBeads.none(len(series), f"nothing like a bead of {diameter / 10:.1f} nm was found", diameter)
    if not _dark_enough(found.contrast, diameter) and not (known and not _zero_kept(images)):
        return GoldBeads.none(len(series), _too_bright(found.contrast, diameter), diameter)
    progress(1.0, "beads found")
    return found


def _measured(series: TiltSeries, images: ImageSource) -> tuple[float, str]:
    """Diameter of the heaviest round spots, Å, and why it is none of a bead, if so."""
    near = np.argsort(np.abs(series.tilt_deg), kind="stable")[: 2 * _SIZED_VIEWS : 2]
    film = LARGEST_ANG / series.pixel_size_ang
    pictures = [_without_film(np.asarray(images.view(int(view)), dtype=np.float32), film) for view in near]
    if not _zero_kept(images):
        return 0.0, "the images do not say how much of the beam comes through; reconstruct.gold_diameter states a size"
    found = find_diameter(pictures, series.pixel_size_ang)
    if not found.diameter_ang:
        return 0.0, "nothing round was found in the least tilted views"
    if not _dark_enough(found.contrast, found.diameter_ang):
        return 0.0, _too_bright(found.contrast, found.diameter_ang)
    return found.diameter_ang, ""


def _zero_kept(images: ImageSource) -> bool:
    """Whether the images are of the beam that comes through, their zero kept."""
    image = images.view(len(images) // 2)
    return float(np.median(image)) > _ZERO_KEPT * float(image.std())


def _dark_enough(contrast: float, diameter_ang: float) -> bool:
    return contrast > 1 - float(np.exp(-_ABSORBS_PER_ANG * diameter_ang))


def _too_bright(contrast: float, diameter_ang: float) -> str:
    return (
        f"the heaviest round things, {diameter_ang / 10:.0f} nm across, take {100 * contrast:.0f} % of the beam: gold "
        "takes more"
    )


def _spots(images: ImageSource, diameter_px: float, progress: Progress) -> list[Spots]:
    """Spots of every view that are as dark as beads are, those most like a ball first."""

    border = int(np.ceil(diameter_px / 2))

    def one(view: int) -> Spots:
        image = np.asarray(images.view(view), dtype=np.float32)
        # mirrored, beads that an image's edge cuts are nearly whole
        found = find_spots(np.pad(image, border, mode="symmetric"), diameter_px, "bright", work_px=_WORK_PX)
        spots = Spots(found.places_px - border, found.likeness, found.contrast)
        return spots.select(_lets_through(image, spots.places_px, diameter_px))

    spots = each(one, range(len(images)), progress, "looking for gold")
    typical = typical_contrast(
        *(np.concatenate([getattr(s, name) for s in spots]) for name in ("contrast", "likeness"))
    )
    low, high = (share * typical for share in _DEPTHS)
    deep = [one.select((one.contrast > low) & (one.contrast < high)) for one in spots]
    return [one.select(np.argsort(-one.likeness, kind="stable")) for one in deep]


def _lets_through(image: NDArray[np.float32], places_px: Array, diameter_px: float) -> NDArray[np.bool_]:
    """Which places have ground round them that lets most of the beam through: an opaque film has texture of its own."""
    through, cell = _transparent(image, diameter_px)
    column, row = (places_px / cell).astype(np.int64).T
    height, width = through.shape
    at: NDArray[np.bool_] = through[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    return at


def _without_film(image: NDArray[np.float32], diameter_px: float) -> NDArray[np.float32]:
    """The picture with its level in place of what is opaque and much larger than a bead."""
    through, cell = _transparent(image, diameter_px)
    if through.all():
        return image
    rows, columns = (
        np.minimum(np.arange(n) // cell, size - 1) for n, size in zip(image.shape, through.shape, strict=True)
    )
    return np.where(through[np.ix_(rows, columns)], image, np.float32(np.median(image)))


def _transparent(image: NDArray[np.float32], diameter_px: float) -> tuple[NDArray[np.bool_], int]:
    """Cells of half a diameter whose surroundings let most of the beam through, and their edge, px."""
    cell = max(1, min(round(diameter_px / 2), min(image.shape) // 4))
    height, width = (n // cell for n in image.shape)
    pooled = image[: height * cell, : width * cell].reshape(height, cell, width, cell).mean(axis=(1, 3))
    level = float(np.median(image))
    if level <= _ZERO_KEPT * float(np.median(np.abs(image - level))):
        return np.ones(pooled.shape, dtype=bool), cell
    through: NDArray[np.bool_] = median_filter(pooled, 7, mode="nearest") > _OPAQUE * level
    return through, cell


def _views(spots: Sequence[Spots], series: TiltSeries, geometry: TiltGeometry, diameter_ang: float) -> SpotViews:
    """Spots in Å, the local field taken off."""
    height, width = series.image_shape_px
    centre = np.array([width // 2, height // 2])
    places = [(one.places_px - centre) * series.pixel_size_ang for one in spots]
    plain = geometry.with_terms(field=None)
    if geometry.field is not None:
        for view, here in enumerate(places):
            alone = geometry.select([view])
            places[view] = plain.select([view]).project(alone.back_project(here[None], 0.0)[0])[0]
    return SpotViews(
        tuple(places), plain.matrices(), plain.shifts_ang(),
        np.array([-0.5 - centre, [width - 0.5, height - 0.5] - centre]) * series.pixel_size_ang, diameter_ang,
    )  # fmt: skip


def _height(series: TiltSeries) -> float:
    return _HEIGHT_ANG if series.thickness_ang is None else series.thickness_ang / 2 + _MARGIN_ANG


def _contrasts(placed: Placed, spots: Sequence[Spots]) -> Array:
    """``(n, k)`` contrast of each thing's spot in each view, NaN where it has none."""
    out = np.full(placed.spots.shape, np.nan)
    for view, one in enumerate(spots):
        seen = placed.spots[view] >= 0
        out[view, seen] = one.contrast[placed.spots[view, seen]]
    return out


def _alike(placed: Placed, spots: Sequence[Spots]) -> Placed:
    """Those whose contrast, over their views, is that of the others."""
    if not len(placed):
        return placed
    own = np.nanmedian(_contrasts(placed, spots), axis=0)
    low, high = (share * float(np.median(own)) for share in _DEPTHS)
    return placed.select((own > low) & (own < high))


def _found(
    placed: Placed, spots: Sequence[Spots], views: SpotViews, series: TiltSeries, geometry: TiltGeometry
) -> GoldBeads:
    """The beads, each placed in every view."""
    if not len(placed):
        return GoldBeads.none(len(series), "nothing was found", views.diameter_ang)
    height, width = series.image_shape_px
    centre = np.array([width // 2, height // 2])
    spotted = [(one.places_px - centre) * series.pixel_size_ang for one in spots]
    places = geometry.project(placed.points_ang)
    observed = places.copy()
    for view, here in enumerate(spotted):
        seen = placed.spots[view] >= 0
        observed[view, seen] = here[placed.spots[view, seen]]
    squares = ((observed - places) ** 2).sum(axis=-1)[placed.spots >= 0]
    residual = float(np.sqrt(np.median(squares) / np.log(2)))  # of a Rayleigh distribution
    places = places if residual < _BELIEVED * views.diameter_ang else observed
    contrast = _contrasts(placed, spots)
    loose = [
        here[_like_beads(one, contrast[view]) & _far_off(here, places[view], _LOOSE_APART * views.diameter_ang)]
        for view, (one, here) in enumerate(zip(spots, spotted, strict=True))
    ]
    return GoldBeads(
        points_ang=placed.points_ang,
        diameter_ang=views.diameter_ang,
        places_ang=places,
        loose_ang=tuple(loose),
        views_seen=(placed.spots >= 0).sum(axis=0),
        views_shown=placed.shown.sum(axis=0),
        contrast=float(np.nanmedian(contrast)),
        residual_ang=residual,
    )


def _like_beads(spots: Spots, contrast: Array) -> NDArray[np.bool_]:
    """Which spots of a view are as round and as dark as the beads that it shows."""
    if np.isnan(contrast).all():
        return np.zeros(len(spots), dtype=bool)
    least, part = _LOOSE
    alike: NDArray[np.bool_] = np.abs(spots.contrast / np.nanmedian(contrast) - 1) < part
    return alike & (spots.likeness > least)


def _far_off(places: Array, beads: Array, least_ang: float) -> NDArray[np.bool_]:
    """Which places lie near no bead."""
    apart = np.linalg.norm(places[:, None] - beads[None], axis=-1)
    far: NDArray[np.bool_] = apart.min(axis=1, initial=np.inf) > least_ang
    return far
