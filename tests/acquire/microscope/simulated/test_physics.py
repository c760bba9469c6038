"""A whole session computed once more, from its calls alone, by the documented formulas: clock, stage, lenses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from lamella.acquire import AcquireSettings, run_session
from lamella.acquire.microscope.port import Picture, Purpose
from lamella.acquire.microscope.simulated import SimulatedMicroscope, score_session
from lamella.acquire.simulated_session import simulated_targets
from lamella.acquire.world import load_world

# Every error that is not drawn anew at each call: what is drawn anew is tested for its size elsewhere.
ERRORS = {
    "stage.settling": (0.2, 0.2),
    "stage.settling_random": 0.0,
    "stage.settling_height": 0.4,
    "stage.settling_turn": 9.0,
    "stage.settling_slow": 0.3,
    "stage.creep": (0.03, 0.03),
    "stage.drift": (1.5, 2.0),
    "stage.play": (0.1, 0.3),
    "stage.angle_play": (0.05, 0.1),
    "stage.axis_offset": (0.5, 1.0),
    "stage.start_height": (0.5, 1.0),
    "optics.shift_scale_error": 0.005,
    "optics.shift_turn_error": 0.3,
    "optics.shift_hysteresis": 0.01,
    "optics.focus_offset": (0.3, 0.5),
    "optics.focus_scale_error": 0.05,
    "optics.beam_tilt_scale_error": 0.03,
    "optics.matching": 4.0,
    "grid.pretilt": (9.0, 10.0),
    "grid.bend": (0.1, 0.4),
    "grid.target_height": 0.3,
    "timing.shift_per_um": 0.6,
}


class Noting(SimulatedMicroscope):
    """Notes what it is asked."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.asked: list[tuple[Any, ...]] = []

    def status(self) -> Any:
        self.asked.append(("status",))
        return super().status()

    def ready(self) -> bool:
        self.asked.append(("ready",))
        return super().ready()

    def wait(self, seconds: float) -> None:
        self.asked.append(("wait", seconds))
        super().wait(seconds)

    def tilt(self, angle_deg: float) -> None:
        self.asked.append(("tilt", angle_deg))
        super().tilt(angle_deg)

    def shift_image(self, x_um: float, y_um: float) -> None:
        self.asked.append(("shift", x_um, y_um))
        super().shift_image(x_um, y_um)

    def focus(self, defocus_um: float) -> None:
        self.asked.append(("focus", defocus_um))
        super().focus(defocus_um)

    def tilt_beam(self, x_mrad: float, y_mrad: float) -> None:
        self.asked.append(("beam",))
        super().tilt_beam(x_mrad, y_mrad)

    def expose(self, preset: str, purpose: Purpose, *, exposure_s: float | None = None) -> Picture:
        self.asked.append(("expose", preset, purpose, exposure_s))
        return super().expose(preset, purpose, exposure_s=exposure_s)


@dataclass
class Physics:
    """The formulas, with what a seed has drawn taken from the microscope."""

    scope: SimulatedMicroscope
    now: float = 0.0
    angle: float = 0.0
    sense: int = 1
    stood: tuple[float, float] = (0.0, 0.0)  # angle from which a turn counts, and when the last one ended
    free: np.ndarray = field(default_factory=lambda: np.zeros(3))  # settling when the last turn ended
    crept: np.ndarray = field(default_factory=lambda: np.zeros(3))  # of earlier tilts, which stays
    creeping: np.ndarray = field(default_factory=lambda: np.zeros(3))
    shift: np.ndarray = field(default_factory=lambda: np.zeros(2))
    behind: np.ndarray = field(default_factory=lambda: np.zeros(2))
    lens: float = 0.0
    pixel: float = 0.0

    def __post_init__(self) -> None:
        column = self.scope._column  # what the seed drew, before anything was asked
        self.axis, self.true = column.stage.axis_um.copy(), column.stage._true_um.copy()
        self.way, self.play = column.stage._repeated.copy(), column.stage._play_um.copy()
        self.angle_play, self.speed = column.stage._angle_play_deg, column.stage._drift_um_s.copy()
        self.matrix = column.lenses._matrix.copy()
        self.offset, self.scale = column.lenses._focus_offset_um, column.lenses._focus_scale

    def do(self, verb: str, *given: Any) -> float | None:
        """One call; the time of the middle of an exposure."""
        timing = self.scope.world.timing
        if verb in ("status", "ready"):
            self.now += timing.answer
        elif verb == "wait":
            self.now += given[0]
        elif verb == "tilt":
            self.turn(*given)
        elif verb == "shift":
            to = np.array(given)
            self.now += timing.shift + timing.shift_per_um * np.hypot(*(to - self.shift))
            self.lag(to)
        elif verb == "focus":
            self.now, self.lens = self.now + timing.focus, given[0]
        elif verb == "beam":
            self.now += timing.beam_tilt
        else:
            return self.exposed(*given)
        return None

    def turn(self, angle: float) -> None:
        stage, timing = self.scope.world.stage, self.scope.world.timing
        self.now += timing.tilt + abs(angle - self.angle) / timing.tilt_speed
        if angle == self.angle:
            return
        stood, since = self.stood
        self.crept = self.crept + self.creeping * np.log1p((self.now - since) / 5.0)
        # An approach against the backlash belongs to the turn that it goes before.
        stood = stood if self.now - since <= 5.0 else self.angle
        share = min(1.0, abs(angle - stood) / stage.settling_turn) ** 2
        self.sense = 1 if angle > self.angle else -1
        self.free = 0.2 * self.sense * self.way
        self.creeping = 0.03 / np.log(1 + 60 / 5.0) * share * self.sense * self.way
        self.angle, self.stood = angle, (stood, self.now)

    def lag(self, to: np.ndarray) -> None:
        """A string of half the hysteresis: what is behind is pulled once the string is tight."""
        behind = self.behind + self.shift - to
        half = self.scope.world.optics.shift_hysteresis / 2
        self.behind, self.shift = behind * min(1.0, half / max(np.hypot(*behind), 1e-300)), to

    def exposed(self, preset: str, purpose: Purpose, seconds: float | None) -> float:
        timing, chosen = self.scope.world.timing, self.scope.calibrations.presets[preset]
        if self.pixel not in (0.0, chosen.pixel_size_ang):
            self.now += timing.preset_change
        self.pixel = chosen.pixel_size_ang
        seconds = chosen.exposure_s if seconds is None else seconds
        middle = self.now + seconds / 2
        self.now += seconds + timing.readout
        return middle

    def seen(self, place: np.ndarray, time: float) -> tuple[np.ndarray, float]:
        """Where a point of the grid appears from the picture's middle, and its defocus."""
        stage = self.scope.world.stage
        angle = np.deg2rad(self.angle + 0.5 * self.sense * self.angle_play)
        cosine, sine = np.cos(angle), np.sin(angle)
        x, y, z = place + self.true - self.axis
        turned = np.array([x * cosine + z * sine, y, z * cosine - x * sine]) + self.axis
        since = time - self.stood[1]
        decay = 0.7 * np.exp(-since / stage.settling_time) + 0.3 * np.exp(-since / stage.settling_slow_time)
        drift = self.speed * stage.drift_time * (1 - np.exp(-time / stage.drift_time))
        q = turned + self.free * decay + self.crept + self.creeping * np.log1p(since / 5.0)
        q = q + 0.5 * self.sense * self.play + drift
        hand = self.scope.world.optics.hand
        return q[:2] - (self.matrix @ self.shift + self.behind), self.offset + self.scale * self.lens + hand * q[2]


