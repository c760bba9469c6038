"""What a session will do, and everything that can be known wrong, before the first electron."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.acquire_settings import AcquireSettings
from lamella.acquire.beams import Areas, beam_doses, choose_areas, tilted
from lamella.acquire.grid_plane import GridPlane
from lamella.acquire.microscope.port import FOCUS, RECORD, TRACK, TRACK_LOW, Calibrations, Limits, Preset
from lamella.acquire.session_time import session_seconds
from lamella.acquire.targets import Target, places_of, with_heights, with_shots
from lamella.errors import InputError, SettingsError
from lamella.records import Note, TiltScheme

__all__ = ["Plan", "plan_session"]

Array = NDArray[np.float64]


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
    areas
        where the tracking and the focus area lie.
    visits
        for every tilt, the targets' numbers in the order of visiting.
    reachable
        ``(targets, tilts)`` whether the image shift reaches the target there.
    calibrations, limits
        of the microscope that it was made for.
    seconds
        of the whole run as predicted, by what they go to (see `session_time`).
    doses_from
        ``(targets,)`` that each target's middle will have had, e/Å², by whose beam it is from (`beams.DOSE_FROM`).
    notes
        what the user should know: views that are left out, areas that overlap.
    """

    settings: AcquireSettings
    targets: tuple[Target, ...]
    scheme: TiltScheme
    areas: Areas
    visits: tuple[tuple[int, ...], ...]
    reachable: NDArray[np.bool_]
    calibrations: Calibrations
    limits: Limits
    seconds: Mapping[str, float]
    doses_from: Mapping[str, Array]
    notes: tuple[Note, ...] = ()

    @property
    def minutes(self) -> float:
        """Of the whole run, as predicted."""
        return sum(self.seconds.values()) / 60

    @property
    def doses(self) -> Array:
        """``(targets,)`` that each target's middle will have had from every beam, e/Å²."""
        total: Array = np.sum(list(self.doses_from.values()), axis=0)
        return total


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
    # Where they lie at 0°: their coordinates are those at the start tilt.
    places = tilted(places_of(shots), -settings.start_tilt, calibrations.axis_offset_um)
    reachable, notes = _reach(shots, places, scheme, limits, calibrations)
    areas = choose_areas(places, scheme, calibrations, limits, settings)
    doses_from, beam_notes = beam_doses(shots, areas, scheme, calibrations, settings)
    visits = _visits(places, len(scheme), areas, settings)
    plan = Plan(
        settings=settings,
        targets=shots,
        scheme=scheme,
        areas=areas,
        visits=visits,
        reachable=reachable,
        seconds=session_seconds(places, visits, reachable, scheme, areas, calibrations, settings),
        calibrations=calibrations,
        limits=limits,
        doses_from=doses_from,
        notes=notes + beam_notes,
    )
    _check_dose(plan)
    return plan


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


def _check_dose(plan: Plan) -> None:
    doses, budget = plan.doses, plan.settings.dose_budget
    worst = int(doses.argmax())
    if doses[worst] > budget:
        own = float(plan.doses_from["own views"][worst])
        others = f", {doses[worst] - own:.0f} of it from other beams" if doses[worst] > own + 0.5 else ""
        raise InputError(
            f"target {plan.targets[worst].name} would have {doses[worst]:.0f} e/Å² in {len(plan.scheme)} views"
            f"{others}, above the budget of {budget:g}",
            mend="lower dose, take fewer tilts, move what lies too near, or raise dose_budget",
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


def _visits(places: Array, tilts: int, areas: Areas, settings: AcquireSettings) -> tuple[tuple[int, ...], ...]:
    alternate = settings.visiting == "alternating" or (settings.visiting == "auto" and settings.predictor == "shared")
    order = list(range(len(places)))
    if alternate or settings.visiting == "nearest":
        order = _short_way(places[:, :2], np.asarray(areas.tracking_um))
    return tuple(tuple(order[::-1] if alternate and tilt % 2 else order) for tilt in range(tilts))


def _short_way(places_um: Array, start_um: Array) -> list[int]:
    """From the start always to the nearest place that was not visited, then without the crossings of that way.

    Parts of the way are turned round as long as that makes it shorter (Croes 1958, "2-opt").
    """
    left, here, way = list(range(len(places_um))), start_um, []
    while left:
        nearest = min(left, key=lambda number: float(np.hypot(*(places_um[number] - here))))
        left.remove(nearest)
        way.append(nearest)
        here = places_um[nearest]
    found = True
    while found:
        found = False
        for first in range(len(way) - 1):
            for last in range(first + 1, len(way)):
                turned = way[:first] + way[first : last + 1][::-1] + way[last + 1 :]
                if _length(places_um[turned], start_um) < _length(places_um[way], start_um) - 1e-9:
                    way, found = turned, True
    return way


def _length(places_um: Array, start_um: Array) -> float:
    return float(np.hypot(*np.diff(np.concatenate([start_um[None], places_um]), axis=0).T).sum())
