"""Mixtures of bodies, sorted by the maps that they make."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from tests.particles.model_cases import BODY, body_map, pictures_of, tilt_series

from lamella.errors import InputError, SettingsError
from lamella.fourier import shell_correlation, soft_mask
from lamella.geometry.angular_grid import rotation_angle_deg
from lamella.particles.classify import Classification, classify
from lamella.particles.classify_settings import ClassifySettings
from lamella.records import ArrayParticles, ParticleSet

BOX, PIXEL = 24, 16.0
WITHOUT = np.delete(BODY, 3, axis=0)
COUNT = 60
KINDS = np.random.default_rng(5).permutation(COUNT) % 2
SERIES = [tilt_series("TS_01", views=13), tilt_series("TS_02", views=13)]
TWO = ClassifySettings(classes=2)


def mixture(off_deg: float = 0.0, snr: float = 0.1) -> tuple[ParticleSet, ArrayParticles, NDArray[np.float64]]:
    """Bodies with and without a part, in poses off by an angle."""
    particles, source, true, _ = pictures_of(
        [BODY, WITHOUT], KINDS, box_px=BOX, pixel_ang=PIXEL, snr=snr, series=SERIES
    )
    off = Rotation.from_rotvec(np.random.default_rng(2).normal(size=(COUNT, 3)) * np.deg2rad(off_deg / 1.6))
    poses = particles.split(true @ off.as_matrix())
    members = tuple(one.with_poses(pose) for one, pose in zip(particles.members, poses, strict=True))
    return replace(particles, members=members), source, true


def purity(found: Classification) -> float:
    classes = np.concatenate([one.classes for one in found.particles.members])
    right = sum(max(((classes == number) & (kind == KINDS)).sum() for kind in (0, 1)) for number in (1, 2))
    return float(right / COUNT)


@pytest.fixture(scope="module")
def sorted_mixture() -> tuple[ParticleSet, Classification]:
    particles, source, _ = mixture()
    return particles, classify(particles, source, TWO)


def test_bodies_with_and_without_a_part_come_apart(sorted_mixture: tuple[ParticleSet, Classification]) -> None:
    _, found = sorted_mixture
    assert purity(found) >= 0.95
    assert found.changed[-1] <= 0.005
    classes = np.concatenate([one.classes for one in found.particles.members])
    for number in (1, 2):
        kind = int(np.bincount(KINDS[classes == number]).argmax())
        true = torch.from_numpy(body_map((BODY, WITHOUT)[kind], BOX, PIXEL))
        assert shell_correlation(torch.from_numpy(found.maps[number - 1]), true)[1][1:5].min() > 0.9


def test_poses_and_half_sets_stay_where_only_classes_are_sought(
    sorted_mixture: tuple[ParticleSet, Classification],
) -> None:
    before, found = sorted_mixture
    np.testing.assert_allclose(found.particles.matrices(), before.matrices(), atol=1e-9)
    np.testing.assert_allclose(found.particles.positions_ang(), before.positions_ang())
    for one, other in zip(before.members, found.particles.members, strict=True):
        np.testing.assert_array_equal(one.half_set, other.half_set)
        assert (other.scores["ClassProbability"] >= 0.5).all()


def test_larger_classes_have_lower_numbers(sorted_mixture: tuple[ParticleSet, Classification]) -> None:
    classes = np.concatenate([one.classes for one in sorted_mixture[1].particles.members])
    sizes = np.bincount(classes, minlength=3)[1:]
    assert sizes[0] >= sizes[1]
    assert classes.min() == 1


def test_the_same_seed_sorts_alike(sorted_mixture: tuple[ParticleSet, Classification]) -> None:
    particles, source, _ = mixture()
    again = classify(particles, source, TWO)
    np.testing.assert_array_equal(again.maps, sorted_mixture[1].maps)


def test_outside_a_focused_mask_classes_are_alike() -> None:
    particles, source, _ = mixture()
    x, y, z = BODY[3, :3] / PIXEL + BOX // 2
    mask = soft_mask((BOX,) * 3, 4, 2, (z, y, x)).numpy()
    found = classify(particles, source, TWO, mask=mask)
    assert purity(found) >= 0.95
    apart = np.abs(found.maps[0] - found.maps[1])
    assert apart[mask == 0].max() < 0.05 * apart.max()


def test_poses_are_found_with_the_classes() -> None:
    particles, source, true = mixture(off_deg=6.0, snr=0.2)
    found = classify(particles, source, TWO.model_copy(update={"align": True, "iterations": 8}))
    assert purity(found) >= 0.95
    before, after = (rotation_angle_deg(one.matrices(), true) for one in (particles, found.particles))
    # all may turn together, a little
    assert np.median(after) < 0.85 * np.median(before)
    assert rotation_angle_deg(found.particles.matrices(), particles.matrices()).max() < 25


def test_one_class_is_the_average() -> None:
    particles, source, _ = mixture()
    found = classify(particles, source, TWO.model_copy(update={"classes": 1}))
    assert found.maps.shape == (1, BOX, BOX, BOX)
    assert found.likelihoods == ()


def test_what_cannot_be_sorted_is_refused() -> None:
    particles, source, _ = mixture()
    few = replace(particles, members=(particles.members[0].select([0, 1, 2]),))
    three = ArrayParticles(source.arrays[:3])
    with pytest.raises(InputError, match="3 particles for 4 classes"):
        classify(few, three, TWO.model_copy(update={"classes": 4}))
    one = replace(particles, members=(particles.members[0].select([0]),))
    with pytest.raises(InputError, match="1 particles"):
        classify(one, ArrayParticles(source.arrays[:1]), TWO)
    bare = replace(particles, members=tuple(part.with_changes(images=None) for part in particles.members))
    with pytest.raises(InputError, match="no pictures"):
        classify(bare, source, TWO)
    with pytest.raises(InputError, match="mask"):
        classify(particles, source, TWO, mask=np.ones((8, 8, 8)))
    with pytest.raises(InputError, match="mask"):
        classify(particles, source, TWO, mask=np.zeros((BOX,) * 3))
    with pytest.raises(SettingsError, match="resolution"):
        classify(particles, source, TWO.model_copy(update={"resolution": 5.0}))
