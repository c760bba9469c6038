"""A microscope whose every call and answer goes into the session's journal, and is answered from it in a second run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lamella.acquire.microscope.answers import nonsense_in, sound_picture, sound_ready, sound_status, told
from lamella.acquire.microscope.port import Calibrations, Limits, Microscope, Picture, Pixels, Purpose, Status
from lamella.acquire.session.codec import decode_answer, decode_fault, encode_answer, encode_fault
from lamella.acquire.session.log import Journal
from lamella.errors import Interruption, MicroscopeError, ProjectError

__all__ = ["PictureSink", "RecordingMicroscope"]

_SAME_TILT_DEG = 0.2
_SAME_STAGE_UM = 2.0


class PictureSink(Protocol):
    """Takes every picture as the camera gave it, once."""

    def __call__(self, picture: Picture, purpose: Purpose) -> None:
        """Keep a picture."""
        ...


class RecordingMicroscope:
    """Any microscope, recorded.

    Parameters
    ----------
    microscope
        that is asked where the journal's earlier lines are used up. A `repeatable` one is asked all the time, so that
        it comes to the state that it had; another one is brought to that state when it is first asked.
    journal
        holds the lines.
    calibrations, limits
        of the session: those of its beginning.
    pictures
        takes every new picture whole. What the session goes on with, and the log holds, is a picture reduced to what
        comparing needs.
    """

    def __init__(
        self,
        microscope: Microscope,
        journal: Journal,
        *,
        calibrations: Calibrations,
        limits: Limits,
        pictures: PictureSink | None = None,
    ) -> None:
        self._microscope = microscope
        self._journal = journal
        self._calibrations = calibrations
        self._limits = limits
        self._pictures = pictures
        self._folder = journal.file.folder if journal.file is not None else Path()
        self._taken_over = journal.live
        self._set: dict[str, tuple[float, ...]] = {}
        self._last: Status | None = None

    @property
    def calibrations(self) -> Calibrations:
        """What was known of it when the session began."""
        return self._calibrations

    @property
    def limits(self) -> Limits:
        """How far it goes."""
        return self._limits

    @property
    def repeatable(self) -> bool:
        """Whether the same calls get the same answers."""
        return self._microscope.repeatable

    def status(self) -> Status:
        """Its state now."""
        answer = self._asked("status", (), lambda: sound_status(told(self._microscope.status)))
        assert isinstance(answer, Status)
        self._last = answer
        return answer

    def ready(self) -> bool:
        """Whether it can record now."""
        return bool(self._asked("ready", (), lambda: sound_ready(told(self._microscope.ready))))

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self._asked("wait", (seconds,), lambda: told(lambda: self._microscope.wait(seconds)))

    def tilt(self, angle_deg: float) -> None:
        """Turn the stage."""
        self._asked("tilt", (angle_deg,), lambda: told(lambda: self._microscope.tilt(angle_deg)))

    def move_stage(self, x_um: float, y_um: float, z_um: float) -> None:
        """Move the stage."""
        self._asked(
            "move_stage", (x_um, y_um, z_um), lambda: told(lambda: self._microscope.move_stage(x_um, y_um, z_um))
        )

    def shift_image(self, x_um: float, y_um: float) -> None:
        """Set the image shift."""
        self._asked("shift_image", (x_um, y_um), lambda: told(lambda: self._microscope.shift_image(x_um, y_um)))

    def focus(self, defocus_um: float) -> None:
        """Set the lens."""
        self._asked("focus", (defocus_um,), lambda: told(lambda: self._microscope.focus(defocus_um)))

    def tilt_beam(self, x_mrad: float, y_mrad: float) -> None:
        """Tilt the beam."""
        self._asked("tilt_beam", (x_mrad, y_mrad), lambda: told(lambda: self._microscope.tilt_beam(x_mrad, y_mrad)))

    def expose(self, preset: str, purpose: Purpose, *, exposure_s: float | None = None) -> Picture:
        """Take a picture."""

        def take() -> Picture:
            if self._journal.live and self._journal.kept and not self.repeatable:
                self._journal.note(f"exposing {preset} for {asdict(purpose)}")
            answer = told(lambda: self._microscope.expose(preset, purpose, exposure_s=exposure_s))
            picture = sound_picture(answer)
            if nonsense_in(picture):
                # The session takes it again, or leaves it out; nothing of it is worth a file.
                return picture
            if self._pictures is not None and self._journal.live:
                self._pictures(picture, purpose)
            return _reduced(picture)

        answer = self._asked("expose", (preset, asdict(purpose), exposure_s), take)
        assert isinstance(answer, Picture)
        self._last = answer.status
        return answer

    def _asked(
        self, verb: str, arguments: tuple[Any, ...], call: Callable[[], Status | Picture | bool | None]
    ) -> Status | Picture | bool | None:
        line = {"call": verb, "with": _plain(arguments)}
        if verb in ("shift_image", "focus", "tilt_beam"):
            self._set[verb] = arguments
        if not self._journal.live:
            return self._again(line, call)
        try:
            if not self._taken_over:
                self._take_over()
            answer = call()
        except MicroscopeError as fault:
            self._journal.write({**line, "fault": encode_fault(fault)})
            raise
        if self._journal.kept:
            self._journal.write({**line, "answer": encode_answer(answer, self._folder, self._journal.number)})
        return answer

    def _again(
        self, line: dict[str, Any], call: Callable[[], Status | Picture | bool | None]
    ) -> Status | Picture | bool | None:
        """Answer from the earlier run; a repeatable microscope does it once more."""
        number = self._journal.number
        if self.repeatable:
            try:
                answer = encode_answer(call(), None, number)
                happened = {"answer": answer}
            except MicroscopeError as fault:
                happened = {"fault": encode_fault(fault)}
            found = self._journal.earlier({**line, **happened})
        else:
            found = self._journal.earlier(line)
        assert found is not None
        if "fault" in found:
            raise decode_fault(found["fault"])
        return decode_answer(found["answer"], self._folder, self._calibrations.presets)

    def _take_over(self) -> None:
        """Bring a real microscope to the state that the earlier run left it in.

        Raises
        ------
        Interruption
            once it is: the session must look where everything is now.
        ProjectError
            if its stage was moved in between: the targets are elsewhere then.
        """
        self._taken_over = True
        if self.repeatable:
            # It is where it was, as if it had not been stopped; so is the log, byte for byte.
            return
        self._journal.note("the session goes on from here")
        if self._last is not None:
            self._set_state(self._last)
        # In the log, this is the answer to the call: a second resumed run meets it in the same place.
        raise Interruption("the session was stopped here, and goes on", mend="")

    def _set_state(self, before: Status) -> None:
        """Check the stage, and set tilt, image shift, focus and beam tilt to what they were."""
        now = self._microscope.status()
        away = max(abs(a - b) for a, b in zip(now.stage_um, before.stage_um, strict=True))
        if away > _SAME_STAGE_UM:
            raise ProjectError(
                f"the stage stands {away:.1f} µm from where the session left it", mend="move it back, then resume"
            )
        if abs(now.tilt_deg - before.tilt_deg) > _SAME_TILT_DEG:
            self._microscope.tilt(max(before.tilt_deg - self._calibrations.backlash_deg, self._limits.tilt_deg[0]))
            self._microscope.tilt(before.tilt_deg)
        verbs: dict[str, Callable[..., None]] = {
            "shift_image": self._microscope.shift_image,
            "focus": self._microscope.focus,
            "tilt_beam": self._microscope.tilt_beam,
        }
        for verb, values in self._set.items():
            verbs[verb](*values)


def _plain(arguments: tuple[Any, ...]) -> list[Any]:
    return [float(value) if isinstance(value, float | np.floating) else value for value in arguments]


def _reduced(picture: Picture) -> Picture:
    """The picture in as many pixels as comparing uses, in half precision; landmarks as they are."""
    if not isinstance(picture.content, Pixels):
        return picture
    # torch is loaded where pixels are compared, not where landmarks are.
    from lamella.acquire.comparing_pixels import reduced_image

    image, ratio = reduced_image(picture.content.image)
    preset = replace(
        picture.preset, pixel_size_ang=picture.preset.pixel_size_ang * ratio, shape_px=(image.shape[0], image.shape[1])
    )
    return replace(picture, content=Pixels(image=image), preset=preset)
