"""Every setting of a session and every number of a world does something: with another value, a session is another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest

from lamella.acquire import AcquireSettings, run_session
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.session.events import event_json
from lamella.acquire.simulated_session import simulated_targets
from lamella.acquire.world import load_world
from lamella.acquire.world_tables import Fault, World
from lamella.errors import InputError, MicroscopeError

Values = Mapping[str, Any]

FEW: Values = {"tilt_range": 12.0, "tilt_step": 6.0, "autofocus_every": 2}
TIME_OUT = {"faults.script": [{"kind": "stage-timeout", "tilt": 2}]}
REFILL = {"faults.script": [{"kind": "refill", "after": 150.0, "lasts": 100.0}]}
DARK = {"faults.script": [{"kind": "dark-image", "target": 2, "purpose": "record", "times": 9}]}

# A field: the other value; what else must be set beside it, and in the world, for it to matter.
SETTINGS: dict[str, tuple[Any, Values, Values]] = {
    "scheme": ("unidirectional", {}, {}),
    "start_tilt": (5.0, {}, {}),
    "tilt_range": (18.0, {}, {}),
    "tilt_step": (4.0, {}, {}),
    "group": (2, {}, {}),
    "tilts": ((0.0, 6.0, -6.0), {}, {}),
    "dose": (2.0, {}, {}),
    "dose_by_tilt": ("cosine", {}, {}),
    "dose_budget": (10.0, {}, {}),
    "defocus": (2.0, {}, {}),
    "shots": (2, {"shot_radius": 0.4}, {}),
    "shot_radius": (0.5, {"shots": 2, "shot_radius": 0.4}, {}),
    "predictor": ("bisect", {}, {}),
    "mode": ("fast", {}, {}),
    "visiting": ("given", {}, {}),
    "tracking": ("first-target", {}, {}),
    "tracking_place": ((0.0, 2.5), {}, {}),
    "tracking_low_threshold": (10.0, {}, {}),
    "tracking_threshold": (1.0, {}, {}),
    "tracking_attempts": (1, {}, {}),
    "tracking_pause": (2.0, {}, {}),
    "first_tilt_tracking": (2, {}, {}),
    "track_every": (2, {}, {}),
    "autofocus_every": (1, {}, {}),
    "focus_on": ("focus-area", {}, {}),
    "focus_scale_step": (1.0, {"focus_scales_reach": 0.0}, {}),
    "focus_scales_reach": (0.0, {}, {}),
    "focus_place": ((0.0, 3.5), {"predictor": "bisect"}, {}),
    "focus_tilt": (5.0, {}, {}),
    "position_distance": (3.0, {"tracking": "position", "predictor": "bisect"}, {}),
    "eucentric": (False, {}, {}),
    "eucentric_tilt": (15.0, {}, {}),
    "eucentric_threshold": (0.01, {}, {}),
    "level": (0, {}, {}),
    "pre_tilt": (8.0, {"predictor": "flat"}, {}),
    "plane_rotation": (90.0, {"predictor": "flat", "pre_tilt": 8.0}, {}),
    "settle": (5.0, {}, {}),
    "wait_step": (3.0, {"unsure": 1e-3}, {}),
    "unsure": (1e-3, {}, {}),
    "unsure_focus": (0.01, {}, {}),
    "fast_unsure": (5.0, {"mode": "fast"}, {}),
    "fast_unsure_focus": (1.0, {"mode": "fast"}, {}),
    "lost": (0.001, {}, {}),
    "max_displacement": (0.001, {}, {}),
    "retries": (0, {}, TIME_OUT),
    "back_off": (1.0, {}, TIME_OUT),
    "patience": (1.0, {}, REFILL),
    "dark": (0.005, {}, DARK),
    "dark_retries": (0, {}, DARK),
    "give_up": (1, {}, DARK),
}
SETTINGS_SEEN_ELSEWHERE = {
    "max_thickness": "processing tells the thickness: tests of feedback",
}

WORLD: dict[str, tuple[Any, Values]] = {
    "stage.settling": ((0.3, 0.4), {}),
    "stage.settling_turn": (3.0, {}),
    "stage.settling_time": (30.0, {}),
    "stage.settling_random": (0.9, {}),
    "stage.settling_height": (0.9, {}),
    "stage.settling_slow": (0.5, {}),
    "stage.settling_slow_time": (400.0, {"stage.settling_slow": 0.5}),
    "stage.creep": ((0.2, 0.3), {}),
    "stage.wander": ((0.2, 0.3), {}),
    "stage.wander_height": ((0.2, 0.3), {}),
    "stage.jump": ((2.0, 3.0), {"stage.jump_rate": 1.0}),
    "stage.jump_rate": (1.0, {}),
    "stage.drift": ((3.0, 4.0), {}),
    "stage.drift_time": (60.0, {}),
    "stage.play": ((0.4, 0.5), {}),
    "stage.angle_play": ((0.3, 0.4), {}),
    "stage.angle_error": (0.1, {}),
    "stage.readback_error": (0.1, {}),
    "stage.axis_offset": ((2.0, 3.0), {}),
    "stage.start_height": ((2.0, 3.0), {}),
    "stage.move_error": (0.3, {}),
    "optics.hand": (1, {}),
    "optics.tilt_axis_error": (2.0, {}),
    "optics.shift_scale_error": (0.02, {}),
    "optics.shift_turn_error": (1.0, {}),
    "optics.shift_bend": (0.2, {}),
    "optics.shift_hysteresis": (0.1, {}),
    "optics.focus_offset": ((1.0, 2.0), {}),
    "optics.focus_scale_error": (0.2, {}),
    "optics.focus_noise": (0.5, {}),
    "optics.beam_tilt_scale_error": (0.2, {}),
    "optics.matching": (10.0, {}),
    "optics.matching_tilt": (10.0, {}),
    "optics.shift_limit": (2.0, {}),
    "optics.tilt_limit": (10.0, {}),
    "grid.pretilt": ((1.0, 2.0), {}),
    "grid.bend": ((2.0, 3.0), {}),
    "grid.roughness": (0.5, {}),
    "grid.roughness_length": (6.0, {}),
    "grid.target_height": (1.0, {}),
    "grid.own_motion": ((0.2, 0.3), {}),
    "grid.own_motion_time": (600.0, {"grid.own_motion": (0.2, 0.3)}),
    "grid.spacing": (3.0, {}),
    "grid.turn": ((50.0, 60.0), {}),
    "targets.arrangement": ("free", {}),
    "targets.radius": (5.0, {"targets.arrangement": "free"}),
    "targets.distance": (3.0, {"targets.arrangement": "free"}),
    "targets.off_centre": (0.3, {}),
    "timing.tilt": (3.0, {}),
    "timing.tilt_speed": (3.0, {}),
    "timing.move": (5.0, {}),
    "timing.move_speed": (1.0, {}),
    "timing.shift": (1.0, {}),
    "timing.shift_per_um": (1.0, {}),
    "timing.focus": (1.0, {}),
    "timing.beam_tilt": (1.0, {}),
    "timing.readout": (2.0, {}),
    "timing.preset_change": (2.0, {}),
    "timing.answer": (0.1, {}),
    "faults.script": (DARK["faults.script"], {}),
    "faults.costs": (50.0, TIME_OUT),
    "presets.record.pixel_size": (2.0, {}),
    "presets.record.exposure": (1.4, {}),
    "presets.record.dose": (2.0, {}),
    "presets.track.width": (2000, {}),
    "presets.track.height": (1000, {}),
    "presets.track.beam": (5.0, {}),
}
WORLD_SEEN_ELSEWHERE = {
    "optics.voltage": "goes into the files of a session",
    "optics.spherical_aberration": "goes into the files of a session",
    "optics.tilt_axis": "turns pictures, of which landmarks have none",
    "grid.hole": "shows in pictures of the foil: blobs",
    "grid.foil": "shows in pictures of the foil: blobs",
    "presets.frames": "of movies: full pictures",
}


def session(settings: Values, world: Values) -> str:
    """All that a small session did and planned, as text; the error where there is none."""
    microscope = SimulatedMicroscope(load_world("bisect", dict(world)), 3, targets=5)
    chosen = AcquireSettings.model_validate({**FEW, **settings})
    try:
        result = run_session(microscope, simulated_targets(microscope), chosen)
    except (InputError, MicroscopeError) as error:
        return str(error)
    plan = result.plan
    told = [event_json(event) for event in result.events]
    return json.dumps([told, plan.doses.tolist(), plan.reachable.tolist(), plan.visits, dict(plan.seconds)])


@cache
def usual(settings: str, world: str) -> str:
    return session(json.loads(settings), json.loads(world))


@pytest.mark.slow
@pytest.mark.parametrize("field", SETTINGS)
def test_a_setting_acts(field: str) -> None:
    value, beside, world = SETTINGS[field]
    assert session({**beside, field: value}, world) != usual(json.dumps(beside), json.dumps(world))


@pytest.mark.slow
@pytest.mark.parametrize("field", WORLD)
def test_a_number_of_the_world_acts(field: str) -> None:
    value, beside = WORLD[field]
    assert session({}, {**beside, field: value}) != usual("{}", json.dumps(beside))


def test_no_setting_is_forgotten() -> None:
    assert set(SETTINGS) | set(SETTINGS_SEEN_ELSEWHERE) == set(AcquireSettings.model_fields)


def test_no_number_of_the_world_is_forgotten() -> None:
    fields = {
        f"{table}.{field}"
        for table in ("stage", "optics", "grid", "targets", "timing", "faults")
        for field in type(getattr(World(), table)).model_fields
    }
    fields |= {f"presets.{field}" for field in type(next(iter(World().presets.values()))).model_fields}
    named = {".".join((name.split(".")[0], name.split(".")[-1])) for name in (*WORLD, *WORLD_SEEN_ELSEWHERE)}
    assert named == fields


@pytest.mark.slow
@pytest.mark.parametrize("field", sorted(set(Fault.model_fields) - {"kind"}))
def test_a_faults_condition_acts(field: str) -> None:
    kinds = {"lasts": "refill", "value": "shift-limit", "answer": "nonsense", "times": "stage-timeout"}
    beside: dict[str, Any] = {
        "lasts": {"after": 150.0, "lasts": 60.0},
        "value": {"after": 150.0, "lasts": 200.0, "value": 5.0},
        "answer": {"purpose": "record", "tilt": 1},
        "times": {"tilt": 1},
    }.get(field, {"purpose": "record", "times": 3})
    other = {
        "tilt": 2,
        "target": 3,
        "purpose": "track",
        "after": 300.0,
        "call": 500,
        "times": 3,
        "probability": 0.1,
        "lasts": 300.0,
        "value": 1.0,
        "answer": "counts",
    }[field]
    fault = {"kind": kinds.get(field, "dark-image"), **beside}
    script = {"faults.script": [fault]}
    assert session({}, {"faults.script": [{**fault, field: other}]}) != usual("{}", json.dumps(script))
