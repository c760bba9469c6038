"""Shifts between real exposures of one area, both ways: the camera's fixed pattern must not win over the specimen."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from lamella.acquire import measure_shift
from lamella.acquire.comparing_pixels import measure_stretched
from lamella.acquire.microscope.port import Picture, Pixels, Preset, Status
from lamella.formats.mrc import read_mrc

PRESET = Preset(name="track", pixel_size_ang=1e4, shape_px=(512, 512), exposure_s=1.0, dose=1.0, beam_um=1000.0)


def picture(folder: Path, name: str, tilt_deg: float = 0.0) -> Picture:
    """A real image whose pixels count as 1 µm, so that shifts read in pixels (x, y)."""
    path = folder / "acquisition" / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = read_mrc(path)[0].squeeze()
    return pixels(image, tilt_deg)


def pixels(image: np.ndarray, tilt_deg: float = 0.0) -> Picture:
    status = Status(time_s=0, tilt_deg=tilt_deg, stage_um=(0, 0, 0), image_shift_um=(0, 0), defocus_um=0)
    return Picture(
        content=Pixels(image=np.ascontiguousarray(image, np.float32)),
        preset=PRESET,
        status=status,
        mean_counts=1,
        dose=1,
    )


def test_two_exposures_of_one_area(shared_data: Path) -> None:
    one, two = picture(shared_data, "leginon_test1.mrc"), picture(shared_data, "leginon_test2.mrc")
    forward, backward = measure_shift(two, one), measure_shift(one, two)
    # test1[r, c] is test2[r + 26, c + 21], to a pixel: its middle appears there at (+21, +26).
    assert forward.shift_um == pytest.approx((21, 26), abs=1.0)
    assert backward.shift_um == pytest.approx(-forward.shift_um, abs=0.05)
    assert min(forward.confidence, backward.confidence) > 0.3


def test_a_tilt_pair(shared_data: Path) -> None:
    # Round holes of the first are ellipses 120 pixels wide and 136 high in the second: a turn by about 29° about the
    # rows' direction. tilt1[r + 7, c + 23] is tilt2[r, c], to a few pixels, as others have found without stretching.
    one, two = picture(shared_data, "leginon_tilt1.mrc"), picture(shared_data, "leginon_tilt2.mrc", 29.0)
    forward, backward = measure_shift(two, one), measure_shift(one, two)
    assert forward.shift_um == pytest.approx((-23, -7), abs=4.0)
    # Back: the same step, as long as it is on the untilted specimen.
    cosine = np.cos(np.deg2rad(29.0))
    assert backward.shift_um == pytest.approx(-forward.shift_um / (cosine, 1.0), abs=1.0)
    assert min(forward.confidence, backward.confidence) > 0.2


def test_a_tilt_pair_whose_angles_nobody_tells(shared_data: Path) -> None:
    # Compared as if neither were tilted, nothing matches well but for one hole, and the camera's pattern.
    one, two = picture(shared_data, "leginon_tilt1.mrc"), picture(shared_data, "leginon_tilt2.mrc")
    forward, backward = measure_shift(two, one), measure_shift(one, two)
    assert forward.shift_um == pytest.approx((-23, -7), abs=4.0)
    assert backward.shift_um == pytest.approx(-forward.shift_um, abs=0.5)
    assert min(forward.confidence, backward.confidence) > 0.2


def test_pictures_of_other_places_are_not_stretched_until_they_match(shared_data: Path) -> None:
    one, other = picture(shared_data, "leginon_test1.mrc"), picture(shared_data, "leginon_tilt2.mrc")
    assert measure_stretched(one, other, 0.0) is None
    assert measure_stretched(other, one, 0.0) is None


def test_a_cameras_fixed_pattern_does_not_draw_a_match_to_no_shift(rng: np.random.Generator) -> None:
    pattern = 3.0 * rng.normal(size=(256, 256))
    specimen = ndimage.gaussian_filter(rng.normal(size=(400, 400)), 3.0)
    specimen /= specimen.std()
    one = pixels(specimen[60:316, 60:316] + pattern + rng.normal(size=pattern.shape))
    for step in (6, 7, 10):  # within reach of the fine search about the coarse peak
        two = pixels(specimen[60:316, 60 - step : 316 - step] + pattern + rng.normal(size=pattern.shape))
        assert measure_shift(two, one).shift_um == pytest.approx((step, 0), abs=0.6)
        assert measure_shift(one, two).shift_um == pytest.approx((-step, 0), abs=0.6)


def test_no_shift_is_found_as_none(rng: np.random.Generator) -> None:
    specimen = ndimage.gaussian_filter(rng.normal(size=(256, 256)), 2.0)
    specimen /= specimen.std()
    one, two = (pixels(specimen + rng.normal(size=specimen.shape)) for _ in range(2))
    assert measure_shift(two, one).shift_um == pytest.approx((0, 0), abs=0.1)
