"""SerialEM's Python module as its documentation states it, with the simulated microscope in place of a real one.

Commands, order of arguments and of answers, units, signs and axes are SerialEM's: defocus negative for underfocus,
specimen shift with X along the tilt axis, image shift in units of the deflectors, beam tilt with the compensation of
the image shift in it, buffers with the top row first, everything answered in floats.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.microscope.port import FOCUS, MONTAGE, RECORD, TRACK, TRACK_LOW, Picture, Pixels, Purpose
from lamella.acquire.microscope.serialem import SerialEMMicroscope
from lamella.acquire.microscope.serialem_calibration import SerialEMCalibration
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.errors import LimitError, MicroscopeError, PassingFault

# Deflector units per µm on the specimen: neither a rotation nor of one scale.
UNITS_PER_UM = np.array([[0.82, 0.31], [-0.27, 0.94]])
# mrad of beam tilt that SerialEM adds per unit of image shift against coma.
COMA = np.array([[0.11, 0.02], [-0.03, 0.13]])
# Of the beam tilt's X from the stage frame's x.
BEAM_TILT_TURN = 30.0
AREAS = {RECORD: "R", TRACK: "P", TRACK_LOW: "V", FOCUS: "F", MONTAGE: "S"}


class SEMerror(Exception):
    """A command failed."""


class SEMmoduleError(Exception):
    """The module cannot reach SerialEM."""


class SEMexited(Exception):
    """SerialEM was closed."""


class StandIn:
    """The module; `calls` holds every command with its arguments."""

    SEMerror = SEMerror
    SEMmoduleError = SEMmoduleError
    SEMexited = SEMexited

    def __init__(self, scope: SimulatedMicroscope, variables: dict[str, str] | None = None) -> None:
        self.scope = scope
        self.purpose = Purpose(kind="test")
        self.calls: list[tuple[Any, ...]] = []
        self.lost = False
        self._area = "V"
        self._units = np.zeros(2)
        self._beam = np.zeros(2)
        self._buffer: Picture | None = None
        self._exposures: dict[str, float] = {}
        self._frames = ("", "")
        self._last = ""
        self.variables: dict[str, str] = {} if variables is None else variables

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if not (name[0].isupper() or name == "bufferImage") or isinstance(value, type):
            return value

        def command(*arguments: Any) -> Any:
            self.calls.append((name, *arguments))
            if self.lost and name != "ConnectToSEM":
                raise SEMmoduleError("not connected")
            try:
                return value(*arguments)
            except LimitError as error:
                raise SEMerror(f"{name}: outside of the limit ({error})") from None
            except PassingFault as error:
                if "connection" in str(error):
                    raise SEMmoduleError(str(error)) from None
                raise SEMerror(str(error)) from None
            except MicroscopeError as error:
                raise SEMerror(str(error)) from None

        return command

    def ConnectToSEM(self, port: int, address: str) -> None:
        if not (isinstance(port, int) and isinstance(address, str)):
            raise TypeError("ConnectToSEM(port, address)")
        self.lost = False

    def NoMessageBoxOnError(self, on: int = 1) -> None: ...

    def SuppressReports(self, on: int = 1) -> None: ...

    def IsVariableDefined(self, name: str) -> float:
        return float(name in self.variables)

    def GetVariable(self, name: str) -> str:
        return self.variables[name]

    def SetPersistentVar(self, name: str, value: str) -> None:
        self.variables[name] = value

    def GoToLowDoseArea(self, area: str) -> None:
        if area not in "VFTRPS":
            raise SEMerror(f"no area {area}")
        self._area = area

    def ReportTiltAngle(self) -> float:
        return self.scope.status().tilt_deg

    def TiltTo(self, angle: float) -> None:
        self.scope.tilt(angle)

    def ReportStageXYZ(self) -> tuple[float, ...]:
        x, y, z = self.scope.status().stage_um
        return (y, -x, z)

    def MoveStageTo(self, x: float, y: float, z: float) -> None:
        self.scope.move_stage(-y, x, z)

    def SpecimenToISMatrix(self, mag: int) -> tuple[float, ...]:
        assert mag == 0
        return tuple(UNITS_PER_UM.ravel())

    def SetImageShift(self, x: float, y: float, delay: float = 0, adjust: int = 0) -> None:
        assert self._area in "RPF", "image shift set at an area of low magnification"
        ssx, ssy = np.linalg.solve(UNITS_PER_UM, [x, y])
        self.scope.shift_image(-ssy, ssx)
        self._units = np.array([x, y])

    def ReportSpecimenShift(self) -> tuple[float, ...]:
        return tuple(np.linalg.solve(UNITS_PER_UM, self._units))

    def SetDefocus(self, defocus: float) -> None:
        assert self._area in "RPF", "defocus set at an area with an offset of its own"
        self.scope.focus(-defocus)

    def ReportDefocus(self) -> float:
        return -self.scope.status().defocus_um + (-50.0 if self._area == "V" else 0.0)

    def ReportBeamTilt(self) -> tuple[float, ...]:
        return tuple(self._beam + COMA @ self._units)

    def SetBeamTilt(self, x: float, y: float) -> None:
        self._beam = np.array([x, y]) - COMA @ self._units
        angle = np.deg2rad(BEAM_TILT_TURN)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        self.scope.tilt_beam(*(turn @ self._beam))

    def Delay(self, time: float, unit: str) -> None:
        self.scope.wait(time * {"s": 1.0, "m": 60.0}[unit[0]])

    def AreDewarsFilling(self) -> float:
        return float(not self.scope.ready())

    def ReportColumnOrGunValve(self) -> float:
        return 1.0

    def SetExposure(self, area: str, seconds: float) -> None:
        self._exposures[area] = seconds

    def RestoreCameraSet(self, area: str) -> None:
        self._exposures.pop(area, None)

    def Record(self) -> None:
        self._expose("R")

    def Preview(self) -> None:
        self._expose("P")

    def Focus(self) -> None:
        self._expose("F")

    def View(self) -> None:
        self._expose("V")

    def Search(self) -> None:
        self._expose("S")

    def ImageProperties(self, buffer: str) -> tuple[float, ...]:
        assert buffer == "A"
        picture = self._taken()
        height, width = picture.preset.shape_px
        return (float(width), float(height), 1.0, picture.preset.exposure_s, picture.preset.pixel_size_ang / 10, 0.0)

    def bufferImage(self, buffer: str) -> NDArray[np.float32]:
        content = self._taken().content
        assert isinstance(content, Pixels)
        return content.image[::-1].copy()

    def SetFolderForFrames(self, folder: str) -> None:
        self._frames = (folder, self._frames[1])

    def SetFrameBaseName(self, in_folder: int, in_name: int, ask: int, name: str) -> None:
        assert (in_folder, in_name, ask) == (0, 1, 0)
        self._frames = (self._frames[0], name)

    def ReportLastFrameFile(self) -> tuple[str, str, str]:
        folder, name = self._frames
        return (f"{folder}\\{name}.tif", folder, f"{name}.tif")

    def _expose(self, area: str) -> None:
        preset = {letter: name for name, letter in AREAS.items()}[area]
        self._area = area
        self._buffer = self.scope.expose(preset, self.purpose, exposure_s=self._exposures.get(area))

    def _taken(self) -> Picture:
        assert self._buffer is not None
        return self._buffer


class ToldMicroscope(SerialEMMicroscope):
    """The adapter under test; the simulated microscope is told what a picture is for, so that it can be judged."""

    def __init__(self, stand_in: StandIn, calibration: SerialEMCalibration, **more: Any) -> None:
        self.stand_in = stand_in
        super().__init__(calibration, "here", module=stand_in, clock=lambda: stand_in.scope.time_s, **more)

    def expose(self, preset: str, purpose: Purpose, *, exposure_s: float | None = None) -> Picture:
        self.stand_in.purpose = purpose
        return super().expose(preset, purpose, exposure_s=exposure_s)


def calibration_tables(scope: SimulatedMicroscope, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The file's content for a simulated microscope."""
    known = scope.calibrations
    presets = {
        name: {
            "area": AREAS[name],
            "pixel_size": preset.pixel_size_ang,
            "width": preset.shape_px[1],
            "height": preset.shape_px[0],
            "exposure": preset.exposure_s,
            "dose": preset.dose,
            "beam": preset.beam_um,
            "frames": preset.frames,
        }
        for name, preset in known.presets.items()
    }
    return {
        "voltage": known.voltage_kv,
        "tilt_axis": known.tilt_axis_deg,
        "hand": known.hand,
        "backlash": known.backlash_deg,
        "beam_tilt_turn": BEAM_TILT_TURN,
        "shift_limit": scope.limits.image_shift_um,
        "tilt_least": scope.limits.tilt_deg[0],
        "tilt_most": scope.limits.tilt_deg[1],
        "presets": presets,
        **(changes or {}),
    }
