"""The contrast transfer of each view: its numbers over the tilt angle, its rings as curves and as pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from lamella.errors import InputError
from lamella.records import CtfProfiles, Defocus, TiltSeries
from lamella.report.plots.style import COLOURS, INK, PLATE, PLATE_INK, angle_text, legend, line_figure, plate

__all__ = ["plot_ctf_image", "plot_ctf_pictures", "plot_ctf_profiles", "plot_ctf_sheet", "plot_defocus"]

Array = NDArray[np.float64]

MOST_VIEWS = 96
"""Of longer series every second (third, …) view is shown."""
_TICKS_ANG = (40.0, 20.0, 14.0, 12.0, 10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.5, 4.0, 3.5, 3.0, 2.5, 2.0)
_APART, _EDGE = 0.08, 0.02  # of the axis: labels nearer to each other or to its end would touch
_NOWHERE_ANG = 500.0  # a fit resolution as coarse as that stands for none
_NO_ERROR_ANG = 1e5  # the same of a standard error
_BEYOND = 1.4  # pictures reach so far beyond where the best view's fit ends


def plot_defocus(series: TiltSeries) -> Figure:
    """Defocus, what each view says by itself, astigmatism and fit resolution over the tilt angle."""
    defocus, tilt = _defocus(series), series.nominal_tilt_deg
    figure, axes = line_figure(8.6, 5.0, rows=2, columns=2, sharex=True)
    (upper, alone), (astigmatism, resolution) = axes
    error = series.scores.get("CtfDefocusErrorAngst")
    _bars(upper, tilt, defocus.mean_ang / 1e4, None if error is None else error / 1e4, color=COLOURS[0], marker="o")
    _borrowed(upper, series, defocus.mean_ang / 1e4)
    upper.set_ylabel("defocus / µm")
    _alone(alone, series, defocus.mean_ang)
    spread = defocus.u_ang - defocus.v_ang
    error = series.scores.get("CtfAstigmatismErrorAngst")
    _bars(astigmatism, tilt, spread, error, color=COLOURS[2], marker="o")
    astigmatism.axhline(0, color=INK, linewidth=0.7, alpha=0.5)
    astigmatism.set_ylabel("astigmatism U − V / Å")
    _directions(astigmatism, tilt, defocus.angle_deg)
    _resolution(resolution, tilt, defocus.max_resolution_ang)
    for axis in axes[1]:
        axis.set_xlabel("nominal tilt / °")
    return figure


def plot_ctf_profiles(series: TiltSeries, profiles: CtfProfiles, most: int = 4) -> Figure:
    """Rings of a few views from the least to the most tilted: measured, fitted, and how far the two agree."""
    _check(series, profiles)
    shown = _chosen(series, most)
    figure, axes = line_figure(8.6, 1.75 * len(shown) + 0.5, rows=len(shown), sharex=True)
    for axis, view in zip(axes[:, 0], shown, strict=True):
        _draw_curves(axis, series, profiles, view, INK)
        axis.set_title(_caption(series, view), loc="left", color=INK, fontsize=9.5, pad=3)
    _resolution_axis(axes[-1, 0], profiles, INK)
    axes[-1, 0].set_xlabel("resolution")
    figure.supylabel("power over the background", fontsize=10.5, color=INK)
    _legend_above(axes[0, 0])
    return figure


def plot_ctf_sheet(series: TiltSeries, profiles: CtfProfiles) -> Figure:
    """Rings of every view as curves, in one tall picture."""
    _check(series, profiles)
    shown = _every(series)
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = plate(4.4 * columns, 1.3 * rows + 0.3)
    axes = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=0.012, right=0.988, top=1 - 0.28 / figure.get_figheight(), bottom=0.3 / figure.get_figheight()
    )
    figure.subplots_adjust(wspace=0.04, hspace=0.42)
    for axis, view in zip(axes.flat, shown, strict=False):
        _plain(axis)
        _draw_curves(axis, series, profiles, view, PLATE_INK)
        _resolution_axis(axis, profiles, PLATE_INK)
        axis.set_yticks([])
        axis.tick_params(labelsize=7.5, length=2, pad=1)
        axis.set_title(_caption(series, view), loc="left", color=PLATE_INK, fontsize=8.5, pad=2)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    return figure


def plot_ctf_pictures(series: TiltSeries, profiles: CtfProfiles) -> Figure:
    """Spectra of every view: the left half measured, the right half fitted; circles where the fit ends to hold."""
    _check(series, profiles)
    shown = _every(series)
    columns = min(8, len(shown))
    rows = -(-len(shown) // columns)
    tile, label = 1.75, 0.24
    figure = plate(tile * columns, (tile + label) * rows)
    height = figure.get_figheight()
    for number, view in enumerate(shown):
        row, column = divmod(number, columns)
        top = 1 - row * (tile + label) / height
        box = (column / columns + 0.002, top - (tile + label) / height, 1 / columns - 0.004, tile / height)
        _draw_picture(figure.add_axes(box), series, profiles, view)
        text = angle_text(series.nominal_tilt_deg[view])
        place = (column + 0.5) / columns, top - label / 2 / height
        figure.text(*place, text, color=PLATE_INK, ha="center", va="center", fontsize=9.5)
    return figure


def plot_ctf_image(series: TiltSeries, profiles: CtfProfiles, title: str) -> Figure:
    """One image: its rings as a curve, and its spectrum beside it."""
    _check(series, profiles)
    figure, axes = line_figure(11.0, 3.9, columns=2, width_ratios=(2.1, 1))
    curve, picture = axes[0]
    _draw_curves(curve, series, profiles, 0, INK)
    _resolution_axis(curve, profiles, INK)
    curve.set_xlabel("resolution")
    curve.set_ylabel("power over the background")
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, color=INK)
    legend(curve, loc="lower right", ncols=3)
    _draw_picture(picture, series, profiles, 0)
    picture.set_title("left: measured, right: fitted", loc="left", color=INK, fontsize=9.5)
    return figure


def _defocus(series: TiltSeries) -> Defocus:
    if series.defocus is None:
        raise InputError(f"{series.name}: no defocus of its views is known", mend="run `lamella ctf` first")
    return series.defocus


def _check(series: TiltSeries, profiles: CtfProfiles) -> None:
    if len(profiles) != len(series):
        raise InputError(f"{series.name}: {len(profiles)} profiles of {len(series)} views", mend="run ctf again")


def _alone(axis: Axes, series: TiltSeries, mean: Array) -> None:
    """What each view says by itself against the joint estimate, each with its standard error."""
    found, error = series.scores.get("CtfAloneDefocusAngst"), series.scores.get("CtfAloneErrorAngst")
    tilt = series.nominal_tilt_deg
    axis.set_ylabel("by itself − joint / Å")
    if found is None or not np.isfinite(found).any():
        axis.text(0.5, 0.5, "no estimates of single views", transform=axis.transAxes, ha="center", color=INK)
        return
    told = np.isfinite(found) if error is None else np.isfinite(found) & (error < _NO_ERROR_ANG)
    found = np.where(told, found, np.nan)
    error = None if error is None else np.where(told, error, np.nan)
    joint = series.scores.get("CtfDefocusErrorAngst")
    if joint is not None:
        order = np.argsort(tilt)
        axis.fill_between(tilt[order], -joint[order], joint[order], color=COLOURS[0], alpha=0.25, linewidth=0)
    apart = found - mean
    _bars(axis, tilt, apart, error, color=COLOURS[1], marker="s", linestyle="none")
    axis.axhline(0, color=INK, linewidth=0.7, alpha=0.5)
    if not told.any():
        return
    usual = float(np.nanpercentile(np.abs(apart), 90))
    reach = 2.5 * max(usual, float(np.nanmedian(error)) if error is not None else 0.0, 1.0)
    axis.set_ylim(-reach, reach)
    beyond = int((np.abs(apart[told]) > reach).sum())
    text = "band: standard error of the joint estimate" + (f"; {beyond} beyond the axis" if beyond else "")
    axis.set_title(text, loc="right", color=INK, fontsize=9)


def _resolution(axis: Axes, tilt: Array, reached_ang: Array | None) -> None:
    """Fit resolution of each view; crosses at the edge where a fit holds nowhere."""
    axis.set_ylabel("fit resolution / Å")
    if reached_ang is None:
        return
    holds = reached_ang < _NOWHERE_ANG
    shown = np.where(holds, reached_ang, np.nan)
    axis.plot(tilt, shown, color=COLOURS[3], marker="o", markersize=3.5, linewidth=1.2)
    title = f"median {np.median(reached_ang):.1f} Å"
    if holds.any():
        axis.axhline(float(np.median(reached_ang[holds])), color=INK, linewidth=1, linestyle="--")
    if not holds.all():
        top = axis.get_ylim()[1]
        axis.plot(tilt[~holds], np.full(int((~holds).sum()), top), color=COLOURS[4], marker="x", linestyle="none")
        title += f"; × {int((~holds).sum())} without rings"
    axis.set_title(title, loc="right", color=INK, fontsize=9.5)


def _borrowed(axis: Axes, series: TiltSeries, values: Array) -> None:
    """Rings about views whose own fit was worthless."""
    weak = np.asarray(series.scores.get("CtfBorrowed", np.zeros(len(series)))) > 0
    if weak.any():
        axis.plot(
            series.nominal_tilt_deg[weak],
            values[weak],
            linestyle="none",
            marker="o",
            markersize=8,
            markerfacecolor="none",
            markeredgecolor=COLOURS[4],
            label="borrowed from the others",
        )
        _legend_above(axis)


def _directions(axis: Axes, tilt: Array, angle_deg: Array) -> None:
    """The direction of U on a second axis; a constant one is a number in the title."""
    twice = np.exp(2j * np.deg2rad(angle_deg))
    middle = np.rad2deg(np.angle(twice.mean())) / 2
    apart = (angle_deg - middle + 90) % 180 - 90
    if np.abs(apart).max() < 0.5:
        axis.set_title(f"U at {middle % 180:.0f}° from x", loc="right", color=INK, fontsize=9.5)
        return
    right = axis.twinx()
    right.plot(tilt, middle + apart, color=COLOURS[1], linewidth=1.0, linestyle="--")
    right.set_ylabel("direction of U / °", color=COLOURS[1], fontsize=10.5)
    right.tick_params(colors=INK, labelsize=9.5)
    for side in ("top", "left", "bottom"):
        right.spines[side].set_visible(False)
    right.spines["right"].set_color(INK)


def _bars(axis: Axes, tilt: Array, values: Array, errors: Array | None, **style: Any) -> None:
    style = {"markersize": 3.5, "linewidth": 1.2} | style
    if errors is None or not np.isfinite(errors).any():
        axis.plot(tilt, values, **style)
        return
    bars = np.where(np.isfinite(errors), errors, 0.0)
    axis.errorbar(tilt, values, yerr=bars, elinewidth=1.0, capsize=1.5, **style)


def _draw_curves(axis: Axes, series: TiltSeries, profiles: CtfProfiles, view: int, ink: str) -> None:
    """Measured and fitted power over k², in which rings are evenly spaced; shaded where the fit no longer holds."""
    square = profiles.frequency_per_ang**2
    measured, fitted = profiles.measured[view], profiles.fitted[view]
    axis.plot(square, measured, color=ink, alpha=0.55, linewidth=0.9, label="measured")
    axis.plot(square, fitted, color=COLOURS[0] if ink == INK else "#58a6e8", linewidth=1.2, label="fitted")
    reach = 1.25 * max(float(np.percentile(np.abs(measured), 97)), float(np.abs(fitted).max()), 1e-6)
    axis.set_ylim(-reach, reach)
    end = _end(series, view)
    if end is not None and end**2 < square[-1]:
        axis.axvspan(max(end**2, square[0]), square[-1], color=ink, alpha=0.09, linewidth=0)
    axis.plot(
        square, reach * profiles.correlation[view], color=COLOURS[1], linewidth=0.9, alpha=0.8, label="correlation"
    )


def _end(series: TiltSeries, view: int) -> float | None:
    """Frequency to which a view's fit holds, 1/Å; None where it is unknown."""
    reached = None if series.defocus is None else series.defocus.max_resolution_ang
    if reached is None or not 0 < reached[view] < _NOWHERE_ANG:
        return None
    return 1 / float(reached[view])


