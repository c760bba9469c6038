"""A microscope that SerialEM controls: the port's verbs as SerialEM's commands, its answers in physical units.

SerialEM's specimen shift (SSX, SSY) has its X along the tilt axis; PACEtomo's rule for it, SSY' = SSY cos θ − z sin θ
(Eisenstein et al., Nat Methods 2023), is the stage frame's x' = x cos θ + z sin θ with x = −SSY and y = SSX, a quarter
turn. SerialEM's StageToSpecimenMatrix says which specimen shift stands for a way on the stage: near (−1 0; 0 −1), since
the stage lies half a turn about. A point (dx, dy) further on such a stage is at (dy, −dx) in the stage frame; moving
the stage there moves the specimen by the opposite. Underfocus is negative in SerialEM and positive here.

Beam tilts are those of SerialEM's script (which begins with the first command): what compensates the image shift is set
anew from the tilt of the script's begin with every shift, so that a command that failed leaves nothing behind, and
SerialEM restores that tilt when the script ends, however it does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lamella.acquire.microscope.port import RECORD, Calibrations, Limits, Picture, Pixels, Preset, Purpose, Status
from lamella.acquire.microscope.serialem_calibration import SerialEMCalibration
from lamella.acquire.microscope.serialem_link import DEFAULT_PORT, SerialEMLink, serialem_module
from lamella.errors import LimitError, MicroscopeError, PassingFault

__all__ = ["SerialEMMicroscope"]

_PIXEL_TOLERANCE = 0.05  # by which SerialEM's pixel size and the calibration's may differ
_EXPOSURE_TOLERANCE = 0.1  # by which its exposure and the one asked for may differ
_STAGE_TOLERANCE = 0.02  # of an element of the stage's matrix
_LOW_DOSE_AREAS = {"P": "R"}  # Preview is taken at the Record area


class SerialEMMicroscope:
    """SerialEM behind the port.

    The areas of Low Dose mode must be set up in SerialEM, with the Trial and Focus areas at the Record area's place: a
    session itself shifts the image to where it tracks and focuses.

    Parameters
    ----------
    calibration
        what is known of the microscope.
    address, port
        of SerialEM's socket for Python; an empty address: this computer.
    names
        of the targets' series, for the names of frames.
    module
        in place of SerialEM's Python module.
    clock
        seconds, going on between one process and the next.
    sleep
        lets seconds pass where SerialEM does not.

    Raises
    ------
    MicroscopeError
        if SerialEM's Python module is not installed, or SerialEM does not answer.
    """

    repeatable = False

    def __init__(
        self,
        calibration: SerialEMCalibration,
        address: str = "",
        port: int = DEFAULT_PORT,
        *,
        names: Sequence[str] = (),
        module: Any = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._known = calibration
        self._calibrations = calibration.calibrations()
        self._limits = calibration.limits()
        self._names = tuple(names)
        self._clock, self._sleep = clock, sleep
        self._link = SerialEMLink(serialem_module() if module is None else module, address, port)
        self._script = 0
        self._area = ""
        self._beam_tilt = (0.0, 0.0)

    @property
    def calibrations(self) -> Calibrations:
        """Those of the file."""
        return self._calibrations

    @property
    def limits(self) -> Limits:
        """Those of the file."""
        return self._limits

    def status(self) -> Status:
        """As SerialEM states it, at the Record area."""
        self._stand_at_record()
        along, across = self._link.specimen_shift()
        stage_x, stage_y, stage_z = self._link.stage()
        stage = self._known.stage_axes() @ np.array([stage_x, stage_y])
        return Status(
            time_s=self._clock(),
            tilt_deg=self._link.tilt_angle(),
            stage_um=(float(stage[0]), float(stage[1]), self._known.stage_z * stage_z),
            image_shift_um=(-across, along),
            defocus_um=-self._link.defocus(),
            beam_tilt_mrad=self._beam_tilt,
        )

    def ready(self) -> bool:
        """Whether nothing that the calibration file wants checked stands against recording."""
        known, link = self._known, self._link
        return not (
            (known.check_dewars and link.dewars_filling())
            or (known.check_valves and not link.valves_open())
            or (known.check_pump and link.pump_running())
        )

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise MicroscopeError(f"a wait of {seconds} s", mend="wait for 0 s or more")
        try:
            self._link.wait(seconds)
        except PassingFault:
            # What is waited for may be the connection.
            self._sleep(seconds)

    def tilt(self, angle_deg: float) -> None:
        """Turn the stage."""
        _within("tilt", angle_deg, *self._limits.tilt_deg, "°")
        self._link.tilt_to(angle_deg)

    def move_stage(self, x_um: float, y_um: float, z_um: float) -> None:
        """Move the stage, and the specimen with it."""
        for name, value in zip("xyz", (x_um, y_um, z_um), strict=True):
            _within(f"stage {name}", value, -self._limits.stage_um, self._limits.stage_um, " µm")
        x, y = np.linalg.solve(self._known.stage_axes(), np.array([x_um, y_um]))
        self._link.move_stage(float(x), float(y), self._known.stage_z * z_um)

    def shift_image(self, x_um: float, y_um: float) -> None:
        """Set the beam-image shift."""
        _within("image shift", math.hypot(x_um, y_um), 0.0, self._limits.image_shift_um, " µm")
        self._stand_at_record()
        link = self._link
        x, y = link.specimen_to_image_shift() @ np.array([y_um, -x_um])
        if not self._known.coma_correction:
            link.set_image_shift(float(x), float(y), self._known.shift_delay)
            return
        tilt, self._beam_tilt = self._beam_tilt, (0.0, 0.0)
        link.restore_beam_tilt()
        link.set_image_shift(float(x), float(y), self._known.shift_delay)
        link.compensate_image_shift()
        if tilt != (0.0, 0.0):
            self._add_beam_tilt(tilt)

    def focus(self, defocus_um: float) -> None:
        """Set the lens's defocus."""
        _within("defocus", defocus_um, *self._limits.defocus_um, " µm")
        self._stand_at_record()
        self._link.set_defocus(-defocus_um)

    def tilt_beam(self, x_mrad: float, y_mrad: float) -> None:
        """Tilt the beam, beside what compensates the image shift."""
        _within("beam tilt", math.hypot(x_mrad, y_mrad), 0.0, math.inf, " mrad")
        self._stand_at_record()
        self._add_beam_tilt((x_mrad, y_mrad))

    def expose(self, preset: str, purpose: Purpose, *, exposure_s: float | None = None) -> Picture:
        """Take a picture; frames of views are named by series, order and angle."""
        chosen, table = self._calibrations.presets.get(preset), self._known.presets.get(preset)
        if chosen is None or table is None:
            raise MicroscopeError(
                f"there is no preset {preset!r}", mend=f"choose of {', '.join(self._calibrations.presets)}"
            )
        seconds = chosen.exposure_s if exposure_s is None else exposure_s
        if not (math.isfinite(seconds) and seconds > 0):
            raise MicroscopeError(f"an exposure of {seconds} s", mend="expose for more than 0 s")
        status = self.status()
        earlier = self._save_frames(purpose, status) if chosen.frames > 1 else None
        self._area = _LOW_DOSE_AREAS.get(table.area, table.area)
        self._link.expose(table.area, exposure_s)
        image, pixel_nm, stated_s = self._link.picture()
        _check_picture(image.shape, pixel_nm, chosen)
        seconds = _exposed(seconds, stated_s, chosen)
        return Picture(
            # SerialEM holds the top row first.
            content=Pixels(image=np.ascontiguousarray(image[::-1])),
            preset=chosen,
            status=replace(status, time_s=status.time_s + seconds / 2),
            mean_counts=float(image.mean()),
            dose=chosen.dose * seconds / chosen.exposure_s,
            files=() if earlier is None else self._frames_since(earlier),
        )

    def _stand_at_record(self) -> None:
        """At the Record area: what is set there holds for the views."""
        if self._link.script() != self._script:
            self._begin()
        letter = self._known.presets[RECORD].area if RECORD in self._known.presets else "R"
        area = _LOW_DOSE_AREAS.get(letter, letter)
        if self._area != area:
            self._area = ""
            self._link.go_to_area(area)
            self._area = area

    def _begin(self) -> None:
        """A script of SerialEM's begins: what an earlier one set is gone, and what is known of it is compared.

        Raises
        ------
        MicroscopeError
            if its stage lies otherwise than the file says, or it cannot compensate the image shift.
        """
        self._area = ""
        self._beam_tilt = (0.0, 0.0)
        stated = self._link.stage_to_specimen()
        if np.abs(stated - self._known.stage_matrix()).max() > _STAGE_TOLERANCE:
            numbers = ", ".join(f"{value + 0.0:.4f}" for value in stated.ravel())
            raise MicroscopeError(
                f"SerialEM's StageToSpecimenMatrix is {numbers}, the calibration file says otherwise",
                mend=f"write stage_to_specimen = [{numbers}] into it, and plan again if targets came from a navigator",
            )
        if self._known.coma_correction:
            self._link.require_coma_calibration()
        self._script = self._link.script()

    def _add_beam_tilt(self, tilt_mrad: tuple[float, float]) -> None:
        """Change the beam's tilt from what was added before to this, whatever compensates the image shift."""
        x, y = self._link.beam_tilt()
        before, after = self._in_beam_axes(self._beam_tilt), self._in_beam_axes(tilt_mrad)
        self._link.set_beam_tilt(x + after[0] - before[0], y + after[1] - before[1])
        self._beam_tilt = tilt_mrad

    def _save_frames(self, purpose: Purpose, status: Status) -> str:
        """Have the next picture's frames written; which file was written last."""
        self._link.save_frames(self._known.frames_folder, self._frame_name(purpose, status))
        return self._link.last_frames()

    def _frames_since(self, earlier: str) -> tuple[str, ...]:
        """The file that was written since, if one was."""
        latest = self._link.last_frames()
        return (latest,) if latest and latest != earlier else ()

    def _in_beam_axes(self, tilt_mrad: tuple[float, float]) -> tuple[float, float]:
        """A beam tilt of the stage frame in SerialEM's units and along the beam tilt's own axes."""
        turn = math.radians(self._known.beam_tilt_turn)
        x, y = (value / self._known.beam_tilt_unit for value in tilt_mrad)
        return x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)

    def _frame_name(self, purpose: Purpose, status: Status) -> str:
        """Series, number in the order of recording and angle, as programs that sort frames read them."""
        known = 0 <= purpose.target < len(self._names)
        series = self._names[purpose.target] if known else f"{purpose.kind}{purpose.target:+d}"
        again = f"_again{purpose.attempt}" if purpose.attempt else ""
        return f"{series}_{purpose.tilt + 1:03d}_{status.tilt_deg:.2f}{again}"


