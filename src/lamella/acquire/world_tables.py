"""The tables of a world: stage, optics, presets, grid, targets, timing, faults, session."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

__all__ = [
    "Fault",
    "FaultTable",
    "GridTable",
    "OpticsTable",
    "PresetTable",
    "Range",
    "StageTable",
    "TargetTable",
    "TimingTable",
    "World",
]


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= pair[0] <= pair[1]:
        raise ValueError(f"a range goes from its least to its greatest size, neither below 0, not {list(pair)}")
    return pair


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
"""Least and greatest size of something whose size, and sign or direction, the seed draws."""


def _holds_text(annotation: Any) -> bool:
    return annotation is str or get_origin(annotation) is Literal or str in get_args(annotation)


_GREATEST = 1e9  # of any number: what is larger has another unit, and may overflow


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _plain_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """No truth value, text or enormous number passes for a size; what else a field may hold is said by its type."""
        text = _holds_text(cls.model_fields[str(info.field_name)].annotation)
        for part in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(part, bool):
                raise ValueError(f"{str(part).lower()} is no number")
            if isinstance(part, str) and not text:
                raise ValueError(f"{part!r} is text, not a number; units are not written")
            if isinstance(part, (int, float)) and math.isfinite(part) and abs(part) > _GREATEST:
                raise ValueError(f"{part:g} is beyond {_GREATEST:g}")
        return value


def _field(default: Any, unit: str, description: str, *, error: bool = False, **bounds: Any) -> Any:
    """One parameter of a world; `error`: how far the microscope is from an ideal one, 0 where it is ideal."""
    return Field(default=default, description=description, json_schema_extra={"unit": unit, "error": error}, **bounds)


def _error(default: Any, unit: str, description: str, **bounds: Any) -> Any:
    return _field(default, unit, description, error=True, **bounds)


class StageTable(_Table):
    """The stage, as it is and not as it is told to be; displacements are those of the specimen in the stage frame."""

    settling: Range = _error((0.0, 0.0), "µm", "in-plane displacement after a tilt, which then decays")
    settling_turn: float = _field(
        60.0, "deg", "turn from which on it has its greatest size; less after shorter ones", gt=0
    )
    settling_time: float = _field(60.0, "s", "in which it falls to 1/e", gt=0)
    settling_random: float = _field(
        0.45, "fraction", "of its direction that differs from tilt to tilt; the rest is repeated", ge=0, le=1
    )
    settling_height: float = _field(0.3, "fraction", "of its in-plane size that it has along the beam", ge=0, le=2)
    settling_slow: float = _field(0.0, "fraction", "of its size that decays in settling_slow_time", ge=0, le=1)
    settling_slow_time: float = _field(200.0, "s", "in which that part falls to 1/e", gt=0)
    creep: Range = _error(
        (0.0, 0.0), "µm", "in-plane displacement in the first minute after a long turn, growing as log(1 + t / 5 s)"
    )
    wander: Range = _error((0.0, 0.0), "µm", "rms step at each tilt, across and along the axis each, which stays")
    wander_height: Range = _error((0.0, 0.0), "µm", "the same along the beam")
    jump: Range = _error((0.0, 0.0), "µm", "sudden in-plane displacement at some tilts, which stays")
    jump_rate: float = _field(0.025, "per tilt", "how often", ge=0, le=1)
    drift: Range = _error((0.0, 0.0), "nm/s", "speed at the session's start and after a move of the stage")
    drift_time: float = _field(120.0, "s", "in which the drift falls to 1/e", gt=0)
    play: Range = _error((0.0, 0.0), "µm", "in-plane displacement between tilts reached from below and from above")
    angle_play: Range = _error((0.0, 0.0), "deg", "the same of the angle")
    angle_error: float = _error(0.0, "deg", "rms of the true angle about the one told", ge=0, le=1)
    readback_error: float = _error(0.0, "deg", "rms of the angle read back about the one told", ge=0, le=1)
    axis_offset: Range = _error((0.0, 0.0), "µm", "of the tilt axis from the middle of the beam, across the axis")
    start_height: Range = _error((0.0, 0.0), "µm", "of the grid's middle from the tilt axis at the session's start")
    move_error: float = _error(0.0, "µm", "rms of where a move of the stage ends, each way", ge=0)


class OpticsTable(_Table):
    """Lenses and camera: what the calibrations say, and by how much they are wrong."""

    hand: Literal[-1, 1] = _field(-1, "", "sign by which the defocus grows with height")
    voltage: float = _field(300.0, "kV", "acceleration voltage", ge=10, le=3000)
    spherical_aberration: float = _field(2.7, "mm", "Cs of the objective lens", ge=0, le=20)
    tilt_axis: float = _field(85.0, "deg", "the tilt axis in pictures, as calibrated", ge=-360, le=360)
    tilt_axis_error: float = _error(0.0, "deg", "size of the true axis's difference from it", ge=0, le=20)
    shift_scale_error: float = _error(0.0, "fraction", "by which image shifts are longer or shorter", ge=0, le=0.2)
    shift_turn_error: float = _error(0.0, "deg", "by which image shifts are turned", ge=0, le=20)
    shift_bend: float = _error(0.0, "µm", "of an image shift of 8 µm, by which it is off as its square", ge=0, le=1)
    shift_hysteresis: float = _error(
        0.0, "µm", "by which an image shift reached from one side differs from one reached from the other", ge=0, le=1
    )
    focus_offset: Range = _error((0.0, 0.0), "µm", "true defocus where the lens says 0, at the axis's height")
    focus_scale_error: float = _error(
        0.0, "fraction", "by which a change of focus is larger or smaller than the stage's z says", ge=0, le=0.5
    )
    focus_noise: float = _error(0.0, "µm", "rms with which a focus is set", ge=0, le=10)
    beam_tilt_scale_error: float = _error(0.0, "fraction", "by which a beam tilt is larger or smaller", ge=0, le=0.5)
    matching: float = _error(
        0.0, "px", "sd of a displacement between two pictures, at 0° and the full dose of the preset", ge=0, le=100
    )
    matching_tilt: float = _error(
        0.0, "px", "sd beside that of a whole picture at 60°, as sin²; two pictures' contents differ", ge=0, le=100
    )
    shift_limit: float = _field(15.0, "µm", "longest image shift", gt=0)
    tilt_limit: float = _field(70.0, "deg", "largest tilt to both sides", gt=0, lt=90)


class PresetTable(_Table):
    """One way of taking pictures (`lamella.acquire.microscope.port.Preset`)."""

    pixel_size: float = _field(1.64, "Å", "of its pictures", gt=0)
    width: int = _field(5760, "px", "of its pictures", ge=16, le=16384)
    height: int = _field(4092, "px", "of its pictures", ge=16, le=16384)
    exposure: float = _field(0.7, "s", "of one picture at 0°", gt=0)
    dose: float = _field(3.0, "e/Å²", "of one picture at 0°", ge=0)
    beam: float = _field(1.2, "µm", "diameter of the beam on the specimen", gt=0)
    frames: int = _field(1, "", "that the camera writes of one picture", ge=1, le=10000)


_PRESETS: dict[str, PresetTable] = {
    "record": PresetTable(),
    "track": PresetTable(exposure=0.3, dose=0.5),
    "track_low": PresetTable(pixel_size=5.2, exposure=0.3, dose=0.05, beam=4.0),
    "focus": PresetTable(exposure=0.3, dose=0.5),
    "montage": PresetTable(pixel_size=100.0, exposure=1.0, dose=0.001, beam=80.0),
}


_STEEPEST_DEG = 70.0


class GridTable(_Table):
    """The terrain that the targets lie on."""

    pretilt: Range = _error((0.0, 0.0), "deg", "inclination of the grid, in a direction that the seed draws")
    bend: Range = _error((0.0, 0.0), "µm", "height of a bowl or dome 8 µm from the grid's middle")
    roughness: float = _error(0.0, "µm", "rms of the height about that", ge=0)
    roughness_length: float = _field(3.0, "µm", "least distance over which the roughness goes up and down", gt=0)
    target_height: float = _error(
        0.0, "µm", "greatest height of a target's own (its film) off the terrain, up or down", ge=0
    )
    own_motion: Range = _error((0.0, 0.0), "µm", "by which each target's film moves for itself in the session")
    own_motion_time: float = _field(1800.0, "s", "in which it comes to 1 - 1/e of that", gt=0)
    spacing: float = _field(2.5, "µm", "between neighbouring holes", gt=0)
    hole: float = _field(1.2, "µm", "diameter of the holes; 0: no foil", ge=0)
    foil: float = _field(0.7, "fraction", "of the beam that passes the foil between the holes", ge=0, le=1)
    turn: Range = _field((0.0, 45.0), "deg", "of the lattice of holes against the tilt axis")

    @model_validator(mode="after")
    def _seen_from_above(self) -> GridTable:
        if self.pretilt[1] > _STEEPEST_DEG:
            raise ValueError(
                f"pretilt: a grid inclined by {self.pretilt[1]:g}° shows nothing; {_STEEPEST_DEG:g}° at most"
            )
        return self


class TargetTable(_Table):
    """The targets."""

    arrangement: Literal["holes", "free"] = _field("holes", "", "on the lattice's holes, or anywhere")
    radius: float = _field(8.0, "µm", "within which free targets lie", gt=0)
    distance: float = _field(1.5, "µm", "least distance between free targets", ge=0)
    off_centre: float = _field(0.0, "µm", "rms by which a target is off its hole's middle, each way", ge=0)


class TimingTable(_Table):
    """How long the microscope takes."""

    tilt: float = _field(1.5, "s", "of any tilt", ge=0)
    tilt_speed: float = _field(10.0, "deg/s", "of the stage's turn, beside that", gt=0)
    move: float = _field(2.0, "s", "of any move of the stage", ge=0)
    move_speed: float = _field(10.0, "µm/s", "of the stage, beside that", gt=0)
    shift: float = _field(0.5, "s", "until an image shift holds", ge=0)
    shift_per_um: float = _field(0.0, "s/µm", "beside that, the longer the farther it moves", ge=0)
    focus: float = _field(0.2, "s", "until a focus holds", ge=0)
    beam_tilt: float = _field(0.1, "s", "until a beam tilt holds", ge=0)
    readout: float = _field(1.2, "s", "of the camera, after each exposure", ge=0)
    preset_change: float = _field(0.5, "s", "to change to a preset of another magnification", ge=0)
    answer: float = _field(0.005, "s", "of a question about the state", ge=0)


class Fault(_Table):
    """One fault of the script: what happens, when, and how often. Conditions that are not set always hold."""

    kind: Literal[
        "dark-image",
        "stage-timeout",
        "shift-limit",
        "file-lock",
        "refill",
        "lost-connection",
        "wrong-peak",
        "nonsense",
        "crash",
    ] = Field(description="what happens")
    tilt: int | None = _field(None, "", "only at this tilt (number in the order of recording, from 0)")
    target: int | None = _field(None, "", "only in pictures of this target")
    purpose: str | None = _field(None, "", "only in pictures of this kind (record, track, focus, …)")
    after: float | None = _field(None, "s", "only when the clock says at least this")
    call: int | None = _field(None, "", "only at this call to the microscope or a later one (from 1)")
    times: int = _field(1, "", "how often it happens where its conditions hold", ge=1)
    probability: float = _field(1.0, "", "with which it happens where its conditions hold", gt=0, le=1)
    lasts: float = _field(0.0, "s", "how long it lasts (refill, lost connection, shift limit)", ge=0)
    value: float = _field(0.0, "µm", "the limit while it lasts (shift limit)", ge=0)
    answer: Literal["status", "shape", "counts"] = _field(
        "status", "", "what is nonsense: NaN angles, a shape, NaN counts"
    )


class FaultTable(_Table):
    """What goes wrong."""

    script: tuple[Fault, ...] = _field((), "", "faults; each a table of its own")
    costs: float = _field(20.0, "s", "time that a call takes which fails", ge=0)


class World(_Table):
    """Everything that a seed needs to make a session's microscope and grid.

    Attributes
    ----------
    stage, optics, grid, targets, timing, faults
        see the tables.
    presets
        by name, those of `lamella.acquire.microscope.port`.
    session
        settings of the session that belong to this world: the scheme above all. They hold where the user sets none.
    """

    stage: StageTable = StageTable()
    optics: OpticsTable = OpticsTable()
    presets: dict[str, PresetTable] = Field(default_factory=lambda: dict(_PRESETS))
    grid: GridTable = GridTable()
    targets: TargetTable = TargetTable()
    timing: TimingTable = TimingTable()
    faults: FaultTable = FaultTable()
    session: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _plain_session(self) -> World:
        for key, value in self.session.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"session.{key} is not a finite number")
        return self
