"""A predictor by its name, and what all of them refuse or share."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.acquire.microscope.port import Calibrations, Preset
from lamella.acquire.predictor import (
    PREDICTORS,
    Observation,
    TargetPlace,
    View,
    make_predictor,
)
from lamella.errors import SettingsError
from lamella.geometry import TiltGeometry

PRESET = Preset(name="record", pixel_size_ang=2.0, shape_px=(4000, 4000), exposure_s=1.0, dose=3.0, beam_um=1.0)
PLACES = {
    -2: TargetPlace(place_um=(0.0, 3.0, 0.1)),
    -1: TargetPlace(place_um=(0.0, -3.0, 0.2)),
    0: TargetPlace(place_um=(5.0, 2.0, 0.9)),
    1: TargetPlace(place_um=(-4.0, -6.0, -0.6)),
}
SCHEME = [0, 3, -3, -6, 6, 9, -9, -12, 12, 15, -15, -18, 18, 30, -30, -45, 45, 60, -60]


def calibrations(axis_um: float = 0.0) -> Calibrations:
    return Calibrations(presets={"record": PRESET}, tilt_axis_deg=85.0, axis_offset_um=axis_um)


def view(target: int, tilt: int, tilt_deg: float | None = None) -> View:
    angle = float(SCHEME[tilt] if tilt_deg is None else tilt_deg)
    return View(
        target=target,
        tilt=tilt,
        tilt_deg=angle,
        time_s=120.0 * tilt + 4.0 * (target + 2),
        since_tilt_s=20.0 + 4.0 * target,
        branch=int(np.sign(angle)),
    )


@pytest.mark.parametrize("name", sorted(PREDICTORS))
@pytest.mark.parametrize("axis_um", [0.0, 0.7])
def test_a_rigid_specimen_on_an_ideal_stage_is_predicted_to_rounding(name: str, axis_um: float) -> None:
    predictor = make_predictor(name, PLACES, calibrations(axis_um))
    for tilt in range(len(SCHEME)):
        for target in (-1, 0, 1):
            geometry = TiltGeometry.from_angles([SCHEME[tilt]])
            point = np.array(PLACES[target].place_um) - [axis_um, 0.0, 0.0]
            truth = geometry.project(point)[0] + [axis_um, 0.0]
            prediction = predictor.predict(view(target, tilt))
            assert np.allclose(prediction.shift_um, truth, atol=1e-9)
            assert prediction.height_um == pytest.approx(geometry.depth_ang(point)[0], abs=1e-9)
            assert np.linalg.eigvalsh(prediction.covariance_um2).min() >= -1e-12
            if tilt > 0 or target < 0:
                predictor.observe(
                    Observation(view=view(target, tilt), kind="place", value_um=prediction.shift_um, sd_um=0.005)
                )


def test_only_incremental_wants_the_first_target() -> None:
    wants = {name: make_predictor(name, PLACES, calibrations()).tracks_on for name in PREDICTORS}
    assert {name for name, what in wants.items() if what == "first"} == {"incremental"}


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(SettingsError, match="bisect, flat, incremental, shared"):
        make_predictor("clever", PLACES, calibrations())


@pytest.mark.parametrize("name", sorted(PREDICTORS))
def test_no_target_nonsense_or_an_unknown_one_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="no target"):
        make_predictor(name, {}, calibrations())
    with pytest.raises(SettingsError, match="target 3"):
        make_predictor(name, {3: TargetPlace(place_um=(0.0, float("nan"), 0.0))}, calibrations())
    with pytest.raises(SettingsError, match="target 7 is unknown"):
        make_predictor(name, PLACES, calibrations()).predict(view(7, 0))


@pytest.mark.parametrize("name", sorted(set(PREDICTORS) - {"incremental"}))
def test_what_tracking_finds_is_shared_by_all(name: str) -> None:
    predictor = make_predictor(name, PLACES, calibrations())
    before = predictor.predict(view(1, 1))
    found = predictor.predict(view(-1, 1)).shift_um + np.array([0.2, -0.1])
    predictor.observe(Observation(view=view(-1, 1), kind="place", value_um=found, sd_um=0.001))
    moved = predictor.predict(view(1, 1)).shift_um - before.shift_um
    assert np.allclose(moved, [0.2, -0.1], atol=0.02)


@pytest.mark.parametrize("name", sorted(set(PREDICTORS) - {"incremental", "shared"}))
def test_what_focusing_finds_is_shared_by_all(name: str) -> None:
    predictor = make_predictor(name, PLACES, calibrations())
    before = predictor.predict(view(1, 0)).height_um
    found = predictor.predict(view(-2, 0)).height_um + 0.3
    predictor.observe(Observation(view=view(-2, 0), kind="height", value_um=np.array([found]), sd_um=0.01))
    assert predictor.predict(view(1, 0)).height_um - before == pytest.approx(0.3, abs=1e-9)
