"""What the alignment found: shifts and residuals per view, the axis and the angles, the points it followed."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lamella.errors import GeometryError
from lamella.geometry import TiltGeometry
from lamella.records import TiltSeries
from lamella.records.tracks import Tracks
from lamella.report.plots.style import COLOURS, INK, legend, line_figure

__all__ = ["plot_axis", "plot_shifts", "plot_tracks"]

RESIDUAL = "AlignResidualAngst"
TILT_LABEL = "nominal tilt angle / °"


def plot_shifts(series: TiltSeries, tracks: Tracks | None = None) -> Figure:
    """Where the specimen's centre appears in each view, and how far tracked points lie from where they should.

    Parameters
    ----------
    series
        record with geometry; its score ``AlignResidualAngst`` gives the residuals.
    tracks
        the same from the tracked points, where the record has no score.
    """
    geometry, tilt = _geometry(series), series.nominal_tilt_deg
    figure, axes = line_figure(6.0, 4.4, rows=2, sharex=True, height_ratios=(3, 2))
    upper, lower = axes[:, 0]
    for values, name, error, colour, mark in (
        (geometry.x_shift_ang, "along image x", "AlignXShiftErrorAngst", COLOURS[0], "o"),
        (geometry.y_shift_ang, "along image y", "AlignYShiftErrorAngst", COLOURS[1], "s"),
    ):
        _line(upper, series, values, error, color=colour, marker=mark, markersize=3.5, linewidth=1.2, label=name)
    upper.axhline(0, color=INK, linewidth=0.7, alpha=0.5)
    upper.set_ylabel("shift / Å")
    pixels = upper.secondary_yaxis(
        "right", functions=(lambda a: a / series.pixel_size_ang, lambda p: p * series.pixel_size_ang)
    )
    pixels.set_ylabel("shift / px", color=INK, fontsize=10.5)
    pixels.tick_params(colors=INK, labelsize=9.5)
    pixels.spines["right"].set_color(INK)
    legend(upper, loc="best", ncols=2)
    residual = series.scores.get(RESIDUAL)
    if residual is None and tracks is not None:
        residual = np.asarray(tracks.rms_ang(axis=1))
    if residual is None or not np.isfinite(residual).any():
        lower.text(0.5, 0.5, "no residuals in the record", transform=lower.transAxes, ha="center", color=INK)
    else:
        spacing = float(np.median(np.diff(np.sort(tilt)))) if len(tilt) > 1 else 1.0
        lower.bar(tilt, np.nan_to_num(residual), width=0.7 * max(spacing, 0.1), color=COLOURS[2])
        rms = float(np.sqrt(np.nanmean(residual**2)))
        lower.axhline(rms, color=INK, linewidth=1, linestyle="--")
        lower.set_title(f"rms {rms:.1f} Å = {rms / series.pixel_size_ang:.2f} px", loc="right", color=INK, fontsize=9.5)
    lower.set_ylabel("residual / Å")
    lower.set_xlabel(TILT_LABEL)
    return figure


def plot_axis(series: TiltSeries) -> Figure:
    """The tilt axis, the tilt offset, the x-tilt and the magnification that were solved for, with standard errors."""
    geometry, tilt = _geometry(series), series.nominal_tilt_deg
    scaled = float(np.ptp(geometry.magnification)) > 1e-6
    figure, axes = line_figure(8.6, 2.5, columns=4 if scaled else 3)
    panels = axes[0]
    axis, nominal = geometry.z_rot_deg, series.nominal_axis_deg
    plain: dict[str, Any] = {"color": COLOURS[0], "marker": "o", "markersize": 3, "linewidth": 1.2}
    _line(panels[0], series, axis, "AlignAxisErrorDeg", label="found", **plain)
    panels[0].plot(tilt, nominal, color=COLOURS[1], linestyle="--", linewidth=1.2, label="stated")
    panels[0].set_ylabel("tilt axis in the image / °")
    legend(panels[0], loc="best")
    _line(panels[1], series, geometry.y_tilt_deg - tilt, "AlignTiltErrorDeg", **plain)
    panels[1].set_ylabel("solved − stated tilt / °")
    panels[2].plot(tilt, geometry.x_tilt_deg, **plain)
    panels[2].set_ylabel("x-tilt / °")
    if scaled:
        _line(panels[3], series, 100 * (geometry.magnification - 1), "AlignMagnificationErrorPercent", **plain)
        panels[3].set_ylabel("magnification − 1 / %")
    for panel, least in zip(panels, (1.0, 1.0, 1.0, 0.1), strict=False):
        panel.set_xlabel("tilt / °")
        panel.ticklabel_format(axis="y", useOffset=False)
        low, high = panel.get_ylim()
        if high - low < least:  # a constant must not look like a storm
            middle = (low + high) / 2
            panel.set_ylim(middle - least / 2, middle + least / 2)
    return figure


def plot_tracks(series: TiltSeries, tracks: Tracks) -> Figure:
    """The points that were followed, seen along the beam and from the side, coloured by how well they fit."""
    points = tracks.points_ang
    error = np.asarray(tracks.rms_ang(axis=0))
    solved = np.isfinite(points).all(axis=1)
    figure, axes = line_figure(6.0, 3.3, columns=2)
    top, side = axes[0]
    x, y, z = (points[solved].T / 10) if solved.any() else np.empty((3, 0))
    colours = error[solved]
    most = float(np.nanpercentile(colours, 95)) if np.isfinite(colours).any() else 1.0
    dots = None
    for panel, across, up in ((top, x, y), (side, x, z)):
        dots = panel.scatter(across, up, c=colours, cmap="viridis", vmin=0, vmax=most, s=16, linewidths=0)
        panel.set_xlabel("x / nm")
    top.set_ylabel("y / nm")
    top.set_aspect("equal", adjustable="datalim")
    side.set_ylabel("z / nm")
    side.axhline(0, color=INK, linewidth=0.8, linestyle="--")
    top.set_title(f"{int(solved.sum())} points from above", loc="left", color=INK)
    side.set_title("from the side", loc="left", color=INK)
    if dots is not None:
        bar = figure.colorbar(dots, ax=side, pad=0.02)
        bar.set_label(f"rms residual / Å (1 px = {series.pixel_size_ang:.3g} Å)", color=INK, fontsize=9.5)
        bar.ax.tick_params(colors=INK, labelsize=9)
        bar.outline.set_visible(False)
    return figure


def _line(axis: Axes, series: TiltSeries, values: NDArray[np.float64], error: str, **style: Any) -> None:
    """A line over the tilt angle, with error bars where the record states standard errors."""
    errors = series.scores.get(error)
    if errors is not None and np.isfinite(errors).any():
        bars = np.where(np.isfinite(errors), errors, 0.0)
        axis.errorbar(series.nominal_tilt_deg, values, yerr=bars, elinewidth=1.0, capsize=1.5, **style)
    else:
        axis.plot(series.nominal_tilt_deg, values, **style)


def _geometry(series: TiltSeries) -> TiltGeometry:
    if series.geometry is None:
        raise GeometryError(f"{series.name}: no geometry yet", mend="run `lamella align` first")
    return series.geometry
