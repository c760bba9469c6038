"""A series in a better frame: every picture and every defocus stays, and the specimen lies as it should."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from lamella.errors import ProjectError
from lamella.geometry import ImageField, TiltGeometry, rotation_x, rotation_y
from lamella.records import Defocus, TiltSeries
from lamella.tomograms import LevelSettings, SpecimenPosition, level

TILTS = np.linspace(-60, 60, 21)
MEASURED = SpecimenPosition(
    x_tilt_deg=2.0,
    x_tilt_error_deg=0.4,
    y_tilt_deg=-3.0,
    y_tilt_error_deg=0.5,
    offset_ang=120.0,
    offset_error_ang=10.0,
    thickness_ang=900.0,
    thickness_error_ang=40.0,
)


def series(rng: np.random.Generator) -> TiltSeries:
    geometry = TiltGeometry.from_angles(
        TILTS,
        85.0,
        x_tilt_deg=1.5,
        x_shift_ang=rng.normal(0, 30, 21),
        y_shift_ang=rng.normal(0, 30, 21),
        field=ImageField(rng.normal(0, 3, (21, 2, 3, 3)), (2000.0, 2000.0)),
    )
    return TiltSeries(
        name="TS",
        pixel_size_ang=4.0,
        image_shape_px=(512, 512),
        nominal_tilt_deg=TILTS,
        nominal_axis_deg=np.full(21, 85.0),
        geometry=geometry,
        defocus=Defocus(u_ang=np.full(21, 3e4), v_ang=rng.normal(2.9e4, 100, 21), angle_deg=np.full(21, 30.0)),
        thickness_ang=700.0,
    )


def plane(position: SpecimenPosition) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A normal and a point of a mid-plane."""
    normal = rotation_x(position.x_tilt_deg) @ rotation_y(position.y_tilt_deg) @ [0.0, 0.0, 1.0]
    return normal, np.array([0.0, 0.0, position.offset_ang])


@pytest.mark.parametrize(
    "settings",
    [
        LevelSettings(),
        LevelSettings(lift=False, x_tilt=3.0, y_tilt=-8.0),
        LevelSettings(centre_x=400.0, centre_y=-200.0, centre_z=50.0, y_tilt=2.0),
    ],
)
def test_pictures_and_defocus_of_every_point_stay(rng: np.random.Generator, settings: LevelSettings) -> None:
    before = series(rng)
    result = level(before, MEASURED, settings)
    points = rng.uniform(-800, 800, (30, 3))
    moved = result.change.moved(points)
    assert before.geometry is not None
    assert result.series.geometry is not None
    np.testing.assert_allclose(result.series.geometry.project(moved), before.geometry.project(points), atol=1e-6)
    for now, then in zip(result.series.defocus_at(moved), before.defocus_at(points), strict=True):
        np.testing.assert_allclose(now, then, atol=1e-6)
    matrices = result.change.turned(np.eye(3))
    np.testing.assert_allclose(matrices, result.change.rotation)
    assert before.defocus.u_ang[0] == 3e4  # what came in stays as it was


def test_the_mid_plane_becomes_z_0_and_its_normal_z(rng: np.random.Generator) -> None:
    result = level(series(rng), MEASURED, LevelSettings())
    normal, point = plane(MEASURED)
    np.testing.assert_allclose(result.change.rotation @ normal, [0, 0, 1], atol=1e-9)
    assert result.change.moved(point)[2] == pytest.approx(0, abs=1e-6)
    assert result.series.thickness_ang == 900
    assert result.series.quality["LevelXTiltDeg"] == 2
    assert result.series.quality["LevelOffsetErrorAngst"] == 10
    assert result.series.geometry is not None
    np.testing.assert_allclose(np.ptp(result.series.geometry.x_tilt_deg), 0, atol=1e-9)  # one for all views


def test_the_centre_is_the_place_that_was_asked_for(rng: np.random.Generator) -> None:
    settings = LevelSettings(centre_x=400.0, centre_y=-200.0)
    result = level(series(rng), MEASURED, settings)
    normal, point = plane(MEASURED)
    height = point[2] - (normal[0] * 400 - normal[1] * 200) / normal[2]
    np.testing.assert_allclose(result.change.moved([400, -200, height]), 0, atol=1e-6)
    above = level(series(rng), MEASURED, LevelSettings(turn=False, lift=False, centre_z=100.0))
    np.testing.assert_allclose(above.change.moved([0, 0, 100.0]), 0, atol=1e-9)
    np.testing.assert_allclose(above.change.rotation, np.eye(3), atol=1e-12)


def test_a_turn_judged_by_eye_is_added(rng: np.random.Generator) -> None:
    before = series(rng)
    result = level(before, None, LevelSettings(turn=False, lift=False, y_tilt=10.0))
    assert result.series.geometry is not None
    assert before.geometry is not None
    np.testing.assert_allclose(result.change.rotation @ rotation_y(-10.0) @ [0, 0, 1], [0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(result.series.geometry.y_tilt_deg, before.geometry.y_tilt_deg - 10, atol=0.02)
    assert result.notes == ("turned by 10° about y as judged by eye",)
    both = level(before, MEASURED, LevelSettings(x_tilt=-1.5, y_tilt=2.0))
    assert both.notes[-2:] == ("turned by -1.5° about x as judged by eye", "turned by 2° about y as judged by eye")


def test_what_its_error_exceeds_is_left(rng: np.random.Generator) -> None:
    unsure = replace(MEASURED, y_tilt_error_deg=4.0, offset_error_ang=300.0)
    result = level(series(rng), unsure, LevelSettings())
    normal = rotation_x(2.0) @ [0.0, 0.0, 1.0]
    np.testing.assert_allclose(result.change.rotation @ normal, [0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(result.change.shift_ang, 0, atol=1e-9)
    assert any("tilt about y of -3.0 ± 4.0° left" in note for note in result.notes)
    assert any("tilt about x of 2.0° taken out" in note for note in result.notes)
    unknown = level(series(rng), SpecimenPosition(unknown="the box cuts the specimen at its top"), LevelSettings())
    np.testing.assert_allclose(unknown.change.rotation, np.eye(3), atol=1e-12)
    assert unknown.series.thickness_ang == 700
    assert "cuts the specimen" in unknown.notes[0]
    assert "the frame stays" in unknown.notes[-1]


def test_a_series_that_is_not_aligned_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ProjectError, match="not aligned"):
        level(series(rng).with_changes(geometry=None), MEASURED, LevelSettings())
