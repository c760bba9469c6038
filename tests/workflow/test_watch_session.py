"""A session is watched while it goes on: its growing series are measured, and it is told; then all is processed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.microscope.simulated.full_settings import FullSettings, full_settings
from lamella.acquire.session.events import FeedbackTaken, SessionEnded, TiltBegun
from lamella.acquire.session.feedback import read_feedback
from lamella.acquire.session.files import SessionFiles
from lamella.acquire.session.run import run_session
from lamella.acquire.simulated_session import session_settings, simulated_targets
from lamella.acquire.world import load_world
from lamella.workflow.record_name import RecordName
from lamella.workflow.runner import Silent
from lamella.workflow.tables import read_record
from lamella.workflow.watch import Watch, open_watched


class Beside:
    """Watches a session step by step, as its tilts begin."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.watch: Watch | None = None
        self.rounds: list[bool] = []

    def look(self) -> None:
        if self.watch is None:
            project, source = open_watched(self.folder / "P", self.folder / "S")
            self.watch = Watch(
                project=project, source=source, session=self.folder / "S", to="clean", quiet_s=0.0, observer=Silent()
            )
        self.rounds.append(self.watch.round())


@pytest.mark.slow
def test_a_session_is_told_while_it_goes_on_and_processed_when_it_is_over(tmp_path: Path) -> None:
    world = load_world("bisect")
    simulation = full_settings(3, world.optics.tilt_axis, frames=1)
    microscope = SimulatedMicroscope(
        world, 3, targets=np.array([[0.0, 0.0], [2.5, 1.0]]), pictures="full", full=FullSettings(simulation=simulation)
    )
    settings = session_settings(world, {"tilt_range": 12.0, "tilt_step": 3.0, "level": 0})
    targets = simulated_targets(microscope)
    files = SessionFiles(tmp_path / "S", targets, settings, microscope.calibrations)
    beside = Beside(tmp_path)

    def watch(event) -> None:
        files.watch(event)
        if isinstance(event, TiltBegun) and event.tilt in (5, 7):
            beside.look()

    result = run_session(
        microscope, targets, settings, tmp_path / "S", feedback=True, pictures=files.picture, watch=watch
    )
    # Nothing is taken in before the session's own files are whole.
    assert beside.watch is not None
    assert beside.watch.result.processed == []
    assert not beside.watch.over
    files.finish()
    assert isinstance(result.events[-1], SessionEnded)
    _see_what_was_told(microscope, result, read_feedback(tmp_path / "S"))
    beside.look()
    assert sorted(beside.watch.result.processed) == [target.name for target in targets]
    assert beside.watch.over
    beside.look()
    assert beside.rounds[-1] is False
    cleaned = read_record(beside.watch.project, RecordName("clean"))
    assert [len(one) for one in cleaned] == [9, 9]


def _see_what_was_told(microscope, result, told) -> None:
    """Every measurement against the simulator's truth."""
    true = {
        (v.purpose.target, v.purpose.tilt): v
        for v in microscope.truth.views
        if v.purpose.kind == "record" and v.purpose.target >= 0
    }
    names = [target.name for target in result.plan.targets]
    off, apart = [], []
    for one in told:
        if one.kind not in ("defocus", "shift"):
            continue
        number = names.index(one.target)
        view = min(
            (view for view in result.views if view.target == number), key=lambda view: abs(view.tilt_deg - one.tilt_deg)
        )
        truth = true[number, view.tilt]
        if one.kind == "defocus":
            off.append((one.value_um - truth.defocus_um) / one.sd_um)
        else:
            moved = truth.offset_um - true[number, 0].offset_um
            apart.append(np.hypot(*(np.array([one.value_um, one.along_um]) - moved)))
    assert len(off) >= 8
    assert np.sqrt(np.mean(np.square(off))) < 3.0
    assert len(apart) >= 6
    # But for where the first view itself was.
    assert np.median(apart) < 0.06
    taken = [event for event in result.events if isinstance(event, FeedbackTaken)]
    assert sum(event.defoci for event in taken) >= 8
