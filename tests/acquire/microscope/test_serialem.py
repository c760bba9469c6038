"""SerialEM's adapter: the contract, SerialEM's units and signs, its failures, and a session through it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.acquire.microscope.contract import MicroscopeContract
from tests.acquire.microscope.serialem_signatures import SIGNATURES
from tests.acquire.microscope.serialem_stand_in import COMA, SEMerror, StandIn, ToldMicroscope, calibration_tables

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


def opened_with_frames(changes: dict[str, Any] | None = None) -> ToldMicroscope:
    presets = calibration_tables(SimulatedMicroscope(load_world("rigid"), 1, targets=2, pictures="blobs"))["presets"]
    presets[RECORD]["frames"] = 6
    return opened(changes={"frames_folder": "D:\\frames", "presets": presets, **(changes or {})})


def failing(said: str) -> Callable[..., None]:
    """A command that SerialEM does not carry out."""

    def fails(*_: Any) -> None:
        raise SEMerror(said)

    return fails


def called(scope: ToldMicroscope, name: str) -> tuple[Any, ...]:
    return [call for call in scope.stand_in.calls if call[0] == name][-1][1:]


class TestSerialEM(MicroscopeContract):
    @pytest.fixture
    def scope(self) -> ToldMicroscope:
        return opened("bisect")


@settings(max_examples=20, deadline=None)
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
    assert called(scope, "SetImageShift")[2:] == (1.0,)
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


def test_the_beam_is_tilted_against_coma_from_the_same_tilt_with_every_shift() -> None:
    scope = opened()
    aligned = np.array(scope.stand_in.ReportBeamTilt())
    for _ in range(3):
        scope.shift_image(1.0, 2.0)
        scope.shift_image(-3.0, 0.5)
    units = np.array(called(scope, "SetImageShift")[:2])
    assert scope.stand_in.ReportBeamTilt() == pytest.approx(aligned + COMA @ units, abs=1e-12)
    # A tilt that was added stays through a shift.
    scope.tilt_beam(0.0, 4.0)
    scope.shift_image(0.0, 0.0)
    assert scope.status().beam_tilt_mrad == (0.0, 4.0)
    assert np.hypot(*(np.array(scope.stand_in.ReportBeamTilt()) - aligned)) == pytest.approx(4.0)
    # A command that failed on the way leaves nothing behind.
    real = scope.stand_in.AdjustBeamTiltforIS
    object.__setattr__(scope.stand_in, "AdjustBeamTiltforIS", failing("Error setting beam tilt"))
    with pytest.raises(PassingFault):
        scope.shift_image(2.0, 0.0)
    object.__setattr__(scope.stand_in, "AdjustBeamTiltforIS", real)
    scope.tilt_beam(0.0, 0.0)
    scope.shift_image(2.0, 0.0)
    units = np.array(called(scope, "SetImageShift")[:2])
    assert scope.stand_in.ReportBeamTilt() == pytest.approx(aligned + COMA @ units, abs=1e-12)


def test_without_coma_correction_the_beams_tilt_stays() -> None:
    scope = opened(changes={"coma_correction": False})
    scope.stand_in.coma_calibrated = False
    aligned = scope.stand_in.ReportBeamTilt()
    scope.shift_image(1.0, 2.0)
    assert scope.stand_in.ReportBeamTilt() == aligned


def test_serialem_takes_the_beams_tilt_back_when_a_process_ends() -> None:
    first = opened()
    aligned = first.stand_in.ReportBeamTilt()
    first.shift_image(3.0, 1.0)
    first.tilt_beam(0.0, 5.0)
    first.stand_in.end_script()
    second = ToldMicroscope(first.stand_in, first._known)
    assert second.status().beam_tilt_mrad == (0.0, 0.0)
    second.shift_image(0.0, 0.0)
    assert first.stand_in.ReportBeamTilt() == pytest.approx(aligned, abs=1e-12)


def test_a_script_that_was_stopped_is_begun_anew() -> None:
    scope = opened()
    scope.shift_image(1.0, 0.0)
    scope.tilt_beam(0.0, 5.0)
    scope.stand_in.stopped = True
    with pytest.raises(MicroscopeError, match="stopped in SerialEM") as error:
        scope.tilt(3.0)
    assert "resume" in error.value.mend
    assert scope.status().beam_tilt_mrad == (0.0, 0.0)


def test_the_stages_axes_are_those_that_serialem_states() -> None:
    changes = {"stage_to_specimen": [-0.98, 0.05, -0.04, 1.01]}
    scope = opened(changes=changes)
    with pytest.raises(MicroscopeError, match=r"StageToSpecimenMatrix is -1.0000, 0.0000, 0.0000, -1.0000"):
        scope.status()
    scope = opened(changes=changes)
    scope.stand_in.stage_matrix = np.array([[-0.98, 0.05], [-0.04, 1.01]])
    scope.move_stage(1.0, 2.0, 3.0)
    # What SerialEM would have to shift the image by to see what the stage has brought away.
    ssx, ssy = scope.stand_in.stage_matrix @ called(scope, "MoveStageTo")[:2]
    assert (ssy, -ssx) == pytest.approx((1.0, 2.0))
    assert scope.status().stage_um == pytest.approx((1.0, 2.0, 3.0))


def test_every_command_is_one_that_the_module_has() -> None:
    scope = opened_with_frames({"check_pump": True})
    scope.ready()
    scope.wait(1.0)
    scope.tilt(3.0)
    scope.focus(2.0)
    scope.move_stage(0.0, 0.0, 0.0)
    scope.shift_image(1.0, 1.0)
    scope.tilt_beam(0.0, 1.0)
    for preset in scope.calibrations.presets:
        scope.expose(preset, Purpose(kind="record", target=0), exposure_s=0.5)
    used = {call[0] for call in scope.stand_in.calls}
    # The one area that no preset of the stand-in's has.
    assert used == set(SIGNATURES) - {"Trial"}
    with pytest.raises(TypeError):
        scope.stand_in.TiltTo("3")
    with pytest.raises(TypeError):
        scope.stand_in.ReportDefocus(1)
    with pytest.raises(TypeError):
        scope.stand_in.SpecimenToISMatrix(0.0)
    with pytest.raises(AttributeError):
        scope.stand_in.ReportDefocii()


def test_a_wait_of_minutes_is_one_of_minutes() -> None:
    scope = opened()
    before = scope.stand_in.scope.time_s
    scope.wait(90.0)
    assert scope.stand_in.scope.time_s == pytest.approx(before + 90.0)


def test_pictures_lie_as_the_camera_writes_them() -> None:
    scope, twin = opened(), SimulatedMicroscope(load_world("rigid"), 1, targets=2, pictures="blobs")
    content = scope.expose(TRACK, Purpose(kind="track")).content
    direct = twin.expose(TRACK, Purpose(kind="track")).content
    assert isinstance(content, Pixels)
    assert isinstance(direct, Pixels)
    np.testing.assert_array_equal(content.image, direct.image)


def test_exposures_and_frames() -> None:
    scope = opened_with_frames()
    scope._names = ("hole1",)
    picture = scope.expose(RECORD, Purpose(kind="record", target=0, tilt=4), exposure_s=0.5)
    full = scope.calibrations.presets[RECORD]
    assert picture.dose == pytest.approx(full.dose * 0.5 / full.exposure_s)
    assert called(scope, "SetExposure") == ("R", 0.5)
    assert called(scope, "RestoreCameraSet") == ("R",)
    assert picture.files == ("D:\\frames\\hole1_005_0.00.tif",)
    # SerialEM still names the last file where nothing was written.
    scope.stand_in.saves_frames = False
    assert scope.expose(RECORD, Purpose(kind="record", target=0, tilt=5), exposure_s=0.5).files == ()


def test_the_dose_is_of_what_the_camera_could() -> None:
    scope = opened()
    full = scope.calibrations.presets[RECORD]
    real = scope.stand_in.ImageProperties

    def rounded(buffer: str) -> tuple[float, ...]:
        width, height, binning, exposure, *rest = real(buffer)
        return (width, height, binning, exposure * 1.04, *rest)

    object.__setattr__(scope.stand_in, "ImageProperties", rounded)
    assert scope.expose(RECORD, Purpose(kind="record")).dose == pytest.approx(full.dose * 1.04)
    presets = calibration_tables(scope.stand_in.scope)["presets"]
    presets[RECORD]["exposure"] *= 1.5
    with pytest.raises(MicroscopeError, match="exposed for"):
        opened(changes={"presets": presets}).expose(RECORD, Purpose(kind="record"))


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
    assert called(scope, "ConnectToSEM") == (48888, "192.168.0.3")


def test_a_lost_connection_is_waited_for() -> None:
    scope = opened()
    scope.stand_in.lost = True
    object.__setattr__(scope.stand_in, "ConnectToSEM", failing("no answer"))
    with pytest.raises(PassingFault):
        scope.tilt(3.0)
    before = scope.stand_in.scope.time_s
    scope.wait(7.0)
    assert scope.stand_in.scope.time_s == pytest.approx(before + 7.0)
    with pytest.raises(PassingFault, match="no SerialEM answers at 192"):
        scope.tilt(3.0)


def test_what_serialem_only_answers_and_does_not_raise() -> None:
    scope = opened(changes={"shift_limit": 100.0})
    with pytest.raises(LimitError, match="beyond its limit"):
        scope.shift_image(50.0, 0.0)
    object.__setattr__(scope.stand_in, "SpecimenToISMatrix", lambda mag: (0.0, 0.0, 0.0, 0.0))
    with pytest.raises(MicroscopeError, match="no calibration"):
        scope.shift_image(1.0, 0.0)
    scope = opened()
    scope.stand_in.screen_down = True
    with pytest.raises(PassingFault, match="low-dose area R") as error:
        scope.focus(2.0)
    assert "screen" in error.value.mend
    scope = opened()
    scope.stand_in.low_dose = False
    with pytest.raises(MicroscopeError, match="low dose"):
        scope.focus(2.0)
    scope = opened()
    scope.stand_in.coma_calibrated = False
    with pytest.raises(MicroscopeError, match="ReportComaVsISmatrix") as error:
        scope.shift_image(1.0, 0.0)
    assert "coma_correction" in error.value.mend


@pytest.mark.parametrize(
    ("address", "port", "call"),
    [("", 48888, None), ("", 48890, (48890,)), ("localhost", 48888, (48888, "127.0.0.1"))],
)
def test_where_it_is_asked(address: str, port: int, call: tuple[object, ...] | None) -> None:
    stand_in = StandIn(SimulatedMicroscope(load_world("rigid"), 1, targets=2))
    object.__setattr__(stand_in, "ConnectToSEM", lambda *_: None)
    SerialEMMicroscope(
        SerialEMCalibration.model_validate(calibration_tables(stand_in.scope)), address, port, module=stand_in
    )
    assert [made[1:] for made in stand_in.calls if made[0] == "ConnectToSEM"] == ([] if call is None else [call])


@pytest.mark.parametrize(
    ("said", "error"),
    [("Stage tilt beyond the limit", LimitError), ("Error getting image from camera", PassingFault)],
)
def test_serialems_words(said: str, error: type[Exception]) -> None:
    scope = opened()
    object.__setattr__(scope.stand_in, "TiltTo", failing(said))
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
