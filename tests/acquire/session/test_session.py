"""Sessions on the simulated microscope: exact where it is ideal, whole where things fail."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.acquire import AcquireSettings, SessionResult, Target, run_session
from lamella.acquire.microscope.simulated import SimulatedMicroscope, score_session
from lamella.acquire.simulated_session import simulate_session
from lamella.acquire.world import load_world


def session(world: str, seed: int, count: int, **values: object) -> tuple[SimulatedMicroscope, SessionResult]:
    scope = SimulatedMicroscope(load_world(world), seed, targets=count)
    targets = [Target(name=f"T{i}", x_um=float(x), y_um=float(y)) for i, (x, y) in enumerate(scope.targets_um)]
    return scope, run_session(scope, targets, AcquireSettings.model_validate({"predictor": "bisect", **values}))


@pytest.mark.parametrize("tracking", ["area", "first-target", "position", "none"])
def test_an_ideal_stage_is_followed_exactly(tracking: str) -> None:
    scope, result = session("rigid", 1, 2, tracking=tracking, predictor="flat", tilt_range=30, tilt_step=10)
    assert result.counts == {"finished": 2, "limit": 0, "thick": 0, "lost": 0}
    score = score_session(scope, tilts=7, defocus_um=3.0, finished=[0, 1])
    assert score.as_dict()["targeting_um"]["median"] == pytest.approx(0, abs=1e-9)


def test_faults_lose_nothing() -> None:
    _, result = session("faults", 2, 9, tilt_range=60, tilt_step=3)
    assert result.counts["lost"] == 0
    assert any(type(event).__name__ == "FaultSurvived" for event in result.events)
    assert np.isfinite(result.tracking_nm())


def test_a_target_out_of_reach_at_high_tilts_ends_as_planned() -> None:
    scope = SimulatedMicroscope(load_world("rigid"), 1, targets=[[2.0, 0.0], [14.5, 0.0]])
    targets = [Target(name="near", x_um=2, y_um=0), Target(name="far", x_um=14.5, y_um=0, z_um=9)]
    settings = AcquireSettings(predictor="flat", tilt_range=40, tilt_step=20, eucentric=False, lost=3)
    result = run_session(scope, targets, settings)
    assert [result.endings[number].kind for number in (0, 1)] == ["finished", "limit"]
    assert "far" in str(result.plan.notes[0])


def test_fast_mode_spares_the_tracking_area_and_holds_the_targets() -> None:
    done = {mode: session("pace", 5, 9, predictor="shared", mode=mode, tilt_range=30) for mode in ("slow", "fast")}
    slow, fast = (done[mode][1] for mode in ("slow", "fast"))
    assert len(fast.trackings) < 0.4 * len(slow.trackings)
    assert fast.minutes < 0.95 * slow.minutes
    assert np.median(errors_um(done["fast"][0])) < 1.5 * np.median(errors_um(done["slow"][0]))


def test_several_shots_and_the_order_of_visiting() -> None:
    _, result = session("rigid", 1, 2, shots=2, shot_radius=0.3, tilt_range=10, tilt_step=10, visiting="alternating")
    by_tilt = [[view.target for view in result.views if view.tilt == tilt] for tilt in range(3)]
    assert by_tilt == [[0, 1, 2, 3], [3, 2, 1, 0], [0, 1, 2, 3]]


def errors_um(scope: SimulatedMicroscope) -> np.ndarray:
    return np.array([np.hypot(*view.offset_um) for view in scope.truth.views if view.purpose.kind == "record"])


def test_a_lamellas_start_tilt_is_as_good_as_none() -> None:
    for start in (0.0, -20.0):
        scope, result = session("bisect", 1, 9, predictor="shared", start_tilt=start, tilt_range=40, tilt_step=5)
        assert result.counts["finished"] == 9
        assert np.median(errors_um(scope)) < 0.02


def test_a_session_walks_to_a_high_first_tilt() -> None:
    scope, result = session("bisect", 2, 9, predictor="shared", scheme="unidirectional", tilt_step=6)
    assert result.counts["finished"] == 9
    assert len(result.views) == 9 * 21
    assert np.median(errors_um(scope)) < 0.05
    looked_at = {event.tilt for event in result.events if type(event).__name__ == "Tracked"}
    assert -1 in looked_at


def test_targets_follow_the_first_through_jumps() -> None:
    scope, result = session("bisect", 1, 9, predictor="incremental", tilt_step=6)
    assert result.counts["finished"] == 9
    assert np.median(errors_um(scope)) < 0.3


def test_every_shot_has_a_series_of_its_own() -> None:
    done = simulate_session(
        load_world("bisect"),
        1,
        targets=2,
        overrides={"shots": 3, "shot_radius": 0.3, "tilt_range": 9, "dose_budget": 900},
    )
    assert done.score.targets_finished == 6
    assert float(np.median(done.score.targeting)) < 0.03
