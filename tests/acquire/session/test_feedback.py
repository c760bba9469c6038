"""What processing measured comes into a running session, once, and again in a resumed one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lamella.acquire.microscope.simulated import SimulatedCrash, SimulatedMicroscope
from lamella.acquire.session.events import TiltBegun, ViewRecorded
from lamella.acquire.session.feedback import Measurement, add_feedback, read_feedback
from lamella.acquire.session.log import LOG_NAME
from lamella.acquire.session.measured import measurements_of
from lamella.acquire.session.run import resume_session, run_session
from lamella.acquire.simulated_session import session_settings, simulated_targets
from lamella.acquire.world import load_world
from lamella.errors import FormatError
from lamella.geometry import TiltGeometry
from lamella.records import Defocus, TiltSeries

CRASH = {"kind": "crash", "tilt": 6, "target": 2, "purpose": "record"}


def session(folder, *, script=(), resume=False, feedback=True, seed=5):
    """Four targets, nine tilts; a processing that tells the true defocus of every view two tilts later."""
    # Heights off the plane are large: focus is measured elsewhere.
    world = load_world("bisect", {"faults.script": list(script), "grid.target_height": 1.0})
    microscope = SimulatedMicroscope(world, seed, targets=4)
    settings = session_settings(world, {"predictor": "shared", "tilt_range": 24.0, "tilt_step": 3.0})
    targets = simulated_targets(microscope)
    told = 0

    def watch(event) -> None:
        nonlocal told
        if not isinstance(event, TiltBegun) or not feedback:
            return
        views = [v for v in microscope.truth.views if v.purpose.kind == "record" and v.purpose.tilt < event.tilt - 1]
        new, told = views[told:], len(views)
        if len(read_feedback(folder)) < told:
            add_feedback(
                folder,
                [
                    Measurement(
                        target=targets[v.purpose.target].name,
                        tilt_deg=v.tilt_deg,
                        kind="defocus",
                        value_um=v.defocus_um,
                        sd_um=0.03,
                    )
                    for v in new
                ],
            )

    if resume:
        result = resume_session(folder, microscope, watch=watch)
    else:
        result = run_session(microscope, targets, settings, folder, feedback=True, watch=watch)
    late = [v for v in microscope.truth.views if v.purpose.kind == "record" and v.purpose.tilt >= 6]
    return result, float(np.median([abs(v.defocus_um - settings.defocus) for v in late]))


def test_defoci_from_processing_bring_targets_into_focus(tmp_path) -> None:
    # One session's luck is as large as the gain: five together.
    without, focused = [], []
    for seed in range(1, 6):
        without.append(session(tmp_path / f"without{seed}", feedback=False, seed=seed)[1])
        focused.append(session(tmp_path / f"with{seed}", seed=seed)[1])
    assert np.mean(focused) < 0.75 * np.mean(without)


def test_a_resumed_session_takes_in_the_same(tmp_path) -> None:
    session(tmp_path / "whole")
    with pytest.raises(SimulatedCrash):
        session(tmp_path / "killed", script=[CRASH])
    result, _ = session(tmp_path / "killed", resume=True)
    assert sum(isinstance(event, ViewRecorded) for event in result.events) == len(result.views)

    def lines(name):
        logged = (tmp_path / name / LOG_NAME).read_text().splitlines()
        return [line for line in map(json.loads, logged[1:]) if "note" not in line]

    assert lines("killed") == lines("whole")


def test_lines_that_are_none_are_left_out(tmp_path) -> None:
    good = Measurement(target="T01", tilt_deg=3.0, kind="defocus", value_um=2.5, sd_um=0.1)
    add_feedback(tmp_path, [good])
    with (tmp_path / "feedback.jsonl").open("a") as file:
        file.write(
            'nonsense\n{"target": "T01"}\n{"target": "T01", "tilt_deg": 1, "kind": "x", "value_um": 1, "sd_um": 1}\n'
        )
    add_feedback(tmp_path, [good])
    assert read_feedback(tmp_path) == (good, good)
    with pytest.raises(FormatError, match="T01"):
        Measurement(target="T01", tilt_deg=3.0, kind="defocus", value_um=float("nan"), sd_um=0.1)


def test_a_record_gives_its_measurements() -> None:
    series = TiltSeries(
        name="T02",
        pixel_size_ang=2.0,
        image_shape_px=(8, 8),
        nominal_tilt_deg=np.array([0.0, 3.0]),
        nominal_axis_deg=np.zeros(2),
        geometry=TiltGeometry.from_angles([0.0, 3.0]),
        defocus=Defocus(u_ang=np.array([3e4, 3.2e4]), v_ang=np.array([2.8e4, 3.2e4]), angle_deg=np.zeros(2)),
        scores={"CtfDefocusErrorAngst": np.array([500.0, np.nan])},
        quality={"AlignThicknessErrorAngst": 100.0},
        thickness_ang=1500.0,
    )
    defocus, thickness = measurements_of(series)
    assert (defocus.target, defocus.tilt_deg, defocus.value_um, defocus.sd_um) == ("T02", 0.0, pytest.approx(2.9), 0.05)
    assert (thickness.kind, thickness.value_um) == ("thickness", pytest.approx(0.15))
