"""What of a series is painted over before it is reconstructed: gold beads, and on request whatever is as dense."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.parallel import part_of
from lamella.progress import Progress, no_progress
from lamella.records import ImageSource, TiltSeries
from lamella.tomograms.gold_find import GoldBeads, find_gold
from lamella.tomograms.gold_halo import halo_of, paint_radius_px
from lamella.tomograms.gold_lumps import find_lumps
from lamella.tomograms.gold_noise import Kind
from lamella.tomograms.gold_paint import GoldPaint, PaintedImages, Painter
from lamella.tomograms.gold_patch import Disc
from lamella.tomograms.reconstruct_settings import ReconstructSettings

__all__ = ["GoldPlan", "plan_gold"]

_MOST_GOLD = 0.3
"""Part of the images above which beads are left: so many would have to be made up."""
_MOST_LUMPS = 0.15


@dataclass(frozen=True, kw_only=True, eq=False)
class GoldPlan:
    """What is painted over in a series.

    Attributes
    ----------
    beads
        the gold beads; None where none were looked for.
    painters
        of the series; none where its images stay as they are.
    painted_fraction
        mean part of the images that is painted.
    messages
        sentences for the user.
    """

    beads: GoldBeads | None
    painters: tuple[Painter, ...] = ()
    painted_fraction: float = 0.0
    messages: tuple[str, ...] = ()

    def images(self, source: ImageSource, views: NDArray[np.int64] | None = None, kind: Kind = "full") -> ImageSource:
        """Images of the series, painted as they are read.

        Parameters
        ----------
        source
            whole images, or those of even or odd frames.
        views
            which views of the series they are of; all of them by default.
        kind
            what they are sums of.
        """
        if not self.painters:
            return source
        return PaintedImages(source, self.painters, np.arange(len(source)) if views is None else views, kind)


def plan_gold(
    series: TiltSeries, images: ImageSource, settings: ReconstructSettings, progress: Progress = no_progress
) -> GoldPlan:
    """Find what is to be painted over in a series; nothing is painted before images are read.

    Parameters
    ----------
    series, images
        the aligned series and its whole images.
    settings
        `gold`, `gold_diameter` and `gold_mask` say what to do.
    progress
        told the fraction of the work that is done.

    Raises
    ------
    ProjectError
        if the series has no geometry.
    """
    if settings.gold == "keep":
        return GoldPlan(beads=None)
    stated = 0.0 if settings.gold_diameter == "auto" else settings.gold_diameter
    dense = settings.gold_mask == "dense"
    beads = find_gold(series, images, diameter_ang=stated, progress=part_of(progress, 0, 0.6 if dense else 1))
    asked = settings.gold == "erase" or dense or bool(stated)
    painters, messages = _bead_painter(series, images, beads, asked)
    if dense:
        whole = PaintedImages(images, painters, np.arange(len(images)))
        lumps, more = _lump_painter(series, whole, part_of(progress, 0.6, 1))
        painters, messages = painters + lumps, messages + more
    return GoldPlan(
        beads=beads,
        painters=painters,
        painted_fraction=sum(painter.painted_fraction for painter in painters),
        messages=messages,
    )


def _bead_painter(
    series: TiltSeries, images: ImageSource, beads: GoldBeads, asked: bool
) -> tuple[tuple[Painter, ...], tuple[str, ...]]:
    """The painter of beads, if there are any; what to say."""
    if not len(beads):
        return (), (f"no gold beads: {beads.why_none}",) if asked else ()
    pixel, (height, width) = series.pixel_size_ang, series.image_shape_px
    places = tuple(here / pixel + (width // 2, height // 2) for here in beads.in_views())
    radius = paint_radius_px(
        halo_of(images, places, beads.diameter_ang / 2 / pixel), beads.diameter_ang / 2 / pixel,
        beads.residual_ang / pixel,
    )  # fmt: skip
    what = f"{len(beads)} gold beads of {beads.diameter_ang / 10:.1f} nm"
    if Disc(radius).size > min(height, width):
        return (), (f"{what} were left: they are too large for images of {width} × {height} pixels",)
    paint = GoldPaint(images, places, radius, _numbers(series), _seed(series))
    share = 100 * paint.painted_fraction
    if paint.painted_fraction > _MOST_GOLD:
        return (), (f"{what} were left: they cover {share:.0f} % of the images (at most {100 * _MOST_GOLD:.0f} %)",)
    return (paint,), (f"{what} painted over, {share:.1f} % of the images",)


def _lump_painter(
    series: TiltSeries, images: ImageSource, progress: Progress
) -> tuple[tuple[Painter, ...], tuple[str, ...]]:
    """The painter of lumps, unless they are too much; what to say."""
    if series.imaging == "dark":
        return (), ("no lumps: they are looked for in bright field alone",)
    lumps = find_lumps(images, series.pixel_size_ang, _numbers(series), _seed(series) + 1, progress)
    share = 100 * lumps.painted_fraction
    if lumps.painted_fraction > _MOST_LUMPS:
        return (), (
            f"dense lumps were left: they cover {share:.0f} % of the images (at most {100 * _MOST_LUMPS:.0f} %); is "
            "there a film, or a grid bar?",
        )
    count = sum(bool(mask.any()) for mask in lumps.masks)
    if not count:
        return (), ("no dense lumps were found",)
    return (lumps,), (f"dense lumps painted over in {count} views, {share:.1f} % of the images",)


def _numbers(series: TiltSeries) -> NDArray[np.int64]:
    return np.asarray(series.place, dtype=np.int64)


def _seed(series: TiltSeries) -> int:
    """A seed of the series' own, the same in every run."""
    return 2 * zlib.crc32(series.name.encode())
