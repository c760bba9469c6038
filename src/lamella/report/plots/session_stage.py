"""What stage and lens did in a recording session: drift, tracking, settling, focus."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from lamella.records.acquisition import Acquisition
from lamella.report.plots.session_axes import clock_axis, log_scale, minutes, say, tilt_ticks
from lamella.report.plots.style import COLOURS, INK, legend, line_figure

__all__ = ["plot_session_drift", "plot_session_focus", "plot_session_settling", "plot_session_tracking"]


def plot_session_drift(session: Acquisition) -> Figure:
    """Where the specimen went: the image shift that held the tracking area, or the first target, in the middle."""
    figure, axes = line_figure(7.2, 2.8)
    axis = axes[0, 0]
    tracking = session.tracking
    shown = ~tracking.low & (tracking.tilt >= 0)
    places, at_s = tracking.shift_um[shown], tracking.time_s[shown]
    if not shown.any():
        seen = session.learned[0]
        places, at_s = (session.shift_um + session.displacement_um)[0, seen], session.time_s[0, seen]
    clock_axis(axis, session)
    axis.set_ylabel("moved / µm")
    if not len(places):
        say(axis, "nothing was followed yet")
        return figure
    moved, times = places - places[0], minutes(session, at_s)
    for way, colour, label in ((0, COLOURS[0], "across the axis"), (1, COLOURS[1], "along it")):
        axis.plot(times, moved[:, way], ".-", color=colour, linewidth=0.9, markersize=4, label=label)
    legend(axis, loc="best", ncols=2)
    return figure


def plot_session_focus(session: Acquisition) -> Figure:
    """By how much focus was off where it was measured, and what the lens was set to for the targets."""
    figure, axes = line_figure(7.2, 4.4, rows=2, sharex=True)
    off, lens = axes[0, 0], axes[1, 0]
    at = session.focus.tilt >= 0
    off.axhline(0.0, color=INK, linewidth=0.8, linestyle="--")
    if at.any():
        off.errorbar(
            session.focus.tilt[at],
            session.focus.defocus_um[at] - session.wanted_um,
            yerr=session.focus.sd_um[at],
            fmt="o",
            markersize=4,
            color=COLOURS[1],
            label="focus or tracking area, by beam tilt",
        )
    tilts = np.arange(len(session.tilt_deg))
    if session.truth is not None and np.isfinite(session.truth.defocus_error_um).any():
        known = np.isfinite(session.truth.defocus_error_um).any(axis=0)
        low, middle, high = np.nanpercentile(session.truth.defocus_error_um[:, known], [10, 50, 90], axis=0)
        off.fill_between(tilts[known], low, high, color=COLOURS[2], alpha=0.2)
        off.plot(tilts[known], middle, color=COLOURS[2], label="truth (simulated): median and 80 % of the targets")
    if at.any() or session.truth is not None:
        legend(off, loc="best", ncols=1)
    else:
        say(off, "no focus measured yet")
    off.set_ylabel("defocus − wanted / µm")
    known = np.isfinite(session.defocus_um).any(axis=0)
    if known.any():
        values = session.defocus_um[:, known]
        lens.fill_between(
            tilts[known], np.nanmin(values, axis=0), np.nanmax(values, axis=0), color=COLOURS[0], alpha=0.2
        )
        lens.plot(tilts[known], np.nanmedian(values, axis=0), color=COLOURS[0], label="lens: all targets, median")
        legend(lens, loc="best")
    lens.axhline(session.wanted_um, color=INK, linewidth=0.8, linestyle="--")
    tilt_ticks(lens, session)
    lens.set_ylabel("lens / µm")
    return figure


def plot_session_tracking(session: Acquisition) -> Figure:
    """Where the tracking area stood in its first and in its last exposure of each tilt."""
    figure, axes = line_figure(7.2, 3.0)
    axis = axes[0, 0]
    tilts = np.arange(len(session.tilt_deg))
    first, last = session.tracking.first_nm(len(tilts)), session.tracking.last_nm(len(tilts))
    if np.isfinite(first).any():
        # A displacement of nothing has no logarithm.
        log_scale(axis)
        axis.plot(tilts, np.maximum(first, 0.01), "o-", color=COLOURS[0], markersize=3.5, label="as predicted")
        axis.plot(tilts, np.maximum(last, 0.01), "s-", color=COLOURS[2], markersize=3.5, label="left in the end")
        legend(axis, loc="best", ncols=2)
    else:
        say(axis, "no tracking area")
    tilt_ticks(axis, session)
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
        say(axis, "no view measured yet")
        return figure
    times, off = since[known], 1e3 * session.off_um[known]
    axis.plot(times, off, ".", color=COLOURS[0], alpha=0.35, markersize=4, label="views")
    edges = np.unique(np.percentile(times, np.linspace(0, 100, 9)))
    place = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, max(len(edges) - 2, 0))
    bins = np.unique(place)
    middles = [float(np.median(times[place == one])) for one in bins]
    axis.plot(middles, [np.median(off[place == one]) for one in bins], "o-", color=COLOURS[1], label="median")
    axis.set_ylim(0, 1.3 * float(np.percentile(off, 98)) + 1e-3)
    axis.set_xlim(0, 1.1 * float(np.percentile(times, 95)) + 1e-3)
    legend(axis, loc="best")
    return figure