def _resolution_axis(axis: Axes, profiles: CtfProfiles, ink: str) -> None:
    """Ticks in Å on an axis of k²."""
    low, high = float(profiles.frequency_per_ang[0] ** 2), float(profiles.frequency_per_ang[-1] ** 2)
    axis.set_xlim(low, high)
    ticks: list[float] = []
    last = -np.inf
    for resolution in _TICKS_ANG:
        place = 1 / resolution**2
        if low + _EDGE * (high - low) <= place <= high - _EDGE * (high - low) and place - last >= _APART * (high - low):
            ticks.append(resolution)
            last = place
    axis.set_xticks([1 / tick**2 for tick in ticks], [f"{tick:g} Å" for tick in ticks])
    axis.tick_params(colors=ink)


def _legend_above(axis: Axes) -> None:
    """Beside the title, where it hides no curve."""
    legend(axis, loc="lower right", bbox_to_anchor=(1.01, 0.97), ncols=3, borderpad=0.1)


def _plain(axis: Axes) -> None:
    """Axes on a dark plate."""
    axis.set_facecolor(PLATE)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(PLATE_INK)
    axis.grid(True, color=PLATE_INK, alpha=0.15, linewidth=0.6)


def _draw_picture(axis: Axes, series: TiltSeries, profiles: CtfProfiles, view: int) -> None:
    side = profiles.pictures.shape[-1]
    # pixel p // 2 is frequency 0, so the edges are not quite symmetric
    step = 2 * profiles.picture_limit_per_ang / side
    edges = (-(side // 2) * step - step / 2, (side - side // 2) * step - step / 2)
    axis.imshow(
        profiles.pictures[view],
        cmap="gray",
        origin="lower",
        vmin=-1,
        vmax=1,
        extent=(*edges, *edges),
        interpolation="bilinear",
    )
    ends = [end for other in range(len(series)) if (end := _end(series, other)) is not None]
    shown = min(profiles.picture_limit_per_ang, _BEYOND * max(ends, default=np.inf))
    if (radius := _end(series, view)) is not None and radius < shown:
        axis.add_patch(Circle((0, 0), radius, fill=False, color=COLOURS[1], linewidth=0.9, alpha=0.9))
        axis.text(
            0,
            -radius,
            f"{1 / radius:.1f} Å",
            color=COLOURS[1],
            fontsize=8.5,
            ha="center",
            va="top" if radius < 0.8 * shown else "bottom",
            bbox={"facecolor": "#000000", "alpha": 0.55, "pad": 1.0, "edgecolor": "none"},
        )
    axis.set_xlim(-shown, shown)
    axis.set_ylim(-shown, shown)
    axis.set_axis_off()


def _caption(series: TiltSeries, view: int) -> str:
    defocus = _defocus(series)
    text = f"{angle_text(series.nominal_tilt_deg[view])}: {defocus.mean_ang[view] / 1e4:.3f} µm"
    if defocus.max_resolution_ang is not None:
        reached = defocus.max_resolution_ang[view]
        text += f", to {reached:.1f} Å" if reached < _NOWHERE_ANG else ", no rings"
    return text


def _every(series: TiltSeries) -> list[int]:
    return list(range(0, len(series), -(-len(series) // MOST_VIEWS)))


def _chosen(series: TiltSeries, count: int) -> list[int]:
    """Views from the least tilted to the most tilted, evenly over the angles' sizes."""
    by_tilt = np.argsort(np.abs(series.nominal_tilt_deg), kind="stable")
    places = np.unique(np.rint(np.linspace(0, len(by_tilt) - 1, count)).astype(int))
    return [int(by_tilt[place]) for place in places]
