"""First maps from random orientations, against the bodies that the pictures show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.particles.model_cases import BODY, body_map, pictures_of, tilt_series

from lamella.errors import InputError, SettingsError
from lamella.fourier import shell_correlation
from lamella.geometry import point_group
from lamella.geometry.angular_grid import rotation_angle_deg
from lamella.particles.initial_model import InitialModel, initial_model
from lamella.particles.model_settings import ModelSettings
from lamella.records import ArrayParticles, ParticleSet

BOX, PIXEL = 24, 16.0
QUICK = ModelSettings(iterations=30, resolution=45.0)
SERIES = [tilt_series("TS_01", views=11), tilt_series("TS_02", views=11)]


def case(
    bodies: list[NDArray[np.float64]], count: int, **options: float
) -> tuple[ParticleSet, ArrayParticles, NDArray, NDArray]:
    kinds = np.arange(count) % len(bodies)
    return pictures_of(bodies, kinds, box_px=BOX, pixel_ang=PIXEL, series=SERIES, **{"snr": 0.3, **options})  # type: ignore[arg-type]


def common_turn(
    true: NDArray[np.float64], found: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The rotation of the map's frame against the body's, and how far each particle is from it, in degrees."""
    turns = np.swapaxes(true, 1, 2) @ found
    near = [np.median(rotation_angle_deg(turns, one)) for one in turns]
    close = rotation_angle_deg(turns, turns[int(np.argmin(near))]) < 30
    left, _, right = np.linalg.svd(turns[close].mean(axis=0))
    return left @ right, rotation_angle_deg(turns, left @ right)


def agreement(found: NDArray[np.float32], body: NDArray[np.float64], turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation of a map with a body turned into its frame and moved to its centre of mass, shell by shell."""
    seen = body.copy()
    seen[:, :3] = (body[:, :3] - np.average(body[:, :3], axis=0, weights=body[:, 4])) @ turn
    return shell_correlation(torch.from_numpy(found), torch.from_numpy(body_map(seen, BOX, PIXEL)))[1].numpy()


@pytest.fixture(scope="module")
def found() -> tuple[InitialModel, NDArray[np.float64]]:
    particles, source, true, _ = case([BODY], 60, offset_ang=6.0)
    return initial_model(particles, source, QUICK), true


def test_random_orientations_end_in_the_true_map_of_the_true_hand(
    found: tuple[InitialModel, NDArray[np.float64]],
) -> None:
    model, true = found
    turn, error = common_turn(true, model.particles.matrices())
    assert np.median(error) < 6
    assert (error < 25).mean() > 0.9
    right = agreement(model.maps[0], BODY, turn)
    mirrored = BODY * (1, 1, -1, 1, 1)
    assert right[1:5].min() > 0.9
    assert right[5] > 0.7
    # no rotation makes the mirrored body as like the map
    rotations = [turn @ one for one in point_group("O")] + list(np.swapaxes(true, 1, 2) @ model.particles.matrices())
    wrong = max(agreement(model.maps[0], mirrored, one)[2:6].mean() for one in rotations)
    assert wrong < right[2:6].mean() - 0.05


def test_poses_and_map_belong_together(found: tuple[InitialModel, NDArray[np.float64]]) -> None:
    model, true = found
    # a particle's place is where the map's centre is, and that is the body's centre of mass
    particles, _, _, offsets = case([BODY], 60, offset_ang=6.0)
    centre = np.average(BODY[:, :3], axis=0, weights=BODY[:, 4])
    wanted = particles.positions_ang() + offsets + true @ centre
    error = np.linalg.norm(model.particles.positions_ang() - wanted, axis=1)
    assert np.median(error) < 10
    assert model.resolution_ang == pytest.approx(48.0)
    assert list(model.likelihoods) == sorted(model.likelihoods, reverse=True)


def test_the_same_seed_gives_the_same_map() -> None:
    particles, source, _, _ = case([BODY], 16)
    quick = QUICK.model_copy(update={"iterations": 10})
    first, again = initial_model(particles, source, quick), initial_model(particles, source, quick)
    np.testing.assert_array_equal(first.maps, again.maps)
    np.testing.assert_array_equal(first.particles.matrices(), again.particles.matrices())


def test_symmetry_is_imposed_along_the_axes_that_the_map_has() -> None:
    seed = np.array([[75.0, 20.0, 40.0, 26.0, 1.0], [40.0, -30.0, -60.0, 24.0, 0.7], [60.0, 60.0, -10.0, 20.0, 0.6]])
    body = np.concatenate([np.concatenate([seed[:, :3] @ turn.T, seed[:, 3:]], axis=1) for turn in point_group("C3")])
    particles, source, true, _ = case([body], 50)
    model = initial_model(particles, source, QUICK.model_copy(update={"symmetry": "C3"}))
    assert model.self_correlation > 0.8
    turn, _ = common_turn(true, model.particles.matrices())
    assert abs(turn[2, 2]) > 0.99  # along z, up or down
    near = np.min([rotation_angle_deg(np.swapaxes(true, 1, 2) @ model.particles.matrices(), turn @ one)
                   for one in point_group("C3")], axis=0)  # fmt: skip
    assert np.median(near) < 8


def test_two_bodies_make_two_maps() -> None:
    ball = np.array([[0.0, 0.0, 0.0, 45.0, 1.6]])
    particles, source, _, _ = case([BODY, ball], 60, snr=0.5)
    model = initial_model(particles, source, QUICK.model_copy(update={"classes": 2}))
    kinds, classes = np.arange(60) % 2, np.concatenate([one.classes for one in model.particles.members])
    same = (classes - 1 == kinds).mean()
    assert max(same, 1 - same) > 0.9
    assert model.maps.shape == (2, BOX, BOX, BOX)


@pytest.mark.parametrize(("count", "classes"), [(1, 1), (3, 2)])
def test_too_few_particles_are_refused(count: int, classes: int) -> None:
    particles, source, _, _ = case([BODY], max(count, 2))
    if count == 1:
        particles = replace(particles, members=(particles.members[0].select([0]),))
        source = ArrayParticles(source.arrays[:1])
    with pytest.raises(InputError, match="particle"):
        initial_model(particles, source, QUICK.model_copy(update={"classes": classes}))


def test_what_is_missing_or_too_fine_is_said() -> None:
    particles, source, _, _ = case([BODY], 4)
    bare = replace(particles, members=tuple(one.with_changes(images=None) for one in particles.members))
    with pytest.raises(InputError, match="no pictures"):
        initial_model(bare, source, QUICK)
    with pytest.raises(SettingsError, match="resolution"):
        initial_model(particles, source, QUICK.model_copy(update={"resolution": 10.0}))
    with pytest.raises(SettingsError, match="larger box"):
        initial_model(particles, source, QUICK.model_copy(update={"diameter": 5000.0}))
