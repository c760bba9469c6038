"""A microscope that there is not: a true stage, lenses and grid behind the port that a session uses.

The session sees calibrations, pictures and states alone. What is true of it (`SimulatedMicroscope.truth`) is for the
one who judges the session when it is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.acquire.microscope.port import (
    FOCUS,
    RECORD,
    TRACK,
    Calibrations,
    Limits,
    Picture,
    Preset,
    Purpose,
    Status,
    Timings,
    presets_of,
)
from lamella.acquire.microscope.simulated.blobs import BlobPictures, small_presets
from lamella.acquire.microscope.simulated.column import Column
from lamella.acquire.microscope.simulated.draws import stream
from lamella.acquire.microscope.simulated.faults import Call, FaultScript, SimulatedCrash
from lamella.acquire.microscope.simulated.grid import drawn_targets
from lamella.acquire.microscope.simulated.nonsense import displaced_picture, spoiled_picture, spoiled_status
from lamella.acquire.microscope.simulated.pictures import LandmarkPictures, PictureMaker
from lamella.acquire.microscope.simulated.timing import Clock
from lamella.acquire.microscope.simulated.truth import Truth
from lamella.acquire.world_tables import World
from lamella.errors import InputError, LimitError, MicroscopeError, PassingFault, SettingsError

if TYPE_CHECKING:
    from lamella.acquire.microscope.simulated.full import FullPictures
    from lamella.acquire.microscope.simulated.full_settings import FullSettings

__all__ = ["SimulatedMicroscope"]

Array = NDArray[np.float64]

_COUNTS_PER_DOSE = 40.0  # mean counts of a picture for 1 e/Å²; only its constancy matters
_DARK = 0.01  # of the usual counts, in a dark picture
_BEAM_TILT_LIMIT_MRAD = 100.0
_BLOB_SIDE_PX = 256


class SimulatedMicroscope:
    """A microscope of a world.

    Parameters
    ----------
    world
        every parameter.
    seed
        which microscope and grid of that world; the same calls get the same answers.
    targets
        how many lie on the grid, or ``(n, 2)`` where they lie: the image shifts that centre them at the start.
    pictures
        ``"landmarks"``: none is made, only what comparing them would find; ``"blobs"``: small ones, to be compared;
        ``"full"``: of targets those of a whole simulation, of all else those of blobs.
    full
        what full pictures are made of; left out: `full_settings`, no movies.

    Raises
    ------
    InputError
        if places are no numbers.
    SettingsError
        if the world says nothing of how views are recorded.

    Attributes
    ----------
    truth
        where its targets really are and were, and what dose they had; not for the session.
    full
        makes the full pictures and knows their true geometry; None of the other kinds.
    """

    repeatable = True

    def __init__(
        self,
        world: World,
        seed: int,
        *,
        targets: int | ArrayLike = 25,
        pictures: Literal["landmarks", "blobs", "full"] = "landmarks",
        full: FullSettings | None = None,
    ) -> None:
        if not 0 <= seed < 2**63:
            raise InputError(f"a seed of {seed}", mend="give a whole number of 0 or more")
        self.world = world
        self._clock = Clock(world.timing)
        self._column = Column(world, seed)
        self._faults = FaultScript(world.faults, stream(seed, "faults"))
        self._calibrations: Calibrations = _calibrations(world)
        self._limits = Limits(
            tilt_deg=(-world.optics.tilt_limit, world.optics.tilt_limit), image_shift_um=world.optics.shift_limit
        )
        if RECORD not in world.presets:
            raise SettingsError(f"the world has no preset {RECORD!r}", mend=f"write a table [presets.{RECORD}]")
        field = min(self._calibrations.presets[RECORD].field_um)
        self.full: FullPictures | None = None
        # An area's features lie in the picture of every preset that shows it at a high magnification.
        shown = [self._calibrations.presets[name] for name in (RECORD, TRACK, FOCUS) if name in world.presets]
        self._maker: PictureMaker = LandmarkPictures(
            min(min(preset.field_um) for preset in shown),
            world.optics.matching,
            stream(seed, "pictures"),
            matching_tilt_px=world.optics.matching_tilt,
        )
        if pictures != "landmarks":
            blobs = BlobPictures(self._column.grid, world.optics.tilt_axis, stream(seed, "blobs"))
        if pictures == "full":
            # Only here: a whole simulation's imports take longer than a session of the other kinds.
            from lamella.acquire.microscope.simulated.full import FullPictures, full_presets
            from lamella.acquire.microscope.simulated.full_settings import FullSettings, full_settings

            if full is None:
                full = FullSettings(simulation=full_settings(seed, world.optics.tilt_axis))
            self._calibrations = full_presets(self._calibrations, full.simulation)
            turn_deg = self._column.lenses.picture_turn_deg
            self.full = FullPictures(full, self._calibrations, turn_deg, lambda: self.truth.places_um, blobs)
            self._maker = self.full
        if pictures == "blobs":
            self._calibrations = small_presets(self._calibrations, _BLOB_SIDE_PX)
            self._maker = blobs
        self._targets_um = self._places(targets, stream(seed, "targets"))
        self.truth: Truth = Truth(self._column, self._targets_um, field / 2)
        self._calls = 0
        self._tilt = -1
        self._pixel_ang = 0.0
        self._refill = False

    def _places(self, targets: int | ArrayLike, rng: np.random.Generator) -> Array:
        if isinstance(targets, int):
            return drawn_targets(targets, self._column.grid, self.world.targets, rng)
        places = np.asarray(targets, np.float64)
        if places.ndim != 2 or places.shape[1] < 2 or not np.isfinite(places).all():
            raise InputError("targets that are no places", mend="give x and y of each, in µm")
        return places[:, :2].copy()

    # What a session may ask ------------------------------------------------------------------------------------------

    @property
    def calibrations(self) -> Calibrations:
        """What is known of it."""
        return self._calibrations

    @property
    def limits(self) -> Limits:
        """How far it goes."""
        return self._limits

    @property
    def targets_um(self) -> Array:
        """``(n, 2)`` image shifts that centre the targets at the start, as a navigator would state them."""
        return self._targets_um.copy()

    def status(self) -> Status:
        """Its state now."""
        call = self._called("status")
        self._clock.pass_time(self._clock.table.answer)
        status = self._column.state(self._clock.now_s)
        return spoiled_status(status) if self._faults.met("nonsense", call) else status

    def ready(self) -> bool:
        """Whether no refill goes on."""
        call = self._called("ready")
        self._clock.pass_time(self._clock.table.answer)
        return not self._refilling(call)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self._calls += 1
        if not (np.isfinite(seconds) and seconds >= 0):
            raise MicroscopeError(f"a wait of {seconds} s", mend="wait for 0 s or more")
        self._clock.pass_time(seconds)

    def tilt(self, angle_deg: float) -> None:
        """Turn the stage."""
        call = self._called("tilt")
        least, most = self._limits.tilt_deg
        _within("tilt", angle_deg, least, most, "°")
        if self._faults.met("stage-timeout", call):
            self._clock.pass_time(self._faults.costs_s)
            raise PassingFault("the stage did not reach its tilt in time", mend="ask again")
        self._clock.tilt(angle_deg - self._column.stage.told_deg)
        self._column.stage.tilt(angle_deg, self._clock.now_s)

    def move_stage(self, x_um: float, y_um: float, z_um: float) -> None:
        """Move the stage, and the specimen with it."""
        call = self._called("move_stage")
        for name, value in zip("xyz", (x_um, y_um, z_um), strict=True):
            _within(f"stage {name}", value, -self._limits.stage_um, self._limits.stage_um, " µm")
        if self._faults.met("stage-timeout", call):
            self._clock.pass_time(self._faults.costs_s)
            raise PassingFault("the stage did not reach its place in time", mend="ask again")
        place = np.array([x_um, y_um, z_um], np.float64)
        self._clock.move(float(np.linalg.norm(place - self._column.stage.told_um)))
        self._column.stage.move(place, self._clock.now_s)

    def shift_image(self, x_um: float, y_um: float) -> None:
        """Set the beam-image shift."""
        call = self._called("shift_image")
        limit = self._limits.image_shift_um
        if fault := self._faults.met("shift-limit", call):
            limit = fault.value
        _within("image shift", float(np.hypot(x_um, y_um)), 0.0, limit, " µm")
        to = np.array([x_um, y_um], np.float64)
        self._clock.shift(float(np.hypot(*(to - self._column.lenses.shift_set_um))))
        self._column.lenses.shift(to)

    def focus(self, defocus_um: float) -> None:
        """Set the lens's defocus."""
        self._called("focus")
        _within("defocus", defocus_um, *self._limits.defocus_um, " µm")
        self._clock.pass_time(self._clock.table.focus)
        self._column.lenses.focus(float(defocus_um))

    def tilt_beam(self, x_mrad: float, y_mrad: float) -> None:
        """Tilt the beam."""
        self._called("tilt_beam")
        _within("beam tilt", float(np.hypot(x_mrad, y_mrad)), 0.0, _BEAM_TILT_LIMIT_MRAD, " mrad")
        self._clock.pass_time(self._clock.table.beam_tilt)
        self._column.lenses.tilt_beam(np.array([x_mrad, y_mrad], np.float64))

    def expose(self, preset: str, purpose: Purpose, *, exposure_s: float | None = None) -> Picture:
        """Take a picture."""
        call = self._called("expose", purpose)
        chosen = self._calibrations.presets.get(preset)
        if chosen is None:
            raise MicroscopeError(
                f"there is no preset {preset!r}", mend=f"choose of {', '.join(self._calibrations.presets)}"
            )
        seconds = chosen.exposure_s if exposure_s is None else exposure_s
        if not (np.isfinite(seconds) and seconds > 0):
            raise MicroscopeError(f"an exposure of {seconds} s", mend="expose for more than 0 s")
        if self._refilling(call):
            self._clock.pass_time(self._clock.table.answer)
            raise PassingFault("nitrogen is being refilled", mend="wait until the microscope is ready")
        self._tilt = max(self._tilt, purpose.tilt)
        return self._exposed(chosen, purpose, seconds, call)

    @property
    def time_s(self) -> float:
        """Its clock, asked without a call."""
        return self._clock.now_s

    @property
    def true_axis_um(self) -> float:
        """x of its tilt axis from the middle of the beam; not for the session."""
        return float(self._column.stage.axis_um[0])

    def appears_um(self, points_um: ArrayLike) -> Array:
        """``(..., 3)`` where points of the grid really are now: across, along, height."""
        return self._column.stage.placed(points_um, self._clock.now_s)

    # How it works ----------------------------------------------------------------------------------------------------

    def _called(self, verb: str, purpose: Purpose | None = None) -> Call:
        """Count a call; it may end here."""
        self._calls += 1
        tilt = self._tilt + 1 if verb == "tilt" else self._tilt
        call = Call(verb=verb, number=self._calls, time_s=self._clock.now_s, tilt=tilt)
        if purpose is not None:
            call = Call(
                verb=verb,
                number=self._calls,
                time_s=self._clock.now_s,
                tilt=max(tilt, purpose.tilt),
                target=purpose.target,
                purpose=purpose.kind,
            )
        if not self._faults:
            return call
        if self._faults.met("crash", call):
            raise SimulatedCrash(f"killed at call {call.number} ({verb})")
        if self._faults.met("lost-connection", call):
            self._clock.pass_time(self._faults.costs_s)
            raise PassingFault("the connection to the microscope is lost", mend="connect and ask again")
        return call

    def _refilling(self, call: Call) -> bool:
        was, self._refill = self._refill, self._faults.met("refill", call) is not None
        if self._refill and not was:
            self._column.stage.disturb(self._clock.now_s)
        return self._refill

    def _exposed(self, preset: Preset, purpose: Purpose, seconds: float, call: Call) -> Picture:
        """Expose, read out, and let the faults of the script have their part."""
        if self._pixel_ang not in (0.0, preset.pixel_size_ang):
            self._clock.pass_time(self._clock.table.preset_change)
        self._pixel_ang = preset.pixel_size_ang
        self._clock.pass_time(seconds / 2)
        now, dose = self._clock.now_s, preset.dose * seconds / preset.exposure_s
        scene, status = self._column.scene(preset, purpose, dose, now), self._column.state(now)
        dark, locked = self._faults.met("dark-image", call), self._faults.met("file-lock", call)
        if not dark:
            self.truth.exposed(preset, purpose, dose, now)
        if not dark and not locked:
            self.truth.seen(preset, purpose, now)
        content = self._maker.dark(scene) if dark else self._maker.picture(scene)
        self._clock.pass_time(seconds / 2 + self._clock.table.readout)
        if locked:
            self._clock.pass_time(self._faults.costs_s)
            raise PassingFault("the picture's file is locked by another program", mend="ask again")
        picture = Picture(
            content=content,
            preset=preset,
            status=status,
            mean_counts=_COUNTS_PER_DOSE * dose * (_DARK if dark else 1.0),
            dose=0.0 if dark else dose,
            files=self._maker.files,
        )
        # Nothing is correlated with a reference when it is taken, so no peak of it can be wrong.
        if purpose.kind != "reference" and self._faults.met("wrong-peak", call):
            picture = displaced_picture(picture, self._column.neighbour_um())
        nonsense = self._faults.met("nonsense", call)
        return spoiled_picture(picture, nonsense.answer) if nonsense else picture


def _within(what: str, value: float, least: float, most: float, unit: str) -> None:
    """Refuse a number that is none, or lies out of a range."""
    if not np.isfinite(value):
        raise MicroscopeError(f"{what} of {value}{unit}", mend="give a finite number")
    if not least - 1e-9 <= value <= most + 1e-9:
        raise LimitError(f"{what} of {value:g}{unit} beyond {least:g} … {most:g}{unit}", mend="stay within the range")


def _calibrations(world: World) -> Calibrations:
    """What the world's microscope says of itself."""
    optics = world.optics
    return Calibrations(
        presets=presets_of(world.presets),
        tilt_axis_deg=optics.tilt_axis,
        hand=optics.hand,
        voltage_kv=optics.voltage,
        spherical_aberration_mm=optics.spherical_aberration,
        timings=_timings(world),
    )


def _timings(world: World) -> Timings:
    table = world.timing
    return Timings(
        tilt_s=table.tilt,
        tilt_deg_per_s=table.tilt_speed,
        move_s=table.move,
        shift_s=table.shift,
        shift_um_s=table.shift_per_um,
        focus_s=table.focus,
        beam_tilt_s=table.beam_tilt,
        preset_s=table.preset_change,
        readout_s=table.readout,
    )
