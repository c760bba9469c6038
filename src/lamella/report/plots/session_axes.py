"""Axes that the plots of a session share: tilts in the order of recording, and the clock."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lamella.records.acquisition import Acquisition
from lamella.report.plots.style import INK

__all__ = ["clock_axis", "colour_bar", "log_scale", "minutes", "say", "tilt_ticks"]

_TICKS = 14  # that there is room for
_EPOCH_S = 1e9  # a clock beyond it counts from 1970, as computers' do; simulated ones begin at 0


def tilt_ticks(axis: Any, session: Acquisition) -> None:
    """Angles under the tilts, in the order of recording; as many as there is room for."""
    count = len(session.tilt_deg)
    shown = np.arange(0, count, max(1, -(-count // _TICKS)))
    axis.set_xticks(shown, [f"{session.tilt_deg[one]:g}" for one in shown])
    axis.set_xlim(-0.7, count - 0.3)
    axis.set_xlabel("tilt / °, in the order of recording")


def minutes(session: Acquisition, time_s: Any) -> Any:
    """Times of the microscope's clock as minutes since the session began."""
    return (np.asarray(time_s, np.float64) - session.started_s) / 60


def clock_axis(axis: Any, session: Acquisition) -> None:
    """The time as people read it: of the day where the microscope's clock tells it, else since the session began."""
    axis.set_xlim(0, max(float(minutes(session, session.now_s)), 0.1))
    axis.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 3, 5, 6, 10]))
    if session.started_s < _EPOCH_S:
        axis.set_xlabel("time since the session began / min")
        return
    begun = datetime.fromtimestamp(session.started_s)

    def of_day(at_min: float, _: int) -> str:
        return f"{datetime.fromtimestamp(session.started_s + 60 * at_min):%H:%M}"

    axis.xaxis.set_major_formatter(FuncFormatter(of_day))
    axis.set_xlabel(f"time of the day, from {begun:%Y-%m-%d %H:%M}")


def log_scale(axis: Any) -> None:
    """A logarithmic scale with plain numbers at it."""
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(FuncFormatter(_second_or_fifth))


def _second_or_fifth(value: float, _: int) -> str:
    """Labels between powers of ten that leave room for each other."""
    first = f"{value:e}"[0]
    return f"{value:g}" if first in "25" else ""


def colour_bar(figure: Figure, shown: Any, axis: Any, label: str) -> None:
    """What colours mean, beside the axes."""
    bar = figure.colorbar(shown, ax=axis, pad=0.02)
    bar.set_label(label, color=INK, fontsize=9.5)
    bar.ax.tick_params(colors=INK, labelsize=9)
    bar.outline.set_visible(False)


def say(axis: Any, text: str) -> None:
    """Text in the place of what there is not yet."""
    axis.set_yticks([])
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", color=INK)
