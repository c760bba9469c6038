"""Following an area: met where it will be, and found where a stage has thrown it out of the picture."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamella.acquire import AcquireSettings, SessionResult, Target, run_session
from lamella.acquire.microscope.port import TRACK
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.world import load_world


def session(changes: dict[str, Any], seed: int, predictor: str) -> tuple[SimulatedMicroscope, SessionResult]:
    scope = SimulatedMicroscope(load_world("rigid", changes), seed, targets=2)
    targets = [Target(name=f"T{i}", x_um=float(x), y_um=float(y)) for i, (x, y) in enumerate(scope.targets_um)]
    settings = {"tilt_range": 15.0, "focus_scales_reach": 0.0, "level": 0, "eucentric": False, "predictor": predictor}
    return scope, run_session(scope, targets, AcquireSettings.model_validate(settings))


def test_a_settling_area_is_met_where_it_will_be() -> None:
    settling = {"stage.settling": (0.6, 0.6), "stage.settling_random": 0.0, "stage.settling_turn": 3.0}
    looks = {
        predictor: sum(one.preset == TRACK for one in session(settling, 2, predictor)[1].trackings)
        for predictor in ("shared", "bisect")
    }
    assert looks["shared"] < 0.8 * looks["bisect"]


def test_an_area_is_found_that_left_its_picture_by_far_across_the_axis() -> None:
    far = 0
    for seed in range(1, 7):
        scope, _ = session({"stage.jump": (2.9, 2.9), "stage.jump_rate": 0.15}, seed, "bisect")
        tracked = [view for view in scope.truth.views if view.purpose.kind == "track"]
        for tilt in range(1, 11):
            first, *_, last = [np.abs(view.offset_um) for view in tracked if view.purpose.tilt == tilt]
            if first[0] > 3.9 or first[1] > 2.4:
                break
            far += first[0] > 2.6
            assert np.hypot(*last) < 0.01
    assert far > 1
