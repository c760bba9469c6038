"""``microscope.toml``: what is known of a microscope that SerialEM controls, in physical units, and how it is asked.

SerialEM's own calibrations stay SerialEM's: image shift, stage and camera are turned into µm of the specimen by them.
The file says what it does not state: which low-dose area is which preset, its pixel size, dose and beam, the tilt axis,
the hand, and how far the microscope goes.
"""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lamella.acquire.microscope.port import Calibrations, Limits, presets_of
from lamella.errors import InputError, SettingsError
from lamella.settings import setting

__all__ = ["SerialEMCalibration", "SerialEMPreset", "read_serialem_calibration"]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


def _known(description: str, *, unit: str = "", **bounds: Any) -> Any:
    """A number without a default: it differs from microscope to microscope."""
    return Field(description=description, json_schema_extra={"unit": unit}, **bounds)


class SerialEMPreset(_Table):
    """Table ``[presets.NAME]``: one way of taking pictures; NAME is record, track, track_low, focus or montage."""

    area: Literal["R", "T", "F", "V", "P", "S"] = _known(
        "SerialEM's camera parameters: Record, Trial, Focus, View, Preview or Search"
    )
    pixel_size: float = _known("of its pictures, binned as they are", unit="Å", gt=0)
    width: int = _known("of its pictures", unit="px", gt=0)
    height: int = _known("of its pictures", unit="px", gt=0)
    exposure: float = _known("of one picture at 0°", unit="s", gt=0)
    dose: float = _known("of one picture at 0°", unit="e/Å²", gt=0)
    beam: float = _known("diameter of the beam on the specimen", unit="µm", gt=0)
    frames: int = setting(1, "written for one picture; 1: the sum alone", ge=1)


class SerialEMCalibration(_Table):
    """The file; its numbers stand at the top, its presets in tables of their own."""

    voltage: float = _known("of the microscope", unit="kV", gt=0)
    spherical_aberration: float = setting(2.7, "of the objective", unit="mm", ge=0)
    tilt_axis: float = _known(
        "the tilt axis in recorded images, as SerialEM's mdoc files state it (TiltAxisAngle)", unit="deg"
    )
    hand: Literal[-1, 1] = setting(-1, "sign by which the defocus grows with a place's height")
    axis_offset: float = setting(0.0, "of the tilt axis from the beam's middle, across the axis", unit="µm")
    backlash: float = setting(3.0, "by which a tilt comes from the same side", unit="deg", ge=0)
    stage_z: Literal[-1, 1] = setting(1, "sign by which the specimen's height grows with the stage's Z")
    stage_to_specimen: tuple[float, float, float, float] = setting(
        (-1.0, 0.0, 0.0, -1.0), "what SerialEM's command StageToSpecimenMatrix 0 answers"
    )
    beam_tilt_turn: float = setting(
        0.0, "from the stage frame's x (across the tilt axis, towards y) to the beam tilt's X", unit="deg"
    )
    beam_tilt_unit: float = setting(1.0, "of SerialEM's beam tilt: 1 where it states mrad", unit="mrad", gt=0)
    shift_delay: float = setting(1.0, "wait after an image shift, in SerialEM's own delays", ge=0)
    coma_correction: bool = setting(True, "let SerialEM tilt the beam against the coma of an image shift")
    tilt_least: float = setting(-65.0, "of the stage", unit="deg", le=0)
    tilt_most: float = setting(65.0, "of the stage", unit="deg", ge=0)
    shift_limit: float = setting(15.0, "of the image shift", unit="µm", gt=0)
    defocus_least: float = setting(-20.0, "of the lens, underfocus positive", unit="µm")
    defocus_most: float = setting(100.0, "of the lens, underfocus positive", unit="µm")
    stage_limit: float = setting(1000.0, "of the stage's places", unit="µm", gt=0)
    check_dewars: bool = setting(True, "wait while nitrogen is refilled")
    check_valves: bool = setting(True, "wait while the column's valves are closed")
    check_pump: bool = setting(False, "wait while the prevacuum pump runs")
    frames_folder: str = setting("", "on the camera's computer, for frames; empty: where SerialEM puts them")
    presets: dict[str, SerialEMPreset] = Field(description="ways of taking pictures")

    def stage_matrix(self) -> NDArray[np.float64]:
        """``(2, 2)`` specimen shift (SSX, SSY) that stands for a way on the stage."""
        return np.array(self.stage_to_specimen, np.float64).reshape(2, 2)

    def stage_axes(self) -> NDArray[np.float64]:
        """``(2, 2)`` from SerialEM's stage to the port's: x, y by which the specimen moves against the beam.

        A way d on the stage stands for the specimen shift (SSX, SSY) = M d, a place (−SSY, SSX) in the stage frame;
        moving the stage there brings it into the beam, so that the specimen moves by the opposite.
        """
        return np.array([[0.0, 1.0], [-1.0, 0.0]]) @ self.stage_matrix()

    def calibrations(self) -> Calibrations:
        """As a session knows them."""
        return Calibrations(
            presets=presets_of(self.presets),
            tilt_axis_deg=self.tilt_axis,
            hand=self.hand,
            axis_offset_um=self.axis_offset,
            backlash_deg=self.backlash,
            voltage_kv=self.voltage,
            spherical_aberration_mm=self.spherical_aberration,
        )

    def limits(self) -> Limits:
        """How far the microscope goes."""
        return Limits(
            tilt_deg=(self.tilt_least, self.tilt_most),
            image_shift_um=self.shift_limit,
            defocus_um=(self.defocus_least, self.defocus_most),
            stage_um=self.stage_limit,
        )


def read_serialem_calibration(path: Path | str) -> SerialEMCalibration:
    """Read ``microscope.toml``.

    Raises
    ------
    InputError
        if there is no such file, or it is no TOML.
    SettingsError
        if a calibration is missing, unknown or out of its range: which one, its unit and what it means.
    """
    path = Path(path)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: the microscope's calibrations cannot be read ({error.strerror})",
            mend="write them as docs/how-to/serialem.md shows, and name the file with --calibration",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no TOML: {error}", mend="correct that line") from None
    try:
        return SerialEMCalibration.model_validate(tables)
    except ValidationError as error:
        raise _settings_error(path, error) from None


def _settings_error(path: Path, error: ValidationError) -> SettingsError:
    """The first thing that is wrong, with what the field means."""
    first = error.errors(include_url=False)[0]
    place = tuple(str(part) for part in first["loc"])
    model = SerialEMPreset if len(place) > 2 and place[0] == "presets" else SerialEMCalibration
    name = place[-1]
    if first["type"] == "extra_forbidden":
        near = get_close_matches(name, model.model_fields, n=1)
        mend = f"did you mean {near[0]}?" if near else f"choose of {', '.join(model.model_fields)}"
        return SettingsError(f"{path}: there is no calibration {'.'.join(place)}", mend=mend)
    info = model.model_fields.get(name)
    extra = info.json_schema_extra if info and isinstance(info.json_schema_extra, dict) else {}
    unit = f", in {extra['unit']}" if extra.get("unit") else ""
    meaning = f": {info.description}{unit}" if info else ""
    if first["type"] == "missing":
        return SettingsError(f"{path}: the calibration {'.'.join(place)} is missing", mend=f"give {name}{meaning}")
    return SettingsError(f"{path}: {'.'.join(place)} = {first['input']!r}", mend=f"give {name}{meaning}")
