"""The microscope as a session sees it: a few verbs in physical units, and what they answer.

An adapter turns them into what its microscope understands, and every unit, sign and word of the vendor stays inside it.
Places and shifts are in the stage frame (see `lamella.acquire`), µm; angles in degrees; beam tilts in mrad; defocus in
µm, positive is underfocus; times in seconds of the microscope's own clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FOCUS",
    "MONTAGE",
    "RECORD",
    "TRACK",
    "TRACK_LOW",
    "Calibrations",
    "Landmarks",
    "Limits",
    "Microscope",
    "Picture",
    "Pixels",
    "Preset",
    "PresetNumbers",
    "Purpose",
    "Status",
    "Timings",
    "presets_of",
]

Array = NDArray[np.float64]

RECORD = "record"
TRACK = "track"
TRACK_LOW = "track_low"
FOCUS = "focus"
MONTAGE = "montage"


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One way of taking pictures.

    Attributes
    ----------
    name
        `RECORD` (the views), `TRACK` (the same magnification, on the tracking area), `TRACK_LOW` (a lower one, which
        finds larger displacements), `FOCUS` (on the focus area), `MONTAGE` (the lowest, to find targets).
    pixel_size_ang, shape_px
        of its pictures; (height, width).
    exposure_s, dose
        of one picture at 0°; e/Å².
    beam_um
        diameter of the beam on the specimen.
    frames
        written by the camera for one picture; 1: the sum alone.
    """

    name: str
    pixel_size_ang: float
    shape_px: tuple[int, int]
    exposure_s: float
    dose: float
    beam_um: float
    frames: int = 1

    @property
    def field_um(self) -> tuple[float, float]:
        """Height and width of its field of view."""
        height, width = self.shape_px
        return height * self.pixel_size_ang * 1e-4, width * self.pixel_size_ang * 1e-4


class PresetNumbers(Protocol):
    """What a file's table says of a preset: Å, px, s, e/Å², µm."""

    @property
    def pixel_size(self) -> float:
        """Of its pictures."""
        ...

    @property
    def width(self) -> int:
        """Of its pictures."""
        ...

    @property
    def height(self) -> int:
        """Of its pictures."""
        ...

    @property
    def exposure(self) -> float:
        """Of one picture."""
        ...

    @property
    def dose(self) -> float:
        """Of one picture."""
        ...

    @property
    def beam(self) -> float:
        """Its diameter."""
        ...

    @property
    def frames(self) -> int:
        """Of one picture."""
        ...


def presets_of(tables: Mapping[str, PresetNumbers]) -> dict[str, Preset]:
    """The presets that a file's tables state, by name."""
    return {
        name: Preset(
            name=name,
            pixel_size_ang=table.pixel_size,
            shape_px=(table.height, table.width),
            exposure_s=table.exposure,
            dose=table.dose,
            beam_um=table.beam,
            frames=table.frames,
        )
        for name, table in tables.items()
    }


@dataclass(frozen=True, kw_only=True)
class Timings:
    """How long a microscope takes for what it is asked; a session's time is planned from it.

    Attributes
    ----------
    tilt_s, tilt_deg_per_s
        of any tilt, and the stage's speed beside.
    move_s
        of a move of the stage.
    shift_s, shift_um_s
        until an image shift holds, and beside that for each µm by which it moves.
    focus_s, beam_tilt_s, preset_s
        until focus, beam tilt, and another magnification hold.
    readout_s
        of the camera, after each exposure.
    """

    tilt_s: float = 1.5
    tilt_deg_per_s: float = 10.0
    move_s: float = 2.0
    shift_s: float = 0.2
    shift_um_s: float = 0.6
    focus_s: float = 0.2
    beam_tilt_s: float = 0.1
    preset_s: float = 0.5
    readout_s: float = 0.6


