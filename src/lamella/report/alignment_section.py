"""The alignment's part of a series' section: geometry, scores, residuals, and the views as they lie now."""

from __future__ import annotations

import numpy as np

from lamella.errors import LamellaError
from lamella.records import TiltSeries
from lamella.records.tracks import Tracks
from lamella.report import page
from lamella.report.drawing import cannot, draw_picture, draw_plot, missing
from lamella.report.entries import SeriesReport
from lamella.report.pictures import as_data_uri
from lamella.report.plots import (
    plot_axis,
    plot_montage,
    plot_residuals,
    plot_scores,
    plot_shifts,
    plot_track_residuals,
    plot_tracks,
    plot_tracks_on_views,
    tilt_movie,
)
from lamella.report.plots.residuals import method_scores

__all__ = ["alignment_parts"]


def alignment_parts(entry: SeriesReport, mark: str) -> list[str]:
    """The HTML of one series' alignment; marks of its plots begin with `mark`."""
    aligned, images, tracks = entry.aligned, entry.aligned_images, entry.tracks
    parts = ["<h3>Alignment</h3>"]
    if aligned is None or aligned.geometry is None:
        return [*parts, missing("not aligned yet")]
    parts.append('<div class="pair">')
    parts.append(
        draw_plot(
            lambda: plot_shifts(aligned, tracks),
            "shifts and residuals per view",
            "Where the specimen's centre appears in each view, and the rms distance of tracked features from where the "
            "geometry puts them.",
            f"{mark}shifts",
        )
    )
    if tracks is not None and tracks.count:
        parts.append(
            draw_plot(
                lambda: plot_tracks(aligned, tracks),
                "tracked points",
                "The features that were followed. From the side, a levelled specimen lies about z = 0.",
                f"{mark}tracks",
            )
        )
    parts.append("</div>")
    parts.append(
        draw_plot(
            lambda: plot_axis(aligned),
            "tilt axis and angles",
            "Tilt axis, tilt offset and x-tilt as solved, beside what was stated; bars are standard errors.",
            f"{mark}axis",
        )
    )
    if method_scores(aligned):
        parts.append(
            draw_plot(
                lambda: plot_scores(aligned),
                "held-out-view scores",
                "How well each view is predicted by the others: by method of alignment, the chosen one filled, and "
                "view by view under the chosen one.",
                f"{mark}scores",
            )
        )
    if tracks is not None and np.isfinite(tracks.residuals_ang).any():
        parts += _residuals(entry, aligned, tracks, mark)
    if images is not None:
        parts += _alignment_pictures(entry, aligned)
    return parts


def _residuals(entry: SeriesReport, aligned: TiltSeries, tracks: Tracks, mark: str) -> list[str]:
    """What the solve left over, and what it was made from."""
    parts = [
        page.details(
            "Residuals, view by view",
            draw_plot(
                lambda: plot_residuals(aligned, tracks),
                "residual vectors",
                "Observed minus projected place of every track. One direction all over is a wrong shift; a whirl the "
                "axis; a smooth pattern a deformation that the model does not hold.",
                f"{mark}vectors",
            ),
        ),
        page.details(
            "Residuals, track by track",
            draw_plot(
                lambda: plot_track_residuals(aligned, tracks),
                "residuals of each track",
                "The worst tracks first. A track that does not belong can be left out by its number: "
                "lamella align PROJECT --drop-tracks NUMBER.",
                f"{mark}each",
            ),
        ),
    ]
    if (images := entry.aligned_images) is not None:
        parts.append(
            page.details(
                "Tracks on the views",
                draw_picture(
                    lambda: plot_tracks_on_views(aligned, images, tracks),
                    f"tracks of {entry.name} on its views",
                    "Circles where a track was seen, crosses where the geometry puts it.",
                ),
            )
        )
    return parts


def _alignment_pictures(entry: SeriesReport, aligned: TiltSeries) -> list[str]:
    raw_images, images = entry.raw_images, entry.aligned_images
    assert images is not None
    parts = [
        page.details(
            "All views, aligned",
            draw_picture(
                lambda: plot_montage(aligned, images, aligned=True),
                f"aligned views of {entry.name}",
                "Each view turned (tilt axis upright), shifted, and stretched across the axis by 1/cos(tilt): what "
                "lies in the specimen's mid-plane stays in place.",
            ),
            is_open=True,
        )
    ]
    if raw_images is not None:
        try:
            film = as_data_uri(tilt_movie(entry.raw, raw_images, aligned, images))
            shown = page.picture(
                film,
                f"film through the views of {entry.name}",
                "Through the tilts: as taken (left), aligned (right). In a good alignment everything glides evenly "
                "across the upright axis, and nothing jumps.",
                wide=False,
            )
        except (LamellaError, OSError) as error:
            shown = cannot("film", error)
        parts.append(page.details("Film, before and after alignment", shown))
    return parts
