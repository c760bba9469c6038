"""Scales of beam tilt and lens, measured in worlds where nothing else is wrong, and in one where all is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from lamella.acquire import Target
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.routines.desk import Desk
from lamella.acquire.routines.focus_scales import far_places
from lamella.acquire.session.events import FocusScalesMeasured, HeightMeasured, ViewRecorded
from lamella.acquire.simulated_session import SimulatedSession, simulate_session
from lamella.acquire.world import load_world

WRONG = {"optics.beam_tilt_scale_error": 0.06, "optics.focus_scale_error": 0.04}


def session(world: str, changes: dict[str, Any], seed: int = 4, **settings: Any) -> SimulatedSession:
    overrides = {"tilt_range": 6.0, "tilt_step": 3.0, **settings}
    return simulate_session(load_world(world, changes), seed, targets=9, overrides=overrides)


def scales(done: SimulatedSession) -> list[FocusScalesMeasured]:
    return [event for event in done.result.events if isinstance(event, FocusScalesMeasured)]


def test_both_scales_are_found_where_nothing_else_is_wrong() -> None:
    (found,) = scales(session("rigid", WRONG))
    assert abs(found.beam - 1.0) == pytest.approx(0.06, abs=1e-6)
    assert abs(found.lens - 1.0) == pytest.approx(0.04, abs=1e-6)


@pytest.mark.parametrize("start", [0.0, 12.0])
def test_a_wrong_beam_tilt_does_not_put_targets_out_of_focus(start: float) -> None:
    with_scales = session("rigid", WRONG, start_tilt=start)
    without = session("rigid", WRONG, start_tilt=start, focus_scales_reach=0.0)
    assert np.abs(with_scales.score.defocus).max() < 0.04
    # 3 µm / 1.06 or / 0.94
    assert np.median(np.abs(without.score.defocus)) > 0.15


def test_errors_are_as_told_on_a_restless_stage() -> None:
    strange = []
    for seed in range(51, 56):
        (found,) = scales(session("bisect", {}, seed, tilt_range=3.0))
        strange.append((abs(found.beam - 1.0) - 0.0375) / found.beam_sd)
        strange.append((abs(found.lens - 1.0) - 0.05) / found.lens_sd)
        assert found.beam_sd < 0.015
    assert np.sqrt(np.mean(np.square(strange))) < 1.6


def test_no_target_lies_under_their_beams() -> None:
    scope = SimulatedMicroscope(load_world("rigid"), 1, targets=25)
    targets = [Target(name=f"T{i}", x_um=float(x), y_um=float(y)) for i, (x, y) in enumerate(scope.targets_um)]
    places = far_places(targets, cast("Desk", SimpleNamespace(scope=scope)), 30.0)
    assert places[0, 0] == -places[1, 0] == -6.0
    for angle in (-30.0, 0.0, 30.0):
        squeezed = np.array([np.cos(np.deg2rad(angle)), 1.0])
        away = np.hypot(*np.moveaxis((places[:, None] - scope.targets_um) * squeezed, -1, 0))
        assert away.min() > scope.calibrations.presets["focus"].beam_um / 2


def test_they_are_left_where_the_stage_does_not_tilt_far() -> None:
    done = session("rigid", {**WRONG, "optics.tilt_limit": 9.0})
    assert not scales(done)
    assert not scales(session("rigid", WRONG, predictor="bisect"))


@pytest.mark.parametrize(("predictor", "after"), [("shared", {2, 4}), ("bisect", set())])
def test_focus_is_measured_before_and_after_the_targets_in_turn(predictor: str, after: set[int]) -> None:
    events = session("rigid", {}, predictor=predictor, autofocus_every=1).result.events
    last_view = {event.tilt: event.time_s for event in events if isinstance(event, ViewRecorded)}
    focused = {event.tilt: event.time_s for event in events if isinstance(event, HeightMeasured) and event.tilt > 0}
    assert sorted(focused) == [1, 2, 3, 4]
    assert {tilt for tilt, time_s in focused.items() if time_s > last_view[tilt]} == after
