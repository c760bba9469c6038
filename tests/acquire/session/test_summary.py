"""The record of a session, against a specimen whose heights are known."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.acquire import AcquireSettings, Target
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.plan import plan_session
from lamella.acquire.session.events import (
    Doubted,
    FaultSurvived,
    HeightMeasured,
    PlaneFitted,
    SessionBegun,
    SessionEnded,
    TiltBegun,
    Tracked,
    ViewLeftOut,
    ViewRecorded,
    event_json,
    read_event,
)
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
    assert session.aside_um == pytest.approx(np.tile([0.01, 0.0], (4, 1)))
    assert session.off_um == pytest.approx(np.zeros((4, 7)), abs=1e-12)
    assert session.tracking.last_nm(7) == pytest.approx(np.full(7, 4.0))
    assert session.recorded.all()


def test_time_goes_to_what_it_was_for_and_tells_what_is_left(told):
    plan, events = told
    half = events[: 4 * 7]  # four tilts of seven
    session = summarise("S", plan, half)
    assert session.timeline.of_tilts("views", 7)[1] == pytest.approx(23.0 - 6.0)
    assert session.timeline.of_tilts("tracking", 7)[1] == pytest.approx(6.0)
    assert session.done == pytest.approx(3 / 7)
    assert session.left_s == pytest.approx(400.0 - 23.0)
    ended = summarise("S", plan, [*events, SessionEnded(started_s=1.0, ended_s=700.0)])
    assert (ended.ended, ended.done, ended.left_s) == (True, 1.0, 0.0)


def test_waits_are_not_what_they_were_for(told):
    plan, events = told
    fault = FaultSurvived(verb="ready", problem="a refill", attempt=0, waited_s=12.0, time_s=107.0)
    doubt = Doubted(target=0, tilt=1, predicted_sd_um=(0.2, 0.1), done="track", waited_s=3.0, time_s=107.0)
    place = next(number for number, one in enumerate(events) if isinstance(one, ViewRecorded) and one.tilt == 1)
    session = summarise("S", plan, [SessionBegun(time_s=-30.0), *events[:place], fault, doubt, *events[place:]])
    spent = {name: session.timeline.of_tilts(name, 7)[1] for name in ("faults", "waiting", "views", "turning")}
    # The first view of the tilt is at 120 s, the tracking before it at 106 s.
    assert spent["faults"] == pytest.approx(12.0)
    assert spent["waiting"] == pytest.approx(2.0)
    assert spent["views"] == pytest.approx(3.0)
    assert session.timeline.seconds("start") == pytest.approx(30.0)
    assert session.started_s == -30.0
    ends = session.timeline.end_s[:-1]
    assert session.timeline.start_s[1:] == pytest.approx(ends)
    assert session.doubts[0].where == f"T0 at {plan.scheme.tilt_deg[1]:g}°"
    assert session.doubts[0].done == "waited 3 s, tracked again"
    assert session.faults[0].waited_s == 12.0


def test_the_axis_follows_from_the_focus_on_it(told):
    plan, events = told
    hand, offset = plan.calibrations.hand, 0.7
    measured = []
    for tilt, angle in enumerate(plan.scheme.tilt_deg):
        height = offset * float(np.sin(np.deg2rad(angle)))
        lens = 3.0 - hand * 0.1
        measured.append(
            HeightMeasured(
                target=-2, tilt=tilt, defocus_um=lens + hand * height, height_um=height, sd_um=0.02, time_s=100.0 * tilt
            )
        )
    session = summarise("S", plan, [*events, *measured, PlaneFitted(pre_tilt_deg=5, rotation_deg=30, residual_um=0.1)])
    assert session.focus_axis_um is not None
    assert session.focus_axis_um[0] == pytest.approx(offset, abs=0.15)
    assert session.levelled == (5, 30, 0.1)


def test_what_was_left_out_keeps_its_kind(told):
    plan, events = told
    session = summarise("S", plan, [*events, ViewLeftOut(target=2, tilt=0, kind="dark", reason="a bar")])
    (one,) = session.left_out
    assert (one.target, one.tilt, one.kind, one.where) == (2, 0, "dark", "T2 at 0°")


def test_nothing_yet(told):
    session = summarise("S", told[0], [])
    assert session.left_s == pytest.approx(60 * told[0].minutes)
    assert np.isnan(session.height_um).all()


def test_events_come_back_from_their_lines(told):
    for event in told[1]:
        assert read_event(event_json(event)) == event
    assert read_event({"call": "ready", "with": []}) is None
