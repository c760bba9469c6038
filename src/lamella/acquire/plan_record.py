"""A plan as the record that its picture is made from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.beams import tilted
from lamella.acquire.microscope.port import FOCUS, RECORD, TRACK
from lamella.acquire.plan import Plan
from lamella.acquire.targets import places_of
from lamella.records.acquisition_plan import AcquisitionPlan, PlannedTilt

__all__ = ["record_of_plan"]

Array = NDArray[np.float64]


def record_of_plan(plan: Plan) -> AcquisitionPlan:
    """Where targets, areas and beams lie at the start tilt, at the lowest and at the highest one."""
    presets, angles = plan.calibrations.presets, plan.scheme.tilt_deg
    areas = _areas(plan)
    beams = {"targets": presets[RECORD].beam_um}
    beams |= {name: presets[FOCUS if name == "focus" else TRACK].beam_um for name in areas}
    start = plan.settings.start_tilt
    nearest = float(angles[np.abs(angles - start).argmin()])
    shown = dict.fromkeys((nearest, float(angles.min()), float(angles.max())))
    return AcquisitionPlan(
        targets=tuple(one.name for one in plan.targets),
        tilts=tuple(_at(plan, angle, areas, beams) for angle in shown),
        beam_um=beams,
        limit_um=plan.limits.image_shift_um,
        axis_um=plan.calibrations.axis_offset_um,
        order=plan.visits[0],
    )


def _areas(plan: Plan) -> dict[str, Array]:
    """``(n, 3)`` places at the start tilt of the areas that are exposed."""
    settings, places = plan.settings, places_of(plan.targets)
    if settings.tracking == "position":
        aside = np.array([0.0, settings.position_distance, 0.0])
        return {"tracking": places + aside, "focus": places - aside}
    tracking, focus = (np.array([[*place, 0.0]]) for place in (plan.areas.tracking_um, plan.areas.focus_um))
    if settings.focuses_on_tracking:
        return {"tracking and focus": tracking} if settings.tracks_area else {"focus": tracking}
    return {"tracking": tracking, "focus": focus} if settings.tracks_area else {"focus": focus}


def _at(plan: Plan, angle: float, areas: Mapping[str, Array], beams: Mapping[str, float]) -> PlannedTilt:
    offset, start = plan.calibrations.axis_offset_um, plan.settings.start_tilt

    def seen(places: Array) -> Array:
        return tilted(tilted(places, -start, offset), angle, offset)[:, :2]

    targets = seen(places_of(plan.targets))
    at = {name: seen(places) for name, places in areas.items()}
    away = np.hypot(*np.moveaxis(targets[:, None] - targets, -1, 0))
    np.fill_diagonal(away, np.inf)
    struck = (away < beams["targets"]).any(axis=1)
    for name, places in at.items():
        away = np.hypot(*np.moveaxis(targets[:, None] - places, -1, 0))
        struck |= (away < (beams["targets"] + beams[name]) / 2).any(axis=1)
    tilt = int(np.abs(plan.scheme.tilt_deg - angle).argmin())
    return PlannedTilt(
        tilt_deg=angle, targets_um=targets, areas_um=at, reached=plan.reachable[:, tilt], struck=np.asarray(struck)
    )
