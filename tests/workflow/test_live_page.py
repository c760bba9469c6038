"""The live page of a session: the first and the last one are written, and others as their drawing allows."""

from __future__ import annotations

import time

import pytest

from lamella.acquire import AcquireSettings, plan_session
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.session.events import SessionBegun, SessionEnded, TiltBegun
from lamella.acquire.simulated_session import simulated_targets
from lamella.acquire.world import load_world
from lamella.report import session_page
from lamella.workflow.acquisition_report import LIVE_PAGE, LivePage


def test_drawing_takes_a_small_part_of_a_sessions_time(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = SimulatedMicroscope(load_world("rigid"), 1, targets=3)
    plan = plan_session(scope.calibrations, scope.limits, simulated_targets(scope), AcquireSettings())
    now, written = 0.0, []
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def write(path, session) -> None:
        nonlocal now
        now += 1.0  # what drawing takes
        written.append(session.done)
        path.write_text("page")

    monkeypatch.setattr(session_page, "write_live_page", write)
    page = LivePage(tmp_path, plan)
    page.watch(SessionBegun(time_s=0.0))
    assert (tmp_path / LIVE_PAGE).exists()
    for tilt, angle in enumerate(plan.scheme.tilt_deg):
        now += 1.0
        page.watch(TiltBegun(tilt=tilt, asked_deg=float(angle), tilt_deg=float(angle), time_s=60.0 * tilt))
    page.watch(SessionEnded(started_s=0.0, ended_s=60.0 * len(plan.scheme)))
    # 41 s of the session's own: every tenth second, the first and the last one.
    assert len(written) == 2 + 41 // 10
    assert written[-1] == 1.0
