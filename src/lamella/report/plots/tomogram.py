"""Curves of a tomogram: agreement of its halves, and the rounds of an iterative reconstruction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from lamella.records.half_fsc import HalfFsc
from lamella.report.plots.style import COLOURS, INK, legend, line_figure

__all__ = ["plot_half_fsc", "plot_held_out"]

_THRESHOLDS = ((0.143, "HalfFscResolutionAngst"), (0.5, "HalfFscHalfAngst"))


def plot_half_fsc(curve: HalfFsc, numbers: Mapping[str, float] | None = None) -> Figure:
    """Correlation of the even and odd half against spatial frequency, with standard errors and where it ends.

    Parameters
    ----------
    curve
        the correlation.
    numbers
        of the tomogram by name; HalfFscResolutionAngst and HalfFscHalfAngst are marked.
    """
    figure, axes = line_figure(6.0, 3.4)
    axis = axes[0, 0]
    k, values, error = (part[1:] for part in (curve.frequency_per_ang, curve.correlation, curve.error))
    axis.fill_between(k, values - 2 * error, values + 2 * error, color=COLOURS[0], alpha=0.25, linewidth=0)
    axis.plot(k, values, color=COLOURS[0], linewidth=1.7)
    last = float(k[-1])
    axis.set_xlim(0, last)
    axis.set_ylim(min(-0.1, float(values.min())), 1.03)
    for threshold, name in _THRESHOLDS:
        axis.axhline(threshold, color=INK, alpha=0.5, linewidth=0.8, linestyle=":")
        reached = (numbers or {}).get(name)
        if reached and 1 / reached < last * 0.995:
            axis.plot([1 / reached], [threshold], "o", color=COLOURS[1], markersize=5)
            axis.annotate(
                f"{reached:.1f} Å",
                (1 / reached, threshold),
                xytext=(6, 5),
                textcoords="offset points",
                color=INK,
                fontsize=9.5,
            )
    axis.set_xlabel("spatial frequency / Å⁻¹")
    axis.set_ylabel("FSC of the halves")
    above = axis.secondary_xaxis("top")
    inner = [tick for tick in axis.get_xticks() if 0 < tick <= last * 1.0001]
    above.set_xticks(inner, [f"{1 / tick:.3g} Å" for tick in inner])
    above.tick_params(colors=INK, labelsize=9.5)
    above.spines["top"].set_visible(False)
    return figure


def plot_held_out(errors: Sequence[float], taken: int | None = None) -> Figure:
    """How badly each round of a trial predicted views that it never saw, and the round at which it was best.

    Parameters
    ----------
    errors
        of rounds 1 … n: mean square of the misses over the views' own.
    taken
        rounds that the tomogram took, where they lie within.
    """
    figure, axes = line_figure(6.0, 3.0)
    axis = axes[0, 0]
    rounds = np.arange(1, len(errors) + 1)
    best = int(np.argmin(errors))
    axis.plot(rounds, errors, color=COLOURS[0], linewidth=1.6, marker="o", markersize=3)
    axis.plot([rounds[best]], [errors[best]], "o", color=COLOURS[1], markersize=7, label=f"least, round {rounds[best]}")
    if taken is not None and taken <= len(errors):
        axis.axvline(taken, color=INK, alpha=0.5, linewidth=0.9, linestyle=":", label=f"taken, {taken} rounds")
    axis.set_xlabel("round")
    axis.set_ylabel("error of held-out views")
    legend(axis, loc="best")
    return figure