@pytest.mark.parametrize("predictor", ["shared", "bisect"])
def test_a_sessions_errors_are_those_of_the_formulas(predictor: str) -> None:
    world = load_world("rigid", ERRORS)
    scope = Noting(world, 7, targets=4)
    physics = Physics(SimulatedMicroscope(world, 7, targets=4))
    settings = AcquireSettings(predictor=predictor, tilt_step=6.0, eucentric=False)
    result = run_session(scope, simulated_targets(scope), settings)

    offsets, defoci, kinds = [], [], []
    for verb, *given in scope.asked:
        middle = physics.do(verb, *given)
        if middle is not None and (given[1].kind, given[1].target) == ("reference", -1):
            # What a target's coordinates mean: the point of the grid that this image shift centres now.
            held = physics.matrix @ physics.shift + physics.behind
            meant = [physics.seen(scope.truth.places_um[target], middle)[0] + held for target in range(4)]
        if middle is not None and given[1].kind in ("record", "track") and given[1].target >= -1:
            offset, defocus = physics.seen(scope.truth.places_um[given[1].target], middle)
            offsets.append(offset)
            defoci.append(defocus)
            kinds.append((given[1].kind, given[1].target, given[1].tilt, given[0]))
    views = scope.truth.views
    assert [(one.purpose.kind, one.purpose.target, one.purpose.tilt, one.preset) for one in views] == kinds
    assert physics.now == pytest.approx(scope.time_s, abs=1e-6)
    np.testing.assert_allclose([view.offset_um for view in views], offsets, atol=1e-9)
    np.testing.assert_allclose([view.defocus_um for view in views], defoci, atol=1e-9)

    np.testing.assert_allclose(meant, scope.targets_um @ physics.matrix.T, atol=1e-9)

    # And so the score: each target's last picture of each tilt.
    last = {(kind, target, tilt): number for number, (kind, target, tilt, _) in enumerate(kinds) if kind == "record"}
    lengths = np.hypot(*np.array([offsets[number] for number in last.values()]).T)
    wrong = np.abs(np.array([defoci[number] for number in last.values()]) - settings.defocus)
    finished = [target for target, ending in result.endings.items() if ending.kind == "finished"]
    score = score_session(scope, tilts=21, defocus_um=3.0, finished=finished)
    assert len(last) == 4 * 21
    for spread, errors in ((score.targeting_um, lengths), (score.defocus_um, wrong)):
        assert spread.median == pytest.approx(np.median(errors))
        assert spread.iqr == pytest.approx(np.subtract(*np.percentile(errors, [75, 25])))
    tracked = {
        tilt: number
        for number, (kind, target, tilt, preset) in enumerate(kinds)
        if (kind, target, preset) == ("track", -1, "track")
    }
    left = [np.hypot(*offsets[number]) for number in tracked.values()]
    assert score.tracking_nm == pytest.approx(1e3 * np.sqrt(np.mean(np.square(left))))
    assert score.minutes_per_series == pytest.approx(scope.time_s / 60 / 4)
