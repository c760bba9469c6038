"""How a network learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lamella.report.plots.style import COLOURS, INK, legend, line_figure

__all__ = ["plot_training"]


def plot_training(loss: Sequence[float], held_out: Sequence[float]) -> Figure:
    """Loss of every epoch, on what was trained on and on what was held out; the best epoch is marked."""
    figure, axes = line_figure(6.0, 2.8)
    axis = axes[0, 0]
    epochs = np.arange(1, len(loss) + 1)
    axis.plot(epochs, loss, color=COLOURS[1], linewidth=1.2, label="trained on")
    axis.plot(epochs, held_out, color=COLOURS[0], marker="o", markersize=3.0, linewidth=1.2, label="held out")
    best = int(np.argmin(held_out))
    axis.axvline(best + 1, color=INK, linewidth=0.8, linestyle=":", label="kept")
    axis.set_xlabel("epoch")
    axis.set_ylabel("mean squared difference / noise²")
    legend(axis, loc="upper right")
    return figure
