"""What SerialEM's Python module takes: the commands used here, as SerialEM's own list of commands declares them.

SerialEM makes the functions of its module from one list (``MacroMasterList.h``), where a letter stands for each
argument: D a number, I a whole number, S a string, lower case where it may be left out. The module hands them to
``PyArg_ParseTuple``: too few, too many, or another kind is a TypeError, and a name not in the list is no function.
"""

from __future__ import annotations

from typing import Any

__all__ = ["SIGNATURES", "checked"]

SIGNATURES = {
    "AdjustBeamTiltforIS": "",
    "AreDewarsFilling": "",
    "Delay": "Ds",
    "Focus": "",
    "GoToLowDoseArea": "S",
    "ImageProperties": "s",
    "IsPVPRunning": "",
    "MoveStageTo": "DDd",
    "NoMessageBoxOnError": "i",
    "Preview": "",
    "Record": "",
    "ReportBeamTilt": "",
    "ReportColumnOrGunValve": "",
    "ReportComaVsISmatrix": "",
    "ReportDefocus": "",
    "ReportLastFrameFile": "",
    "ReportLowDose": "",
    "ReportSpecimenShift": "",
    "ReportStageXYZ": "",
    "ReportTiltAngle": "",
    "RestoreBeamTilt": "",
    "RestoreCameraSet": "s",
    "SaveBeamTilt": "",
    "Search": "",
    "SetBeamTilt": "DD",
    "SetDefocus": "D",
    "SetExposure": "SDd",
    "SetFolderForFrames": "S",
    "SetFrameBaseName": "IIIS",
    "SetImageShift": "DDdi",
    "SpecimenToISMatrix": "I",
    "StageToSpecimenMatrix": "I",
    "SuppressReports": "i",
    "TiltTo": "Didd",
    "Trial": "",
    "View": "",
    # Of the module itself, not of the list.
    "ConnectToSEM": "is",
    "bufferImage": "S",
}


def checked(name: str, arguments: tuple[Any, ...]) -> None:
    """Refuse what the module refuses.

    Raises
    ------
    AttributeError
        for a name that it has not.
    TypeError
        for arguments that are too few, too many or of another kind.
    """
    if name not in SIGNATURES:
        raise AttributeError(f"module 'serialem' has no attribute '{name}'")
    keys = SIGNATURES[name]
    least = sum(key.isupper() for key in keys)
    if not least <= len(arguments) <= len(keys):
        raise TypeError(f"{name}() takes {least} to {len(keys)} arguments ({len(arguments)} given)")
    for place, (key, value) in enumerate(zip(keys, arguments, strict=False), start=1):
        kinds = {"S": str, "I": int, "D": (int, float)}[key.upper()]
        if not isinstance(value, kinds):
            raise TypeError(f"{name}() argument {place} must be {key}, not {type(value).__name__}")