@dataclass(frozen=True, kw_only=True)
class Calibrations:
    """What is known of a microscope; its true values may differ.

    Attributes
    ----------
    presets
        by name; those that a session needs must be there (it says so before it begins).
    tilt_axis_deg
        the tilt axis in recorded images, as `geometry`'s z_rot states it; one for each preset's name, or one for all.
    hand
        +1 or −1: sign by which the defocus grows with height.
    axis_offset_um
        x of the tilt axis against the middle of the beam, as far as it is known.
    backlash_deg
        by which a tilt must come from the same side to be repeated.
    voltage_kv, spherical_aberration_mm
        of the microscope.
    timings
        how long it takes for what it is asked.
    """

    presets: Mapping[str, Preset]
    tilt_axis_deg: float
    hand: int = -1
    axis_offset_um: float = 0.0
    backlash_deg: float = 3.0
    voltage_kv: float = 300.0
    spherical_aberration_mm: float = 2.7
    timings: Timings = field(default_factory=Timings)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How far a microscope goes: tilts (least, most), the image shift's length, the lens's focus, the stage."""

    tilt_deg: tuple[float, float] = (-70.0, 70.0)
    image_shift_um: float = 15.0
    defocus_um: tuple[float, float] = (-20.0, 100.0)
    stage_um: float = 1000.0


@dataclass(frozen=True, kw_only=True)
class Status:
    """The state of a microscope as it states it itself.

    Attributes
    ----------
    time_s
        its clock.
    tilt_deg
        the stage's angle as it is read back.
    stage_um
        x, y, z of the stage.
    image_shift_um
        as set, in the stage frame.
    defocus_um
        as set.
    beam_tilt_mrad
        as set, beside what compensates the image shift.
    """

    time_s: float
    tilt_deg: float
    stage_um: tuple[float, float, float]
    image_shift_um: tuple[float, float]
    defocus_um: float
    beam_tilt_mrad: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Purpose:
    """What a picture is for; goes into the log, the names of files and the replay.

    Attributes
    ----------
    kind
        ``"record"``, ``"track"``, ``"focus"``, ``"eucentric"``, ``"montage"``, ``"reference"``.
    target
        number of the target, from 0; −1 where it is of none.
    tilt
        number of the tilt in the order of recording, from 0; −1 before the first.
    shot
        number of the shot within a hole, from 0.
    attempt
        from 0; counts pictures that had to be taken again.
    """

    kind: str
    target: int = -1
    tilt: int = -1
    shot: int = 0
    attempt: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixels:
    """A picture's pixels: ``(height, width)`` counts, row 0 the bottom one, the camera's turn not undone."""

    image: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Landmarks:
    """What comparing two pictures would have found, where no pixels are made.

    Attributes
    ----------
    places_um
        ``(n, 2)`` where features of the specimen appear, across and along the tilt axis from the image's middle, with
        the error that a correlation of real pictures would have; the same features in the same order in every picture
        of one area.
    sd_um
        that error's standard deviation.
    """

    places_um: Array
    sd_um: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """One exposure.

    Attributes
    ----------
    content
        pixels, or landmarks.
    preset
        that it was taken with.
    status
        of the microscope during it.
    mean_counts
        per pixel; tells a dark picture.
    dose
        on the specimen, e/Å².
    files
        what the camera has written of it, relative to the session's folder or absolute.
    """

    content: Pixels | Landmarks
    preset: Preset
    status: Status
    mean_counts: float
    dose: float
    files: tuple[str, ...] = field(default=())


class Microscope(Protocol):
    """A microscope. Every call returns when it is done, or raises `PassingFault`, `LimitError` or `MicroscopeError`."""

    @property
    def calibrations(self) -> Calibrations:
        """What is known of it."""
        ...

    @property
    def limits(self) -> Limits:
        """How far it goes."""
        ...

    @property
    def repeatable(self) -> bool:
        """Whether the same calls from its start get the same answers: a simulated one. A session goes on by them."""
        ...

    def status(self) -> Status:
        """Its state now."""
        ...

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        ...

    def tilt(self, angle_deg: float) -> None:
        """Turn the stage."""
        ...

    def move_stage(self, x_um: float, y_um: float, z_um: float) -> None:
        """Move the stage to a place."""
        ...

    def shift_image(self, x_um: float, y_um: float) -> None:
        """Set the beam-image shift, with the beam tilt that keeps coma and astigmatism away."""
        ...

    def focus(self, defocus_um: float) -> None:
        """Set the lens's defocus."""
        ...

    def tilt_beam(self, x_mrad: float, y_mrad: float) -> None:
        """Tilt the beam, beside what compensates the image shift."""
        ...

    def expose(self, preset: str, purpose: Purpose, *, exposure_s: float | None = None) -> Picture:
        """Take a picture; `exposure_s` in place of the preset's."""
        ...

    def ready(self) -> bool:
        """Whether it can record now: no refill, valves open, vacuum good."""
        ...
