"""An area's inclination is learned from its pictures, and pictures are compared about the plane that it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lamella.acquire import AlignedSeries
from lamella.acquire.comparing_plane import LocalShifts, LyingPlane
from lamella.acquire.microscope.port import Picture, Pixels, Preset, Status
from lamella.geometry.rotations import rotation_y

PIXEL_UM = 0.001
SLOPES = np.array([0.2, -0.15])
AXIS_DEG = 85.0


def appear(points: np.ndarray, tilt: float) -> np.ndarray:
    """Where points of the plane appear, by the projection model itself."""
    plane = np.column_stack([points, points @ SLOPES])
    return (plane @ rotation_y(tilt).T)[:, :2]


@pytest.fixture
def taken(rng: np.random.Generator) -> Callable[..., Picture]:
    """Pictures of blobs on the inclined plane."""
    blobs = rng.uniform(-260, 260, (500, 2))
    angle = np.deg2rad(AXIS_DEG)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    preset = Preset(name="track", pixel_size_ang=PIXEL_UM * 1e4, shape_px=(256, 256), exposure_s=1, dose=1, beam_um=1)

    def take(tilt: float, shift_px: np.ndarray) -> Picture:
        x, y = turn @ (appear(blobs, tilt) + shift_px).T + 128
        near = (x > -9) & (x < 265) & (y > -9) & (y < 265)
        pixels = 0.3 * rng.normal(size=(256, 256))
        rows, columns = np.mgrid[:256, :256]
        for at_x, at_y in zip(x[near], y[near], strict=True):
            pixels -= np.exp(-((rows - at_y) ** 2 + (columns - at_x) ** 2) / 18)
        status = Status(time_s=0, tilt_deg=tilt, stage_um=(0, 0, 0), image_shift_um=(0, 0), defocus_um=3)
        return Picture(
            content=Pixels(image=pixels.astype(np.float32)), preset=preset, status=status, mean_counts=1, dose=1
        )

    return take


@pytest.mark.parametrize("tilts", [range(0, 61, 6), range(0, -61, -6), range(-54, 7, 6)])
def test_an_inclined_area_is_followed_to_high_tilts(
    tilts: range, taken: Callable[..., Picture], rng: np.random.Generator
) -> None:
    """13° against the stage: stretched by 1 / cos θ alone, pictures match in their middle at best."""
    series = AlignedSeries(AXIS_DEG)
    for tilt in tilts:
        shift_px = np.zeros(2) if series.empty else rng.uniform(-6, 6, 2)
        picture = taken(tilt, shift_px)
        if not series.empty:
            found = series.measure(picture)
            assert found.confidence > 0.25, tilt
            np.testing.assert_allclose(found.shift_um / PIXEL_UM, shift_px, atol=1.0, err_msg=f"{tilt}°")
            series.add(picture, found.shift_um)
        else:
            series.add(picture)


@pytest.mark.parametrize("first", [0.0, -60.0, 24.0])
def test_slopes_are_those_of_the_projection_model(first: float, rng: np.random.Generator) -> None:
    """Places as the model projects them, in the frame of a first picture at any tilt."""
    plane = LyingPlane()
    plane.begin(first)
    points = rng.uniform(-100, 100, (16, 2))
    reference = appear(points, first) / (np.cos(np.deg2rad(first)), 1)
    for tilt in np.linspace(first, first + 45, 16)[1:]:
        seen = appear(points, tilt)
        expected = reference @ plane.matrix(tilt).T
        np.testing.assert_allclose(expected[:, 1], seen[:, 1])
        plane.learn(tilt, LocalShifts(places=expected, across=(seen - expected)[:, 0]))
    np.testing.assert_allclose(plane.slope, SLOPES, atol=0.02)
    np.testing.assert_allclose(reference @ plane.matrix(first + 50).T, appear(points, first + 50), atol=2.0)


def test_before_anything_is_learned_pictures_are_stretched_by_their_cosine() -> None:
    plane = LyingPlane()
    plane.begin(0.0)
    np.testing.assert_allclose(plane.matrix(60.0), [[0.5, 0.0], [0.0, 1.0]], atol=1e-12)
    plane.learn(60.0, LocalShifts(places=np.zeros((2, 2)), across=np.ones(2)))
    np.testing.assert_array_equal(plane.slope, 0.0)


def test_the_right_hole_is_found_where_the_next_one_looks_more_alike(rng: np.random.Generator) -> None:
    """After a jump by a good part of the field the hole is cut by the border, and the next one is whole."""
    rows, columns = np.mgrid[:192, :256]
    specks = rng.uniform((-200, -200), (456, 400), (1500, 2))

    def looked_at(move: np.ndarray) -> Picture:
        pixels = np.full((192, 256), 0.7)
        for x, y in [(30, 110), (210, -20), (30 + 180, -20 + 130 + 130)]:
            pixels[np.hypot(columns - x - move[0], rows - y - move[1]) < 45] = 1.0
        for x, y in specks + move:
            if -4 < x < 260 and -4 < y < 196:
                pixels *= 1 - 0.12 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 4.5)
        counts = rng.poisson(250 * pixels).astype(np.float32)
        preset = Preset(name="low", pixel_size_ang=PIXEL_UM * 1e4, shape_px=(192, 256), exposure_s=1, dose=1, beam_um=9)
        status = Status(time_s=0, tilt_deg=0, stage_um=(0, 0, 0), image_shift_um=(0, 0), defocus_um=3)
        return Picture(content=Pixels(image=counts), preset=preset, status=status, mean_counts=1, dose=1)

    series = AlignedSeries(0.0)
    series.add(looked_at(np.zeros(2)))
    found = series.measure(looked_at(np.array([-45.0, 75.0])))
    np.testing.assert_allclose(found.shift_um / PIXEL_UM, (-45, 75), atol=1.0)
    assert found.confidence > 0.15
