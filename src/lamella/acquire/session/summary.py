"""What a session has done, as the record that its report and its live page are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.grid_plane import GridPlane, fit_plane
from lamella.acquire.microscope.port import TRACK_LOW
from lamella.acquire.plan import Plan
from lamella.acquire.routines.desk import FOCUS_AREA, TRACKING_AREA
from lamella.acquire.session.axis_offset import SeenDefocus, fit_axis_offset
from lamella.acquire.session.events import (
    AxisMeasured,
    Doubted,
    Event,
    FaultSurvived,
    FeedbackTaken,
    FocusScalesMeasured,
    HeightMeasured,
    PlaneFitted,
    SessionBegun,
    SessionEnded,
    TargetEnded,
    ThicknessMeasured,
    TiltBegun,
    TiltLeftOut,
    Tracked,
    ViewLeftOut,
    ViewRecorded,
)
from lamella.acquire.session.timeline import timeline_of
from lamella.acquire.targets import places_of
from lamella.records.acquisition import (
    Acquisition,
    AcquisitionTruth,
    AreaFocus,
    AreaTracking,
    Doubt,
    Fault,
    LeftOut,
)

__all__ = ["summarise", "with_truth"]

Array = NDArray[np.float64]
Pair = tuple[float, float]

_LEAST_SINE = 0.1  # spread of the tilts' sines below which they tell no height
_STAGE_UM = 0.4  # rms by which focus alone was off the true axis in ten sessions of the world `bisect`
_LEAST_HEIGHTS = 4  # of targets, that tell a plane

_AREAS = {TRACKING_AREA: "tracking area", FOCUS_AREA: "focus area"}


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
    views = _views(events, targets, tilts)
    heights = _heights(places, plan.scheme.tilt_deg, views["shift_um"] + views["displacement_um"])
    plane = _plane(places, heights)
    endings = {event.target: event for event in events if isinstance(event, TargetEnded)}
    times = [float(event.time_s) for event in events if hasattr(event, "time_s")] or [0.0]
    last = events[-1] if events else None
    return Acquisition(
        name=name,
        predictor=plan.settings.predictor,
        targets=tuple(one.name for one in plan.targets),
        places_um=places,
        height_um=heights,
        plane_um=np.full(targets, np.nan) if plane is None else plane.heights(places),
        tilt_deg=plan.scheme.tilt_deg,
        stood_s=_stood(events, tilts),
        shift_um=views["shift_um"],
        displacement_um=views["displacement_um"],
        displacement_sd_um=views["displacement_sd_um"],
        predicted_sd_um=views["predicted_sd_um"],
        defocus_um=views["defocus_um"],
        dose=views["dose"],
        time_s=views["time_s"],
        learned=_learned(events, targets, tilts),
        wanted_um=plan.settings.defocus,
        planned_dose=plan.doses_from,
        tracking=_tracking(events),
        focus=_focus(events),
        timeline=timeline_of(events, plan.settings.settle),
        endings=tuple(endings[number].kind if number in endings else "" for number in range(targets)),
        reasons=tuple(endings[number].reason if number in endings else "" for number in range(targets)),
        thickness_um=_thickness(events, targets),
        left_out=_left_out(plan, events),
        doubts=_doubts(plan, events),
        faults=tuple(
            Fault(verb=one.verb, problem=one.problem, waited_s=one.waited_s, time_s=one.time_s)
            for one in events
            if isinstance(one, FaultSurvived)
        ),
        levelled=_levelled(events),
        found_plane=None if plane is None else (plane.pre_tilt_deg, plane.rotation_deg),
        focus_axis_um=_focus_axis(plan, events),
        axis_um=_axis(events),
        focus_scales=_focus_scales(events),
        fed_back=_fed_back(events),
        started_s=next((event.time_s for event in events if isinstance(event, SessionBegun)), times[0]),
        now_s=last.ended_s if isinstance(last, SessionEnded) else max(times),
        planned_s=60 * plan.minutes,
        ended=isinstance(last, SessionEnded),
    )


def with_truth(acquisition: Acquisition, truth: AcquisitionTruth) -> Acquisition:
    """The record with what a simulation knows beside."""
    return replace(acquisition, truth=truth)


def _views(events: Sequence[Event], targets: int, tilts: int) -> dict[str, Array]:
    """What is known of each view, ``(targets, tilts)``, of pairs ``(targets, tilts, 2)``; NaN where there is none."""
    single = ("defocus_um", "dose", "time_s", "displacement_sd_um")
    table = {field: np.full((targets, tilts), np.nan) for field in (*single, "predicted_sd_um")}
    table |= {field: np.full((targets, tilts, 2), np.nan) for field in ("shift_um", "displacement_um")}
    for view in events:
        if isinstance(view, ViewRecorded):
            place = view.target, view.tilt
            for field in single:
                table[field][place] = getattr(view, field)
            table["predicted_sd_um"][place] = view.predicted_sd_um[0]
            table["shift_um"][place] = view.shift_um
            table["displacement_um"][place] = np.nan if view.displacement_um is None else view.displacement_um
    return table


def _learned(events: Sequence[Event], targets: int, tilts: int) -> NDArray[np.bool_]:
    learned = np.zeros((targets, tilts), bool)
    for event in events:
        if isinstance(event, ViewRecorded):
            learned[event.target, event.tilt] = event.learned
    return learned


def _stood(events: Sequence[Event], tilts: int) -> Array:
    stood = np.full(tilts, np.nan)
    for event in events:
        if isinstance(event, TiltBegun):
            stood[event.tilt] = event.time_s
    return stood


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
        shift_um=np.array([one.shift_um for one in seen], np.float64).reshape(-1, 2),
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


def _plane(places_um: Array, heights_um: Array) -> GridPlane | None:
    """The plane through the heights; None where they are too few to tell one."""
    return fit_plane(places_um, heights_um) if np.isfinite(heights_um).sum() >= _LEAST_HEIGHTS else None


def _levelled(events: Sequence[Event]) -> tuple[float, float, float] | None:
    fitted = [event for event in events if isinstance(event, PlaneFitted)]
    return (fitted[-1].pre_tilt_deg, fitted[-1].rotation_deg, fitted[-1].residual_um) if fitted else None


def _focus_axis(plan: Plan, events: Sequence[Event]) -> Pair | None:
    """The axis's offset as it follows from the focus of the areas on it, which rise and fall by its sine."""
    hand, start = plan.calibrations.hand, plan.settings.start_tilt
    across = {TRACKING_AREA: plan.areas.tracking_um[0], FOCUS_AREA: plan.areas.focus_um[0]}
    seen = [
        SeenDefocus(
            target=one.target,
            tilt=one.tilt,
            x_um=across[one.target],
            tilt_deg=float(plan.scheme.tilt_deg[one.tilt]) - start,
            lens_um=one.defocus_um - hand * one.height_um,
            defocus_um=one.defocus_um,
            sd_um=one.sd_um,
        )
        for one in events
        if isinstance(one, HeightMeasured) and one.tilt >= 0 and one.target in across
    ]
    found = fit_axis_offset(seen, hand=hand, wanted_um=plan.settings.defocus) if seen else None
    return None if found is None else (found.axis_um, float(np.hypot(found.sd_um, _STAGE_UM)))


