"""A session before it begins: targets, areas, beams, and how far the image shift reaches."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from lamella.records.acquisition_plan import AcquisitionPlan, PlannedTilt
from lamella.report.plots.style import COLOURS, INK, line_figure

__all__ = ["plot_session_plan"]

_FEW = 40  # targets that still get a name each
_AREA = {"tracking": COLOURS[1], "focus": COLOURS[3], "tracking and focus": COLOURS[1]}
_MARGIN = 1.15


def plot_session_plan(plan: AcquisitionPlan) -> Figure:
    """Where beams fall at the start tilt, and at the lowest and the highest one, seen along the beam.

    Filled: beams on targets (red: beyond the image shift; yellow: touched by another beam); open: tracking and focus
    areas; the thin line is the way from target to target; the large circle is the image shift's limit.
    """
    figure, axes = line_figure(5.2 * len(plan.tilts), 5.6, columns=len(plan.tilts))
    for axis, tilt in zip(axes[0], plan.tilts, strict=True):
        _draw(axis, plan, tilt)
    handles = [Circle((0, 0), color=COLOURS[2], alpha=0.5, label="target's beam")]
    if any(tilt.struck.any() for tilt in plan.tilts):
        handles.append(Circle((0, 0), color="#c9a227", alpha=0.6, label="touched by another beam"))
    if not all(tilt.reached.all() for tilt in plan.tilts):
        handles.append(Circle((0, 0), color=COLOURS[4], alpha=0.6, label="beyond the image shift"))
    for name in plan.tilts[0].areas_um:
        handles.append(Circle((0, 0), fill=False, color=_AREA[name], linewidth=1.6, label=f"{name} area"))
    handles.append(Circle((0, 0), fill=False, color=INK, linestyle="--", label="image shift's limit"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9.5)
    return figure


def _draw(axis: Any, plan: AcquisitionPlan, tilt: PlannedTilt) -> None:
    colours = np.where(tilt.reached, np.where(tilt.struck, "#c9a227", COLOURS[2]), COLOURS[4])
    _discs(axis, tilt.targets_um, plan.beam_um["targets"], facecolors=colours, alpha=0.5)
    for name, places in tilt.areas_um.items():
        _discs(axis, places, plan.beam_um[name], facecolors="none", edgecolors=_AREA[name], linewidths=1.6)
    way = tilt.targets_um[list(plan.order)]
    axis.plot(*way.T, color=INK, linewidth=0.6, alpha=0.5)
    axis.add_patch(Circle((0, 0), plan.limit_um, fill=False, color=INK, linestyle="--", linewidth=1.0))
    axis.axvline(plan.axis_um, color=INK, linewidth=0.7, linestyle=":")
    if len(plan.targets) <= _FEW:
        for name, place in zip(plan.targets, tilt.targets_um, strict=True):
            axis.annotate(name, place, ha="center", va="center", fontsize=6.5, color=INK)
    everything = [one.targets_um for one in plan.tilts] + [at for one in plan.tilts for at in one.areas_um.values()]
    furthest = max(float(np.abs(np.concatenate(everything)).max()) + max(plan.beam_um.values()), 1.0)
    reach = max(furthest, plan.limit_um) if furthest > plan.limit_um / 2 else furthest
    axis.set_xlim(-_MARGIN * reach, _MARGIN * reach)
    axis.set_ylim(-_MARGIN * reach, _MARGIN * reach)
    axis.set_aspect("equal")
    beyond, touched = int((~tilt.reached).sum()), int(tilt.struck.sum())
    said = [f"{count} {what}" for count, what in ((beyond, "beyond"), (touched, "touched")) if count]
    axis.set_title(f"{tilt.tilt_deg:g}°" + (": " + ", ".join(said) if said else ""), color=INK, fontsize=11)
    axis.set_xlabel("across the tilt axis (dotted) / µm")
    axis.set_ylabel("along the tilt axis / µm")


def _discs(axis: Any, places: Any, diameter: float, **look: Any) -> None:
    sizes = np.full(len(places), diameter)
    discs = EllipseCollection(
        sizes, sizes, np.zeros(len(places)), units="xy", offsets=places, offset_transform=axis.transData, **look
    )
    axis.add_collection(discs)
