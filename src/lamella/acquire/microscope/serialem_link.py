"""The connection to SerialEM: every command that is used of its Python module, in SerialEM's own units and signs.

SerialEM's module ``serialem`` runs its script commands as functions, inside SerialEM or from any computer that reaches
its socket. Names, order and kinds of the arguments are those of SerialEM's list of commands (`MacroMasterList.h`); what
they do and answer is told by its help and its source. docs/reference/serialem.md has them in one table. Defocus is in
µm and negative for underfocus, lengths on the specimen are in µm, pixels in nm, beam tilts in mrad (on JEOL microscopes
in percent of the full scale).
"""

from __future__ import annotations

import importlib
import math
import re
import socket
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.errors import LimitError, MicroscopeError, PassingFault

__all__ = ["DEFAULT_PORT", "SerialEMLink", "serialem_module"]

DEFAULT_PORT = 48888

_EXPOSURES = {"R": "Record", "T": "Trial", "F": "Focus", "V": "View", "P": "Preview", "S": "Search"}
_LOW_DOSE_AREAS = "VFTRS"
_BEYOND = re.compile(r"\blimits?\b|out of (the )?range|outside|beyond|exceed|too (large|big|high|far)", re.IGNORECASE)
# What waiting does not mend.
_LACKING = re.compile(
    r"no calibration|not (been )?calibrated|low dose mode|not (available|supported|defined)|cannot save frames|"
    r"absolute path|only a single folder|is missing|not identified",
    re.IGNORECASE,
)
_SAVED_BEFORE = re.compile(r"second SaveBeamTilt", re.IGNORECASE)


def serialem_module() -> Any:
    """SerialEM's Python module.

    Raises
    ------
    MicroscopeError
        if it is not installed.
    """
    try:
        return importlib.import_module("serialem")
    except ImportError as error:
        raise MicroscopeError(
            f"SerialEM's Python module cannot be imported ({error})",
            mend="take the folder PythonModules of SerialEM's installation (or its download page at "
            "bio3d.colorado.edu/SerialEM) for this version of Python, and put it on PYTHONPATH",
        ) from None


