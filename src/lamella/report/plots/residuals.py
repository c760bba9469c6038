"""What the solve left over: residual vectors view by view and track by track, tracks on the views, scores by method."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from lamella.errors import GeometryError
from lamella.records import ImageSource, TiltSeries
from lamella.records.tracks import Tracks
from lamella.report.plots.style import (
    COLOURS,
    INK,
    PLATE,
    PLATE_INK,
    angle_text,
    block_mean,
    grey_limits,
    legend,
    length_text,
    line_figure,
    nice_length,
    plate,
)

__all__ = ["METHODS", "method_scores", "plot_residuals", "plot_scores", "plot_track_residuals", "plot_tracks_on_views"]

Array = NDArray[np.float64]

METHODS = ("Beads", "Patches", "Matching", "Coarse", "None")
"""Methods of alignment, as the quality numbers ``AlignScore…`` name them."""
_SHOWN_VIEWS = 12
_SHOWN_TRACKS = 48


def plot_residuals(series: TiltSeries, tracks: Tracks) -> Figure:
    """Residual vectors (observed minus projected) where they were seen, in views spread over the tilts, to one scale.

    Arrows that point one way are a view's wrong shift, a whirl its axis, a fan its tilt or magnification; a smooth
    pattern of its own in each view is a deformation that the model does not hold.
    """
    views = _spread(np.argsort(series.nominal_tilt_deg, kind="stable"), _SHOWN_VIEWS)
    columns = min(len(views), 4)
    rows = -(-len(views) // columns)
    height, width = series.image_shape_px
    half_nm = np.array([width, height]) * series.pixel_size_ang / 20
    figure, axes = line_figure(8.6, 2.2 * rows * min(max(height / width, 0.5), 2.0), rows=rows, columns=columns)
    lengths = np.linalg.norm(tracks.residuals_ang, axis=-1)
    usual = float(np.nanpercentile(lengths, 90)) if np.isfinite(lengths).any() else 1.0
    scale = 0.12 * float(half_nm.min()) / max(usual, 1e-9)  # nm on the page for 1 Å of residual
    for axis in axes.flat[len(views) :]:
        axis.set_axis_off()
    for axis, view in zip(axes.ravel(), views, strict=False):
        places, residuals = tracks.observations_ang[view] / 10, tracks.residuals_ang[view]
        known = np.isfinite(residuals).all(axis=-1)
        lines = np.stack([places[known], places[known] + scale * residuals[known]], axis=1)
        axis.add_collection(LineCollection(list(lines), colors=COLOURS[1], linewidths=1.1))
        axis.scatter(places[known, 0], places[known, 1], s=5, color=COLOURS[0], linewidths=0)
        axis.set_xlim(-half_nm[0], half_nm[0])
        axis.set_ylim(-half_nm[1], half_nm[1])
        axis.set_aspect("equal")
        axis.set_xticks([])
        axis.set_yticks([])
        rms = float(np.sqrt(np.nanmean(lengths[view] ** 2))) if known.any() else float("nan")
        axis.set_title(f"{angle_text(series.nominal_tilt_deg[view])}: rms {rms:.1f} Å", color=INK, fontsize=9.5)
    unit = nice_length(max(2 * usual, 0.011))
    figure.supxlabel(
        f"lines are drawn {10 * scale:.0f} times longer than they are; 90 % are shorter than {usual:.1f} Å, "
        f"{length_text(unit)} would be {scale * unit:.0f} nm on these maps",
        color=INK,
        fontsize=9.5,
    )
    return figure


def plot_track_residuals(series: TiltSeries, tracks: Tracks) -> Figure:
    """Residuals of each bead or patch against the tilt angle, worst ones first; numbers are those of `drop_tracks`."""
    numbers = np.unique(tracks.labels)
    squared = (tracks.residuals_ang**2).sum(axis=-1)  # (n, p)
    rms = np.array([_root_mean(squared[:, tracks.labels == number]) for number in numbers])
    order = [index for index in np.argsort(-np.nan_to_num(rms, nan=-1.0)) if np.isfinite(rms[index])][:_SHOWN_TRACKS]
    if not order:
        raise GeometryError(f"{series.name}: no track has residuals", mend="align again")
    columns = min(8, len(order))
    rows = -(-len(order) // columns)
    figure, axes = line_figure(8.6, 1.15 * rows + 0.4, rows=rows, columns=columns, sharex=True, sharey=True)
    top = 1.1 * float(np.nanpercentile(np.abs(tracks.residuals_ang), 99.5)) or 1.0
    for axis in axes.flat[len(order) :]:
        axis.set_axis_off()
    for axis, index in zip(axes.ravel(), order, strict=False):
        mine = np.flatnonzero(tracks.labels == numbers[index])
        for point in mine:
            for part, colour in ((0, COLOURS[0]), (1, COLOURS[1])):
                axis.plot(series.nominal_tilt_deg, tracks.residuals_ang[:, point, part], ".", ms=2.5, color=colour)
        axis.axhline(0, color=INK, linewidth=0.6)
        axis.set_ylim(-top, top)
        axis.tick_params(labelsize=7.5)
        axis.set_title(f"no. {numbers[index]}: {rms[index]:.1f} Å", color=INK, fontsize=8.5)
    figure.supxlabel("nominal tilt / °", color=INK, fontsize=9.5)
    figure.supylabel("residual / Å (blue x, orange y)", color=INK, fontsize=9.5)
    return figure


def plot_tracks_on_views(series: TiltSeries, images: ImageSource, tracks: Tracks) -> Figure:
    """What was followed, drawn on the views where it was seen: circles with their numbers, crosses where it should be.

    Parameters
    ----------
    series
        the aligned record.
    images
        its pictures, in its order.
    tracks
        what was followed through them.
    """
    order = np.argsort(series.nominal_tilt_deg, kind="stable")
    views = _spread(order, 6)
    tiles, factors = zip(*(block_mean(images.view(int(view)), 420) for view in views), strict=True)
    height, width = tiles[0].shape
    columns = min(3, len(views))
    rows = -(-len(views) // columns)
    figure = plate(columns * (width + 6) / 100, rows * (height + 22) / 100)
    many = tracks.count > 80
    for number, (view, tile, factor) in enumerate(zip(views, tiles, factors, strict=True)):
        row, column = divmod(number, columns)
        axis = figure.add_axes(
            (column / columns, 1 - (row + 1) / rows, (width / (width + 6)) / columns, (height / (height + 22)) / rows)
        )
        low, high = grey_limits(tile)
        axis.imshow(tile, cmap="gray", origin="lower", vmin=low, vmax=high, interpolation="nearest")
        centre = np.array([series.image_shape_px[1] // 2, series.image_shape_px[0] // 2])
        places = (tracks.observations_ang[view] / series.pixel_size_ang + centre + 0.5) / factor - 0.5
        wanted = (
            (tracks.observations_ang[view] - tracks.residuals_ang[view]) / series.pixel_size_ang + centre + 0.5
        ) / factor - 0.5
        axis.scatter(
            places[:, 0],
            places[:, 1],
            s=60 if not many else 14,
            facecolors="none",
            edgecolors=COLOURS[1],
            linewidths=0.9,
        )
        axis.scatter(wanted[:, 0], wanted[:, 1], s=10, marker="+", color=COLOURS[0], linewidths=0.7)
        if not many:
            for label, (x, y) in zip(tracks.labels, places, strict=True):
                if np.isfinite(x):
                    place: dict[str, Any] = {"textcoords": "offset points", "annotation_clip": True}
                    outline = [withStroke(linewidth=1.6, foreground=PLATE)]
                    axis.annotate(
                        str(label), (x, y), (4, 4), fontsize=7, color=PLATE_INK, path_effects=outline, **place
                    )
        axis.set_xlim(-0.5, tile.shape[1] - 0.5)
        axis.set_ylim(-0.5, tile.shape[0] - 0.5)
        axis.set_title(angle_text(series.nominal_tilt_deg[view]), color=PLATE_INK, fontsize=9, pad=3)
        axis.set_axis_off()
    return figure


def method_scores(series: TiltSeries) -> dict[str, float]:
    """Held-out-view score of each method that was tried, by its name."""
    return {
        method.lower(): float(series.quality[f"AlignScore{method}"])
        for method in METHODS
        if f"AlignScore{method}" in series.quality
    }


def plot_scores(series: TiltSeries) -> Figure:
    """How well views are predicted by the others: by method (the chosen one filled), and view by view."""
    scores = method_scores(series)
    if not scores:
        raise GeometryError(f"{series.name}: its record holds no scores", mend="align again")
    figure, axes = line_figure(8.6, 2.5, columns=2, width_ratios=(2, 3))
    left, right = axes[0]
    chosen = series.other.get("lamellaAlignMethod", "")
    names = list(scores)
    bars = left.barh(names, [scores[name] for name in names], color=COLOURS[0], height=0.6)
    for name, bar in zip(names, bars, strict=True):
        bar.set_alpha(1.0 if name == chosen else 0.35)
        left.annotate(
            f"{scores[name]:.3f}",
            (max(scores[name], 0), name),
            (4, 0),
            textcoords="offset points",
            va="center",
            color=INK,
        )
    left.invert_yaxis()
    left.margins(x=0.2)
    left.set_xlabel("held-out-view score")
    per_view = series.scores.get("AlignScore")
    if per_view is not None:
        right.plot(
            series.nominal_tilt_deg, per_view, color=COLOURS[2], marker="o", ms=3.5, lw=1.2, label=chosen or None
        )
        right.axhline(0, color=INK, linewidth=0.7, alpha=0.5)
        if chosen:
            legend(right, loc="best")
    right.set_xlabel("nominal tilt / °")
    right.set_ylabel("score of the view")
    return figure


def _spread(order: NDArray[np.int64], most: int) -> list[int]:
    """At most so many entries, evenly spread, ends included."""
    chosen = np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))
    return [int(order[index]) for index in chosen]


def _root_mean(squared: Array) -> float:
    return float(np.sqrt(np.nanmean(squared))) if np.isfinite(squared).any() else float("nan")
