"""The connection to SerialEM: every command that is used of its Python module, in SerialEM's own units and signs.

SerialEM's module ``serialem`` runs its script commands as functions, inside SerialEM or from any computer that reaches
its socket (SerialEM's help: "Scripting with Python", "Script Commands"). Defocus is in µm and negative for underfocus,
lengths on the specimen are in µm, pixels in nm, beam tilts in mrad (on JEOL microscopes in a scaled percentage).
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.errors import LimitError, MicroscopeError, PassingFault

__all__ = ["DEFAULT_PORT", "SerialEMLink", "serialem_module"]

DEFAULT_PORT = 48888

_EXPOSURES = {"R": "Record", "T": "Trial", "F": "Focus", "V": "View", "P": "Preview", "S": "Search"}
_BEYOND = re.compile(r"\blimits?\b|out of (the )?range|outside|beyond|exceed|too (large|big|high|far)", re.IGNORECASE)


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
        of the computer that SerialEM runs on; empty: this process was started by SerialEM.
    port
        of SerialEM's socket for Python.

    Raises
    ------
    PassingFault
        if SerialEM does not answer.
    """

    def __init__(self, module: Any, address: str = "", port: int = DEFAULT_PORT) -> None:
        self._module = module
        self._address, self._port = address, port
        self._connected = False
        self._connect()

    # What SerialEM states ---------------------------------------------------------------------------------------------

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
        return np.array(self._numbers(4, "SpecimenToISMatrix", 0)).reshape(2, 2)

    def defocus(self) -> float:
        """In µm, negative for underfocus."""
        return self._numbers(1, "ReportDefocus")[0]

    def beam_tilt(self) -> tuple[float, float]:
        """With what compensates the image shift."""
        x, y = self._numbers(2, "ReportBeamTilt")
        return x, y

    def dewars_filling(self) -> bool:
        """Whether nitrogen is refilled."""
        return self._numbers(1, "AreDewarsFilling")[0] != 0

    def valves_open(self) -> bool:
        """Whether the beam can reach the specimen."""
        return self._numbers(1, "ReportColumnOrGunValve")[0] != 0

    def pump_running(self) -> bool:
        """Whether the prevacuum pump runs, which shakes the specimen."""
        return self._numbers(1, "IsPVPRunning")[0] != 0

    def remembered(self, name: str) -> str:
        """What `remember` has left in SerialEM, also by an earlier process; empty where nothing."""
        if not self._numbers(1, "IsVariableDefined", name)[0]:
            return ""
        return str(_first(self._ask("GetVariable", name)))

    # What SerialEM does -----------------------------------------------------------------------------------------------

    def remember(self, name: str, value: str) -> None:
        """Leave a word in SerialEM, until it is closed."""
        self._ask("SetPersistentVar", name, value)

    def go_to_area(self, area: str) -> None:
        """Set the microscope as for a low-dose area."""
        self._ask("GoToLowDoseArea", area)

    def tilt_to(self, angle_deg: float) -> None:
        """Turn the stage."""
        self._ask("TiltTo", angle_deg)

    def move_stage(self, x_um: float, y_um: float, z_um: float) -> None:
        """Move the stage to a place."""
        self._ask("MoveStageTo", x_um, y_um, z_um)

    def set_image_shift(self, x: float, y: float, delay: float, adjust_beam_tilt: bool) -> None:
        """In image shift units; waits `delay` times SerialEM's own delay."""
        self._ask("SetImageShift", x, y, delay, int(adjust_beam_tilt))

    def set_defocus(self, defocus_um: float) -> None:
        """In µm, negative for underfocus."""
        self._ask("SetDefocus", defocus_um)

    def set_beam_tilt(self, x: float, y: float) -> None:
        """With what compensates the image shift."""
        self._ask("SetBeamTilt", x, y)

    def wait(self, seconds: float) -> None:
        """Let SerialEM wait."""
        self._ask("Delay", seconds, "s")

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

    def picture(self) -> tuple[NDArray[np.float32], float]:
        """What is in buffer A: ``(height, width)`` counts with the top row first, and its pixel size in nm.

        Raises
        ------
        MicroscopeError
            if it is no image, or not of the size that SerialEM states.
        """
        width, height, _, _, pixel_nm = self._numbers(5, "ImageProperties", "A")
        image = np.array(self._ask("bufferImage", "A"), dtype=np.float32)
        if image.shape != (int(height), int(width)):
            raise MicroscopeError(
                f"SerialEM gave an image of {image.shape} pixels where it states {(int(height), int(width))}",
                mend="look at SerialEM's buffer A",
            )
        return image, pixel_nm

    def save_frames(self, folder: str, base_name: str) -> None:
        """Where the next frames go: a folder, and the beginning of their name."""
        if folder:
            self._ask("SetFolderForFrames", folder)
        # Not in the folder's name, in the file's name, and not asked again before each.
        self._ask("SetFrameBaseName", 0, 1, 0, base_name)

    def last_frames(self) -> str:
        """The file that frames were last written to."""
        return str(_first(self._ask("ReportLastFrameFile")))

    # How it is asked --------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Open the connection, or open it again."""
        try:
            if self._address:
                self._module.ConnectToSEM(self._port, self._address)
            # A box would wait for somebody to press its button.
            self._module.NoMessageBoxOnError(1)
            self._module.SuppressReports(1)
        except self._errors("SEMmoduleError", "SEMerror", "SEMexited") as error:
            where = f"at {self._address}, port {self._port}" if self._address else "around this process"
            raise PassingFault(
                f"no SerialEM answers {where} ({error})",
                mend="start SerialEM with the properties EnableExternalPython and SocketServerPort set, and see that "
                "address and port are those",
            ) from None
        self._connected = True

    def _ask(self, name: str, *arguments: float | str) -> Any:
        """Run one command.

        Raises
        ------
        LimitError
            where SerialEM says that something is beyond a limit.
        PassingFault
            where it failed otherwise, or the connection is lost: it is opened again by the next command.
        MicroscopeError
            where SerialEM was closed, or does not know the command.
        """
        if not self._connected:
            self._connect()
        command = getattr(self._module, name, None)
        if command is None:
            raise MicroscopeError(f"this SerialEM has no command {name}", mend="update SerialEM and its Python module")
        try:
            return command(*arguments)
        except self._errors("SEMexited"):
            self._connected = False
            raise MicroscopeError("SerialEM was closed", mend="start it, then `lamella acquire resume`") from None
        except self._errors("SEMmoduleError") as error:
            self._connected = False
            raise PassingFault(f"the connection to SerialEM is lost: {error}", mend="connect and ask again") from None
        except self._errors("SEMerror") as error:
            said = f"SerialEM's {name} failed: {error}"
            if _BEYOND.search(str(error)):
                raise LimitError(said, mend="stay within the range") from None
            raise PassingFault(said, mend="ask again; see SerialEM's log") from None

    def _errors(self, *names: str) -> tuple[type[Exception], ...]:
        """Exceptions of the module; older ones have not all of them."""
        found = [getattr(self._module, name, None) for name in names]
        return tuple(one for one in found if isinstance(one, type))

    def _numbers(self, count: int, name: str, *arguments: float | str) -> tuple[float, ...]:
        """The first numbers that a command answers."""
        answer = self._ask(name, *arguments)
        values: Sequence[Any] = answer if isinstance(answer, (tuple, list)) else (answer,)
        try:
            numbers = tuple(float(value) for value in values[:count])
        except (TypeError, ValueError):
            numbers = ()
        if len(numbers) < count or not all(math.isfinite(number) for number in numbers):
            raise MicroscopeError(f"SerialEM's {name} answered {answer!r}", mend="see SerialEM's log")
        return numbers


def _first(answer: Any) -> Any:
    """What a command answers: alone, or first of several (some changed from one version to the next)."""
    return answer[0] if isinstance(answer, (tuple, list)) else answer
