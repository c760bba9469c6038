"""A microscope whose answers are none now and then, or always: asked again, or refused in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamella.acquire import AcquireSettings, run_session
from lamella.acquire.microscope.port import Landmarks, Picture, Pixels, Purpose, Status
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.session.log import LOG_NAME
from lamella.acquire.session.result import SessionResult
from lamella.acquire.simulated_session import simulated_targets
from lamella.acquire.world import load_world
from lamella.errors import LamellaError

SETTINGS = AcquireSettings(tilt_step=20.0)
NAN = float("nan")

STATES: dict[str, Callable[[Status], Any]] = {
    "tilt NaN": lambda one: replace(one, tilt_deg=NAN),
    "tilt huge": lambda one: replace(one, tilt_deg=1e9),
    "tilt text": lambda one: replace(one, tilt_deg="12"),
    "tilt complex": lambda one: replace(one, tilt_deg=1j),
    "time text": lambda one: replace(one, time_s="now"),
    "time huge": lambda one: replace(one, time_s=1e300),
    "no stage": lambda one: replace(one, stage_um=None),
    "stage of two": lambda one: replace(one, stage_um=(0.0, 0.0)),
    "nothing": lambda one: None,
    "text": lambda one: "ready",
}
PICTURES: dict[str, Callable[[Picture], Any]] = {
    "nothing": lambda one: None,
    "no content": lambda one: replace(one, content=None),
    "places of text": lambda one: replace(one, content=Landmarks(places_um=np.array([["a", "b"]]), sd_um=0.1)),
    "places NaN": lambda one: replace(one, content=replace(one.content, places_um=one.content.places_um * NAN)),
    "places huge": lambda one: replace(one, content=replace(one.content, places_um=one.content.places_um + 1e30)),
    "fewer places": lambda one: replace(one, content=replace(one.content, places_um=one.content.places_um[:8])),
    "sd NaN": lambda one: replace(one, content=replace(one.content, sd_um=NAN)),
    "pixels": lambda one: replace(one, content=Pixels(image=np.ones((8, 8), np.float32))),
    "counts negative": lambda one: replace(one, mean_counts=-5.0),
    "counts text": lambda one: replace(one, mean_counts="many"),
    "counts huge": lambda one: replace(one, mean_counts=1e300),
    "dose negative": lambda one: replace(one, dose=-3.0),
    "no state": lambda one: replace(one, status=None),
    "state of another tilt": lambda one: replace(one, status=replace(one.status, tilt_deg=one.status.tilt_deg + 40)),
    "files that have no names": lambda one: replace(one, files=(3,)),
}


class Spoiled(SimulatedMicroscope):
    """Every so many answers of a verb are nonsense; connections break."""

    verb, every, spoil = "", 0, staticmethod(lambda answer: answer)
    _asked = 0

    def _now(self, verb: str) -> bool:
        if verb != self.verb:
            return False
        self._asked += 1
        return self._asked % self.every == 0

    def status(self) -> Status:
        answer = super().status()
        return self.spoil(answer) if self._now("status") else answer

    def ready(self) -> bool:
        answer = super().ready()
        return self.spoil(answer) if self._now("ready") else answer

    def expose(self, preset: str, purpose: Purpose, *, exposure_s: float | None = None) -> Picture:
        answer = super().expose(preset, purpose, exposure_s=exposure_s)
        return self.spoil(answer) if self._now("expose") else answer


def run(
    verb: str, every: int, spoil: Callable[[Any], Any], folder: Path | None = None
) -> tuple[Spoiled, SessionResult]:
    scope = Spoiled(load_world("bisect"), 3, targets=3)
    scope.verb, scope.every, scope.spoil = verb, every, spoil  # type: ignore[assignment]
    return scope, run_session(scope, simulated_targets(scope), SETTINGS, folder)


def median_um(scope: SimulatedMicroscope) -> float:
    return float(np.median([np.hypot(*view.offset_um) for view in scope.truth.views if view.purpose.kind == "record"]))


@pytest.mark.parametrize(
    ("verb", "spoil"),
    [*(("status", one) for one in STATES.values()), *(("expose", one) for one in PICTURES.values())],
    ids=[*(f"state: {name}" for name in STATES), *(f"picture: {name}" for name in PICTURES)],
)
def test_nonsense_now_and_then_is_survived(verb: str, spoil: Callable[[Any], Any], tmp_path: Path) -> None:
    scope, result = run(verb, 7, spoil, tmp_path / "session")
    assert result.counts["finished"] == 3
    assert median_um(scope) < 0.03
    assert "NaN" not in (tmp_path / "session" / LOG_NAME).read_text(encoding="utf-8") or verb == "expose"


@pytest.mark.parametrize(
    ("verb", "spoil"),
    [
        ("status", STATES["tilt NaN"]),
        ("status", STATES["nothing"]),
        ("expose", PICTURES["no content"]),
        ("expose", PICTURES["places NaN"]),
        ("expose", PICTURES["counts text"]),
        ("expose", PICTURES["pixels"]),
        ("ready", lambda _: "yes"),
    ],
)
def test_nothing_but_nonsense_is_refused_in_words(verb: str, spoil: Callable[[Any], Any]) -> None:
    with pytest.raises(LamellaError, match=r"state|picture|pixel|ready|number") as told:
        run(verb, 1, spoil)
    assert told.value.mend


def test_a_connection_that_breaks_is_asked_again() -> None:
    def breaks(_: object) -> None:
        raise ConnectionResetError("reset by peer")

    scope, result = run("expose", 9, breaks)
    assert result.counts["finished"] == 3
    assert median_um(scope) < 0.03


def test_a_target_whose_pictures_are_all_nonsense_hurts_no_other() -> None:
    def errors(spoil: Callable[[Any], Any]) -> tuple[np.ndarray, SessionResult]:
        scope = Spoiled(load_world("bisect"), 3, targets=4)
        plain = scope.expose

        def expose(preset: str, purpose: Purpose, *, exposure_s: float | None = None) -> Picture:
            answer = plain(preset, purpose, exposure_s=exposure_s)
            return spoil(answer) if (purpose.kind, purpose.target) == ("record", 2) else answer

        scope.expose = expose  # type: ignore[method-assign]
        result = run_session(scope, simulated_targets(scope), SETTINGS)
        views = [one for one in scope.truth.views if one.purpose.kind == "record" and one.purpose.target != 2]
        return np.array([np.hypot(*one.offset_um) for one in views]), result

    whole, _ = errors(lambda answer: answer)
    for name in ("places NaN", "no content", "counts negative"):
        others, result = errors(PICTURES[name])
        assert [result.endings[number].kind for number in range(4)] == ["finished", "finished", "lost", "finished"]
        assert len(others) == len(whole)
        assert np.median(others) < 1.5 * np.median(whole) + 0.002
        assert others.max() < whole.max() + 0.05
