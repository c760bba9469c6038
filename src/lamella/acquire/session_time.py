"""How long a session will take, and what for: what each thing takes on this microscope, times how often it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.acquire_settings import AcquireSettings
from lamella.acquire.beams import Areas, tilted
from lamella.acquire.microscope.port import FOCUS, RECORD, TRACK, TRACK_LOW, Calibrations
from lamella.records import TiltScheme

__all__ = ["SPENT_ON", "session_seconds"]

Array = NDArray[np.float64]

SPENT_ON = ("start", "turning", "settling", "tracking", "focus", "moving", "exposure", "readout")
"""What time goes to: all before the first tilt; the stage's turns; the wait after them; the tracking and the focus
area; then of the views: setting shift and focus, the beam, the camera."""

_EXPOSURES = 1.25  # of the tracking area in each magnification at a tilt, in the mean of calm and of restless stages
_EUCENTRIC_ROUNDS = 3
_PICTURES = 3  # of a round of eucentric height, and of a measurement of focus
_SCALES_APART_UM = 12.0  # between the places where the scales of focus are measured
_APART_UM = 3.0  # from a target to the tracking area, about


def session_seconds(
    places_um: Array,
    visits: Sequence[Sequence[int]],
    reachable: NDArray[np.bool_],
    scheme: TiltScheme,
    areas: Areas,
    calibrations: Calibrations,
    settings: AcquireSettings,
) -> Mapping[str, float]:
    """Seconds of a session, by what they go to (`SPENT_ON`).

    Parameters
    ----------
    places_um
        ``(targets, 3)``.
    visits
        of each tilt, the targets in their order.
    reachable
        ``(targets, tilts)``.
    scheme, areas, calibrations, settings
        of the session.

    Notes
    -----
    What the stage does decides how often the tracking area is exposed again, and faults cost what they cost: both are
    known afterwards only. The mean is taken.
    """
    clock, presets = calibrations.timings, calibrations.presets
    tracks = settings.tracks_area or settings.tracking == "position"
    singly = settings.tracking == "position"
    spent = dict.fromkeys(SPENT_ON, 0.0)
    passes = len(places_um) if singly else 1
    spent["turning"] = passes * _turning_s(scheme.tilt_deg, calibrations)
    spent["settling"] = passes * len(scheme) * settings.settle
    set_s = clock.shift_s + clock.focus_s
    if tracks:
        shots = [presets[TRACK].exposure_s + clock.readout_s]
        if settings.mode == "slow":
            shots.append(presets[TRACK_LOW].exposure_s + clock.readout_s)
        looks = len(scheme) * _EXPOSURES
        change_s = 2 * clock.preset_s * (settings.mode == "slow")
        spent["tracking"] = passes * (
            looks * (sum(shots) + len(shots) * set_s)
            + len(scheme) * (change_s + clock.shift_um_s * _APART_UM)
            + _between_targets(len(places_um), len(scheme), settings)
            * (shots[0] + set_s + clock.shift_um_s * _APART_UM)
        )
    focus_s = _PICTURES * (presets[FOCUS].exposure_s + clock.readout_s + set_s + clock.beam_tilt_s)
    every = settings.autofocus_every
    spent["focus"] = passes * (((len(scheme) - 1) // every if every else 0) * (focus_s + clock.beam_tilt_s))
    spent["start"] = _start_s(focus_s, min(settings.levelled, len(places_um)), tracks, calibrations, settings)
    record = presets[RECORD]
    for tilt, order in enumerate(visits):
        seen = tilted(places_um, float(scheme.tilt_deg[tilt]), calibrations.axis_offset_um)[:, :2]
        way = [number for number in order if reachable[number, tilt]]
        stops = np.array([areas.tracking_um, *(seen[number] for number in way)])
        steps = np.hypot(*np.diff(stops, axis=0).T)
        spent["moving"] += len(way) * set_s + clock.shift_um_s * float(steps.sum())
        spent["exposure"] += len(way) * record.exposure_s * float(scheme.dose[tilt]) / record.dose
        spent["readout"] += len(way) * clock.readout_s
    return spent


def _turning_s(angles_deg: Array, calibrations: Calibrations) -> float:
    """Of all turns, each from below: a turn downwards goes further by the backlash, and back."""
    clock, steps = calibrations.timings, np.diff(angles_deg)
    downward = steps < 0
    far = np.abs(steps).sum() + 2 * calibrations.backlash_deg * downward.sum()
    return float(far / clock.tilt_deg_per_s + clock.tilt_s * (1 + len(steps) + downward.sum()))


def _between_targets(targets: int, tilts: int, settings: AcquireSettings) -> float:
    """How often the tracking area is looked at between the targets, in the whole session."""
    first, later = settings.first_tilt_tracking, settings.track_every
    return (np.ceil(targets / first) if first else 0.0) + ((targets - 1) // later * (tilts - 1) if later else 0.0)


def _start_s(
    focus_s: float, levelled: int, tracks: bool, calibrations: Calibrations, settings: AcquireSettings
) -> float:
    """Before the first tilt: eucentric height, the scales of focus, the plane, the references."""
    clock, presets = calibrations.timings, calibrations.presets
    by_steps = settings.focus_scale_step and not settings.focus_scales_deg and settings.predictor == "shared"
    seconds = focus_s * (levelled + (2 if by_steps else 1))
    if settings.eucentric:
        turn = clock.tilt_s + 3 * settings.eucentric_tilt / clock.tilt_deg_per_s
        picture = presets[TRACK_LOW].exposure_s + clock.readout_s
        seconds += _EUCENTRIC_ROUNDS * (_PICTURES * (turn + picture) + clock.move_s)
    if settings.focus_scales_deg:
        # Two places far across the axis, each found at three tilts and focused twice at two of them.
        find = presets[TRACK_LOW].exposure_s + clock.readout_s + 2 * clock.preset_s + clock.shift_s + clock.focus_s
        seconds += 6 * find + 8 * focus_s + 3 * _SCALES_APART_UM * clock.shift_um_s
        seconds += 4 * clock.tilt_s + 4 * settings.focus_scales_deg / clock.tilt_deg_per_s
    if tracks:
        seconds += sum(presets[name].exposure_s + clock.readout_s + clock.preset_s for name in (TRACK, TRACK_LOW))
    return seconds
