"""The files of a session: read by other programs' readers and our own; whole after a stop at any moment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mdocfile
import mrcfile
import numpy as np
import pytest

from lamella.acquire.microscope.simulated import SimulatedCrash, SimulatedMicroscope
from lamella.acquire.session.events import PlaneFitted, SeriesBegun, ViewRecorded
from lamella.acquire.session.files import SessionFiles
from lamella.acquire.session.model import lie_of, session_series
from lamella.acquire.session.run import resume_session, run_session
from lamella.acquire.simulated_session import session_settings, simulated_targets
from lamella.acquire.world import load_world
from lamella.formats.mdoc_series import series_from_mdoc
from lamella.formats.mrc_growing import GrowingStack
from lamella.formats.relion_tilt_series import read_tilt_series
from lamella.geometry.rotations import rotation_x, rotation_y

CRASH = {"kind": "crash", "tilt": 2, "target": 1, "purpose": "record"}


def session(folder, *, script=(), resume=False):
    """Two targets and five tilts on the world ``bisect``."""
    world = load_world("bisect", {"faults.script": list(script)})
    microscope = SimulatedMicroscope(world, 2, targets=2, pictures="blobs")
    settings = session_settings(world, {"predictor": "bisect", "tilt_range": 20.0, "tilt_step": 10.0})
    targets = simulated_targets(microscope)
    files = SessionFiles(folder, targets, settings, microscope.calibrations)
    sinks = {"pictures": files.picture, "watch": files.watch}
    if resume:
        result = resume_session(folder, microscope, **sinks)
    else:
        result = run_session(microscope, targets, settings, folder, **sinks)
    return result, files.finish(), microscope


def view_of(**fields: Any) -> ViewRecorded:
    """A recorded view; what is not given does not matter."""
    usual: dict[str, Any] = {
        "target": 0, "shot": 0, "attempt": 0, "asked_deg": 0.0, "shift_um": (0.0, 0.0), "defocus_um": 3.0,
        "predicted_sd_um": (0.05, 0.1), "displacement_um": None, "displacement_sd_um": 0.0, "confidence": 0.9,
        "learned": True, "dose": 3.0, "dose_before": 0.0, "mean_counts": 100.0, "files": (), "time_s": 0.0,
    }  # fmt: skip
    return ViewRecorded(**(usual | fields))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("session")
    return folder, *session(folder)


def test_stack_and_mdoc_are_read_by_others(recorded) -> None:
    _, result, output, microscope = recorded
    views = [view for view in result.views if view.target == 0]
    table = mdocfile.read(output.mdocs[0])
    assert list(table["TiltAngle"]) == pytest.approx([view.tilt_deg for view in views], abs=1e-4)
    assert list(table["PriorRecordDose"]) == pytest.approx([0, 3, 6, 9, 12])
    assert list(table["TargetDefocus"]) == [-3.0] * 5
    shifts = np.array(table["ImageShift"].tolist(), float)
    np.testing.assert_allclose(shifts, [view.shift_um for view in views], atol=1e-4)
    # As PACEtomo states it: along the tilt axis first, and against x across it.
    text = output.mdocs[0].read_text()
    specimen = np.array([line.split()[2:] for line in text.splitlines() if line.startswith("SpecimenShift")], float)
    np.testing.assert_allclose(specimen, [(view.shift_um[1], -view.shift_um[0]) for view in views], atol=1e-4)
    assert "binning = 1  dosym = 0.0]" in text
    assert mrcfile.validate(output.stacks[0])
    with mrcfile.open(output.stacks[0]) as stack:
        assert stack.data.dtype == np.int16
        assert stack.data.shape == (5, *microscope.calibrations.presets["record"].shape_px)
        for number, said in enumerate(table["MinMaxMean"]):
            assert stack.data[number].mean() == pytest.approx(said[2], rel=1e-4)


def test_the_series_is_understood_by_import(recorded) -> None:
    _, _, output, _ = recorded
    imported = series_from_mdoc(output.mdocs)
    assert [one.name for one in imported.series] == ["T01", "T02"]
    one = imported.series[0]
    assert one.nominal_axis_deg[0] == 85.0
    assert one.pre_exposure is not None
    assert sorted(one.pre_exposure) == pytest.approx([0, 3, 6, 9, 12])
    assert not [note for note in imported.notes if note.kind == "warning"]


def test_the_sorted_copy_holds_the_same_images(recorded) -> None:
    folder, _, output, _ = recorded
    angles = mdocfile.read(output.mdocs[1])["TiltAngle"].to_numpy()
    with mrcfile.open(output.stacks[1]) as stack, mrcfile.open(folder / "sorted" / "T02.mrc") as copy:
        np.testing.assert_array_equal(copy.data, stack.data[np.argsort(angles)])
    assert list(mdocfile.read(folder / "sorted" / "T02.mrc.mdoc")["TiltAngle"]) == sorted(angles)


def test_the_geometry_is_written_for_relion(recorded) -> None:
    folder, result, output, _ = recorded
    for number, one in enumerate(read_tilt_series(output.geometry, folder)):
        assert one.name == f"T0{number + 1}"
        assert one.images is not None
        assert one.images[0].endswith(f"@T0{number + 1}.mrc")
        assert one.defocus.u_ang == pytest.approx([30000.0] * 5)
        told = np.array(sorted(view.tilt_deg for view in result.views if view.target == number))
        np.testing.assert_allclose(one.geometry.y_tilt_deg, told)
        np.testing.assert_allclose(one.geometry.x_tilt_deg, 0.0)


def test_the_geometry_says_where_the_target_was() -> None:
    """The truth is what the simulated microscope knows, but for the point of the specimen that is meant."""
    world = load_world("bisect")
    microscope = SimulatedMicroscope(world, 2, targets=2)
    settings = session_settings(world, {"predictor": "bisect", "tilt_range": 30.0, "tilt_step": 6.0})
    result = run_session(microscope, simulated_targets(microscope), settings)
    angle = np.deg2rad(85.0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    for target in (0, 1):
        views = [view for view in result.views if view.target == target]
        one = session_series(
            "T",
            views,
            settings,
            microscope.calibrations,
            pixel_size_ang=2.0,
            image_shape_px=(8, 8),
            images=["x"] * len(views),
        )
        true = {
            view.purpose.tilt: 1e4 * turn @ view.offset_um
            for view in microscope.truth.views
            if (view.purpose.kind, view.purpose.target) == ("record", target)
        }
        expected = np.array([true[view.tilt] for view in views])
        found = one.geometry.shifts_ang()[np.argsort(np.argsort([view.tilt_deg for view in views]))]
        seen = one.geometry.matrices()[np.argsort(np.argsort([view.tilt_deg for view in views]))].reshape(-1, 3)
        off = (found - expected).ravel()
        rest = off - seen @ np.linalg.lstsq(seen, off, rcond=None)[0]
        assert np.sqrt((rest**2).mean()) < 0.3 * expected.std()


def test_the_first_view_is_where_tracking_had_it_and_others_in_the_middle() -> None:
    """Each with the error that it has: measured, followed by the tracking area, or predicted alone."""
    views = [
        view_of(tilt=0, tilt_deg=0.0, learned=False),
        view_of(tilt=1, tilt_deg=3.0, displacement_um=(0.02, -0.01), displacement_sd_um=0.001),
        view_of(tilt=2, tilt_deg=-3.0, displacement_um=(0.5, 0.5), learned=False),
    ]
    begun = SeriesBegun(target=0, tilt=0, displacement_um=(-0.004, 0.03), sd_um=0.005)
    microscope = SimulatedMicroscope(load_world("rigid"), 1, targets=1)
    one = session_series(
        "T", views, session_settings(load_world("rigid"), {}), replace(microscope.calibrations, tilt_axis_deg=90.0),
        pixel_size_ang=2.0, image_shape_px=(8, 8), images=["a", "b", "c"], first=begun,
    )  # fmt: skip
    # at an axis of 90° what lies across it appears along y, and what lies along it against x
    np.testing.assert_allclose(one.geometry.shifts_ang(), [[0, 0], [-300, -40], [100, 200]], atol=1e-9)
    np.testing.assert_allclose(one.scores["SessionShiftErrorAngst"], [500, 50, 10])


@pytest.mark.parametrize("start", [0.0, 12.0])
def test_how_targets_lie_is_their_planes_normal(start: float) -> None:
    """Ry(offset)·Rx(x tilt)·z on the stage at 0°, from a plane in the frame of the start tilt."""
    normal = np.array([-0.2, 0.1, 1.0]) / np.linalg.norm([-0.2, 0.1, 1.0])
    turned = rotation_y(start) @ normal
    plane = PlaneFitted(
        pre_tilt_deg=float(np.rad2deg(np.arccos(turned[2]))),
        rotation_deg=float(np.rad2deg(np.arctan2(-turned[1], -turned[0]))),
        residual_um=0.1,
    )
    lie = lie_of(plane, start)
    found = rotation_y(lie.tilt_offset_deg) @ rotation_x(lie.x_tilt_deg) @ [0, 0, 1]
    np.testing.assert_allclose(found, normal, atol=1e-9)


def test_a_session_that_was_killed_leaves_whole_files_and_the_same_in_the_end(recorded, tmp_path) -> None:
    folder, *_ = recorded
    with pytest.raises(SimulatedCrash):
        session(tmp_path, script=[CRASH])
    stack, mdoc = tmp_path / "T01.mrc", tmp_path / "T01.mrc.mdoc"
    with mrcfile.open(stack, permissive=True) as half:
        assert len(half.data) == len(mdocfile.read(mdoc)) < 5
    session(tmp_path, resume=True)
    for path in sorted(folder.rglob("*.mrc")) + sorted(folder.rglob("*.mdoc")) + sorted(folder.rglob("*.star")):
        assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes(), path.name


def test_a_stack_is_whole_between_pixels_and_header(tmp_path) -> None:
    images = np.arange(3 * 4 * 6, dtype=np.float32).reshape(3, 4, 6)
    stack = GrowingStack(tmp_path / "one.mrc", (4, 6), 2.0, "int16")
    for number in (0, 1):
        stack.put(number, images[number])
        stack.keep(number + 1)
    stack.put(2, images[2])
    with mrcfile.open(tmp_path / "one.mrc", permissive=True) as file:
        assert len(file.data) == 2
    again = GrowingStack(tmp_path / "one.mrc", (4, 6), 2.0, "float32")
    assert (len(again), again.dtype, again.holds(2)) == (2, "int16", True)
    again.keep(3)
    assert mrcfile.validate(tmp_path / "one.mrc")
    with mrcfile.open(tmp_path / "one.mrc") as file:
        np.testing.assert_array_equal(file.data, images)