def _axis(events: Sequence[Event]) -> Pair | None:
    found = [event for event in events if isinstance(event, AxisMeasured)]
    return (found[-1].axis_um, found[-1].sd_um) if found else None


def _focus_scales(events: Sequence[Event]) -> tuple[float, float, float, float | None] | None:
    found = [event for event in events if isinstance(event, FocusScalesMeasured)]
    return (found[-1].beam, found[-1].beam_sd, found[-1].lens, found[-1].lens_sd) if found else None


def _thickness(events: Sequence[Event], targets: int) -> Array:
    thickness = np.full(targets, np.nan)
    for event in events:
        if isinstance(event, ThicknessMeasured):
            thickness[event.target] = event.thickness_um
    return thickness


def _fed_back(events: Sequence[Event]) -> tuple[int, int, int]:
    taken = [event for event in events if isinstance(event, FeedbackTaken)]
    return sum(one.defoci for one in taken), sum(one.shifts for one in taken), sum(one.left_out for one in taken)


def _left_out(plan: Plan, events: Sequence[Event]) -> tuple[LeftOut, ...]:
    found = []
    for event in events:
        if isinstance(event, ViewLeftOut):
            where = f"{plan.targets[event.target].name} at {plan.scheme.tilt_deg[event.tilt]:g}°"
            found.append(
                LeftOut(target=event.target, tilt=event.tilt, where=where, kind=event.kind, reason=event.reason)
            )
        elif isinstance(event, TiltLeftOut):
            where = f"all at {event.asked_deg:g}°"
            found.append(LeftOut(target=-1, tilt=event.tilt, where=where, kind="tilt", reason=event.reason))
    return tuple(found)


def _doubts(plan: Plan, events: Sequence[Event]) -> tuple[Doubt, ...]:
    found = []
    for event in events:
        if isinstance(event, Doubted):
            name = _AREAS[event.target] if event.target in _AREAS else plan.targets[event.target].name
            place_sd, height_sd = event.predicted_sd_um
            done = {"track": "tracked again", "focus": "focus measured"}[event.done]
            found.append(
                Doubt(
                    tilt=event.tilt,
                    where=f"{name} at {plan.scheme.tilt_deg[event.tilt]:g}°",
                    place_sd_um=place_sd,
                    height_sd_um=height_sd,
                    done=f"waited {event.waited_s:g} s, {done}" if event.waited_s else done,
                    time_s=event.time_s,
                )
            )
    return tuple(found)
