"""What a session will do, and everything that can be known wrong, before the first electron."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.acquire_settings import AcquireSettings
from lamella.acquire.grid_plane import GridPlane
from lamella.acquire.microscope.port import FOCUS, RECORD, TRACK, TRACK_LOW, Calibrations, Limits, Preset
from lamella.acquire.targets import Target, places_of, with_heights, with_shots
from lamella.errors import InputError, SettingsError
from lamella.records import Note, TiltScheme

__all__ = ["Plan", "plan_session", "tilted"]

Array = NDArray[np.float64]

_MOVE_S = 1.5  # to set shift and focus, and to read a picture out
_TILT_S = 5.0  # to turn the stage by one step
_TRACKINGS = 3.0  # exposures of the tracking area at a tilt, as they come out in the mean


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """A session before it begins.

    Attributes
    ----------
    settings
        of the session.
    targets
        with their shots and heights, in the order of their numbers.
    scheme
        tilts and doses.
    visits
        for every tilt, the targets' numbers in the order of visiting.
    reachable
        ``(targets, tilts)`` whether the image shift reaches the target there.
    minutes
        of the whole run, as predicted.
    dose
        that each target will have had, e/Å², its neighbours' beams left out (those are errors or notes).
    notes
        what the user should know: views that are left out, areas that overlap.
    """

    settings: AcquireSettings
    targets: tuple[Target, ...]
    scheme: TiltScheme
    visits: tuple[tuple[int, ...], ...]
    reachable: NDArray[np.bool_]
    minutes: float
    dose: float
    notes: tuple[Note, ...] = ()


def tilted(places_um: Array, tilt_deg: float, axis_offset_um: float = 0.0) -> Array:
    """``(n, 3)`` places of the specimen after a tilt about an axis at x = `axis_offset_um` (see `lamella.acquire`)."""
    cosine, sine = np.cos(np.deg2rad(tilt_deg)), np.sin(np.deg2rad(tilt_deg))
    x, y, z = np.asarray(places_um, np.float64).T
    across = x - axis_offset_um
    turned: Array = np.stack([axis_offset_um + across * cosine + z * sine, y, z * cosine - across * sine], axis=-1)
    return turned


def plan_session(
    calibrations: Calibrations, limits: Limits, targets: Sequence[Target], settings: AcquireSettings
) -> Plan:
    """Plan a session.

    Raises
    ------
    InputError
        if there is no target, or a target, a tilt, an area or the dose is beyond what may be; the message names the
        first one.
    SettingsError
        if the scheme repeats an angle, or a preset that the session needs is not calibrated.
    """
    if not targets:
        raise InputError("no target", mend="give at least one place to record")
    scheme = settings.tilt_scheme()
    _check_presets(calibrations.presets, settings)
    plane = GridPlane.of_angles(settings.pre_tilt, settings.plane_rotation)
    shots = with_heights(with_shots(targets, settings.shots, settings.shot_radius), plane)
    _check_names(shots)
    _check_tilts(scheme, limits, settings)
    _check_dose(scheme, settings)
    places = places_of(shots)
    reachable, notes = _reach(shots, places, scheme, limits, calibrations)
    _check_areas(settings, limits)
    notes += _overlaps(shots, places, calibrations.presets, settings)
    return Plan(
        settings=settings,
        targets=shots,
        scheme=scheme,
        visits=_visits(places, len(scheme), settings),
        reachable=reachable,
        minutes=_minutes(len(shots), scheme, calibrations.presets, settings),
        dose=float(scheme.dose.sum()),
        notes=notes,
    )


def _check_presets(presets: Mapping[str, Preset], settings: AcquireSettings) -> None:
    needed = {RECORD: "views"}
    if settings.tracking != "none":
        needed |= {TRACK: "tracking", TRACK_LOW: "tracking"}
    if settings.eucentric:
        needed |= {TRACK_LOW: "eucentric height"}
    needed |= {FOCUS: "focus"}
    for name, use in needed.items():
        if name not in presets:
            raise SettingsError(
                f"no preset {name!r} is calibrated, which {use} needs", mend="set it up on the microscope"
            )
        preset = presets[name]
        if not (preset.pixel_size_ang > 0 and preset.dose > 0 and preset.exposure_s > 0 and preset.beam_um > 0):
            raise SettingsError(
                f"the preset {name!r} lacks a pixel size, dose, exposure or beam", mend="calibrate it on the microscope"
            )


def _check_names(targets: Sequence[Target]) -> None:
    names = [one.name for one in targets]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two targets are named {name}", mend="give each a name of its own")


def _check_tilts(scheme: TiltScheme, limits: Limits, settings: AcquireSettings) -> None:
    least, most = limits.tilt_deg
    for angle in scheme.tilt_deg:
        if not least <= angle <= most:
            raise InputError(
                f"a tilt of {angle:g}° is beyond the stage's {least:g}°…{most:g}°",
                mend="set a smaller tilt_range, or another start_tilt",
            )


def _check_dose(scheme: TiltScheme, settings: AcquireSettings) -> None:
    total = float(scheme.dose.sum())
    if total > settings.dose_budget:
        raise InputError(
            f"{len(scheme)} views give each target {total:.0f} e/Å², above the budget of {settings.dose_budget:g}",
            mend="lower dose, take fewer tilts, or raise dose_budget",
        )


def _check_areas(settings: AcquireSettings, limits: Limits) -> None:
    for name, place in (("tracking", settings.tracking_place), ("focus", settings.focus_place)):
        if np.hypot(*place) > limits.image_shift_um:
            raise InputError(
                f"the {name} area at {place} µm is beyond the image shift of {limits.image_shift_um:g} µm",
                mend=f"set {name}_place nearer to the middle",
            )


def _reach(
    targets: Sequence[Target], places: Array, scheme: TiltScheme, limits: Limits, calibrations: Calibrations
) -> tuple[NDArray[np.bool_], tuple[Note, ...]]:
    """Where the image shift reaches; a target that it does not reach at the start is an error, later a note."""
    shifts = np.stack([tilted(places, angle, calibrations.axis_offset_um)[:, :2] for angle in scheme.tilt_deg], axis=1)
    length = np.hypot(shifts[..., 0], shifts[..., 1])
    reachable = length <= limits.image_shift_um
    notes = []
    for target, near, far in zip(targets, reachable, length, strict=True):
        if not near[0]:
            raise InputError(
                f"target {target.name} needs an image shift of {far[0]:.2f} µm at {scheme.tilt_deg[0]:g}°, "
                f"beyond {limits.image_shift_um:g} µm",
                mend="leave it out, or move the stage so that the targets lie about the middle",
            )
        if not near.all():
            angles = scheme.tilt_deg[~near]
            text = (
                f"the image shift does not reach it at {len(angles)} of {len(scheme)} tilts "
                f"(from {angles[np.abs(angles).argmin()]:g}°); these views are left out"
            )
            notes.append(Note(kind="warning", where=f"target {target.name}", text=text))
    return reachable, tuple(notes)


def _overlaps(
    targets: Sequence[Target], places: Array, presets: Mapping[str, Preset], settings: AcquireSettings
) -> tuple[Note, ...]:
    """Beams on a neighbour: of two targets a note, of a tracking or focus area on a target too."""
    notes = []
    beam = presets[RECORD].beam_um
    between = np.hypot(*np.moveaxis(places[:, None, :2] - places[None, :, :2], -1, 0))
    np.fill_diagonal(between, np.inf)
    for one, other in zip(*np.nonzero(np.triu(between < beam)), strict=True):
        text = f"its beam of {beam:g} µm falls on {targets[other].name}, {between[one, other]:.2f} µm away"
        notes.append(Note(kind="warning", where=f"target {targets[one].name}", text=text))
    for name, place, preset in _areas(presets, settings):
        radius = (preset.beam_um + presets[RECORD].field_um[0]) / 2
        away = np.hypot(*(places[:, :2] - np.asarray(place)).T)
        for number in np.flatnonzero(away < radius):
            text = f"the beam of the {name} area falls on it, {away[number]:.2f} µm away"
            notes.append(Note(kind="warning", where=f"target {targets[number].name}", text=text))
    return tuple(notes)


def _areas(presets: Mapping[str, Preset], settings: AcquireSettings) -> list[tuple[str, tuple[float, float], Preset]]:
    areas = []
    if settings.tracking in ("auto", "area"):
        areas.append(("tracking", settings.tracking_place, presets[TRACK]))
    if settings.tracking != "position":
        areas.append(("focus", settings.focus_place, presets[FOCUS]))
    return areas


def _visits(places: Array, tilts: int, settings: AcquireSettings) -> tuple[tuple[int, ...], ...]:
    order = list(range(len(places)))
    if settings.visiting == "nearest":
        order = _short_way(places[:, :2], np.asarray(settings.tracking_place))
    alternate = settings.visiting == "alternating" or (settings.visiting == "auto" and settings.predictor == "shared")
    return tuple(tuple(order[::-1] if alternate and tilt % 2 else order) for tilt in range(tilts))


def _short_way(places_um: Array, start_um: Array) -> list[int]:
    """From the start always to the nearest place that was not visited."""
    left, here, way = list(range(len(places_um))), start_um, []
    while left:
        nearest = min(left, key=lambda number: float(np.hypot(*(places_um[number] - here))))
        left.remove(nearest)
        way.append(nearest)
        here = places_um[nearest]
    return way


def _minutes(targets: int, scheme: TiltScheme, presets: Mapping[str, Preset], settings: AcquireSettings) -> float:
    record = presets[RECORD]
    views = targets * float((record.exposure_s * scheme.dose / record.dose + _MOVE_S).sum())
    tracking = 0.0 if settings.tracking == "none" else _TRACKINGS * (presets[TRACK].exposure_s + _MOVE_S)
    focus = 3 * (presets[FOCUS].exposure_s + _MOVE_S)
    focusings = len(scheme) / settings.autofocus_every if settings.autofocus_every else 1.0
    seconds = views + len(scheme) * (tracking + _TILT_S + settings.settle) + focus * (focusings + settings.level)
    return seconds / 60
