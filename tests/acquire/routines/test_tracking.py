"""Following an area: met where it will be, and found where a stage has thrown it out of the picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lamella.acquire import AcquireSettings, AlignedSeries, SessionResult, Target, run_session
from lamella.acquire.comparing import Displacement
from lamella.acquire.microscope.port import TRACK, TRACK_LOW, Picture
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


@pytest.mark.parametrize("true", [True, False])
def test_a_faint_match_is_believed_where_it_repeats_itself(true: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steep pictures match faintly: chance does so elsewhere each time, the area at the same place."""
    plain = AlignedSeries.measure
    rng = np.random.default_rng(4)

    def faint(series: AlignedSeries, picture: Picture) -> Displacement:
        found = plain(series, picture)
        if picture.preset.name != TRACK_LOW:
            return found
        shift_um = found.shift_um if true else rng.uniform(-0.3, 0.3, 2)
        return replace(found, shift_um=shift_um, confidence=0.1)

    monkeypatch.setattr(AlignedSeries, "measure", faint)
    scope, result = session({"stage.wander": (0.1, 0.15)}, 3, "bisect")
    low = [one for one in result.trackings if one.preset == TRACK_LOW]
    if true:
        assert len(low) <= 3 * 11
        tracked = [view for view in scope.truth.views if view.purpose.kind == "track"]
        for tilt in range(1, 11):
            assert np.hypot(*[view.offset_um for view in tracked if view.purpose.tilt == tilt][-1]) < 0.01
    else:
        # What is never the same is looked for at every place around.
        assert len(low) > 10 * 11
