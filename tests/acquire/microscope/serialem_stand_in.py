"""SerialEM's Python module as its documentation states it, with the simulated microscope in place of a real one.

Commands, order of arguments and of answers, units, signs and axes are SerialEM's: defocus negative for underfocus,
specimen shift with X along the tilt axis, image shift in units of the deflectors, beam tilt with the compensation of
the image shift in it, buffers with the top row first, everything answered in floats. What the module refuses (unknown
names, other numbers or kinds of arguments) is refused; so is what SerialEM refuses, in its words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.acquire.microscope.serialem_signatures import SIGNATURES, checked

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
    """The script was stopped in SerialEM."""


class StandIn:
    """The module, and SerialEM behind it; `calls` holds every command with its arguments.

    Attributes
    ----------
    lost, stopped
        the connection is; somebody has pressed STOP (told once).
    screen_down
        low-dose areas are not gone to then, without a word.
    low_dose, coma_calibrated, saves_frames
        what is set up.
    stage_matrix
        SerialEM's StageToSpecimenMatrix.
    """

    SEMerror = SEMerror
    SEMmoduleError = SEMmoduleError
    SEMexited = SEMexited

    def __init__(self, scope: SimulatedMicroscope) -> None:
        self.scope = scope
        self.purpose = Purpose(kind="test")
        self.calls: list[tuple[Any, ...]] = []
        self.lost = self.stopped = self.screen_down = False
        self.low_dose = self.coma_calibrated = self.saves_frames = True
        self.stage_matrix = -np.eye(2)
        self._area = "V"
        self._units = np.zeros(2)
        self._beam = np.array([0.4, -0.3])
        self._aligned = self._beam.copy()
        self._saved_beam: NDArray[np.float64] | None = None
        self._buffer: Picture | None = None
        self._exposed = 0.0
        self._exposures: dict[str, float] = {}
        self._frames = ("D:\\frames", "")
        self._last = ""

    def __getattribute__(self, name: str) -> Any:
        if not (name[0].isupper() or name == "bufferImage"):
            return object.__getattribute__(self, name)
        if name not in SIGNATURES and not name.startswith("SEM"):
            raise AttributeError(f"module 'serialem' has no attribute '{name}'")
        value = object.__getattribute__(self, name)
        if isinstance(value, type):
            return value

        def command(*arguments: Any) -> Any:
            checked(name, arguments)
            self.calls.append((name, *arguments))
            if self.lost and name != "ConnectToSEM":
                raise SEMmoduleError("not connected")
            if self.stopped:
                self.stopped = False
                self.end_script()
                raise SEMexited("User STOP")
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

    def end_script(self) -> None:
        """What SerialEM does when a script ends, however it does."""
        if self._saved_beam is not None:
            self._beam, self._saved_beam = self._saved_beam, None

    def added_beam_tilt(self) -> NDArray[np.float64]:
        """Of the tilt that the beam has, what neither the user's alignment nor the image shift's compensation is."""
        return self._beam - self._aligned - COMA @ self._units

    def ConnectToSEM(self, port: int, address: str) -> None:
        if self.lost:
            self.end_script()
        self.lost = False

    def NoMessageBoxOnError(self, on: int = 1) -> None: ...

    def SuppressReports(self, on: int = 1) -> None: ...

    def GoToLowDoseArea(self, area: str) -> None:
        if not self.low_dose:
            raise SEMerror("You must be in low dose mode to use this command:")
        if area not in "VFTRS":
            raise SEMerror("Command must be followed by one of V, F, T, R, or S in line:")
        if not self.screen_down:
            self._area = area

    def ReportLowDose(self) -> tuple[float, ...]:
        return (float(self.low_dose), float("VFTRS".index(self._area)))

    def ReportTiltAngle(self) -> float:
        return self.scope.status().tilt_deg

    def TiltTo(self, angle: float) -> None:
        self.scope.tilt(angle)

    def StageToSpecimenMatrix(self, mag: int) -> tuple[float, ...]:
        return tuple(self.stage_matrix.ravel())

    def ReportStageXYZ(self) -> tuple[float, ...]:
        # The specimen moves against the stage's way; a place of the stage frame is (-SSY, SSX).
        x, y, z = self.scope.status().stage_um
        return (*np.linalg.solve(self.stage_matrix, [-y, x]), z)

    def MoveStageTo(self, x: float, y: float, z: float) -> None:
        ssx, ssy = self.stage_matrix @ [x, y]
        self.scope.move_stage(ssy, -ssx, z)

    def SpecimenToISMatrix(self, mag: int) -> tuple[float, ...]:
        assert mag == 0
        return tuple(UNITS_PER_UM.ravel())

    def SetImageShift(self, x: float, y: float, delay: float = 0, adjust: int = 0) -> float:
        assert self._area == "R", "image shift set at an area of another magnification"
        ssx, ssy = np.linalg.solve(UNITS_PER_UM, [x, y])
        try:
            self.scope.shift_image(-ssy, ssx)
        except LimitError:
            return 1.0  # SerialEM leaves it where it is, and says so in its answer only.
        self._units = np.array([x, y])
        return 0.0

    def ReportSpecimenShift(self) -> tuple[float, ...]:
        return tuple(np.linalg.solve(UNITS_PER_UM, self._units))

    def SetDefocus(self, defocus: float) -> None:
        assert self._area == "R", "defocus set at an area with an offset of its own"
        self.scope.focus(-defocus)

    def ReportDefocus(self) -> float:
        return -self.scope.status().defocus_um + (-50.0 if self._area == "V" else 0.0)

    def ReportBeamTilt(self) -> tuple[float, ...]:
        return tuple(self._beam)

    def SetBeamTilt(self, x: float, y: float) -> None:
        self._beam = np.array([x, y])
        self._tell_beam()

    def SaveBeamTilt(self) -> None:
        if self._saved_beam is not None:
            raise SEMerror("There is a second SaveBeamTilt without a RestoreBeamTilt")
        self._saved_beam = self._beam.copy()

    def RestoreBeamTilt(self) -> None:
        if self._saved_beam is None:
            raise SEMerror("There is a RestoreBeamTilt, but beam tilt was not saved or has been restored already")
        self._beam, self._saved_beam = self._saved_beam, None

    def AdjustBeamTiltforIS(self) -> None:
        self.ReportComaVsISmatrix()
        if self._saved_beam is None:
            self._saved_beam = self._beam.copy()
        self._beam = self._beam + COMA @ self._units

    def ReportComaVsISmatrix(self) -> tuple[float, ...]:
        if not self.coma_calibrated:
            raise SEMerror("There is no calibration of beam tilt needed to compensate image shift in:")
        return tuple(COMA.ravel())

    def Delay(self, time: float, unit: str = "") -> None:
        # Without a unit that it knows, what is above 60 is milliseconds.
        scales = {"SEC": 1.0, "S": 1.0, "MSEC": 1e-3, "MS": 1e-3, "MIN": 60.0}
        self.scope.wait(time * scales.get(unit.upper(), 1.0 if time <= 60 else 1e-3))

    def AreDewarsFilling(self) -> float:
        return float(not self.scope.ready())

    def ReportColumnOrGunValve(self) -> float:
        return 1.0

    def IsPVPRunning(self) -> float:
        return 0.0

    def SetExposure(self, area: str, seconds: float, settling: float = 0) -> None:
        self._exposures[area] = seconds

    def RestoreCameraSet(self, area: str = "") -> None:
        if not self._exposures:
            raise SEMerror("No camera parameters were changed; there is nothing to restore")
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
        return (float(width), float(height), 1.0, self._exposed, picture.preset.pixel_size_ang / 10, 0.0)

    def bufferImage(self, buffer: str) -> NDArray[np.float32]:
        content = self._taken().content
        assert isinstance(content, Pixels)
        return content.image[::-1].copy()

    def SetFolderForFrames(self, folder: str) -> None:
        if not (folder[1:3] == ":\\" or folder.startswith("\\\\")):
            raise SEMerror("A complete absolute path must be entered in:")
        self._frames = (folder, self._frames[1])

    def SetFrameBaseName(self, keep: int, in_name: int, in_folder: int, name: str) -> None:
        assert (keep, in_name, in_folder) == (0, 1, 0)
        self._frames = (self._frames[0], name)

    def ReportLastFrameFile(self) -> tuple[str, str, str]:
        if not self._last:
            raise SEMerror("There is no last frame file name available for:")
        folder, _, name = self._last.rpartition("\\")
        return (self._last, folder, name)

    def _expose(self, area: str) -> None:
        preset = {letter: name for name, letter in AREAS.items()}[area]
        self._area = {"P": "R"}.get(area, area)
        self._tell_beam()
        self._buffer = self.scope.expose(preset, self.purpose, exposure_s=self._exposures.get(area))
        self._exposed = self._exposures.get(area, self._buffer.preset.exposure_s)
        if self.saves_frames and area == "R":
            folder, name = self._frames
            self._last = f"{folder}\\{name}.tif"

    def _tell_beam(self) -> None:
        angle = np.deg2rad(BEAM_TILT_TURN)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        tilt = turn @ self.added_beam_tilt()
        if np.abs(tilt - self.scope.status().beam_tilt_mrad).max() > 1e-9:
            self.scope.tilt_beam(*(float(value) for value in tilt))

    def _taken(self) -> Picture:
        assert self._buffer is not None
        return self._buffer


class ToldMicroscope(SerialEMMicroscope):
    """The adapter under test; the simulated microscope is told what a picture is for, so that it can be judged."""

    def __init__(self, stand_in: StandIn, calibration: SerialEMCalibration, **more: Any) -> None:
        self.stand_in = stand_in
        super().__init__(
            calibration,
            "192.168.0.3",
            module=stand_in,
            clock=lambda: stand_in.scope.time_s,
            sleep=stand_in.scope.wait,
            **more,
        )

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
