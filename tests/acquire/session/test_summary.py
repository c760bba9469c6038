"""The record of a session, against a specimen whose heights are known."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.acquire import AcquireSettings, Target
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.plan import plan_session
from lamella.acquire.session.events import SessionEnded, TiltBegun, Tracked, ViewRecorded, event_json, read_event
from lamella.acquire.session.summary import summarise
from lamella.acquire.world import load_world

PLACES = [(-3.0, 0.0), (0.0, 2.0), (3.0, -1.0), (1.0, 1.0)]
HEIGHTS = np.array([0.4, -0.1, 0.2, -0.5])


def view(target: int, tilt: int, angle: float, common: float) -> ViewRecorded:
    radians = np.deg2rad(angle)
    x = PLACES[target][0] * np.cos(radians) + HEIGHTS[target] * np.sin(radians) + common
    return ViewRecorded(
        target=target,
        tilt=tilt,
        shot=0,
        attempt=0,
        asked_deg=angle,
        tilt_deg=angle,
        shift_um=(x - 0.01, PLACES[target][1]),
        defocus_um=3.0,
        predicted_sd_um=(0.0, 0.0),
        displacement_um=(0.01, 0.0),
        displacement_sd_um=0.0,
        confidence=1.0,
        learned=True,
        dose=3.0,
        dose_before=3.0 * tilt,
        mean_counts=1.0,
        files=(),
        time_s=100.0 * tilt + 20.0 + target,
    )


@pytest.fixture
def told():
    settings = AcquireSettings(tilt_range=30, tilt_step=10)
    scope = SimulatedMicroscope(load_world("rigid"), 1, targets=np.array(PLACES))
    targets = [Target(name=f"T{number}", x_um=x, y_um=y) for number, (x, y) in enumerate(PLACES)]
    plan = plan_session(scope.calibrations, scope.limits, targets, settings)
    events = []
    for tilt, angle in enumerate(plan.scheme.tilt_deg):
        events.append(TiltBegun(tilt=tilt, asked_deg=angle, tilt_deg=angle, time_s=100.0 * tilt))
        for attempt, left in enumerate((80.0, 4.0)):
            time_s = 100.0 * tilt + 5 + attempt
            place = {"target": -1, "tilt": tilt, "shift_um": (0.0, 0.0), "time_s": time_s}
            events.append(Tracked(preset="track", attempt=attempt, left_nm=left, **place))
        events += [view(target, tilt, float(angle), 0.3 * tilt) for target in range(len(PLACES))]
    return plan, events


def test_heights_come_out_of_places_whatever_all_do_together(told):
    plan, events = told
    session = summarise("S", plan, events)
    assert session.height_um == pytest.approx(HEIGHTS - HEIGHTS.mean(), abs=1e-9)
    assert session.off_um == pytest.approx(np.full((4, 7), 0.01))
    assert session.tracking.last_nm(7) == pytest.approx(np.full(7, 4.0))
    assert session.recorded.all()


def test_time_goes_to_what_it_was_for_and_tells_what_is_left(told):
    plan, events = told
    half = events[: 4 * 7]  # four tilts of seven
    session = summarise("S", plan, half)
    assert session.spent_s["views"][1] == pytest.approx(23.0 - 6.0)
    assert session.spent_s["tracking"][1] == pytest.approx(6.0)
    assert session.done == pytest.approx(3 / 7)
    assert session.left_s == pytest.approx(400.0 - 23.0)
    ended = summarise("S", plan, [*events, SessionEnded(started_s=1.0, ended_s=700.0)])
    assert (ended.ended, ended.done, ended.left_s) == (True, 1.0, 0.0)


def test_nothing_yet(told):
    session = summarise("S", told[0], [])
    assert session.left_s == pytest.approx(60 * told[0].minutes)
    assert np.isnan(session.height_um).all()


def test_events_come_back_from_their_lines(told):
    for event in told[1]:
        assert read_event(event_json(event)) == event
    assert read_event({"call": "ready", "with": []}) is None
