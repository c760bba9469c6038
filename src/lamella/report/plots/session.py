"""The targets of a recording session: where they lie, how far off they were, and how far off they were expected."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lamella.records.acquisition import Acquisition
from lamella.report.plots.session_axes import colour_bar, log_scale, say, tilt_ticks
from lamella.report.plots.style import COLOURS, INK, legend, line_figure

__all__ = ["plot_session_heights", "plot_session_map", "plot_session_off", "plot_session_prediction"]

Array = NDArray[np.float64]

_FEW = 30  # targets that still get a name each
_NO_VIEW = {"limit": (".", INK, "beyond the image shift"), "": ("x", COLOURS[4], "no view")}


def plot_session_map(session: Acquisition) -> Figure:
    """Where the targets lie, how far their views are off, and where most stand against the first one (arrows)."""
    figure, axes = line_figure(6.0, 5.0)
    axis = axes[0, 0]
    x, y = session.places_um.T
    middle, off = np.nan_to_num(session.aside_um), np.full(len(x), np.nan)
    for number in np.flatnonzero(session.learned.any(axis=1)):
        off[number] = np.median(session.off_um[number, session.learned[number]])
    dots = axis.scatter(
        x, y, c=1e3 * off, cmap="viridis", s=60, linewidths=0.8, edgecolors=INK, plotnonfinite=True, zorder=2
    )
    lost = np.array([ending == "lost" for ending in session.endings])
    axis.scatter(x[lost], y[lost], marker="x", color=COLOURS[4], s=90, zorder=3)
    arrows = axis.quiver(x, y, *(1e3 * middle).T, color=INK, angles="xy", width=0.004)
    longest = 1e3 * float(np.hypot(*middle.T).max(initial=0.0))
    if longest > 0:
        axis.quiverkey(arrows, 0.78, 0.05, longest, f"{longest:.3g} nm", labelpos="E", color=INK, labelcolor=INK)
    if len(x) <= _FEW:
        for name, across, along in zip(session.targets, x, y, strict=True):
            axis.annotate(name, (across, along), (5, 5), textcoords="offset points", fontsize=8, color=INK)
    axis.set_xlabel("across the tilt axis / µm")
    axis.set_ylabel("along the tilt axis / µm")
    axis.set_aspect("equal", adjustable="datalim")
    axis.margins(0.12)
    if np.isfinite(off).any():
        colour_bar(figure, dots, axis, "views off (median) / nm")
    return figure


def plot_session_off(session: Acquisition, *, truth: bool = False) -> Figure:
    """How far each view of each target was off: as measured against its own series, or (`truth`) in a simulation."""
    values = np.where(session.learned, session.off_um, np.nan)
    if truth and session.truth is not None:
        values = session.truth.targeting_um
    figure, axes = line_figure(8.0, 1.9 + 0.16 * min(len(session.targets), _FEW))
    axis = axes[0, 0]
    shown = 1e3 * values
    finite = shown[np.isfinite(shown)]
    most = float(np.percentile(finite, 98)) if finite.size else 1.0
    image = axis.imshow(shown, aspect="auto", cmap="viridis", vmin=0, vmax=max(most, 1e-3), interpolation="nearest")
    planned = {(one.target, one.tilt) for one in session.left_out if one.kind == "limit"}
    missing = [tuple(place) for place in np.argwhere(~session.recorded & session.over)]
    for kind, (marker, colour, label) in _NO_VIEW.items():
        places = np.array([one for one in missing if (one in planned) == (kind == "limit")]).reshape(-1, 2)
        if len(places):
            axis.scatter(places[:, 1], places[:, 0], marker=marker, s=14, color=colour, linewidths=1, label=label)
    doubtful = np.argwhere(np.isfinite(session.off_um) & ~session.learned)
    if len(doubtful) and not truth:
        ring = {"marker": "o", "s": 20, "facecolors": "none", "edgecolors": COLOURS[1]}
        axis.scatter(doubtful[:, 1], doubtful[:, 0], label="not believed", **ring)
    if missing or (len(doubtful) and not truth):
        legend(axis, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3)
    tilt_ticks(axis, session)
    if len(session.targets) <= _FEW:
        axis.set_yticks(range(len(session.targets)), session.targets, fontsize=7.5)
    axis.grid(False)
    colour_bar(figure, image, axis, "true distance / nm" if truth else "off / nm")
    return figure


def plot_session_prediction(session: Acquisition) -> Figure:
    """At each tilt, how far views were off as measured, beside how far off they were expected."""
    figure, axes = line_figure(7.2, 3.0)
    axis = axes[0, 0]
    tilts, off = np.arange(len(session.tilt_deg)), 1e3 * np.where(session.learned, session.off_um, np.nan)
    known = np.isfinite(off).any(axis=0)
    tilt_ticks(axis, session)
    axis.set_ylabel("off / nm")
    if not known.any():
        say(axis, "no view measured yet")
        return figure
    low, middle, high = np.nanpercentile(np.maximum(off[:, known], 0.01), [10, 50, 90], axis=0)
    log_scale(axis)
    axis.fill_between(tilts[known], low, high, color=COLOURS[0], alpha=0.2, label="80 % of the views")
    axis.plot(tilts[known], middle, "o-", color=COLOURS[0], markersize=3.5, label="measured (median)")
    expected = 1e3 * np.nanmedian(session.predicted_sd_um[:, known], axis=0)
    axis.plot(tilts[known], np.maximum(expected, 0.01), "s--", color=COLOURS[1], markersize=3, label="expected (rms)")
    by_sd = session.off_by_sd[np.isfinite(session.off_by_sd)]
    if by_sd.size:
        axis.set_title(f"measured over expected: {np.median(by_sd):.2f} (median)", loc="right", color=INK, fontsize=9.5)
    legend(axis, loc="best", ncols=3)
    return figure


def plot_session_heights(session: Acquisition) -> Figure:
    """Each target's height above their mean against the plane through all."""
    figure, axes = line_figure(5.4, 3.4)
    axis = axes[0, 0]
    axis.plot(session.plane_um, session.height_um, "o", color=COLOURS[0], markersize=5, label="as the places tell")
    known = np.isfinite(session.plane_um)
    if session.truth is not None and known.any():
        axis.plot(
            session.plane_um, session.truth.height_um, "+", color=COLOURS[1], markersize=7, label="truth (simulated)"
        )
        legend(axis, loc="best")
    if known.any():
        ends = np.array([session.plane_um[known].min(), session.plane_um[known].max()])
        axis.plot(ends, ends, color=INK, linewidth=0.8, linestyle="--")
        rms = float(np.sqrt(np.nanmean((session.height_um - session.plane_um) ** 2)))
        axis.set_title(f"rms off the plane {rms:.2f} µm", loc="right", color=INK, fontsize=9.5)
    else:
        say(axis, "too few heights for a plane")
        axis.set_xticks([])
    axis.set_xlabel("height of the plane there / µm")
    axis.set_ylabel("height / µm")
    return figure
