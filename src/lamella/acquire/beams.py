"""Where beams fall: the places of the areas beside the targets, and the dose that targets get from every beam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.acquire_settings import AcquireSettings
from lamella.acquire.microscope.port import FOCUS, RECORD, TRACK, Calibrations, Limits, Preset
from lamella.acquire.targets import Target, places_of
from lamella.errors import InputError
from lamella.records import Note, TiltScheme

__all__ = ["DOSE_FROM", "Areas", "beam_doses", "choose_areas", "tilted"]

Array = NDArray[np.float64]
Pair = tuple[float, float]

DOSE_FROM = ("own views", "neighbours", "tracking", "focus")
"""Whose beams give a target its dose."""

_TRACKINGS = 3.0  # exposures of the tracking area at a tilt in high magnification: dose is better thought too high
_STEP_UM = 0.25  # between the places on the axis that are thought of
_FURTHEST_UM = 4.0
_MARGIN = 1.1  # of the distance at which two beams touch


@dataclass(frozen=True, kw_only=True)
class Areas:
    """Places of the areas beside the targets, across and along the tilt axis, µm."""

    tracking_um: Pair
    focus_um: Pair


def tilted(places_um: Array, tilt_deg: float, axis_offset_um: float = 0.0) -> Array:
    """``(n, 3)`` places of the specimen after a tilt about an axis at x = `axis_offset_um` (see `lamella.acquire`)."""
    cosine, sine = np.cos(np.deg2rad(tilt_deg)), np.sin(np.deg2rad(tilt_deg))
    x, y, z = np.asarray(places_um, np.float64).T
    across = x - axis_offset_um
    turned: Array = np.stack([axis_offset_um + across * cosine + z * sine, y, z * cosine - across * sine], axis=-1)
    return turned


def choose_areas(
    places: Array, scheme: TiltScheme, calibrations: Calibrations, limits: Limits, settings: AcquireSettings
) -> Areas:
    """The areas as they are set; those that are not lie on the tilt axis, as clear of the targets' beams as can be.

    Raises
    ------
    InputError
        if an area that is set is beyond the image shift.
    """
    for name, place in (("tracking", settings.tracking_place), ("focus", settings.focus_place)):
        if place is not None and np.hypot(*place) > limits.image_shift_um:
            raise InputError(
                f"the {name} area at {place} µm is beyond the image shift of {limits.image_shift_um:g} µm",
                mend=f"set {name}_place nearer to the middle",
            )
    furthest = min(_FURTHEST_UM, 0.9 * limits.image_shift_um)
    along = np.arange(0.0, furthest, _STEP_UM)
    along = np.column_stack([along, -along]).ravel()[1:]
    presets, offset = calibrations.presets, calibrations.axis_offset_um
    tracking = settings.tracking_place
    if tracking is None:
        radius = (presets.get(TRACK, presets[RECORD]).beam_um + presets[RECORD].beam_um) / 2
        tracking = _clear_place(along, places, scheme, offset, np.full(len(places), radius))
    focus = settings.focus_place
    if focus is None:
        beam = presets[FOCUS].beam_um
        taken = np.concatenate([places, [[*tracking, 0.0]]])
        radii = np.full(len(taken), (beam + presets[RECORD].beam_um) / 2)
        focus = _clear_place(along, taken, scheme, offset, radii)
    return Areas(tracking_um=tracking, focus_um=focus)


def _clear_place(along: Array, taken: Array, scheme: TiltScheme, axis_offset_um: float, radii: Array) -> Pair:
    """The place on the axis nearest to the middle that no beam touches at any tilt; else the one with the most room.

    On the axis, since what lies there moves least; near the middle, since a place's height grows with its distance.
    """
    room = np.full(len(along), np.inf)
    for angle in (scheme.tilt_deg.min(), 0.0, scheme.tilt_deg.max()):
        seen = tilted(taken, angle, axis_offset_um)
        away = np.hypot(seen[:, 0] - 0.0, seen[:, 1] - along[:, None]) - _MARGIN * radii
        room = np.minimum(room, away.min(axis=1))
    clear = np.flatnonzero(room >= 0)
    chosen = int(clear[0]) if clear.size else int(room.argmax())
    return 0.0, float(along[chosen])


def beam_doses(
    targets: Sequence[Target],
    areas: Areas,
    scheme: TiltScheme,
    calibrations: Calibrations,
    settings: AcquireSettings,
) -> tuple[Mapping[str, Array], tuple[Note, ...]]:
    """Dose of each target's middle ``(targets,)`` by whose beam it is from (`DOSE_FROM`), e/Å²; notes on overlaps.

    A beam's disc across the tilted specimen is an ellipse: what is apart at 0° may lie under one beam at a high tilt.
    """
    beam = calibrations.presets[RECORD].beam_um
    beside = _areas_with_dose(areas, calibrations, settings)
    places = np.concatenate([places_of(targets), np.array([(*place, 0.0) for _, place, _, _ in beside]).reshape(-1, 3)])
    places = tilted(places, -settings.start_tilt, calibrations.axis_offset_um)
    radius = np.array([beam / 2] * len(targets) + [preset.beam_um / 2 for _, _, preset, _ in beside])
    by_area = np.array([dose for *_, dose in beside])
    received = np.zeros((len(places), len(targets)))
    touched = np.zeros((len(places), len(targets)), dtype=bool)
    for angle, dose in zip(scheme.tilt_deg, scheme.dose, strict=True):
        seen = tilted(places, angle, calibrations.axis_offset_um)[:, :2]
        away = np.hypot(*np.moveaxis(seen[:, None] - seen[None, : len(targets)], -1, 0))
        received += np.concatenate([np.full(len(targets), dose), by_area])[:, None] * (away < radius[:, None])
        touched |= away < radius[:, None] + beam / 2
    touched[np.diag_indices(len(targets))] = False
    names = [name for name, *_ in beside]
    own = np.diagonal(received[: len(targets)]).copy()
    doses = dict.fromkeys(DOSE_FROM, np.zeros(len(targets)))
    doses |= {"own views": own, "neighbours": received[: len(targets)].sum(axis=0) - own}
    doses |= dict(zip(names, received[len(targets) :], strict=True))
    if settings.tracks_area and settings.focuses_on_tracking:
        # One place, of which one note is enough.
        names, touched = names[:1], touched[: len(targets) + 1]
    return doses, _beam_notes(targets, touched, names)


def _beam_notes(targets: Sequence[Target], touched: NDArray[np.bool_], areas: Sequence[str]) -> tuple[Note, ...]:
    notes = []
    pairs = np.argwhere(np.triu(touched[: len(targets)]))
    if len(pairs):
        one, other = (targets[int(number)].name for number in pairs[0])
        text = f"the beams of {len(pairs)} pairs overlap at some tilts ({one} and {other} the first)"
        notes.append(Note(kind="warning", where="targets", text=text))
    for name, hit in zip(areas, touched[len(targets) :], strict=True):
        if hit.any():
            text = f"the beam of the {name} area overlaps theirs at some tilts"
            where = "targets " + ", ".join(targets[int(number)].name for number in np.flatnonzero(hit))
            notes.append(Note(kind="warning", where=where, text=text))
    return tuple(notes)


def _areas_with_dose(
    areas: Areas, calibrations: Calibrations, settings: AcquireSettings
) -> list[tuple[str, Pair, Preset, float]]:
    """Areas that are exposed: name, place, preset, and dose at a tilt in the mean."""
    presets = calibrations.presets
    beside = []
    if settings.tracks_area:
        beside.append(("tracking", areas.tracking_um, presets[TRACK], _TRACKINGS * presets[TRACK].dose))
    if settings.tracking != "position":
        focus = presets[FOCUS]
        every = settings.autofocus_every
        place = areas.tracking_um if settings.focuses_on_tracking else areas.focus_um
        beside.append(("focus", place, focus, 3 * focus.dose / every if every else 0.0))
    return beside
