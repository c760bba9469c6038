"""The live page of a session: it never stops the session, and drawing takes a tenth of the time at most."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamella.acquire import AcquireSettings
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.plan import plan_session
from lamella.acquire.session.events import TiltBegun
from lamella.acquire.simulated_session import simulated_targets
from lamella.acquire.world import load_world
from lamella.report import session_page
from lamella.workflow import acquisition_report
from lamella.workflow.acquisition_report import LivePage


class Clock:
    """A clock that a page's drawing moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def live_page(tmp_path: Path) -> LivePage:
    scope = SimulatedMicroscope(load_world("rigid"), 1, targets=2)
    settings = AcquireSettings(tilts=(0.0, 3.0))
    return LivePage(tmp_path, plan_session(scope.calibrations, scope.limits, simulated_targets(scope), settings))


def tilt(number: int) -> TiltBegun:
    return TiltBegun(tilt=number, asked_deg=0.0, tilt_deg=0.0, time_s=float(number))


def test_drawing_takes_a_tenth_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, written = Clock(), []

    def draw(*_: object) -> None:
        written.append(clock.now)
        clock.now += 2.0

    monkeypatch.setattr(acquisition_report, "time", clock)
    monkeypatch.setattr(session_page, "write_live_page", draw)
    page = live_page(tmp_path)
    for second in range(100):
        clock.now = max(clock.now, float(second))
        page.watch(tilt(second % 2))
    assert 3 <= len(written) <= 6


def test_whatever_is_wrong_with_the_page_the_session_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(*_: object) -> None:
        raise ValueError("a plot of what is no number")

    monkeypatch.setattr(session_page, "write_live_page", draw)
    live_page(tmp_path).write()
