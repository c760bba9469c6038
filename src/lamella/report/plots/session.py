"""A recording session: where targets were off, their heights, focus, tracking, settling, and what time went to."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lamella.records.acquisition import Acquisition
from lamella.report.plots.style import COLOURS, INK, legend, line_figure

__all__ = [
    "plot_session_dose",
    "plot_session_focus",
    "plot_session_heights",
    "plot_session_map",
    "plot_session_off",
    "plot_session_settling",
    "plot_session_time",
    "plot_session_tracking",
]

Array = NDArray[np.float64]

_FEW = 30  # targets or tilts that still get a name each
_TILT = "tilt / °, in the order of recording"


def plot_session_map(session: Acquisition) -> Figure:
    """Where the targets lie, and by how much each was off in the median of its views, as arrows."""
    figure, axes = line_figure(6.0, 5.0)
    axis = axes[0, 0]
    x, y = session.places_um.T
    known = np.isfinite(session.off_um)
    middle, off = np.zeros((len(x), 2)), np.full(len(x), np.nan)
    for number in np.flatnonzero(known.any(axis=1)):
        # Medians: one wrong peak of a correlation is no drift.
        middle[number] = np.median(session.displacement_um[number, known[number]], axis=0)
        off[number] = np.median(session.off_um[number, known[number]])
    dots = axis.scatter(x, y, c=1e3 * off, cmap="viridis", s=60, linewidths=0.8, edgecolors=INK)
    lost = np.array([ending == "lost" for ending in session.endings])
    axis.scatter(x[lost], y[lost], marker="x", color=COLOURS[4], s=90, zorder=3)
    arrows = axis.quiver(x, y, *(1e3 * middle).T, color=INK, angles="xy", width=0.004)
    longest = 1e3 * float(np.hypot(*middle.T).max(initial=0.0))
    if longest > 0:
        axis.quiverkey(arrows, 0.78, 0.05, longest, f"{longest:.2g} nm", labelpos="E", color=INK, labelcolor=INK)
    if len(x) <= _FEW:
        for name, across, along in zip(session.targets, x, y, strict=True):
            axis.annotate(name, (across, along), (5, 5), textcoords="offset points", fontsize=8, color=INK)
    axis.set_xlabel("across the tilt axis / µm")
    axis.set_ylabel("along the tilt axis / µm")
    axis.set_aspect("equal", adjustable="datalim")
    axis.margins(0.12)
    _bar(figure, dots, axis, "displacement (median) / nm")
    return figure


def plot_session_off(session: Acquisition, *, truth: bool = False) -> Figure:
    """How far each view of each target was off: as measured against its own series, or (`truth`) in a simulation."""
    values = session.targeting_um if truth and session.targeting_um is not None else session.off_um
    figure, axes = line_figure(8.0, 1.7 + 0.16 * min(len(session.targets), _FEW))
    axis = axes[0, 0]
    shown = 1e3 * values
    finite = shown[np.isfinite(shown)]
    most = float(np.percentile(finite, 98)) if finite.size else 1.0
    image = axis.imshow(shown, aspect="auto", cmap="viridis", vmin=0, vmax=max(most, 1e-3), interpolation="nearest")
    missing = np.argwhere(~session.recorded & np.isfinite(session.stood_s))
    axis.scatter(missing[:, 1], missing[:, 0], marker="x", s=12, color=COLOURS[4], linewidths=1)
    _tilt_ticks(axis, session)
    if len(session.targets) <= _FEW:
        axis.set_yticks(range(len(session.targets)), session.targets, fontsize=7.5)
    axis.grid(False)
    _bar(figure, image, axis, "off / nm")
    return figure


def plot_session_heights(session: Acquisition) -> Figure:
    """Each target's height above their mean against the plane through all."""
    figure, axes = line_figure(5.4, 3.4)
    axis = axes[0, 0]
    axis.plot(session.plane_um, session.height_um, "o", color=COLOURS[0], markersize=5)
    known = np.isfinite(session.plane_um)
    if known.any():
        ends = np.array([session.plane_um[known].min(), session.plane_um[known].max()])
        axis.plot(ends, ends, color=INK, linewidth=0.8, linestyle="--")
        rms = float(np.sqrt(np.nanmean((session.height_um - session.plane_um) ** 2)))
        axis.set_title(f"rms off the plane {rms:.2f} µm", loc="right", color=INK, fontsize=9.5)
    else:
        _say(axis, "no heights yet")
    axis.set_xlabel("height of the plane there / µm")
    axis.set_ylabel("height as the places tell / µm")
    return figure


