"""The picture of a plan: places at the highest tilts, beams that touch there, targets beyond the image shift."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.acquire import AcquireSettings, Target, plan_session
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.plan_record import record_of_plan
from lamella.acquire.world import load_world
from lamella.report.plots import plot_session_plan


def planned(places, **settings):
    scope = SimulatedMicroscope(load_world("rigid"), 1, targets=np.array(places)[:, :2])
    targets = [Target(name=f"T{number}", x_um=x, y_um=y, z_um=z) for number, (x, y, z) in enumerate(places)]
    return record_of_plan(
        plan_session(scope.calibrations, scope.limits, targets, AcquireSettings(dose_budget=900, **settings))
    )


def test_places_turn_and_beams_touch_where_they_do():
    # Beams are 1.2 µm wide: 1.5 µm apart across the axis they touch once that is 0.75 µm, at 60°.
    plan = planned([(4.0, 0.0, 0.5), (5.5, 0.0, 0.5), (-5.0, 4.0, 0.0)])
    start, low, high = plan.tilts
    assert (start.tilt_deg, low.tilt_deg, high.tilt_deg) == (0.0, -60.0, 60.0)
    assert high.targets_um[0] == pytest.approx([4.0 * 0.5 + 0.5 * np.sqrt(0.75), 0.0])
    assert low.targets_um[0] == pytest.approx([4.0 * 0.5 - 0.5 * np.sqrt(0.75), 0.0])
    assert start.struck.tolist() == [False, False, False]
    assert high.struck.tolist() == [True, True, False]
    assert start.reached.all()


def test_a_target_that_is_beyond_the_limit_at_a_high_tilt():
    plan = planned([(14.0, 0.0, 0.0), (13.0, 0.0, 10.0)], tilt_range=60.0, scheme="bidirectional")
    assert [tilt.reached.tolist() for tilt in plan.tilts] == [[True, True], [True, True], [True, False]]


def test_each_targets_own_areas_are_drawn():
    plan = planned([(4.0, 0.0, 0.0), (-4.0, 1.0, 0.0)], tracking="position", predictor="bisect", position_distance=3.0)
    assert plan.tilts[0].areas_um["tracking"] == pytest.approx(np.array([[4.0, 3.0], [-4.0, 4.0]]))
    assert len(plot_session_plan(plan).axes) == 3


def test_one_tilt_is_one_picture():
    plan = planned([(1.0, 0.0, 0.0)], tilts=(0.0,))
    assert len(plan.tilts) == 1
    assert len(plot_session_plan(plan).axes) == 1
