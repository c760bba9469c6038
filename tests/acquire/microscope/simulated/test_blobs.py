"""Pictures of blobs: the same specimen wherever one looks, turned and shortened as the projection model says."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.acquire.comparing import measure_shift
from lamella.acquire.microscope.port import Pixels, Purpose
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.world import load_world

PURPOSE = Purpose(kind="track")


def _microscope(**changes: object) -> SimulatedMicroscope:
    return SimulatedMicroscope(load_world("rigid", changes), 3, targets=4, pictures="blobs")


def _image(microscope: SimulatedMicroscope, preset: str = "track_low") -> np.ndarray:
    content = microscope.expose(preset, PURPOSE).content
    assert isinstance(content, Pixels)
    return content.image


def test_presets_are_binned_and_keep_their_field() -> None:
    microscope = _microscope()
    preset = microscope.calibrations.presets["record"]
    assert min(preset.shape_px) < 400
    assert preset.field_um == pytest.approx((0.671, 0.945), abs=0.005)
    assert _image(microscope, "record").shape == preset.shape_px


def test_counts_are_the_dose() -> None:
    microscope = _microscope(**{"grid.hole": 0.0})
    preset = microscope.calibrations.presets["record"]
    assert _image(microscope, "record").mean() == pytest.approx(0.8 * 3.0 * preset.pixel_size_ang**2, rel=0.15)


@pytest.mark.parametrize("angle", [0.0, 60.0])
def test_an_image_shift_is_found_again(angle: float) -> None:
    microscope = _microscope()
    microscope.tilt(angle)
    reference = microscope.expose("track_low", PURPOSE)
    microscope.shift_image(0.12, -0.2)
    found = measure_shift(microscope.expose("track_low", PURPOSE), reference, axis_deg=85.0)
    np.testing.assert_allclose(found.shift_um, [-0.12, 0.2], atol=0.003)


def test_a_shift_along_the_axis_moves_the_picture_along_the_axis() -> None:
    """With the axis upright the picture is rolled by rows, with the axis level by columns."""
    for axis, rolled in ((0.0, (-40, 0)), (90.0, (0, 40))):
        microscope = _microscope(**{"optics.tilt_axis": axis})
        pixel = microscope.calibrations.presets["track_low"].pixel_size_ang * 1e-4
        first = _image(microscope)
        microscope.shift_image(0.0, 40 * pixel)
        second = _image(microscope)
        middle = (slice(60, -60), slice(60, -60))
        assert np.corrcoef(np.roll(first, rolled, (0, 1))[middle].ravel(), second[middle].ravel())[0, 1] > 0.8


def test_a_tilt_shortens_the_picture_across_the_axis() -> None:
    microscope = _microscope(**{"optics.tilt_axis": 0.0})
    flat = _image(microscope)
    microscope.tilt(60.0)
    tilted = _image(microscope)
    columns = np.arange(-60, 61)
    middle = flat.shape[1] // 2
    # cos 60° = ½: every second column of the untilted picture.
    expected, seen = flat[60:-60, middle + 2 * columns], tilted[60:-60, middle + columns]
    assert np.corrcoef(expected.ravel(), seen.ravel())[0, 1] > 0.6


def test_the_montage_shows_the_holes() -> None:
    microscope = _microscope()
    image = _image(microscope, "montage")
    inside = np.pi * 0.6**2 / 2.5**2
    edge = (image.max() + image.min()) / 2
    assert np.mean(image > np.percentile(image, 50) * 1.15) == pytest.approx(inside, rel=0.15)
    assert edge > image.mean()


def test_a_dark_picture_has_no_counts() -> None:
    microscope = _microscope(**{"faults.script": [{"kind": "dark-image"}]})
    assert _image(microscope).mean() < 0.01 * _image(microscope).mean()
