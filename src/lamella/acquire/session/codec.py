"""What a microscope answered, as a line of the log says it, and back: exactly, so that a session can be run again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lamella.acquire.microscope.port import (
    Calibrations,
    Landmarks,
    Limits,
    Picture,
    Pixels,
    Preset,
    Status,
    Timings,
)
from lamella.errors import FormatError, Interruption, LimitError, MicroscopeError, PassingFault
from lamella.formats.atomic import atomic_path

__all__ = [
    "decode_answer",
    "decode_fault",
    "encode_answer",
    "encode_calibrations",
    "encode_fault",
    "read_calibrations",
    "read_limits",
]

_FAULTS = {kind.__name__: kind for kind in (Interruption, PassingFault, LimitError, MicroscopeError)}


def encode_fault(fault: MicroscopeError) -> dict[str, str]:
    """A fault by its kind, problem and mend."""
    kind = next(name for name, one in _FAULTS.items() if isinstance(fault, one))
    return {"kind": kind, "problem": fault.problem, "mend": fault.mend}


def decode_fault(entry: Mapping[str, str]) -> MicroscopeError:
    """The fault again."""
    return _FAULTS[entry["kind"]](entry["problem"], mend=entry["mend"])


def encode_answer(answer: Status | Picture | bool | None, folder: Path | None, number: int) -> Any:
    """An answer in the log's words; pixels go into a file of the session's folder.

    Parameters
    ----------
    answer
        of a verb.
    folder
        of the session; None where nothing is kept.
    number
        of the call; names the file.
    """
    if isinstance(answer, Status):
        return {"status": _status(answer)}
    if isinstance(answer, Picture):
        return {"picture": _picture(answer, folder, number)}
    return answer


def decode_answer(entry: Any, folder: Path, presets: Mapping[str, Preset]) -> Status | Picture | bool | None:
    """The answer again.

    Raises
    ------
    FormatError
        if the pixels' file is not there, or the entry is none.
    """
    try:
        if isinstance(entry, Mapping) and "status" in entry:
            return _read_status(entry["status"])
        if isinstance(entry, Mapping):
            return _read_picture(entry["picture"], folder, presets)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise FormatError(
            f"{folder}: an answer that cannot be read ({error})", mend="begin the session anew"
        ) from error
    if entry is None or isinstance(entry, bool):
        return entry
    raise FormatError(f"{folder}: the answer {entry!r}", mend="begin the session anew")


def encode_calibrations(calibrations: Calibrations, limits: Limits) -> dict[str, Any]:
    """What a microscope states of itself, for the log's head."""
    stated = asdict(calibrations)
    stated["presets"] = {name: asdict(preset) for name, preset in calibrations.presets.items()}
    return {"calibrations": stated, "limits": asdict(limits)}


def read_calibrations(entry: Mapping[str, Any]) -> Calibrations:
    """The calibrations of a log's head."""
    presets = {
        name: Preset(**{**preset, "shape_px": tuple(preset["shape_px"])}) for name, preset in entry["presets"].items()
    }
    return Calibrations(**{**entry, "presets": presets, "timings": Timings(**entry.get("timings", {}))})


def read_limits(entry: Mapping[str, Any]) -> Limits:
    """The limits of a log's head."""
    return Limits(**{**entry, "tilt_deg": tuple(entry["tilt_deg"]), "defocus_um": tuple(entry["defocus_um"])})


def _status(status: Status) -> dict[str, Any]:
    return {
        "time_s": float(status.time_s),
        "tilt_deg": float(status.tilt_deg),
        "stage_um": [float(value) for value in status.stage_um],
        "image_shift_um": [float(value) for value in status.image_shift_um],
        "defocus_um": float(status.defocus_um),
        "beam_tilt_mrad": [float(value) for value in status.beam_tilt_mrad],
    }


def _read_status(entry: Mapping[str, Any]) -> Status:
    pairs = {name: tuple(entry[name]) for name in ("stage_um", "image_shift_um", "beam_tilt_mrad")}
    return Status(**{**entry, **pairs})


def _picture(picture: Picture, folder: Path | None, number: int) -> dict[str, Any]:
    content: dict[str, Any]
    if isinstance(picture.content, Landmarks):
        places = np.asarray(picture.content.places_um)
        content = {"places_um": places.tolist(), "shape": list(places.shape), "sd_um": float(picture.content.sd_um)}
    else:
        content = {"image": f"pictures/{number:06d}.npy"}
        if folder is not None:
            with atomic_path(folder / content["image"]) as path, path.open("wb") as file:
                np.save(file, picture.content.image.astype(np.float16))
    return {
        **content,
        "preset": picture.preset.name,
        "pixel_size_ang": picture.preset.pixel_size_ang,
        "shape_px": list(picture.preset.shape_px),
        "status": _status(picture.status),
        "mean_counts": float(picture.mean_counts),
        "dose": float(picture.dose),
        "files": list(picture.files),
    }


def _read_picture(entry: Mapping[str, Any], folder: Path, presets: Mapping[str, Preset]) -> Picture:
    content: Landmarks | Pixels
    if "image" in entry:
        content = Pixels(image=np.load(folder / entry["image"]).astype(np.float32))
    else:
        places = np.array(entry["places_um"], np.float64).reshape(entry["shape"])
        content = Landmarks(places_um=places, sd_um=entry["sd_um"])
    preset = presets[entry["preset"]]
    return Picture(
        content=content,
        preset=Preset(
            **{
                **asdict(preset),
                "pixel_size_ang": entry["pixel_size_ang"],
                "shape_px": tuple(entry["shape_px"]),
            }
        ),
        status=_read_status(entry["status"]),
        mean_counts=entry["mean_counts"],
        dose=entry["dose"],
        files=tuple(entry["files"]),
    )
