"""A session that is killed at any event and resumed is the one that was not killed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lamella.acquire import AcquireSettings, SessionResult, Target, replay_session, resume_session, run_session
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.session.log import LOG_NAME
from lamella.acquire.world import load_world
from lamella.errors import FormatError, ProjectError

SETTINGS = AcquireSettings(
    tilt_range=12, tilt_step=6, predictor="bisect", autofocus_every=2, eucentric=False, tracking_attempts=3
)


def scope() -> SimulatedMicroscope:
    return SimulatedMicroscope(load_world("faults"), 3, targets=2)


def targets() -> list[Target]:
    return [Target(name=f"T{i}", x_um=float(x), y_um=float(y)) for i, (x, y) in enumerate(scope().targets_um)]


def lines(folder: Path) -> list[bytes]:
    return [line for line in (folder / LOG_NAME).read_bytes().splitlines() if b'"note"' not in line]


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Path, SessionResult]:
    return tmp_path / "whole", run_session(scope(), targets(), SETTINGS, tmp_path / "whole")


def test_killed_at_any_event(recorded: tuple[Path, SessionResult], tmp_path: Path) -> None:
    folder, result = recorded
    whole = (folder / LOG_NAME).read_bytes().splitlines(keepends=True)
    for number in range(1, len(whole), max(1, len(whole) // 40)):
        killed = tmp_path / f"killed{number}"
        killed.mkdir()
        torn = whole[number][: len(whole[number]) // 2] if number % 2 else b""
        (killed / LOG_NAME).write_bytes(b"".join(whole[:number]) + torn)
        again = resume_session(killed, scope())
        assert again.events == result.events
        assert again.ended_s == result.ended_s
        assert lines(killed) == lines(folder)


def test_resumed_when_it_was_over(recorded: tuple[Path, SessionResult]) -> None:
    folder, result = recorded
    assert resume_session(folder, scope()).events == result.events


def test_another_microscope_is_told(recorded: tuple[Path, SessionResult]) -> None:
    folder, _ = recorded
    with pytest.raises(ProjectError, match="of the log says"):
        resume_session(folder, SimulatedMicroscope(load_world("faults"), 4, targets=2))


def test_a_changed_line_is_told(recorded: tuple[Path, SessionResult]) -> None:
    folder, _ = recorded
    whole = (folder / LOG_NAME).read_bytes().splitlines(keepends=True)
    number = next(i for i, line in enumerate(whole) if b'"shift_image"' in line)
    entry = json.loads(whole[number])
    entry["with"][0] += 1.0
    whole[number] = json.dumps(entry).encode() + b"\n"
    (folder / LOG_NAME).write_bytes(b"".join(whole))
    with pytest.raises(ProjectError, match=f"line {number + 1} of the log says"):
        resume_session(folder, scope())
    whole[number] = b"{\n"
    (folder / LOG_NAME).write_bytes(b"".join(whole))
    with pytest.raises(FormatError, match=f"line {number + 1}"):
        resume_session(folder, scope())


def test_a_folder_is_recorded_into_once(recorded: tuple[Path, SessionResult], tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="already"):
        run_session(scope(), targets(), SETTINGS, recorded[0])
    with pytest.raises(ProjectError, match="no session"):
        resume_session(tmp_path / "nowhere", scope())


def test_replayed_with_its_own_predictor_it_is_the_same(recorded: tuple[Path, SessionResult]) -> None:
    folder, result = recorded
    again = replay_session(folder)
    for one, other in zip(again.views, result.views, strict=True):
        assert (one.displacement_um is None) == (other.displacement_um is None)
        assert one.displacement_um is None or one.displacement_um == pytest.approx(other.displacement_um, abs=1e-9)
    assert len(replay_session(folder, "flat").views) == len(result.views)
