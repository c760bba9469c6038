"""A microscope that answers from the log of a session, so that another predictor can be tried on what was recorded.

It is asked for pictures by their purpose. Where the image shift or the lens is set to something else than then, the
picture is moved by the difference: what was recorded of the specimen's motion and of the matching's errors stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.microscope.port import (
    Calibrations,
    Landmarks,
    Limits,
    Picture,
    Pixels,
    Purpose,
    Status,
)
from lamella.acquire.session.codec import decode_answer, read_calibrations, read_limits
from lamella.acquire.session.log import read_log
from lamella.errors import FormatError, MicroscopeError

__all__ = ["ReplayMicroscope"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Taken:
    """A picture of the log: its answer (read when it is asked for), and how the microscope was set."""

    answer: Mapping[str, Any]
    shift_um: tuple[float, ...]
    defocus_um: float
    beam_tilt_mrad: tuple[float, ...]


_Key = tuple[str, str, int, int, int, float]


class ReplayMicroscope:
    """The microscope of a recorded session.

    Parameters
    ----------
    folder
        of the session.

    Raises
    ------
    ProjectError, FormatError
        if there is no session in it, or its log cannot be read.
    """

    repeatable = True

    def __init__(self, folder: Path | str) -> None:
        head, lines, _ = read_log(folder)
        self._folder = Path(folder)
        try:
            self._calibrations = read_calibrations(head["calibrations"])
            self._limits = read_limits(head["limits"])
        except (KeyError, TypeError) as error:
            raise FormatError(f"{folder}: the session's head cannot be read", mend="record it anew") from error
        self._taken: dict[_Key, list[_Taken]] = {}
        self._stood: dict[float, list[Status]] = {}
        self._read(lines)
        self._turned = False
        self._status = Status(
            time_s=0.0, tilt_deg=0.0, stage_um=(0.0, 0.0, 0.0), image_shift_um=(0.0, 0.0), defocus_um=0.0
        )

    @property
    def calibrations(self) -> Calibrations:
        """Those of the session."""
        return self._calibrations

    @property
    def limits(self) -> Limits:
        """Those of the session."""
        return self._limits

    def status(self) -> Status:
        """As it was set; the first time after a tilt, time and angle as they were read then."""
        stood = self._stood.get(round(self._status.tilt_deg, 6), []) if self._turned else []
        self._turned = False
        if stood:
            then = stood.pop(0) if len(stood) > 1 else stood[0]
            time_s = max(then.time_s, self._status.time_s)
            self._status = replace(self._status, tilt_deg=then.tilt_deg, time_s=time_s, stage_um=then.stage_um)
        return self._status

    def ready(self) -> bool:
        """Always."""
        return True

    def wait(self, seconds: float) -> None:
        """Let the clock run."""
        self._status = replace(self._status, time_s=self._status.time_s + seconds)

    def tilt(self, angle_deg: float) -> None:
        """The stage states that angle, or the one that was read when it was asked."""
        self._status = replace(self._status, tilt_deg=angle_deg)
        self._turned = True

    def move_stage(self, x_um: float, y_um: float, z_um: float) -> None:
        """The stage states that place."""
        self._status = replace(self._status, stage_um=(x_um, y_um, z_um))

    def shift_image(self, x_um: float, y_um: float) -> None:
        """Set the image shift."""
        self._status = replace(self._status, image_shift_um=(x_um, y_um))

    def focus(self, defocus_um: float) -> None:
        """Set the lens."""
        self._status = replace(self._status, defocus_um=defocus_um)

    def tilt_beam(self, x_mrad: float, y_mrad: float) -> None:
        """Tilt the beam."""
        self._status = replace(self._status, beam_tilt_mrad=(x_mrad, y_mrad))

    def expose(self, preset: str, purpose: Purpose, *, exposure_s: float | None = None) -> Picture:
        """The picture that was taken for this purpose, moved by what is set otherwise now.

        Raises
        ------
        MicroscopeError
            if none was.
        """
        taken = self._taken.get(_key(preset, purpose, self._status.beam_tilt_mrad), [])
        if not taken:
            raise MicroscopeError(
                f"no picture {preset!r} of target {purpose.target} was recorded at tilt {purpose.tilt}",
                mend="replay with the settings of the session",
            )
        # The last one stands for those that are asked for beyond what was recorded.
        then = taken.pop(0) if len(taken) > 1 else taken[0]
        picture = decode_answer(then.answer, self._folder, self._calibrations.presets)
        if not isinstance(picture, Picture):
            raise FormatError(f"{self._folder}: a picture that is none", mend="record it anew")
        moved = np.subtract(then.shift_um, self._status.image_shift_um)
        moved = moved + 1e-3 * (self._status.defocus_um - then.defocus_um) * np.asarray(then.beam_tilt_mrad)
        self._status = replace(
            self._status,
            time_s=max(self._status.time_s, picture.status.time_s),
            tilt_deg=picture.status.tilt_deg,
            stage_um=picture.status.stage_um,
        )
        return replace(picture, content=self._moved(picture, moved), status=self._status)

    def _moved(self, picture: Picture, moved_um: Array) -> Landmarks | Pixels:
        content = picture.content
        if isinstance(content, Landmarks):
            if content.places_um.shape[1:] != (2,):
                return content  # nonsense stays what it was
            return Landmarks(places_um=content.places_um + moved_um, sd_um=content.sd_um)
        angle = np.deg2rad(self._calibrations.tilt_axis_deg)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        x_px, y_px = turn @ moved_um / (picture.preset.pixel_size_ang * 1e-4)
        return Pixels(image=_shifted(content.image, float(y_px), float(x_px)))

    def _read(self, lines: list[dict[str, Any]]) -> None:
        """Sort the log's pictures by their purposes, and the angles read by those asked."""
        shift, lens, beam = (0.0, 0.0), 0.0, (0.0, 0.0)
        asked: float | None = None
        for line in lines:
            verb, values = line.get("call"), line.get("with", [])
            if verb is None or "fault" in line:
                continue
            if verb == "tilt":
                asked = float(values[0])
            elif verb == "shift_image":
                shift = (values[0], values[1])
            elif verb == "focus":
                lens = values[0]
            elif verb == "tilt_beam":
                beam = (values[0], values[1])
            elif verb == "status" and asked is not None:
                status = decode_answer(line["answer"], self._folder, self._calibrations.presets)
                if isinstance(status, Status):
                    self._stood.setdefault(round(asked, 6), []).append(status)
                asked = None
            elif verb == "expose":
                key = _key(values[0], Purpose(**values[1]), beam)
                taken = _Taken(answer=line["answer"], shift_um=shift, defocus_um=lens, beam_tilt_mrad=beam)
                self._taken.setdefault(key, []).append(taken)


def _key(preset: str, purpose: Purpose, beam: tuple[float, ...]) -> _Key:
    return (preset, purpose.kind, purpose.target, purpose.tilt, purpose.shot, float(np.sign(beam[1])))


def _shifted(image: NDArray[np.float32], y_px: float, x_px: float) -> NDArray[np.float32]:
    """The picture's content moved by (y, x) pixels; it comes in again at the other side."""
    rows, columns = image.shape
    phase = np.exp(-2j * np.pi * (np.fft.fftfreq(rows)[:, None] * y_px + np.fft.rfftfreq(columns)[None, :] * x_px))
    moved: NDArray[np.float32] = np.fft.irfft2(np.fft.rfft2(image) * phase, s=image.shape).astype(np.float32)
    return moved
