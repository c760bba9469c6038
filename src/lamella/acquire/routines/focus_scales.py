"""The scales of what focus is measured and set with, the beam's tilt and the lens, from heights that are known.

Focus by beam tilt takes a beam that tilts by 4 % more than it says for 4 % more defocus: at a defocus of 3 µm every
target of the session is set 0.1 µm wrong. A lens whose focus changes by 5 % more than it says sets a target 7 µm off
the axis wrong by 0.3 µm at 60°. Focusing more often shows neither: only their product is seen. Heights tell them apart,
since what lies at x across the axis is lower by x sin θ after a tilt by θ, whatever the lens. Two places to both sides
of the axis are focused at two tilts, with the lens following the heights that are expected, and set at two foci:

    u = (m₁₊ − m₂₊) − (m₁₋ − m₂₋) = b [(1 + g) ΔL + H],    s = dm / dL = b (1 + g),    b = s + u / H where ΔL = −H

m: defocus measured; b: scale of the beam tilt; 1 + g: that of the lens; H = −hand (x₁ − x₂)(sin θ₊ − sin θ₋): by how
much the heights' differences change, in defocus; ΔL: by how much the lens was set to follow. What the stage does at a
tilt and the lens's zero drop out, and so do the places' own heights, which count with the cosine of the two tilts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.beams import tilted
from lamella.acquire.microscope.port import FOCUS, RECORD, TRACK_LOW, Purpose
from lamella.acquire.predictor.turning import turned
from lamella.acquire.routines.autofocus import defocus_at
from lamella.acquire.routines.desk import Desk, FocusScales
from lamella.acquire.session.events import FocusScalesMeasured
from lamella.acquire.targets import Target, places_of
from lamella.errors import ImageError, MicroscopeError

__all__ = ["far_places", "measure_focus_scales"]

Array = NDArray[np.float64]

FAR_AREA = -2001
"""Number of the first of the two places; the other follows downwards."""

_ACROSS_UM = 6.0
_ACROSS_SHARE = 0.6  # of the image shift, that the places lie away at most
_ALONG_UM = np.array([sign * step for step in np.arange(0.0, 4.1, 0.25) for sign in (1, -1)])
_MARGIN = 1.1  # of the distance at which two beams touch
_LEAST_DEG = 10.0  # smaller tilts tell too little
_BESIDE_UM = 3.0  # to both sides of the middle, at which the lens is set
_LEAST_DEFOCUS_UM = 1.0  # nearer to focus a picture shows little
_SHIFT_SCALE = 0.005  # by which image shifts, and so x₁ − x₂, may be longer or shorter
_LENS_UM = 0.05  # rms with which a lens is set
_LEAST_CONFIDENCE = 0.15
_OVERLAP = 0.7  # of the field, from one picture to the next where a place is looked for
_AROUND = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1), (-2, 0), (2, 0))
_BELIEVED = 0.3  # furthest from 1 that a scale can be


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A place at one tilt: sine of the angle against the start tilt, lens, defocus and its variance, dm / dL."""

    sine: float
    lens_um: float
    defocus_um: float
    variance_um2: float
    slope: float


def far_places(targets: Sequence[Target], desk: Desk, reach_deg: float) -> Array:
    """``(2, 2)`` places to both sides of the axis, as clear of the targets' beams as can be at the tilts used."""
    presets = desk.scope.calibrations.presets
    across = min(_ACROSS_UM, _ACROSS_SHARE * desk.scope.limits.image_shift_um)
    radius = _MARGIN * (presets[FOCUS].beam_um + presets[RECORD].beam_um) / 2
    axis_um = desk.scope.calibrations.axis_offset_um
    angles = (-reach_deg, 0.0, reach_deg)
    seen = [tilted(places_of(targets), angle, axis_um)[:, :2] for angle in angles]
    chosen = []
    for side in (-1, 1):
        candidates = np.column_stack([np.full(len(_ALONG_UM), side * across), _ALONG_UM, np.zeros(len(_ALONG_UM))])
        room = np.full(len(candidates), np.inf)
        for angle, others in zip(angles, seen, strict=True):
            here = tilted(candidates, angle, axis_um)[:, :2]
            room = np.minimum(room, np.hypot(*np.moveaxis(here[:, None] - others, -1, 0)).min(axis=1))
        clear = np.flatnonzero(room >= radius)
        chosen.append(candidates[int(clear[0]) if clear.size else int(room.argmax()), :2])
    return np.array(chosen)


