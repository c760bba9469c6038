"""What a microscope answered, looked at before a session believes it: numbers that are numbers, of sizes that can be.

An answer that is none is a fault that may pass: it is asked for again, and told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from lamella.acquire.microscope.port import Landmarks, Picture, Pixels, Preset, Status
from lamella.errors import PassingFault

__all__ = ["nonsense_in", "sound_picture", "sound_ready", "sound_status", "told"]

Answer = TypeVar("Answer")

_STATED_TILT_DEG = 90.0
_FARTHEST_UM = 1e5  # of stage, image shift, focus and what is seen: the stage's own range is a hundredth of it
_LONGEST_S = 1e11  # of a clock, in seconds since any year
_BRIGHTEST = 1e9  # counts per pixel, and e/Å²


def told(call: Callable[[], Answer]) -> Answer:
    """The answer to a call; a connection that breaks is a fault that may pass.

    Raises
    ------
    PassingFault
        if the connection broke, beside what the call itself raises.
    """
    try:
        return call()
    except OSError as error:
        raise PassingFault(f"the microscope cannot be reached ({error})", mend="look at its connection") from error


def sound_status(answer: object) -> Status:
    """A state of which every number is one, as plain floats.

    Raises
    ------
    PassingFault
        if it is no state, or holds what is no number or cannot be.
    """
    if not isinstance(answer, Status):
        raise _nonsense(f"a state that is {_kind(answer)}")
    tilt = _number("a tilt", answer.tilt_deg, "°", _STATED_TILT_DEG)
    stage = _numbers("a stage", answer.stage_um, 3)
    shift = _numbers("an image shift", answer.image_shift_um, 2)
    beam = _numbers("a beam tilt", answer.beam_tilt_mrad, 2)
    return Status(
        time_s=_number("a time", answer.time_s, " s", _LONGEST_S),
        tilt_deg=tilt,
        stage_um=(stage[0], stage[1], stage[2]),
        image_shift_um=(shift[0], shift[1]),
        defocus_um=_number("a defocus", answer.defocus_um, " µm", _FARTHEST_UM),
        beam_tilt_mrad=(beam[0], beam[1]),
    )


def sound_ready(answer: object) -> bool:
    """Yes or no.

    Raises
    ------
    PassingFault
        if it is neither.
    """
    if isinstance(answer, (bool, np.bool_)) or (isinstance(answer, int) and answer in (0, 1)):
        return bool(answer)
    raise _nonsense(f"neither yes nor no, but {_kind(answer)}, where it was asked whether it is ready")


def sound_picture(answer: object) -> Picture:
    """A picture whose parts are what they should be; what it shows may still be nonsense (`nonsense_in`).

    Raises
    ------
    PassingFault
        if it is no picture, or a part of it is none.
    """
    if not isinstance(answer, Picture):
        raise _nonsense(f"a picture that is {_kind(answer)}")
    if not isinstance(answer.preset, Preset):
        raise _nonsense(f"a picture of a preset that is {_kind(answer.preset)}")
    if not isinstance(answer.files, (tuple, list)) or not all(isinstance(name, str) for name in answer.files):
        raise _nonsense("a picture whose files have no names")
    dose = _number("a dose", answer.dose, " e/Å²", _BRIGHTEST)
    if dose < 0:
        raise _nonsense(f"a dose of {dose:g} e/Å²")
    return replace(
        answer,
        content=_content(answer.content),
        status=sound_status(answer.status),
        mean_counts=_number("a brightness", answer.mean_counts, " counts", _BRIGHTEST),
        dose=dose,
        files=tuple(answer.files),
    )


def nonsense_in(picture: Picture) -> str:
    """What is wrong with what a picture shows, so that nothing could be compared with it; empty where nothing is."""
    if isinstance(picture.content, Pixels):
        image = picture.content.image
        if image.ndim != 2 or 0 in image.shape:
            return f"a picture of {tuple(image.shape)} pixels"
        if not np.isfinite(image).all():
            return "a picture with pixels that are no numbers"
        return "a picture in which every pixel is the same" if image.min() == image.max() else ""
    places = np.asarray(picture.content.places_um)
    if places.ndim != 2 or places.shape[1] != 2 or not len(places) or not (np.abs(places) <= _FARTHEST_UM).all():
        return "a picture whose landmarks are no places"
    if not 0 <= picture.content.sd_um <= _FARTHEST_UM:
        return "a picture whose landmarks have an error that is none"
    return ""


def _content(content: object) -> Pixels | Landmarks:
    """Pixels or landmarks, of numbers."""
    try:
        if isinstance(content, Pixels):
            image = np.asarray(content.image)
            if image.dtype == np.float32:
                return content
            if image.dtype.kind not in "iufb":
                raise TypeError(f"pixels of type {image.dtype}")
            return Pixels(image=image.astype(np.float32))
        if isinstance(content, Landmarks):
            places = np.asarray(content.places_um)
            if places.dtype.kind not in "iuf":
                raise TypeError(f"places of type {places.dtype}")
            return Landmarks(places_um=places.astype(np.float64), sd_um=float(content.sd_um))
    except (TypeError, ValueError) as error:
        raise _nonsense(f"a picture of what is no number ({error})") from error
    raise _nonsense(f"a picture that shows {_kind(content)}")


def _numbers(what: str, values: object, count: int) -> list[float]:
    if not isinstance(values, (tuple, list, np.ndarray)) or len(values) != count:
        raise _nonsense(f"{what} of {values!r}")
    return [_number(what, value, " µm", _FARTHEST_UM) for value in _each(values)]


def _each(values: Sequence[object] | np.ndarray) -> list[object]:
    return list(values)


def _number(what: str, value: object, unit: str, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise _nonsense(f"{what} that is {_kind(value)}")
    number = float(value)
    if not abs(number) <= most:
        raise _nonsense(f"{what} of {number:g}{unit}")
    return number


def _kind(value: object) -> str:
    return "nothing" if value is None else f"of type {type(value).__name__}"


def _nonsense(what: str) -> PassingFault:
    return PassingFault(f"the microscope states {what}", mend="look at its connection")
