"""The simulated and the replayed microscope keep the contract."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.acquire.microscope.contract import MicroscopeContract

from lamella.acquire import AcquireSettings, Target, run_session
from lamella.acquire.microscope.port import Microscope
from lamella.acquire.microscope.replay import ReplayMicroscope
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.world import load_world


class TestSimulated(MicroscopeContract):
    @pytest.fixture
    def scope(self) -> Microscope:
        return SimulatedMicroscope(load_world("bisect"), 1, targets=2)


class TestReplay(MicroscopeContract):
    @pytest.fixture
    def scope(self, tmp_path: Path) -> Microscope:
        settings = AcquireSettings(predictor="bisect", tilt_range=3, tilt_step=3, eucentric=False)
        scope = SimulatedMicroscope(load_world("rigid"), 1, targets=2)
        run_session(scope, [Target(name="a", x_um=0, y_um=0)], settings, tmp_path / "session")
        return ReplayMicroscope(tmp_path / "session")
