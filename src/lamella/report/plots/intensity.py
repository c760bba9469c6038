"""How bright each view is: a blank, dark or blocked one stands out."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from lamella.records import ImageSource, TiltSeries
from lamella.report.plots.style import COLOURS, block_mean, legend, line_figure

__all__ = ["plot_intensity"]


def plot_intensity(series: TiltSeries, images: ImageSource, excluded_places: frozenset[int] = frozenset()) -> Figure:
    """Mean grey value and its spread in each view, excluded views marked by their `place`."""
    mean, spread = np.empty(len(series)), np.empty(len(series))
    for view in range(len(series)):
        small, _ = block_mean(images.view(view), 128)
        mean[view], spread[view] = float(small.mean(dtype=np.float64)), float(small.std(dtype=np.float64))
    tilt = series.nominal_tilt_deg
    out = np.isin(series.place, list(excluded_places)) if series.place is not None else np.zeros(len(series), bool)
    figure, axes = line_figure(6.0, 3.3)
    axis = axes[0, 0]
    axis.errorbar(
        tilt[~out],
        mean[~out],
        yerr=spread[~out],
        color=COLOURS[0],
        marker="o",
        markersize=3.5,
        linewidth=1.2,
        elinewidth=0.8,
        label="mean, and spread of the binned picture",
    )
    if out.any():
        axis.plot(
            tilt[out], mean[out], color=COLOURS[4], marker="x", markersize=8, mew=2, linestyle="", label="excluded"
        )
        legend(axis, loc="best")
    axis.set_xlabel("nominal tilt angle / °")
    axis.set_ylabel("grey value")
    return figure
