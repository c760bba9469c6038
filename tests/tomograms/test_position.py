"""Where a specimen lies in a tomogram: bodies in a slab with known faces, in noise, without the missing wedge."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lamella.errors import ImageError
from lamella.records import ArrayVolume
from lamella.tomograms import SpecimenPosition, measure_position
from lamella.tomograms.position_energy import measure_energy

sys.path.insert(0, str(Path(__file__).parents[1]))
from noisy_slab import SHAPE, THICKNESS_ANG, VOXEL_ANG, noise, slab

Volume = NDArray[np.float32]


@pytest.fixture(scope="module")
def inclined() -> SpecimenPosition:
    volume = slab(np.random.default_rng(3), x_tilt_deg=2.1, y_tilt_deg=-2.1, offset_ang=120.0)
    return measure_position(ArrayVolume(volume), VOXEL_ANG)


def test_tilt_offset_and_thickness_of_bodies_in_noise(inclined: SpecimenPosition) -> None:
    assert not inclined.unknown
    assert inclined.source == "texture"
    for found, error, true in (
        (inclined.x_tilt_deg, inclined.x_tilt_error_deg, 2.1),
        (inclined.y_tilt_deg, inclined.y_tilt_error_deg, -2.1),
    ):
        assert found == pytest.approx(true, abs=0.7)
        assert found == pytest.approx(true, abs=3 * error)
    assert inclined.offset_ang == pytest.approx(120, abs=30)
    assert inclined.thickness_ang == pytest.approx(THICKNESS_ANG, rel=0.1)
    assert inclined.thickness_error_ang < 0.2 * THICKNESS_ANG


def test_a_level_specimen_is_found_level() -> None:
    found = measure_position(ArrayVolume(slab(np.random.default_rng(4))), VOXEL_ANG)
    assert np.hypot(found.x_tilt_deg, found.y_tilt_deg) < 0.8
    assert abs(found.offset_ang) < 25


def test_noise_tells_nothing() -> None:
    found = measure_position(ArrayVolume(noise(np.random.default_rng(5))), VOXEL_ANG)
    assert "no texture" in found.unknown
    assert np.isnan(found.thickness_ang)
    assert np.isinf(found.x_tilt_error_deg)
    assert found.quality() == {}
    assert "unknown" in found.in_words()


def test_a_box_that_cuts_the_specimen_is_said() -> None:
    volume = slab(np.random.default_rng(6), offset_ang=520.0)
    found = measure_position(ArrayVolume(volume), VOXEL_ANG)
    assert "cuts the specimen at its top" in found.unknown
    assert np.isnan(found.offset_ang)


def with_beads(
    volume: Volume, faces: tuple[float, ...], rng: np.random.Generator
) -> tuple[Volume, NDArray[np.float64]]:
    """Twelve gold beads on each face, at these heights, a hundred times as dense as anything."""
    places = np.concatenate(
        [np.column_stack([rng.uniform(-1300, 1300, (12, 2)), np.full(12, height)]) for height in faces]
    )
    marks = np.zeros(SHAPE, np.float32)
    x, y, z = (np.rint(places / VOXEL_ANG).astype(int) + np.array(SHAPE[::-1]) // 2).T
    marks[z, y, x] = 1
    spread = gaussian_filter(marks, 2.5)
    return volume - 100 * spread / spread.max(), places


def test_gold_on_one_face_does_not_hide_the_other() -> None:
    rng = np.random.default_rng(7)
    volume, _ = with_beads(slab(rng), (THICKNESS_ANG / 2,), rng)
    found = measure_position(ArrayVolume(volume), VOXEL_ANG)
    assert found.source == "beads"
    assert np.hypot(found.x_tilt_deg, found.y_tilt_deg) < 0.8
    assert found.thickness_ang == pytest.approx(THICKNESS_ANG, rel=0.1)
    assert abs(found.offset_ang) < 40


def test_gold_alone_on_one_face_tells_the_tilt_alone() -> None:
    rng = np.random.default_rng(8)
    volume, _ = with_beads(noise(rng), (300.0,), rng)
    found = measure_position(ArrayVolume(volume), VOXEL_ANG)
    assert found.x_tilt_error_deg < 1
    assert np.isnan(found.thickness_ang)
    assert np.isinf(found.offset_error_ang)
    assert "one face alone" in found.in_words()
    assert "PositionThicknessAngst" not in found.quality()


def test_known_beads_that_were_painted_over_are_heard() -> None:
    rng = np.random.default_rng(9)
    _, places = with_beads(noise(rng), (-400.0, 400.0), rng)
    found = measure_position(ArrayVolume(slab(rng)), VOXEL_ANG, places)
    assert found.source == "beads"
    assert found.thickness_ang == pytest.approx(800, abs=15)
    assert found.x_tilt_error_deg < 0.5


def test_gold_and_empty_corners_are_left_out() -> None:
    rng = np.random.default_rng(10)
    volume, places = with_beads(slab(rng), (400.0,), rng)
    volume[:, :48, :48] = 0
    energy = measure_energy(ArrayVolume(volume), VOXEL_ANG)
    assert len(energy.gold_ang) == pytest.approx(len(places), abs=2)
    unseen = np.isnan(energy.values[:, 0])
    corner = (energy.places_ang < -900).all(axis=1)
    assert unseen[corner].all()
    assert 0.02 < unseen[~corner].mean() < 0.5
    found = measure_position(ArrayVolume(volume), VOXEL_ANG)
    assert np.hypot(found.x_tilt_deg, found.y_tilt_deg) < 0.8


def test_broken_volumes_are_refused() -> None:
    rng = np.random.default_rng(11)
    broken = noise(rng)
    broken[20:30, 50:60, 50:60] = np.nan
    with pytest.raises(ImageError, match="NaN"):
        measure_position(ArrayVolume(broken), VOXEL_ANG)
    with pytest.raises(ImageError, match="the same"):
        measure_position(ArrayVolume(np.zeros(SHAPE, np.float32)), VOXEL_ANG)
    with pytest.raises(ImageError, match="too narrow"):
        measure_position(ArrayVolume(noise(rng, (40, 16, 64))), VOXEL_ANG)


def test_what_two_halves_share_tells_more_than_their_mean() -> None:
    rng = np.random.default_rng(12)
    bodies = slab(rng, x_tilt_deg=2.1, y_tilt_deg=-2.1, offset_ang=120.0, noisy=0.0)
    even, odd = (ArrayVolume(bodies + 1.4 * noise(rng)) for _ in range(2))
    whole = ArrayVolume((even.array + odd.array) / 2)
    found = measure_position(whole, VOXEL_ANG, halves=(even, odd))
    assert np.hypot(found.x_tilt_deg - 2.1, found.y_tilt_deg + 2.1) < 0.8
    assert found.offset_ang == pytest.approx(120, abs=30)
    assert found.thickness_ang == pytest.approx(THICKNESS_ANG, rel=0.1)
    alone = measure_position(whole, VOXEL_ANG)
    assert alone.unknown or found.thickness_error_ang < alone.thickness_error_ang


def test_noise_of_two_halves_tells_nothing() -> None:
    rng = np.random.default_rng(13)
    halves = ArrayVolume(noise(rng)), ArrayVolume(noise(rng))
    assert "no texture" in measure_position(halves[0], VOXEL_ANG, halves=halves).unknown


def test_halves_of_another_shape_are_refused() -> None:
    rng = np.random.default_rng(14)
    half = ArrayVolume(noise(rng, (40, 64, 64)))
    with pytest.raises(ImageError, match="a half tomogram of"):
        measure_position(ArrayVolume(noise(rng)), VOXEL_ANG, halves=(half, half))
