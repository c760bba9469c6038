"""All views of a series at a glance, as they were taken or as the alignment puts them; and as a film."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import affine_transform, gaussian_filter

from lamella.errors import GeometryError
from lamella.records import ImageSource, TiltSeries
from lamella.report.plots.style import COLOURS, PLATE, PLATE_INK, angle_text, block_mean, grey_limits, plate

__all__ = ["aligned_view", "plot_montage", "tilt_movie"]

Picture = NDArray[np.float32]

THUMBNAIL_PX = 170
MOST_VIEWS = 96
"""Of longer series every second (third, …) view is shown."""
MOST_FRAMES = 61
"""Of the film, by the same rule."""


def aligned_view(series: TiltSeries, images: ImageSource, view: int, longest_px: int) -> Picture:
    """One view turned, shifted and stretched so that the specimen's mid-plane z = 0 stays in place in all views.

    Parameters
    ----------
    series
        the record with geometry.
    images
        its pictures.
    view
        row of the record.
    longest_px
        of the result's sides.

    Returns
    -------
    picture
        ``(height, width)`` with the specimen's x to the right (across the tilt axis) and y up (along it), NaN where
        the view saw nothing. The local field, if there is one, is left out.
    """
    if series.geometry is None:
        raise GeometryError(f"{series.name}: no geometry yet", mend="run `lamella align` first")
    whole = images.view(view)
    small, factor = block_mean(whole, longest_px)
    height, width = small.shape
    if abs(np.cos(np.deg2rad(float(series.geometry.z_rot_deg.mean())))) < np.sqrt(0.5):
        height, width = width, height  # the axis lies across the picture: it will stand upright
    scale = series.pixel_size_ang * factor
    matrix = series.geometry.matrices()[view][:, :2]
    shift = series.geometry.shifts_ang()[view]
    # q/scale + centre = matrix · (u − middle) + shift/scale + centre, in (x, y); scipy wants (row, column).
    centre = (np.array([whole.shape[1] // 2, whole.shape[0] // 2]) - (factor - 1) / 2) / factor
    middle = np.array([width // 2, height // 2])
    offset = centre + shift / scale - matrix @ middle
    flipped = matrix[::-1, ::-1]
    picture: Picture = affine_transform(
        small, flipped, offset=offset[::-1], output_shape=(height, width), order=1, mode="constant", cval=np.nan
    )
    return picture


def plot_montage(
    series: TiltSeries, images: ImageSource, *, aligned: bool = False, excluded_places: frozenset[int] = frozenset()
) -> Figure:
    """Every view as a thumbnail with its tilt angle, each with grey values of its own.

    Parameters
    ----------
    series
        the record that the pictures belong to.
    images
        the pictures.
    aligned
        show the views as the record's geometry puts them (`aligned_view`) instead of as they were taken.
    excluded_places
        views to mark, by their `place`.
    """
    step = -(-len(series) // MOST_VIEWS)
    shown = range(0, len(series), step)
    tiles = [_grey(tile) for tile in _tiles(series, images, shown, THUMBNAIL_PX, aligned=aligned)]
    height, width = (max(sides) for sides in zip(*(tile.shape for tile in tiles), strict=True))
    columns = min(len(tiles), max(3, round(1500 / (width + 6))))
    rows = -(-len(tiles) // columns)
    gap, label = 6, 20
    sheet = np.full((rows * (height + gap + label), columns * (width + gap)), np.nan, dtype=np.float32)
    figure = plate(sheet.shape[1] / 100, sheet.shape[0] / 100)
    axis = figure.add_axes((0, 0, 1, 1))
    for number, (view, tile) in enumerate(zip(shown, tiles, strict=True)):
        row, column = divmod(number, columns)
        bottom = (rows - 1 - row) * (height + gap + label)
        left = column * (width + gap) + gap // 2
        sheet[bottom : bottom + tile.shape[0], left : left + tile.shape[1]] = tile
        place = int(series.place[view]) if series.place is not None else view + 1
        out = place in excluded_places
        axis.text(
            left + width / 2,
            bottom + height + label / 2,
            angle_text(series.tilt_deg[view]) + (f"  no. {place} out" if out else ""),
            color=COLOURS[1] if out else PLATE_INK,
            ha="center",
            va="center",
            fontsize=9.5,
        )
    axis.imshow(sheet, cmap=_greys(), origin="lower", vmin=0, vmax=1, interpolation="nearest", aspect="equal")
    axis.set_axis_off()
    return figure


def tilt_movie(
    raw: TiltSeries, raw_images: ImageSource, aligned: TiltSeries, aligned_images: ImageSource, *, side_px: int = 230
) -> bytes:
    """An animated WebP of the views in order of tilt: as they were taken on the left, aligned on the right."""
    angles = [float(angle) for angle in aligned.nominal_tilt_deg]
    partner = [int(np.argmin(np.abs(raw.nominal_tilt_deg - angle))) for angle in angles]
    step = -(-len(aligned) // MOST_FRAMES)
    shown = range(0, len(aligned), step)
    before = _tiles(raw, raw_images, [partner[view] for view in shown], side_px, aligned=False)
    after = _tiles(aligned, aligned_images, shown, side_px, aligned=True)
    frames = []
    for left, right in zip(before, after, strict=True):
        height = max(left.shape[0], right.shape[0])
        frame = np.full((height, left.shape[1] + right.shape[1] + 8), 18, dtype=np.uint8)
        for picture, x in ((left, 0), (right, left.shape[1] + 8)):
            # Smoothed: fine noise hides motion, and does not compress.
            calm = _grey(_smooth(picture))
            grey = np.nan_to_num(calm, nan=0.07)
            y = (height - picture.shape[0]) // 2
            frame[y : y + picture.shape[0], x : x + picture.shape[1]] = np.rint(255 * grey[::-1])
        frames.append(Image.fromarray(frame))
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], duration=120, loop=0, quality=35, method=2)
    return out.getvalue()


def _tiles(
    series: TiltSeries, images: ImageSource, views: range | list[int], longest_px: int, *, aligned: bool
) -> Iterator[Picture]:
    for view in views:
        if aligned:
            yield aligned_view(series, images, view, longest_px)
        else:
            yield block_mean(images.view(view), longest_px)[0]


def _smooth(picture: Picture) -> Picture:
    """Low-passed by about a pixel; where nothing was seen stays so."""
    seen = np.isfinite(picture)
    level = float(picture[seen].mean()) if seen.any() else 0.0
    smooth = gaussian_filter(np.where(seen, picture, level), 1.2)
    return np.where(seen, smooth, np.float32(np.nan)).astype(np.float32)


def _grey(picture: Picture) -> Picture:
    low, high = grey_limits(picture, 0.6)
    grey: Picture = np.clip((picture - low) / (high - low), 0, 1).astype(np.float32)
    return grey


def _greys() -> Colormap:
    return colormaps["gray"].with_extremes(bad=PLATE)
