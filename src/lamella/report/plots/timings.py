"""How long each step took."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lamella.report.entries import RunRow
from lamella.report.plots.style import COLOURS, INK, line_figure

__all__ = ["plot_timings"]


def plot_timings(runs: Sequence[RunRow]) -> Figure:
    """Wall-clock seconds of each step, all series together, in the order in which the steps first ran."""
    seconds: dict[str, float] = {}
    for run in runs:
        if run.seconds is not None:
            name = run.step if run.label in ("", run.step) else f"{run.step} ({run.label})"
            seconds[name] = seconds.get(name, 0.0) + run.seconds
    names = list(seconds)
    figure, axes = line_figure(7.2, 0.9 + 0.34 * max(1, len(names)))
    axis = axes[0, 0]
    places = np.arange(len(names))
    axis.barh(places, [seconds[name] for name in names], color=COLOURS[0], height=0.62)
    for place, name in zip(places, names, strict=True):
        axis.text(seconds[name], place, f" {seconds[name]:.3g} s", va="center", color=INK, fontsize=9.5)
    axis.set_yticks(places, names)
    axis.invert_yaxis()
    axis.margins(x=0.14)
    axis.set_xlabel("wall-clock time / s")
    axis.grid(False, axis="y")
    return figure
