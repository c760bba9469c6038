"""What is wrong is said before the first electron."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from lamella.acquire import AcquireSettings, Target, grid_targets, plan_session
from lamella.acquire.beams import tilted
from lamella.acquire.microscope.port import RECORD, TRACK_LOW, Calibrations, Limits, Preset
from lamella.errors import InputError, SettingsError
from lamella.geometry.rotations import rotation_y

LIMITS = Limits()


def calibrations(**changes: Preset) -> Calibrations:
    preset = Preset(name="", pixel_size_ang=1.6, shape_px=(4092, 5760), exposure_s=0.7, dose=3.0, beam_um=1.2)
    presets = {name: replace(preset, name=name) for name in ("record", "track", "track_low", "focus")}
    return Calibrations(presets={**presets, **changes}, tilt_axis_deg=85.0)


def target(x: float, y: float = 0.0, name: str = "T1") -> Target:
    return Target(name=name, x_um=x, y_um=y)


def test_places_turn_as_the_geometry_says() -> None:
    places = np.random.default_rng(1).normal(size=(4, 3))
    np.testing.assert_allclose(tilted(places, 35.0), places @ rotation_y(35.0).T)
    on_axis = np.array([[0.7, 1.0, 0.0]])
    np.testing.assert_allclose(tilted(on_axis, 50.0, 0.7), on_axis)


def test_a_plan_counts_time_and_dose() -> None:
    plan = plan_session(calibrations(), LIMITS, grid_targets(25, 3.0, without_middle_um=1.0), AcquireSettings())
    assert plan.reachable.all()
    assert plan.doses == pytest.approx(123, abs=20)
    assert 30 < plan.minutes < 75  # three minutes a series are what others need


def test_a_neighbours_beam_counts() -> None:
    pair = [target(0), target(0.5, name="T2")]
    settings = {"tracking": "none", "focus_place": (0.0, 9.0)}
    plan = plan_session(calibrations(), LIMITS, pair, AcquireSettings(dose_budget=250, **settings))
    np.testing.assert_allclose(plan.doses, 246)
    np.testing.assert_allclose(plan.doses_from["own views"], 123)
    np.testing.assert_allclose(plan.doses_from["neighbours"], 123)
    assert "overlap" in str(plan.notes[0])
    with pytest.raises(InputError, match="123 of it from other beams"):
        plan_session(calibrations(), LIMITS, pair, AcquireSettings(**settings))


@pytest.mark.parametrize(
    ("predictor", "tracking", "focus"), [("shared", True, True), ("bisect", True, False), ("incremental", False, False)]
)
def test_beams_fall_where_a_predictor_wants_them(predictor: str, tracking: bool, focus: bool) -> None:
    """`shared` has focus measured on the tracking area; `incremental` follows its first target, and has no area."""
    settings = AcquireSettings(
        predictor=predictor, tracking_place=(3.0, 0.0), focus_place=(0.0, -6.0), dose_budget=1000.0
    )
    plan = plan_session(calibrations(), LIMITS, [target(-3.0), target(3.0, name="T2")], settings)
    assert (plan.doses_from["tracking"] > 0).tolist() == [False, tracking]
    assert (plan.doses_from["focus"] > 0).tolist() == [False, focus]
    assert any("focus area" in note.text for note in plan.notes) is False
    assert any("tracking area" in note.text for note in plan.notes) is tracking


@pytest.mark.parametrize(
    ("targets", "settings", "words"),
    [
        ([], {}, "no target"),
        ([target(16)], {}, "16.00 µm"),
        ([target(1), target(2)], {}, "two targets"),
        ([target(1)], {"dose": 10}, "budget"),
        ([target(1)], {"tilt_range": 75}, "beyond the stage"),
        ([target(1)], {"tracking_place": (0, 20)}, "tracking area"),
    ],
)
def test_what_is_refused(targets: list[Target], settings: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        plan_session(calibrations(), LIMITS, targets, AcquireSettings.model_validate(settings))


def test_missing_calibrations() -> None:
    known = calibrations()
    without = replace(known, presets={name: one for name, one in known.presets.items() if name != TRACK_LOW})
    with pytest.raises(SettingsError, match="track_low"):
        plan_session(without, LIMITS, [target(1)], AcquireSettings())
    undosed = calibrations(record=replace(known.presets[RECORD], dose=0.0))
    with pytest.raises(SettingsError, match="record"):
        plan_session(undosed, LIMITS, [target(1)], AcquireSettings())


@pytest.mark.parametrize(
    "values",
    [{"tilts": (0, 3, 3)}, {"shots": 2}, {"tilt_step": 30, "tilt_range": 10}, {"tracking_threshold": 500}, {"no": 1}],
)
def test_settings_that_contradict_themselves(values: dict) -> None:
    with pytest.raises(ValidationError):
        AcquireSettings.model_validate(values)
