"""SerialEM's adapter: the contract, SerialEM's units and signs, its failures, and a session through it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.acquire.microscope.contract import MicroscopeContract
from tests.acquire.microscope.serialem_stand_in import SEMerror, StandIn, ToldMicroscope, calibration_tables

from lamella.acquire import AcquireSettings, run_session
from lamella.acquire.microscope.port import RECORD, TRACK, TRACK_LOW, Pixels, Purpose
from lamella.acquire.microscope.serialem import SerialEMMicroscope
from lamella.acquire.microscope.serialem_calibration import SerialEMCalibration, read_serialem_calibration
from lamella.acquire.microscope.simulated import SimulatedMicroscope, score_session
from lamella.acquire.simulated_session import simulated_targets
from lamella.acquire.world import load_world
from lamella.errors import InputError, LimitError, MicroscopeError, PassingFault, SettingsError


def opened(world: str = "rigid", targets: int = 2, changes: dict[str, Any] | None = None) -> ToldMicroscope:
    scope = SimulatedMicroscope(load_world(world), 1, targets=targets, pictures="blobs")
    return ToldMicroscope(StandIn(scope), SerialEMCalibration.model_validate(calibration_tables(scope, changes)))


def called(scope: ToldMicroscope, name: str) -> tuple[Any, ...]:
    return [call for call in scope.stand_in.calls if call[0] == name][-1][1:]


class TestSerialEM(MicroscopeContract):
    @pytest.fixture
    def scope(self) -> ToldMicroscope:
        return opened("bisect")


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(-2, 2), st.floats(-60, 60))
def test_image_shifts_follow_pacetomos_rule(x: float, y: float, z: float, tilt: float) -> None:
    # A place of the stage frame, and where SerialEM says that it is: the published rule holds for SerialEM's numbers.
    scope = opened()
    scope.shift_image(x, y)
    ssx, ssy = scope.stand_in.ReportSpecimenShift()
    theta = np.deg2rad(tilt)
    scope.shift_image(float(x * np.cos(theta) + z * np.sin(theta)), y)
    assert scope.stand_in.ReportSpecimenShift() == pytest.approx(
        (ssx, ssy * np.cos(theta) - z * np.sin(theta)), abs=1e-9
    )
    assert called(scope, "SetImageShift")[2:] == (1.0, 1)
    # The height grows by -x sin θ; PACEtomo's focus changes by -SSY sin θ of SerialEM's defocus.
    scope.focus(3.0)
    before = scope.stand_in.ReportDefocus()
    scope.focus(3.0 - scope.calibrations.hand * float(z * np.cos(theta) - x * np.sin(theta)))
    change = -(z * np.cos(theta) + ssy * np.sin(theta))
    assert scope.stand_in.ReportDefocus() - before == pytest.approx(change, abs=1e-9)


def test_units_and_signs() -> None:
    scope = opened()
    scope.focus(2.5)
    assert called(scope, "SetDefocus") == (-2.5,)
    scope.move_stage(1.0, 2.0, 3.0)
    assert called(scope, "MoveStageTo") == (2.0, -1.0, 3.0)
    assert scope.status().stage_um == pytest.approx((1.0, 2.0, 3.0))
    scope.shift_image(1.0, 2.0)
    before = scope.stand_in.ReportBeamTilt()
    scope.tilt_beam(0.0, 4.0)
    # SerialEM's beam tilt keeps its compensation of the image shift; its X lies 30° from ours.
    added = np.subtract(scope.stand_in.ReportBeamTilt(), before)
    assert added == pytest.approx((4 * np.sin(np.pi / 6), 4 * np.cos(np.pi / 6)))
    assert scope.stand_in.scope.status().beam_tilt_mrad == pytest.approx((0.0, 4.0))
    assert opened(changes={"stage_z": -1}).status().stage_um[2] == pytest.approx(0.0)


def test_the_views_defocus_is_not_that_of_another_area() -> None:
    scope = opened()
    scope.focus(2.0)
    scope.expose(TRACK_LOW, Purpose(kind="track"))
    assert scope.status().defocus_um == pytest.approx(2.0)


def test_a_process_that_comes_after_knows_the_beams_tilt() -> None:
    first = opened()
    first.tilt_beam(0.0, 5.0)
    second = ToldMicroscope(first.stand_in, first._known)
    assert second.status().beam_tilt_mrad == (0.0, 5.0)
    second.tilt_beam(0.0, 0.0)
    assert first.stand_in.ReportBeamTilt() == pytest.approx((0.0, 0.0), abs=1e-12)


def test_pictures_lie_as_the_camera_writes_them() -> None:
    scope, twin = opened(), SimulatedMicroscope(load_world("rigid"), 1, targets=2, pictures="blobs")
    content = scope.expose(TRACK, Purpose(kind="track")).content
    direct = twin.expose(TRACK, Purpose(kind="track")).content
    assert isinstance(content, Pixels)
    assert isinstance(direct, Pixels)
    np.testing.assert_array_equal(content.image, direct.image)


def test_exposures_and_frames() -> None:
    scope = opened(changes={"frames_folder": "D:\\frames"})
    scope._names = ("hole1",)
    picture = scope.expose(RECORD, Purpose(kind="record", target=0, tilt=4), exposure_s=0.5)
    full = scope.calibrations.presets[RECORD]
    assert picture.dose == pytest.approx(full.dose * 0.5 / full.exposure_s)
    assert called(scope, "SetExposure") == ("R", 0.5)
    assert called(scope, "RestoreCameraSet") == ("R",)
    if full.frames > 1:
        assert picture.files == ("D:\\frames\\hole1_005_0.00.tif",)


def test_failures_in_words() -> None:
    scope = opened()
    with pytest.raises(LimitError, match="image shift"):
        scope.shift_image(1000.0, 0.0)
    with pytest.raises(MicroscopeError, match="finite"):
        scope.focus(float("nan"))
    with pytest.raises(LimitError, match="tilt"):
        scope.tilt(89.0)
    scope.stand_in.lost = True
    with pytest.raises(PassingFault, match="connection"):
        scope.status()
    # The next command connects again.
    assert scope.status().defocus_um == pytest.approx(0.0, abs=100)
    assert called(scope, "ConnectToSEM") == (48888, "here")


@pytest.mark.parametrize(
    ("said", "error"),
    [("Stage tilt beyond the limit", LimitError), ("Error getting image from camera", PassingFault)],
)
def test_serialems_words(said: str, error: type[Exception]) -> None:
    scope = opened()

    def fails(*_: Any) -> None:
        raise SEMerror(said)

    object.__setattr__(scope.stand_in, "TiltTo", fails)
    with pytest.raises(error, match=said):
        scope.tilt(3.0)


def test_nonsense_is_refused() -> None:
    scope = opened()
    object.__setattr__(scope.stand_in, "ReportTiltAngle", lambda: float("nan"))
    with pytest.raises(MicroscopeError, match="ReportTiltAngle"):
        scope.status()
    presets = calibration_tables(scope.stand_in.scope)["presets"]
    presets[RECORD]["pixel_size"] *= 1.2
    with pytest.raises(MicroscopeError, match="Å per pixel"):
        opened(changes={"presets": presets}).expose(RECORD, Purpose(kind="record"))


def test_without_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "serialem", None)
    tables = calibration_tables(SimulatedMicroscope(load_world("rigid"), 1, targets=2))
    with pytest.raises(MicroscopeError, match="cannot be imported") as error:
        SerialEMMicroscope(SerialEMCalibration.model_validate(tables))
    assert "PythonModules" in error.value.mend


def test_calibration_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_serialem_calibration(tmp_path / "none.toml")
    path = tmp_path / "microscope.toml"
    path.write_text("voltage = 300\n[presets]\n")
    with pytest.raises(SettingsError, match="tilt_axis is missing"):
        read_serialem_calibration(path)
    path.write_text('voltage = 300\ntilt_axis = 84.0\n[presets.record]\narea = "R"\npixel_sise = 1.0\n')
    with pytest.raises(SettingsError, match=r"presets\.record\.pixel_size is missing") as error:
        read_serialem_calibration(path)
    assert "Å" in error.value.mend


def test_a_session_through_it_targets_as_directly() -> None:
    world = load_world("pace")
    settings = AcquireSettings.model_validate(
        {**world.session, "predictor": "bisect", "tilt_range": 6.0, "tilt_step": 3.0}
    )
    medians = []
    for through in (False, True):
        scope = SimulatedMicroscope(world, 2, targets=9, pictures="blobs")
        targets = simulated_targets(scope)
        calibration = SerialEMCalibration.model_validate(calibration_tables(scope))
        result = run_session(ToldMicroscope(StandIn(scope), calibration) if through else scope, targets, settings)
        assert len(result.views) == 45
        score = score_session(scope, tilts=5, defocus_um=settings.defocus)
        medians.append((score.targeting_um.median, score.defocus_um.median))
    assert medians[1][0] == pytest.approx(medians[0][0], abs=0.02)
    assert medians[1][1] == pytest.approx(medians[0][1], abs=0.1)
