"""A microscope that is asked again where it fails for a passing reason, and whose answers are looked at."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from lamella.acquire.acquire_settings import AcquireSettings
from lamella.acquire.microscope.answers import nonsense_in, sound_status
from lamella.acquire.microscope.port import Calibrations, Limits, Microscope, Picture, Purpose, Status
from lamella.acquire.session.events import FaultSurvived, Tell
from lamella.errors import Interruption, LimitError, MicroscopeError, PassingFault

__all__ = ["SteadyMicroscope"]

Answer = TypeVar("Answer")

_REFUSALS = 4  # of image shifts within the stated limit, each waited for, after which the limit is believed
_READY_STEP_S = 30.0
_TILT_TOLERANCE_DEG = 1.0


class SteadyMicroscope:
    """The verbs of `Microscope` with patience, and the state that its answers tell.

    Parameters
    ----------
    microscope
        the one that is asked.
    settings
        how often, and for how long, it is asked again.
    tell
        is told of every fault.

    Attributes
    ----------
    time_s
        the microscope's clock at its last answer.
    interrupted
        whether the session was stopped since this was last set to False: a target's view that was asked for then is not
        taken again unasked, since it may have been exposed.
    """

    def __init__(self, microscope: Microscope, settings: AcquireSettings, tell: Tell) -> None:
        self._microscope = microscope
        self._settings = settings
        self._tell = tell
        self.time_s = 0.0
        self.interrupted = False
        self._tilt_deg: float | None = None  # where the last turn ended
        self._refused_um = math.inf  # the shortest image shift that was refused for as long as one waits
        self._refusals = 0  # how often since one so long was made

    @property
    def calibrations(self) -> Calibrations:
        """What is known of the microscope."""
        return self._microscope.calibrations

    @property
    def limits(self) -> Limits:
        """How far it goes."""
        return self._microscope.limits

    def status(self) -> Status:
        """Its state; every number of it is one."""
        return self._asked("status", lambda: self._sound(self._microscope.status()))

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        if seconds > 0:
            self._asked("wait", lambda: self._microscope.wait(seconds))
            self.time_s += seconds

    def tilt(self, angle_deg: float) -> Status:
        """Turn the stage, from below by the backlash, and read the angle back.

        Raises
        ------
        LimitError, MicroscopeError
            if it does not go there.
        """

        def turn() -> Status:
            status = self._sound(self._microscope.status())
            backlash = self.calibrations.backlash_deg
            lowest = self.limits.tilt_deg[0]
            if angle_deg < status.tilt_deg and backlash > 0:
                self._microscope.tilt(max(angle_deg - backlash, lowest))
            self._tilt_deg = None
            self._microscope.tilt(angle_deg)
            status = self._sound(self._microscope.status())
            if abs(status.tilt_deg - angle_deg) > _TILT_TOLERANCE_DEG:
                raise PassingFault(
                    f"the stage stands at {status.tilt_deg:.2f}° where {angle_deg:.2f}° was asked",
                    mend="look whether it is blocked",
                )
            self._tilt_deg = status.tilt_deg
            return status

        self.until_ready()
        return self._asked("tilt", turn)

    def move_stage(self, x_um: float, y_um: float, z_um: float) -> None:
        """Move the stage to a place."""
        self._asked("move_stage", lambda: self._microscope.move_stage(x_um, y_um, z_um))

    def tilt_beam(self, x_mrad: float, y_mrad: float) -> None:
        """Tilt the beam."""
        self._asked("tilt_beam", lambda: self._microscope.tilt_beam(x_mrad, y_mrad))

    def focus(self, defocus_um: float) -> None:
        """Set the lens.

        Raises
        ------
        LimitError
            if it does not go so far.
        """
        least, most = self.limits.defocus_um
        if not least <= defocus_um <= most:
            raise LimitError(
                f"a defocus of {defocus_um:.2f} µm is beyond the lens's {least:g}…{most:g} µm", mend="raise the stage"
            )
        self._asked("focus", lambda: self._microscope.focus(defocus_um))

    def shift_image(self, x_um: float, y_um: float) -> None:
        """Set the image shift.

        Raises
        ------
        LimitError
            if it does not go so far.
        """
        length = float(np.hypot(x_um, y_um))
        if not length <= self.limits.image_shift_um:
            raise LimitError(
                f"an image shift of {length:.2f} µm is beyond {self.limits.image_shift_um:g} µm",
                mend="choose targets nearer to the middle",
            )
        refused: list[LimitError] = []

        def shift() -> None:
            try:
                self._microscope.shift_image(x_um, y_um)
            except LimitError as error:
                # What the stated limit allows and the microscope refuses may be for a time; it is waited for.
                if self._refusals >= _REFUSALS:
                    raise
                refused.append(error)
                raise PassingFault(error.problem, mend=error.mend) from error

        try:
            self._asked("shift_image", shift)
        except MicroscopeError as fault:
            if refused or isinstance(fault, LimitError):
                self._refused_um = min(self._refused_um, length)
            if not refused:
                raise
            self._refusals += 1
            raise refused[-1] from fault
        if length >= self._refused_um:
            self._refused_um, self._refusals = math.inf, 0

    def expose(self, preset: str, purpose: Purpose, *, exposure_s: float | None = None) -> Picture:
        """Take a picture once the microscope is ready."""

        asked = 0

        def take() -> Picture:
            nonlocal asked
            if asked:
                # What failed may be a refill that began meanwhile, which lasts longer than one waits for a fault.
                self.until_ready()
            asked += 1
            picture = self._microscope.expose(preset, purpose, exposure_s=exposure_s)
            status = self._sound(picture.status)
            if self._tilt_deg is not None and abs(status.tilt_deg - self._tilt_deg) > _TILT_TOLERANCE_DEG:
                raise PassingFault(
                    f"a picture at {status.tilt_deg:.2f}° where the stage stands at {self._tilt_deg:.2f}°",
                    mend="look at the stage",
                )
            if not np.isfinite([picture.mean_counts, picture.dose]).all():
                raise PassingFault("a picture without brightness or dose", mend="look at the camera")
            # A target's own view is taken again as often as a dark one, not as often as a call: it costs dose.
            if purpose.kind != "record" and (fault := nonsense_in(picture)):
                raise PassingFault(fault, mend="look at the camera")
            return picture

        self.until_ready()
        return self._asked("expose", take, view=purpose.kind == "record")

    def until_ready(self) -> None:
        """Wait out a refill, or whatever else keeps the microscope from recording.

        Raises
        ------
        MicroscopeError
            if that takes longer than the settings' patience.
        """
        waited = 0.0
        while not self._asked("ready", self._microscope.ready):
            if waited >= self._settings.patience:
                raise MicroscopeError(
                    f"the microscope is not ready for {waited / 60:.0f} minutes",
                    mend="look at its valves, vacuum and nitrogen, then resume",
                )
            self._microscope.wait(_READY_STEP_S)
            self.time_s += _READY_STEP_S
            waited += _READY_STEP_S
        if waited:
            self._told("ready", "the microscope was not ready: a refill, or a closed valve", 0, waited)

    def _asked(self, name: str, call: Callable[[], Answer], *, view: bool = False) -> Answer:
        for attempt in range(self._settings.retries + 1):
            try:
                return call()
            except Interruption as stop:
                self.interrupted = True
                self._told(name, str(stop), 0, 0.0)
                self.status()
                if view:
                    raise
                return self._asked(name, call)
            except PassingFault as fault:
                if attempt == self._settings.retries:
                    raise MicroscopeError(
                        f"{fault.problem} ({attempt + 1} times)", mend=fault.mend or "look at the microscope"
                    ) from fault
                pause = self._settings.back_off * 2**attempt
                self._told(name, str(fault), attempt, pause)
                self._microscope.wait(pause)
                self.time_s += pause
        raise AssertionError("the last attempt returns or raises")

    def _told(self, verb: str, problem: str, attempt: int, waited_s: float) -> None:
        self._tell(FaultSurvived(verb=verb, problem=problem, attempt=attempt, waited_s=waited_s, time_s=self.time_s))

    def _sound(self, status: Status) -> Status:
        sound = sound_status(status)
        self.time_s = sound.time_s
        return sound
