"""Displacements of pictures: known ones are found, in landmarks and in pixels, stretched by the tilt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from lamella.acquire import AlignedSeries, measure_shift
from lamella.acquire.microscope.port import Landmarks, Picture, Pixels, Preset, Status
from lamella.errors import ImageError

PIXEL_UM = 0.001


def picture(content: Landmarks | Pixels, tilt: float = 0.0) -> Picture:
    shape = content.image.shape if isinstance(content, Pixels) else (512, 512)
    preset = Preset(name="track", pixel_size_ang=PIXEL_UM * 1e4, shape_px=shape, exposure_s=1, dose=1, beam_um=1)
    status = Status(time_s=0, tilt_deg=tilt, stage_um=(0, 0, 0), image_shift_um=(0, 0), defocus_um=3)
    return Picture(content=content, preset=preset, status=status, mean_counts=1, dose=1)


def real(path: Path, kind: type) -> Picture:
    """512 x 512 pixels behind a header of 1024 bytes."""
    pixels = np.fromfile(path, kind, 512 * 512, offset=1024).reshape(512, 512)
    return picture(Pixels(image=pixels.astype(np.float32)))


def landmarks(places: np.ndarray, tilt: float, shift: tuple[float, float]) -> Picture:
    seen = places * (np.cos(np.deg2rad(tilt)), 1) + shift
    return picture(Landmarks(places_um=seen, sd_um=0.001), tilt)


def test_landmarks_are_stretched_and_outliers_left_out(rng: np.random.Generator) -> None:
    places = rng.uniform(-0.3, 0.3, (9, 2))
    series = AlignedSeries()
    series.add(landmarks(places, 0, (0, 0)))
    series.add(landmarks(places, 30, (0.02, 0.01)), np.array([0.02, 0.01]))
    seen = landmarks(places, 60, (0.05, -0.03))
    seen.content.places_um[2] += 0.6
    found = series.measure(seen)
    np.testing.assert_allclose(found.shift_um, (0.05, -0.03), atol=1e-12)
    assert found.confidence == pytest.approx(8 / 9)


def test_features_that_agree_on_nothing_tell_nothing(rng: np.random.Generator) -> None:
    series = AlignedSeries()
    series.add(landmarks(rng.uniform(-1, 1, (9, 2)), 0, (0, 0)))
    assert series.measure(landmarks(rng.uniform(-1, 1, (9, 2)), 0, (0, 0))).confidence < 0.15


@pytest.mark.parametrize("axis", [0.0, 85.0, -12.0])
@pytest.mark.parametrize("tilt", [0.0, 50.0])
def test_pixels_are_compared_as_they_would_look_tilted(axis: float, tilt: float, rng: np.random.Generator) -> None:
    angle = np.deg2rad(axis)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    blobs = rng.uniform(-150, 150, (120, 2))

    def image(tilt_deg: float, shift_um: np.ndarray) -> Picture:
        stage = blobs * (np.cos(np.deg2rad(tilt_deg)), 1) + shift_um / PIXEL_UM
        x, y = turn @ stage.T + 128
        rows, columns = np.mgrid[:256, :256]
        pixels = 0.3 * rng.normal(size=(256, 256))
        for at_x, at_y in zip(x, y, strict=True):
            pixels -= np.exp(-((rows - at_y) ** 2 + (columns - at_x) ** 2) / 18)
        return picture(Pixels(image=pixels.astype(np.float32)), tilt_deg)

    shift = np.array([0.0123, -0.0088])
    found = measure_shift(image(tilt, shift), image(0, np.zeros(2)), axis_deg=axis)
    np.testing.assert_allclose(found.shift_um, shift, atol=0.8 * PIXEL_UM)
    assert found.confidence > 0.3


def test_real_pictures_agree_forward_and_backward(shared_data: Path) -> None:
    one, two = (real(shared_data / "acquisition" / f"leginon_test{i}.mrc", np.int16) for i in (1, 2))
    forward, backward = measure_shift(two, one).shift_um, measure_shift(one, two).shift_um
    np.testing.assert_allclose(forward / PIXEL_UM, (21, 26), atol=1.5)  # test1[r, c] matches test2[r + 26, c + 21]
    np.testing.assert_allclose(forward, -backward, atol=0.2 * PIXEL_UM)


def test_a_real_tilt_pair_agrees_forward_and_backward(shared_data: Path) -> None:
    one, two = (real(shared_data / "acquisition" / f"leginon_tilt{i}.mrc", np.float32) for i in (1, 2))
    forward, backward = measure_shift(two, one).shift_um, measure_shift(one, two).shift_um
    np.testing.assert_allclose(forward, -backward, atol=1.0 * PIXEL_UM)
    np.testing.assert_allclose(forward / PIXEL_UM, (-23, -7), atol=6)  # tilt1[r + 7, c + 23] matches tilt2[r, c]


def test_pictures_that_cannot_be_compared() -> None:
    good = picture(Pixels(image=ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(64, 64)), 2)))
    with pytest.raises(ImageError, match="nothing to compare"):
        AlignedSeries().measure(good)
    for bad in (np.zeros((64, 64)), np.full((64, 64), np.nan), np.ones((32, 64))):
        with pytest.raises(ImageError):
            measure_shift(picture(Pixels(image=bad.astype(np.float32))), good)
    with pytest.raises(ImageError, match="one kind"):
        measure_shift(picture(Landmarks(places_um=np.zeros((3, 2)), sd_um=0.1)), good)
