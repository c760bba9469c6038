"""What a session has done, as the record that its report and its live page are made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.grid_plane import fit_plane
from lamella.acquire.microscope.port import TRACK_LOW
from lamella.acquire.plan import Plan
from lamella.acquire.routines.desk import TRACKING_AREA
from lamella.acquire.session.events import (
    Event,
    FaultSurvived,
    HeightMeasured,
    SessionEnded,
    TargetEnded,
    TiltBegun,
    TiltLeftOut,
    Tracked,
    ViewLeftOut,
    ViewRecorded,
)
from lamella.acquire.targets import places_of
from lamella.records.acquisition import Acquisition, AreaFocus, AreaTracking

__all__ = ["SPENT_ON", "summarise", "with_truth"]

Array = NDArray[np.float64]

SPENT_ON = ("turning", "tracking", "focus", "views")
_LEAST_SINE = 0.1  # spread of the tilts' sines below which they tell no height


def summarise(name: str, plan: Plan, events: Sequence[Event]) -> Acquisition:
    """The record of a session, from its plan and its events up to now.

    Parameters
    ----------
    name
        of the session.
    plan
        of it.
    events
        in their order.
    """
    targets, tilts = len(plan.targets), len(plan.scheme)
    places = places_of(plan.targets)[:, :2]
    views = [event for event in events if isinstance(event, ViewRecorded)]
    single = {field: np.full((targets, tilts), np.nan) for field in ("defocus_um", "dose", "time_s")}
    double = {field: np.full((targets, tilts, 2), np.nan) for field in ("shift_um", "displacement_um")}
    for view in views:
        for field, values in single.items():
            values[view.target, view.tilt] = getattr(view, field)
        for field, pairs in double.items():
            pair = getattr(view, field)
            pairs[view.target, view.tilt] = np.nan if pair is None else pair
    stood = np.full(tilts, np.nan)
    for event in events:
        if isinstance(event, TiltBegun):
            stood[event.tilt] = event.time_s
    heights = _heights(places, plan.scheme.tilt_deg, double["shift_um"] + double["displacement_um"])
    plane = np.full(targets, np.nan)
    if np.isfinite(heights).any():
        plane = fit_plane(places, heights).heights(places)
    endings = {event.target: event.kind for event in events if isinstance(event, TargetEnded)}
    last = events[-1] if events else None
    times = [float(getattr(event, "time_s", 0.0)) for event in events]
    over = isinstance(last, SessionEnded)
    return Acquisition(
        name=name,
        predictor=plan.settings.predictor,
        targets=tuple(one.name for one in plan.targets),
        places_um=places,
        height_um=heights,
        plane_um=plane,
        tilt_deg=plan.scheme.tilt_deg,
        stood_s=stood,
        **single,
        **double,
        wanted_um=plan.settings.defocus,
        tracking=_tracking(events),
        focus=_focus(events),
        spent_s=_spent(events, tilts),
        endings=tuple(endings.get(number, "") for number in range(targets)),
        left_out=_left_out(plan, events),
        faults=dict(Counter(event.verb for event in events if isinstance(event, FaultSurvived))),
        started_s=last.started_s if isinstance(last, SessionEnded) else 0.0,
        now_s=last.ended_s if isinstance(last, SessionEnded) else max(times, default=0.0),
        planned_s=60 * plan.minutes,
        ended=over,
    )


def with_truth(
    acquisition: Acquisition,
    target: NDArray[np.int64],
    tilt: NDArray[np.int64],
    targeting_um: Array,
    defocus_error_um: Array,
) -> Acquisition:
    """The record with what a simulation knows of each view, ``(views,)`` each."""
    shape = acquisition.time_s.shape
    place, defocus = np.full(shape, np.nan), np.full(shape, np.nan)
    place[target, tilt], defocus[target, tilt] = targeting_um, defocus_error_um
    return replace(acquisition, targeting_um=place, defocus_error_um=defocus)


def _heights(places_um: Array, tilts_deg: Array, seen_um: Array) -> Array:
    """``(targets,)`` heights above their mean.

    A place (x, z) appears at x cos θ + z sin θ across the axis, beside what all targets do together at that tilt: each
    target's residual against the median of all, fitted by sin θ and a constant (its first view's own error).
    """
    cosine, sine = np.cos(np.deg2rad(tilts_deg)), np.sin(np.deg2rad(tilts_deg))
    residual = seen_um[..., 0] - places_um[:, :1] * cosine
    heights = np.full(len(places_um), np.nan)
    enough = np.isfinite(residual).sum(axis=0) > 1
    if not enough.any():
        return heights
    common = np.full(len(tilts_deg), np.nan)
    common[enough] = np.nanmean(residual[:, enough], axis=0)
    for number, row in enumerate(residual - common):
        known = np.isfinite(row)
        if known.sum() > 2 and np.ptp(sine[known]) > _LEAST_SINE:
            heights[number] = np.polyfit(sine[known], row[known], 1)[0]
    return heights


def _tracking(events: Sequence[Event]) -> AreaTracking:
    seen = [event for event in events if isinstance(event, Tracked) and event.target == TRACKING_AREA]
    return AreaTracking(
        tilt=np.array([one.tilt for one in seen], np.int64),
        low=np.array([one.preset == TRACK_LOW for one in seen], bool),
        left_nm=np.array([one.left_nm for one in seen], np.float64),
        time_s=np.array([one.time_s for one in seen], np.float64),
    )


def _focus(events: Sequence[Event]) -> AreaFocus:
    seen = [event for event in events if isinstance(event, HeightMeasured)]
    return AreaFocus(
        tilt=np.array([one.tilt for one in seen], np.int64),
        defocus_um=np.array([one.defocus_um for one in seen], np.float64),
        sd_um=np.array([one.sd_um for one in seen], np.float64),
        time_s=np.array([one.time_s for one in seen], np.float64),
    )


def _spent(events: Sequence[Event], tilts: int) -> dict[str, Array]:
    """Seconds of each tilt: from one event to the next, for what the later one tells of."""
    kinds = {TiltBegun: "turning", Tracked: "tracking", HeightMeasured: "focus", ViewRecorded: "views"}
    spent = {name: np.zeros(tilts) for name in SPENT_ON}
    before: float | None = None
    for event in events:
        kind = kinds.get(type(event))
        if kind is None:
            continue
        tilt, time_s = int(getattr(event, "tilt", -1)), float(getattr(event, "time_s", 0.0))
        if tilt >= 0 and before is not None:
            spent[kind][tilt] += max(0.0, time_s - before)
        before = time_s
    return spent


def _left_out(plan: Plan, events: Sequence[Event]) -> tuple[tuple[str, str], ...]:
    found = []
    for event in events:
        if isinstance(event, ViewLeftOut):
            name, angle = plan.targets[event.target].name, plan.scheme.tilt_deg[event.tilt]
            found.append((f"{name} at {angle:g}°", event.reason))
        elif isinstance(event, TiltLeftOut):
            found.append((f"all at {event.asked_deg:g}°", event.reason))
    return tuple(found)