def plot_session_focus(session: Acquisition) -> Figure:
    """The defocus that the lens was set to for the targets (range and median), and what was measured by beam tilt."""
    figure, axes = line_figure(7.2, 3.2)
    axis = axes[0, 0]
    tilts = np.arange(len(session.tilt_deg))
    known = np.isfinite(session.defocus_um).any(axis=0)
    if known.any():
        lens = session.defocus_um[:, known]
        axis.fill_between(tilts[known], np.nanmin(lens, axis=0), np.nanmax(lens, axis=0), color=COLOURS[0], alpha=0.2)
        axis.plot(tilts[known], np.nanmedian(lens, axis=0), color=COLOURS[0], label="lens as set for the targets")
    at = session.focus.tilt >= 0
    if at.any():
        axis.errorbar(
            session.focus.tilt[at],
            session.focus.defocus_um[at],
            yerr=session.focus.sd_um[at],
            fmt="o",
            markersize=4,
            color=COLOURS[1],
            label="defocus as measured",
        )
    axis.axhline(session.wanted_um, color=INK, linewidth=0.8, linestyle="--", label="wanted")
    _tilt_ticks(axis, session)
    axis.set_ylabel("defocus / µm")
    legend(axis, loc="best", ncols=3)
    return figure


def plot_session_tracking(session: Acquisition) -> Figure:
    """Where the tracking area stood in its first and in its last exposure of each tilt."""
    figure, axes = line_figure(7.2, 3.0)
    axis = axes[0, 0]
    tracking, tilts = session.tracking, np.arange(len(session.tilt_deg))
    first = np.full(len(tilts), np.nan)
    for tilt, left in zip(tracking.tilt[::-1], tracking.left_nm[::-1], strict=True):
        if tilt >= 0:
            first[tilt] = left
    last = tracking.last_nm(len(tilts))
    if np.isfinite(first).any():
        # A displacement of nothing has no logarithm.
        axis.semilogy(tilts, np.maximum(first, 0.01), "o-", color=COLOURS[0], markersize=3.5, label="as predicted")
        axis.semilogy(tilts, np.maximum(last, 0.01), "s-", color=COLOURS[2], markersize=3.5, label="left in the end")
        legend(axis, loc="best", ncols=2)
    else:
        _say(axis, "no tracking area")
    _tilt_ticks(axis, session)
    axis.set_ylabel("tracking area off / nm")
    return figure


def plot_session_settling(session: Acquisition) -> Figure:
    """What is measured within a tilt against the time since the stage stood: every view, and the median."""
    figure, axes = line_figure(7.2, 3.0)
    axis = axes[0, 0]
    since = session.time_s - session.stood_s
    known = np.isfinite(since) & np.isfinite(session.off_um)
    axis.set_xlabel("time since the stage stood / s")
    axis.set_ylabel("view off / nm")
    if not known.any():
        _say(axis, "no view measured yet")
        return figure
    times, off = since[known], 1e3 * session.off_um[known]
    axis.plot(times, off, ".", color=COLOURS[0], alpha=0.35, markersize=4)
    edges = np.unique(np.percentile(times, np.linspace(0, 100, 9)))
    place = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, max(len(edges) - 2, 0))
    bins = np.unique(place)
    middles = [float(np.median(times[place == one])) for one in bins]
    axis.plot(middles, [np.median(off[place == one]) for one in bins], "o-", color=COLOURS[1], label="median")
    axis.set_ylim(0, 1.3 * float(np.percentile(off, 98)) + 1e-3)
    axis.set_xlim(0, 1.1 * float(np.percentile(times, 95)) + 1e-3)
    legend(axis, loc="best")
    return figure


def plot_session_dose(session: Acquisition) -> Figure:
    """What each target had from its own views, e/Å²."""
    figure, axes = line_figure(7.2, 2.6)
    axis = axes[0, 0]
    numbers = np.arange(len(session.targets))
    axis.bar(numbers, np.nansum(session.dose, axis=1), color=COLOURS[2], width=0.7)
    if len(numbers) <= _FEW:
        axis.set_xticks(numbers, session.targets, rotation=60, fontsize=8)
    axis.set_ylabel("dose / e/Å²")
    return figure


def plot_session_time(session: Acquisition) -> Figure:
    """Seconds of each tilt by what they went to."""
    figure, axes = line_figure(7.2, 3.0)
    axis = axes[0, 0]
    tilts, below = np.arange(len(session.tilt_deg)), np.zeros(len(session.tilt_deg))
    for (name, seconds), colour in zip(session.spent_s.items(), COLOURS, strict=False):
        axis.bar(tilts, seconds, bottom=below, color=colour, width=0.85, label=f"{name} {seconds.sum() / 60:.1f} min")
        below = below + seconds
    _tilt_ticks(axis, session)
    axis.set_ylabel("time / s")
    axis.set_ylim(0, 1.25 * max(float(below.max(initial=0.0)), 1.0))
    legend(axis, loc="upper left", ncols=2)
    return figure


def _tilt_ticks(axis: Any, session: Acquisition) -> None:
    """Angles under the tilts, in the order of recording; as many as there is room for."""
    count = len(session.tilt_deg)
    shown = np.arange(0, count, max(1, -(-count // 14)))
    axis.set_xticks(shown, [f"{session.tilt_deg[one]:g}" for one in shown])
    axis.set_xlim(-0.7, count - 0.3)
    axis.set_xlabel(_TILT)


def _bar(figure: Figure, shown: Any, axis: Any, label: str) -> None:
    bar = figure.colorbar(shown, ax=axis, pad=0.02)
    bar.set_label(label, color=INK, fontsize=9.5)
    bar.ax.tick_params(colors=INK, labelsize=9)
    bar.outline.set_visible(False)


def _say(axis: Any, text: str) -> None:
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", color=INK)
