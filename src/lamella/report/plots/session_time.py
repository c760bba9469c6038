"""What the time of a recording session went to, and the dose."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from lamella.records.acquisition import SPENT_ON, Acquisition
from lamella.report.plots.session_axes import clock_axis, minutes, say, tilt_ticks
from lamella.report.plots.style import COLOURS, INK, legend, line_figure

__all__ = ["plot_session_dose", "plot_session_time", "plot_session_timeline"]

_FEW = 30  # targets that still get a name each
_TICKS = 12  # angles above the time line
_COLOUR = dict(zip(SPENT_ON, ("#8a94a0", *COLOURS[:2], "#c9a227", COLOURS[2], COLOURS[3], COLOURS[4]), strict=True))


def plot_session_timeline(session: Acquisition) -> Figure:
    """What was done when; angles stand above where the stage stood. Marks: faults, and what the predictor doubted."""
    figure, axes = line_figure(8.6, 3.2)
    axis, line = axes[0, 0], session.timeline
    rows = [name for name in SPENT_ON if line.seconds(name) > 0]
    for row, name in enumerate(rows):
        mine = line.kind == SPENT_ON.index(name)
        starts = minutes(session, line.start_s[mine])
        lengths = (line.end_s - line.start_s)[mine] / 60
        axis.broken_barh(list(zip(starts, lengths, strict=True)), (row - 0.4, 0.8), color=_COLOUR[name])
    for marks, marker, colour, label in (
        (session.faults, "v", COLOURS[4], "fault survived"),
        (session.doubts, "^", COLOURS[3], "predictor unsure"),
    ):
        if marks:
            times = minutes(session, [one.time_s for one in marks])
            axis.plot(times, np.full(len(marks), -0.75), marker, color=colour, markersize=5, label=label)
    if session.faults or session.doubts:
        legend(axis, loc="lower left", bbox_to_anchor=(0.0, 1.1), ncols=2)
    if not rows:
        say(axis, "nothing yet")
    axis.set_yticks(range(len(rows)), [f"{name}  {line.seconds(name) / 60:.1f} min" for name in rows])
    axis.set_ylim(max(len(rows), 1) - 0.4, -1.1)
    clock_axis(axis, session)
    stood = np.flatnonzero(np.isfinite(session.stood_s))
    if len(stood):
        # An odd step, or a dose-symmetric scheme would show angles of one sign alone.
        stood = stood[:: max(1, -(-len(stood) // _TICKS)) | 1]
        above = axis.secondary_xaxis("top")
        above.set_xticks(minutes(session, session.stood_s[stood]), [f"{session.tilt_deg[one]:g}°" for one in stood])
        above.tick_params(colors=INK, labelsize=8.5)
        above.spines["top"].set_visible(False)
    return figure


def plot_session_time(session: Acquisition) -> Figure:
    """Seconds of each tilt by what they went to."""
    figure, axes = line_figure(7.2, 3.2)
    axis = axes[0, 0]
    tilts, below = np.arange(len(session.tilt_deg)), np.zeros(len(session.tilt_deg))
    for name in SPENT_ON:
        seconds = session.timeline.of_tilts(name, len(tilts))
        if not seconds.any():
            continue
        label = f"{name} {seconds.sum() / 60:.1f} min"
        axis.bar(tilts, seconds, bottom=below, color=_COLOUR[name], width=0.85, label=label)
        below = below + seconds
    tilt_ticks(axis, session)
    axis.set_ylabel("time / s")
    axis.set_ylim(0, 1.3 * max(float(below.max(initial=0.0)), 1.0))
    if below.any():
        legend(axis, loc="upper left", ncols=3)
    else:
        say(axis, "no tilt yet")
    return figure


def plot_session_dose(session: Acquisition) -> Figure:
    """Each target's dose: from its own views so far, and from all other beams as planned for the whole session."""
    figure, axes = line_figure(7.2, 3.0)
    axis = axes[0, 0]
    numbers = np.arange(len(session.targets))
    below = np.nansum(session.dose, axis=1)
    axis.bar(numbers, below, color=COLOURS[2], width=0.7, label="own views, recorded")
    others = [(name, dose) for name, dose in session.planned_dose.items() if name != "own views"]
    for (name, dose), colour in zip(others, (COLOURS[0], COLOURS[3], COLOURS[1]), strict=False):
        if dose.any():
            axis.bar(numbers, dose, bottom=below, color=colour, width=0.7, label=f"{name}, planned")
            below = below + dose
    if session.truth is not None:
        true = session.truth.own_dose + session.truth.other_dose
        axis.plot(numbers, true, "_", color=INK, markersize=9, label="truth (simulated): all beams")
    if len(numbers) <= _FEW:
        axis.set_xticks(numbers, session.targets, rotation=60, fontsize=8)
    axis.set_ylabel("dose / e/Å²")
    axis.set_ylim(0, 1.3 * max(float(below.max(initial=0.0)), 1.0))
    legend(axis, loc="upper left", ncols=3)
    return figure