class SerialEMLink:
    """The commands, typed; failures are this library's errors.

    Parameters
    ----------
    module
        SerialEM's Python module.
    address
        of the computer that SerialEM runs on: a name, or four numbers; empty: this one, or what the variables
        ``PY_SERIALEM_IP`` and ``PY_SERIALEM_PORT`` of the environment say, or this process was started by SerialEM.
    port
        of SerialEM's socket for Python.

    Raises
    ------
    MicroscopeError
        if the address is none.
    PassingFault
        if SerialEM does not answer.
    """

    def __init__(self, module: Any, address: str = "", port: int = DEFAULT_PORT) -> None:
        self._module = module
        self._address, self._port = address, port
        self._connected = False
        self._beam_tilt_saved = False
        self._scripts = 0
        self._connect()

    # What SerialEM states ---------------------------------------------------------------------------------------------

    def script(self) -> int:
        """Number of SerialEM's script that this process runs in, from 1.

        SerialEM takes the first command for a script's begin. A new one begins where the last was stopped, or after the
        connection was lost; then SerialEM has restored the beam's tilt of before.
        """
        if not self._connected:
            self._connect()
        return self._scripts

    def tilt_angle(self) -> float:
        """Of the stage, in degrees."""
        return self._numbers(1, "ReportTiltAngle")[0]

    def stage(self) -> tuple[float, float, float]:
        """X, Y, Z of the stage in µm."""
        x, y, z = self._numbers(3, "ReportStageXYZ")
        return x, y, z

    def specimen_shift(self) -> tuple[float, float]:
        """Image shift in µm on the specimen, X along the tilt axis."""
        x, y = self._numbers(2, "ReportSpecimenShift")
        return x, y

    def specimen_to_image_shift(self) -> NDArray[np.float64]:
        """``(2, 2)``: image shift units of the microscope per µm on the specimen, at the present magnification."""
        return self._matrix("SpecimenToISMatrix", "image shift")

    def stage_to_specimen(self) -> NDArray[np.float64]:
        """``(2, 2)``: µm of specimen shift that stand for a µm of the stage, at any magnification."""
        return self._matrix("StageToSpecimenMatrix", "stage")

    def defocus(self) -> float:
        """In µm, negative for underfocus."""
        return self._numbers(1, "ReportDefocus")[0]

    def beam_tilt(self) -> tuple[float, float]:
        """With what compensates the image shift."""
        x, y = self._numbers(2, "ReportBeamTilt")
        return x, y

    def dewars_filling(self) -> bool:
        """Whether nitrogen is refilled; JEOL's say by 1, 2 or 3 which tank."""
        return self._numbers(1, "AreDewarsFilling", mend="if it does not know, set check_dewars = false")[0] != 0

    def valves_open(self) -> bool:
        """Whether the beam can reach the specimen; what is neither open nor closed counts as open."""
        return self._numbers(1, "ReportColumnOrGunValve", mend="if it does not know, set check_valves = false")[0] != 0

    def pump_running(self) -> bool:
        """Whether the prevacuum pump runs, which shakes the specimen."""
        return self._numbers(1, "IsPVPRunning", mend="if it does not know, set check_pump = false")[0] != 0

    # What SerialEM does -----------------------------------------------------------------------------------------------

    def go_to_area(self, area: str) -> None:
        """Set the microscope as for a low-dose area (V, F, T, R or S).

        Raises
        ------
        MicroscopeError
            if Low Dose mode is off.
        PassingFault
            if it does not go there: with the screen down it stays where it is, without a word.
        """
        self._ask("GoToLowDoseArea", area)
        on, number = self._numbers(2, "ReportLowDose")
        if not on:
            raise MicroscopeError("SerialEM is not in Low Dose mode", mend="turn it on, and set up its areas")
        if number != _LOW_DOSE_AREAS.index(area):
            raise PassingFault(f"SerialEM does not go to the low-dose area {area}", mend="raise the screen")

    def tilt_to(self, angle_deg: float) -> None:
        """Turn the stage."""
        self._ask("TiltTo", angle_deg)

    def move_stage(self, x_um: float, y_um: float, z_um: float) -> None:
        """Move the stage to a place."""
        self._ask("MoveStageTo", x_um, y_um, z_um)

    def set_image_shift(self, x: float, y: float, delay: float) -> None:
        """In image shift units; the next exposure waits `delay` times SerialEM's own delay.

        Raises
        ------
        LimitError
            if it is beyond SerialEM's limit, which it tells by its answer.
        """
        answer = _first(self._ask("SetImageShift", x, y, delay))
        if isinstance(answer, (int, float)) and answer:
            raise LimitError(
                f"SerialEM does not shift the image to {x:.3f}, {y:.3f} of its units: beyond its limit",
                mend="raise SerialEM's property ImageShiftLimit, or lower shift_limit",
            )

    def require_coma_calibration(self) -> None:
        """Refuse a microscope that does not know which beam tilt an image shift wants."""
        mend = "calibrate coma against image shift in SerialEM, or set coma_correction = false"
        self._ask("ReportComaVsISmatrix", mend=mend, needed=True)

    def restore_beam_tilt(self) -> None:
        """Take away what was added to the beam's tilt (and to the objective's stigmator) in this script."""
        if self._beam_tilt_saved:
            self._ask("RestoreBeamTilt")
            self._beam_tilt_saved = False
        self._ask("SaveBeamTilt")
        self._beam_tilt_saved = True

    def compensate_image_shift(self) -> None:
        """Add the beam tilt that the image shift wants against coma (and the stigmator's part, where calibrated)."""
        self._ask("AdjustBeamTiltforIS")

    def set_defocus(self, defocus_um: float) -> None:
        """In µm, negative for underfocus."""
        self._ask("SetDefocus", defocus_um)

    def set_beam_tilt(self, x: float, y: float) -> None:
        """With what compensates the image shift."""
        self._ask("SetBeamTilt", x, y)

    def wait(self, seconds: float) -> None:
        """Let SerialEM wait."""
        # Without the unit, or with one that it does not know, more than 60 would be milliseconds.
        self._ask("Delay", seconds, "sec")

    def expose(self, area: str, exposure_s: float | None = None) -> None:
        """Take a picture into buffer A with the camera parameters of an area, for once with another exposure."""
        if exposure_s is None:
            self._ask(_EXPOSURES[area])
            return
        self._ask("SetExposure", area, exposure_s)
        try:
            self._ask(_EXPOSURES[area])
        finally:
            self._ask("RestoreCameraSet", area)

    def picture(self) -> tuple[NDArray[np.float32], float, float]:
        """What is in buffer A: ``(height, width)`` counts with the top row first, pixel size in nm, exposure in s.

        Raises
        ------
        MicroscopeError
            if it is no image, or not of the size that SerialEM states.
        """
        width, height, _, exposure_s, pixel_nm = self._numbers(5, "ImageProperties", "A")
        image = np.array(self._ask("bufferImage", "A"), dtype=np.float32)
        if image.shape != (int(height), int(width)):
            raise MicroscopeError(
                f"SerialEM gave an image of {image.shape} pixels where it states {(int(height), int(width))}",
                mend="look at SerialEM's buffer A",
            )
        return image, pixel_nm, exposure_s

    def save_frames(self, folder: str, base_name: str) -> None:
        """Where the next frames go: a folder, and the beginning of their name."""
        if folder:
            self._ask("SetFolderForFrames", folder)
        # Restored when the script ends; in the file's name; not in the folder's.
        self._ask("SetFrameBaseName", 0, 1, 0, base_name)

    def last_frames(self) -> str:
        """The file that frames were last written to; empty where SerialEM does not tell: no picture is worth less."""
        try:
            return str(_first(self._ask("ReportLastFrameFile")))
        except PassingFault:
            return ""

    # How it is asked --------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Open the connection, or open it again."""
        try:
            self._open()
        except self._errors("SEMmoduleError", "SEMerror", "SEMexited") as error:
            where = f"at {self._address}, port {self._port}" if self._address else "here"
            raise PassingFault(
                f"no SerialEM answers {where} ({error})",
                mend="start SerialEM with the property EnableExternalPython set, see that address and port are its own "
                "(another port than 48888: property SocketServerPort), and that no other script runs in it",
            ) from None
        self._connected = True

    def _open(self) -> None:
        """Connect, and let SerialEM take back what is added to the beam's tilt when the script ends."""
        module = self._module
        if self._address:
            module.ConnectToSEM(self._port, _numeric(self._address))
        elif self._port != DEFAULT_PORT:
            module.ConnectToSEM(self._port)
        # A box would wait for somebody to press its button.
        module.NoMessageBoxOnError()
        module.SuppressReports()
        try:
            module.SaveBeamTilt()
        except self._errors("SEMerror") as error:
            if not _SAVED_BEFORE.search(str(error)):
                raise
        else:
            self._scripts += 1
        self._beam_tilt_saved = True

    def _ask(self, name: str, *arguments: float | str, mend: str = "", needed: bool = False) -> Any:
        """Run one command; `needed`: nothing can be done without what it asks for.

        Raises
        ------
        LimitError
            where SerialEM says that something is beyond a limit.
        PassingFault
            where it failed otherwise, or the connection is lost: it is opened again by the next command.
        MicroscopeError
            where somebody has stopped it, it lacks a calibration, or does not know the command.
        """
        if not self._connected:
            self._connect()
        command = getattr(self._module, name, None)
        if command is None:
            raise MicroscopeError(f"this SerialEM has no command {name}", mend="update SerialEM and its Python module")
        try:
            return command(*arguments)
        except self._errors("SEMexited") as error:
            self._connected = False
            raise MicroscopeError(
                f"stopped in SerialEM ({error})", mend="go on with `lamella acquire resume`, or end the session"
            ) from None
        except self._errors("SEMmoduleError") as error:
            self._connected = False
            raise PassingFault(f"the connection to SerialEM is lost: {error}", mend="connect and ask again") from None
        except self._errors("SEMerror") as error:
            said = f"SerialEM's {name} failed: {error}"
            if needed or _LACKING.search(str(error)):
                raise MicroscopeError(said, mend=mend or "set it up in SerialEM") from None
            if _BEYOND.search(str(error)):
                raise LimitError(said, mend="stay within the range") from None
            raise PassingFault(said, mend=mend or "ask again; see SerialEM's log") from None

    def _errors(self, *names: str) -> tuple[type[Exception], ...]:
        """Exceptions of the module; older ones have not all of them."""
        found = [getattr(self._module, name, None) for name in names]
        return tuple(one for one in found if isinstance(one, type))

    def _numbers(self, count: int, name: str, *arguments: float | str, mend: str = "") -> tuple[float, ...]:
        """The first numbers that a command answers."""
        answer = self._ask(name, *arguments, mend=mend)
        values: Sequence[Any] = answer if isinstance(answer, (tuple, list)) else (answer,)
        try:
            numbers = tuple(float(value) for value in values[:count])
        except (TypeError, ValueError):
            numbers = ()
        if len(numbers) < count or not all(math.isfinite(number) for number in numbers):
            raise MicroscopeError(f"SerialEM's {name} answered {answer!r}", mend="see SerialEM's log")
        return numbers

    def _matrix(self, name: str, what: str) -> NDArray[np.float64]:
        """``(2, 2)``; SerialEM answers zeros where it has no calibration."""
        matrix = np.array(self._numbers(4, name, 0)).reshape(2, 2)
        if abs(np.linalg.det(matrix)) < 1e-12:
            raise MicroscopeError(
                f"SerialEM's {name} answers {matrix.ravel().tolist()}: no calibration",
                mend=f"calibrate the {what} at this magnification in SerialEM",
            )
        return matrix


def _first(answer: Any) -> Any:
    """What a command answers: alone, or first of several."""
    return answer[0] if isinstance(answer, (tuple, list)) else answer


def _numeric(address: str) -> str:
    """An address in numbers: SerialEM's module takes no other."""
    try:
        return socket.gethostbyname(address)
    except OSError as error:
        raise MicroscopeError(f"no computer is named {address!r} ({error})", mend="give its four numbers") from None
