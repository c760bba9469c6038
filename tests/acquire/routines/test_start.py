"""What a session does at its start: height, plane, focus."""

from __future__ import annotations

import pytest

from lamella.acquire import AcquireSettings, SessionResult, Target, run_session
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.session.events import PlaneFitted, StageLifted
from lamella.acquire.world import load_world


def start(changes: dict[str, object], **values: object) -> SessionResult:
    scope = SimulatedMicroscope(load_world("rigid", changes), 1, targets=9)
    targets = [Target(name=f"T{i}", x_um=float(x), y_um=float(y)) for i, (x, y) in enumerate(scope.targets_um)]
    settings = {"predictor": "bisect", "tilt_range": 3, "tilt_step": 3, **values}
    return run_session(scope, targets, AcquireSettings.model_validate(settings))


def test_the_stage_is_brought_to_eucentric_height() -> None:
    lifted = [event for event in start({"stage.start_height": (2.0, 2.0)}).events if isinstance(event, StageLifted)]
    assert abs(lifted[0].height_um) == pytest.approx(2.0, abs=0.3)
    assert abs(lifted[-1].height_um) < 0.1


def test_the_plane_is_measured_by_focus() -> None:
    result = start({"grid.pretilt": (8.0, 8.0)}, level=6)
    plane = next(event for event in result.events if isinstance(event, PlaneFitted))
    assert plane.pre_tilt_deg == pytest.approx(8.0, abs=1.0)


def test_focus_is_found_where_the_lens_is_off() -> None:
    result = start({"optics.focus_offset": (0.8, 0.8)})
    assert abs(result.heights[0].height_um) == pytest.approx(0.8, abs=0.1)
