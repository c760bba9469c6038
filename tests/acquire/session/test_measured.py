"""What processing says of a series, in the session's frame: against a geometry made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.acquire.session.events import SeriesBegun, ViewRecorded
from lamella.acquire.session.measured import measurements_of, shifts_of
from lamella.acquire.session.model import in_image_ang, in_stage_um
from lamella.geometry import TiltGeometry
from lamella.records import Defocus, TiltSeries

AXIS_DEG = 84.0
TILT = np.array([-9.0, -6.0, -3.0, 0.0, 3.0, 6.0, 9.0])
ORDER = [3, 4, 2, 1, 5, 6, 0]


def aligned(shift_ang: np.ndarray, **more) -> TiltSeries:
    geometry = TiltGeometry.from_angles(TILT, AXIS_DEG, x_shift_ang=shift_ang[:, 0], y_shift_ang=shift_ang[:, 1])
    return TiltSeries(
        name="T02",
        pixel_size_ang=2.0,
        image_shape_px=(8, 8),
        nominal_tilt_deg=TILT,
        nominal_axis_deg=np.full(len(TILT), AXIS_DEG),
        geometry=geometry,
        **more,
    )


def views(believed_um: np.ndarray, wrong: tuple[int, ...] = ()) -> list[ViewRecorded]:
    """As the session recorded them; those that are wrong were not learned from."""
    return [
        ViewRecorded(
            target=1, tilt=number, shot=0, attempt=0, asked_deg=float(TILT[row]), tilt_deg=float(TILT[row]),
            shift_um=(0.0, 0.0), defocus_um=3.0, predicted_sd_um=(0.01, 0.1),
            displacement_um=None if not number else (float(believed_um[row, 0]), float(believed_um[row, 1])),
            displacement_sd_um=0.004, confidence=0.9, learned=row not in wrong and number > 0, dose=3.0,
            dose_before=3.0 * number, mean_counts=100.0, files=(), time_s=100.0 * number,
        )
        for number, row in enumerate(ORDER)
    ]  # fmt: skip


def test_the_frames_are_each_others_inverse() -> None:
    off = np.random.default_rng(1).normal(size=(5, 2))
    np.testing.assert_allclose(in_stage_um(in_image_ang(off, AXIS_DEG), AXIS_DEG), off, atol=1e-12)
    # Along the tilt axis, an image shows a move in the axis's own direction.
    along = in_image_ang(np.array([0.0, 1.0]), AXIS_DEG)
    np.testing.assert_allclose(along, 1e4 * np.array([-np.sin(np.deg2rad(AXIS_DEG)), np.cos(np.deg2rad(AXIS_DEG))]))


@pytest.mark.parametrize("moved_ang", [(0.0, 0.0, 0.0), (400.0, -250.0, 300.0)])
def test_shifts_do_not_depend_on_where_alignment_put_the_specimen(moved_ang) -> None:
    rng = np.random.default_rng(2)
    true_um = rng.normal(0, 0.03, (len(TILT), 2))
    true_um[3] = 0.0
    true_um[5] = [0.9, -0.4]  # the session took this view for a wrong peak
    shifts = in_image_ang(true_um, AXIS_DEG)
    # Another translation of the specimen: every shift is another, and no picture.
    gauge = TiltGeometry.from_angles(TILT, AXIS_DEG).project(np.array([moved_ang]))[:, 0]
    seen = views(true_um + rng.normal(0, 0.004, true_um.shape), wrong=(5,))
    seen[ORDER.index(5)] = ViewRecorded(**{**vars(seen[ORDER.index(5)]), "displacement_um": (-0.2, 0.3)})
    first = SeriesBegun(target=1, tilt=0, displacement_um=(0.0, 0.0), sd_um=0.005)
    found = shifts_of(aligned(shifts - gauge), seen, AXIS_DEG, first)
    assert [one.tilt_deg for one in found] == [angle for angle in TILT if angle]
    told = np.array([(one.value_um, one.along_um) for one in found])
    # A height of the point that is followed is known to 0.1 µm about the mid-plane, beside what the session measured.
    np.testing.assert_allclose(told, np.delete(true_um, 3, axis=0), atol=0.015)
    assert max(one.sd_um for one in found) < 0.03


def test_an_alignment_that_saw_something_else_tells_nothing() -> None:
    rng = np.random.default_rng(4)
    true_um = rng.normal(0, 0.03, (len(TILT), 2))
    other = in_image_ang(true_um + rng.normal(0, 0.5, true_um.shape), AXIS_DEG)
    assert shifts_of(aligned(other), views(true_um), AXIS_DEG) == ()
    assert shifts_of(aligned(other), [], AXIS_DEG) == ()


def test_borrowed_defoci_are_nobodys_measurement() -> None:
    defocus = Defocus(u_ang=np.full(7, 3e4), v_ang=np.full(7, 3e4), angle_deg=np.zeros(7))
    series = aligned(
        np.zeros((7, 2)),
        defocus=defocus,
        scores={
            "CtfDefocusErrorAngst": np.array([300.0, np.nan, 300, 300, 300, 300, 50]),
            "CtfBorrowed": np.array([0.0, 0, 0, 1, 0, 0, 0]),
        },
        thickness_ang=2500.0,
        quality={"AlignThicknessErrorAngst": 200.0},
    )
    found = measurements_of(series)
    assert [one.tilt_deg for one in found if one.kind == "defocus"] == [-9.0, -3.0, 3.0, 6.0, 9.0]
    assert [one.sd_um for one in found if one.kind == "defocus"][-1] == 0.01
    assert [(one.value_um, one.sd_um) for one in found if one.kind == "thickness"] == [(0.25, pytest.approx(0.02))]