def measure_focus_scales(desk: Desk, targets: Sequence[Target]) -> FocusScales:
    """Measure the scales of beam tilt and lens, and come back to the start tilt.

    Parameters
    ----------
    desk
        of the session; of its predictor nothing is asked.
    targets
        that no beam shall touch.

    Returns
    -------
    FocusScales
        as before where the stage does not tilt far enough, a place was not seen, or a scale is beyond belief.
    """
    least, most = desk.scope.limits.tilt_deg
    start_deg, before = desk.settings.start_tilt, desk.focus_scales
    reach = min(desk.settings.focus_scales_deg, most - start_deg, start_deg - least)
    if reach < _LEAST_DEG:
        return before
    places = far_places(targets, desk, reach)
    found = None
    try:
        for number, place in enumerate(places):
            _find(desk, number, place)
        seen: list[tuple[_Seen, _Seen]] = []
        for angle in (start_deg + reach, start_deg - reach):
            at_deg = desk.against_start(desk.scope.tilt(angle).tilt_deg)
            # To and fro, since a long image shift takes its time.
            order = (1, 0) if not seen else (0, 1)
            looked = {number: _look(desk, number, places[number], at_deg) for number in order}
            seen.append((looked[0], looked[1]))
        found = _scales(seen, -desk.hand * float(places[0, 0] - places[1, 0]))
    except (ImageError, MicroscopeError):
        # Not in a `finally`: where the program is stopped, the log must not get a call that a resumed run won't make.
        desk.scope.tilt_beam(0.0, 0.0)
    desk.scope.tilt(start_deg)
    if found is None or max(abs(found.beam - 1.0), abs(found.lens - 1.0)) > _BELIEVED:
        return before
    desk.tell(
        FocusScalesMeasured(
            beam=found.beam, beam_sd=found.beam_sd, lens=found.lens, lens_sd=found.lens_sd, time_s=desk.scope.time_s
        )
    )
    return found


def _scales(seen: Sequence[Sequence[_Seen]], apart_um: float) -> FocusScales:
    """Solve for both scales; `apart_um`: −hand (x₁ − x₂)."""
    apart = [(one.defocus_um - other.defocus_um, one.lens_um - other.lens_um) for one, other in seen]
    change, followed = np.subtract(apart[0], apart[1])
    heights = apart_um * (seen[0][0].sine - seen[1][0].sine)
    places = [one for pair in seen for one in pair]
    slope = float(np.mean([one.slope for one in places]))
    beam = float((change - slope * followed) / heights)
    variance = sum(one.variance_um2 for one in places)
    by_heights = variance / heights**2 + _SHIFT_SCALE**2
    by_slope = variance / (len(places) * _BESIDE_UM) ** 2
    return FocusScales(
        beam=beam,
        beam_sd=float(np.sqrt(by_heights + by_slope * (followed / heights) ** 2)),
        lens=slope / beam,
        lens_sd=float(np.sqrt(by_heights)),
    )


def _look(desk: Desk, number: int, place_um: Array, at_deg: float) -> _Seen:
    """Follow a place to where the stage has taken it, and measure its defocus at two foci."""
    axis_um = desk.scope.calibrations.axis_offset_um
    expected = turned(np.array([*place_um, 0.0]), at_deg, axis_um)
    shift = _find(desk, number, expected[:2])
    wanted = desk.settings.defocus
    middle = float(np.copysign(max(abs(wanted), _BESIDE_UM + _LEAST_DEFOCUS_UM), wanted))
    lens = middle - desk.hand * float(expected[2])
    sides = (-_BESIDE_UM, _BESIDE_UM)
    below, above = (defocus_at(desk, FAR_AREA - number, shift, lens + side) for side in sides)
    return _Seen(
        sine=float(np.sin(np.deg2rad(at_deg))),
        lens_um=lens,
        defocus_um=(below.defocus_um + above.defocus_um) / 2,
        variance_um2=(below.sd_um**2 + above.sd_um**2) / 4 + _LENS_UM**2 / 2,
        slope=(above.defocus_um - below.defocus_um) / (2 * _BESIDE_UM),
    )


def _find(desk: Desk, number: int, shift_um: Array) -> Array:
    """``(2,)`` image shift at which a place is seen in the middle, by the low magnification; its first picture counts.

    Where it is not in its picture, the pictures around are taken: a stage may jump further than a picture is wide.

    Raises
    ------
    ImageError
        if no picture matches the first one.
    """
    area = FAR_AREA - number
    series = desk.series_of(area, TRACK_LOW)
    step = _OVERLAP * min(desk.scope.calibrations.presets[TRACK_LOW].field_um)
    for attempt, off in enumerate(_AROUND):
        at = shift_um + step * np.array(off)
        purpose = Purpose(kind="focus", target=area, attempt=attempt)
        picture = desk.expose(TRACK_LOW, purpose, shift_um=at, defocus_um=desk.settings.defocus)
        if series.empty:
            series.add(picture)
            return at
        found = series.measure(picture)
        if found.confidence >= _LEAST_CONFIDENCE:
            return at + found.shift_um
    raise ImageError("a place across the axis is not in its picture, nor around it", mend="look at the stage")
