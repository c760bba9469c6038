"""How the specimen moved while each view was taken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lamella.errors import InputError
from lamella.records import MovieMotion, TiltSeries
from lamella.report.plots.style import COLOURS, INK, angle_text, legend, line_figure

__all__ = ["plot_local_motion", "plot_motion_lengths", "plot_trajectories"]

_COLUMNS = 8
_MOST_PANELS = 64
_ARROWS = 7  # along the longer side
_LENGTHS = {
    "rlnAccumMotionTotal": ("whole way", COLOURS[0], "o"),
    "rlnAccumMotionEarly": ("in the specimen's first 4 e/Å²", COLOURS[1], "s"),
    "rlnAccumMotionLate": ("after them", COLOURS[2], "^"),
}


def plot_motion_lengths(series: TiltSeries) -> Figure:
    """How far the whole field moved in each view: RELION's total, early and late motion in the record."""
    figure, axes = line_figure(6.0, 2.8)
    axis = axes[0, 0]
    drawn = 0
    for column, (name, colour, mark) in _LENGTHS.items():
        if column not in series.other_columns:
            continue
        values = np.array([float(text) for text in series.other_columns[column]])
        axis.plot(series.nominal_tilt_deg, values, color=colour, marker=mark, markersize=3.5, linewidth=1.2, label=name)
        drawn += 1
    if not drawn:
        raise InputError(f"{series.name}: no motion in its table", mend="run motion on its movies")
    axis.set_ylim(0, 1.35 * axis.get_ylim()[1])  # room for the legend
    axis.set_xlabel("nominal tilt / °")
    axis.set_ylabel("length of the way / Å")
    if drawn > 1:
        legend(axis, loc="upper left", ncols=2)
    return figure


def plot_trajectories(series: TiltSeries, motions: Sequence[MovieMotion]) -> Figure:
    """The way of the whole field in each view, one small panel each, all to one scale; light is early, dark is late.

    Of a series of more than 64 views every second, third, … is shown.
    """
    if len(motions) != len(series):
        raise InputError(f"{series.name}: {len(motions)} motions for {len(series)} views", mend="run motion again")
    shown = list(range(0, len(series), -(-len(series) // _MOST_PANELS)))
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = line_figure(8.6, 1.15 * rows + 0.5, rows, columns, sharex=True, sharey=True)
    ways = [motions[view].global_px * motions[view].pixel_size_ang for view in shown]
    reach = max(max(float(np.abs(way - way.mean(axis=0)).max()) for way in ways), 1.0) * 1.15
    panels: list[Axes] = axes.ravel().tolist()
    for axis, view, way in zip(panels, shown, ways, strict=False):
        centred = way - (way.max(axis=0) + way.min(axis=0)) / 2
        _draw_way(axis, centred)
        axis.set_title(angle_text(series.nominal_tilt_deg[view]), fontsize=8.5, color=INK, pad=2)
    for axis in panels:
        axis.set_xlim(-reach, reach)
        axis.set_ylim(-reach, reach)
        axis.set_aspect("equal")
        axis.tick_params(labelsize=8)
        axis.set_axisbelow(True)
    for axis in panels[len(shown) :]:
        axis.set_visible(False)
    figure.supxlabel("x / Å", fontsize=9.5, color=INK)
    figure.supylabel("y / Å", fontsize=9.5, color=INK)
    return figure


def _draw_way(axis: Axes, way_ang: np.ndarray) -> None:
    """A line from frame to frame that darkens, a ring at its beginning and a point at its end."""
    if len(way_ang) > 1:
        pieces = np.stack([way_ang[:-1], way_ang[1:]], axis=1)
        line = LineCollection(list(pieces), cmap="viridis_r", norm=Normalize(0, len(pieces)), linewidths=1.6)
        line.set_array(np.arange(len(pieces)) + 0.5)
        axis.add_collection(line)
    axis.scatter(way_ang[0, 0], way_ang[0, 1], s=14, facecolors="none", edgecolors=INK, linewidths=0.9, zorder=3)
    axis.scatter(way_ang[-1, 0], way_ang[-1, 1], s=11, color=COLOURS[4], linewidths=0, zorder=3)


def plot_local_motion(series: TiltSeries, motions: Sequence[MovieMotion], most: int = 4) -> Figure:
    """How places of some views moved against the whole field, from the first frame to the last; arrows enlarged.

    Raises
    ------
    InputError
        if no view has a local model.
    """
    local = [view for view, motion in enumerate(motions) if motion.local is not None]
    if not local:
        raise InputError(f"{series.name}: no view has local motion", mend="set motion.model to local")
    shown = [local[i] for i in np.unique(np.linspace(0, len(local) - 1, min(most, len(local))).astype(int))]
    moves = [_moves(motions[view]) for view in shown]
    longest = max(max(float(np.hypot(*move.T).max()) for _, move in moves), 1e-6)
    height, width = motions[shown[0]].shape_px
    figure, axes = line_figure(8.6, 1.15 + 8.0 / max(len(shown), 2) * height / width, 1, len(shown), sharey=True)
    for axis, view, (places, move) in zip(axes[0], shown, moves, strict=True):
        nanometres = motions[view].pixel_size_ang / 10
        spacing = max(height, width) / _ARROWS * nanometres
        axis.quiver(
            *(places * nanometres).T,
            *(move * spacing / longest).T,
            angles="xy",
            scale_units="xy",
            scale=1.0,
            color=COLOURS[0],
            width=0.008,
        )
        axis.set_xlim(0, width * nanometres)
        axis.set_ylim(0, height * nanometres)
        axis.set_aspect("equal")
        axis.set_xlabel("x / nm")
        axis.set_title(angle_text(series.nominal_tilt_deg[view]), fontsize=9.5, color=INK)
    axes[0, 0].set_ylabel("y / nm")
    figure.suptitle(f"longest arrow {longest:.1f} Å", fontsize=9.5, color=INK, x=0.99, ha="right")
    return figure


def _moves(motion: MovieMotion) -> tuple[np.ndarray, np.ndarray]:
    """Places ``(n, 2)`` in px, and what they moved against the mean of the field, Å."""
    height, width = motion.shape_px
    step = max(height, width) / _ARROWS
    x, y = np.meshgrid(np.arange(step / 2, width, step), np.arange(step / 2, height, step))
    places = np.stack([x.ravel(), y.ravel()], axis=-1)
    assert motion.local is not None
    moved = motion.local.displacement(places)
    return places, (moved[-1] - moved[0]) * motion.pixel_size_ang