def _check_picture(shape: tuple[int, ...], pixel_nm: float, preset: Preset) -> None:
    """A picture is what its preset says."""
    if shape != preset.shape_px:
        raise MicroscopeError(
            f"SerialEM's pictures of preset {preset.name!r} have {shape[0]} rows of {shape[1]} pixels, "
            f"not {preset.shape_px[0]} of {preset.shape_px[1]}",
            mend=f"correct [presets.{preset.name}] in the calibration file, or the camera parameters in SerialEM",
        )
    if abs(pixel_nm * 10 / preset.pixel_size_ang - 1) > _PIXEL_TOLERANCE:
        raise MicroscopeError(
            f"SerialEM states {pixel_nm * 10:.4g} Å per pixel for preset {preset.name!r}, the calibration file "
            f"{preset.pixel_size_ang:.4g} Å",
            mend="see which is right: magnification, binning, or the file",
        )


def _exposed(asked_s: float, stated_s: float, preset: Preset) -> float:
    """For how long a picture was exposed; SerialEM takes the nearest that its camera can."""
    if stated_s <= 0:
        return asked_s
    if abs(stated_s / asked_s - 1) > _EXPOSURE_TOLERANCE:
        raise MicroscopeError(
            f"SerialEM exposed for {stated_s:.4g} s, not {asked_s:.4g} s, with preset {preset.name!r}",
            mend=f"correct [presets.{preset.name}] in the calibration file, its dose too, or the exposure in SerialEM",
        )
    return stated_s


def _within(what: str, value: float, least: float, most: float, unit: str) -> None:
    """Refuse a number that is none, or lies out of a range."""
    if not math.isfinite(value):
        raise MicroscopeError(f"{what} of {value}{unit}", mend="give a finite number")
    if not least - 1e-9 <= value <= most + 1e-9:
        raise LimitError(f"{what} of {value:g}{unit} beyond {least:g} … {most:g}{unit}", mend="stay within the range")
