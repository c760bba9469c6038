"""A real microscope does not stand still while the program does: a session is resumed on one that went on alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamella.acquire import AcquireSettings, Target, resume_session, run_session
from lamella.acquire.microscope.port import Picture, Purpose
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.session.events import ViewRecorded
from lamella.acquire.session.log import LOG_NAME, read_log
from lamella.acquire.world import load_world
from lamella.errors import ProjectError

SETTINGS = AcquireSettings(tilt_range=12, tilt_step=6, predictor="shared", eucentric=False)
STOPPED_S = 900.0


class Killed(Exception):
    """Stands for the end of the program."""


class RealMicroscope(SimulatedMicroscope):
    """One that cannot be asked again from its start; the program ends in one of its exposures."""

    kill_kind = ""
    kill_at: tuple[int, int] | None = None

    @property
    def repeatable(self) -> bool:
        return False

    def expose(self, preset: str, purpose: Purpose, *, exposure_s: float | None = None) -> Picture:
        picture = super().expose(preset, purpose, exposure_s=exposure_s)
        if purpose.kind == self.kill_kind and self.kill_at in ((purpose.tilt, purpose.target), None):
            self.kill_kind = ""
            raise Killed
        return picture


@pytest.fixture
def stopped(tmp_path: Path) -> tuple[Path, RealMicroscope]:
    scope = RealMicroscope(load_world("bisect"), 2, targets=3)
    scope.kill_kind, scope.kill_at = "record", (2, 1)
    targets = [Target(name=f"T{i}", x_um=float(x), y_um=float(y)) for i, (x, y) in enumerate(scope.targets_um)]
    with pytest.raises(Killed):
        run_session(scope, targets, SETTINGS, tmp_path / "session")
    return tmp_path / "session", scope


def test_a_session_goes_on_after_a_stop(stopped: tuple[Path, RealMicroscope]) -> None:
    folder, scope = stopped
    before = (folder / LOG_NAME).read_bytes()
    scope.wait(STOPPED_S)
    scope.tilt(0.0)
    scope.shift_image(0.0, 0.0)
    scope.focus(-1.0)
    result = resume_session(folder, scope)
    assert (folder / LOG_NAME).read_bytes().startswith(before)
    assert {one.kind for one in result.endings.values()} == {"finished"}
    assert len(result.views) == 3 * len(SETTINGS.tilt_scheme())
    # What the area did meanwhile was looked at before the next target was recorded.
    _, lines, _ = read_log(folder)
    after = next(number for number, line in enumerate(lines) if "goes on from here" in str(line.get("note")))
    calls = [line for line in lines[after:] if line.get("call") == "expose" and "answer" in line]
    assert calls[0]["with"][1]["kind"] == "track"
    # It had gone away meanwhile, and stands in the middle again; so does every view from then on.
    seen = [view for view in scope.truth.views if view.time_s > STOPPED_S]
    off = [np.hypot(*view.offset_um) for view in seen if view.purpose.kind == "track" and view.purpose.tilt == 2]
    assert off[0] > 0.1 > 0.02 > off[-1]
    assert max(np.hypot(*view.offset_um) for view in seen if view.purpose.kind == "record") < 0.08


def test_the_picture_exposed_at_the_stop_counts(stopped: tuple[Path, RealMicroscope]) -> None:
    folder, scope = stopped
    result = resume_session(folder, scope)
    dose = {target: max(view.dose_before for view in result.views if view.target == target) for target in (0, 1, 2)}
    record = SETTINGS.dose
    assert dose[1] == pytest.approx(dose[0] + record)
    again = resume_session(folder, scope)
    assert [view for view in again.events if isinstance(view, ViewRecorded)] == [
        view for view in result.events if isinstance(view, ViewRecorded)
    ]


def test_a_moved_stage_is_told(stopped: tuple[Path, RealMicroscope]) -> None:
    folder, scope = stopped
    x, y, z = scope.status().stage_um
    scope.move_stage(x + 5.0, y, z)
    with pytest.raises(ProjectError, match="µm from where"):
        resume_session(folder, scope)


@pytest.mark.parametrize("kind", ["eucentric", "focus", "reference", "track"])
def test_it_goes_on_from_any_kind_of_picture(kind: str, tmp_path: Path) -> None:
    scope = RealMicroscope(load_world("bisect"), 2, targets=2)
    scope.kill_kind = kind
    targets = [Target(name=f"T{i}", x_um=float(x), y_um=float(y)) for i, (x, y) in enumerate(scope.targets_um)]
    with pytest.raises(Killed):
        run_session(scope, targets, SETTINGS.model_copy(update={"eucentric": True}), tmp_path / "session")
    result = resume_session(tmp_path / "session", scope)
    assert result.counts["finished"] == 2
