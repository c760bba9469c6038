"""Refinement against the truth of pictures made from a formula."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lamella.errors import InputError, SettingsError
from lamella.fourier import shell_correlation, soft_mask
from lamella.geometry.angular_grid import rotation_angle_deg
from lamella.particles.refine import RefineResult, refine
from lamella.particles.refine_settings import RefineSettings
from lamella.particles.refine_state import RefineState
from lamella.records import ArrayParticles, ParticleSet

sys.path.insert(0, str(Path(__file__).parent))
from particle_pictures import PIXEL, particle_set, torch_body, turned

BOX = 32
SETTINGS = RefineSettings(low_pass=45.0, iterations=4, shift_range=15.0)


def errors(result: RefineResult, truth: ParticleSet) -> tuple[float, float]:
    """Median error of orientation (degrees) and place (px)."""
    angle = rotation_angle_deg(result.particles.matrices(), truth.matrices())
    away = np.linalg.norm(result.particles.positions_ang() - truth.positions_ang(), axis=1) / PIXEL
    return float(np.median(angle)), float(np.median(away))


@pytest.fixture(scope="module")
def data() -> tuple[ParticleSet, ArrayParticles]:
    return particle_set(24, BOX, noise=0.03)


@pytest.fixture(scope="module")
def refined(data: tuple[ParticleSet, ArrayParticles]) -> tuple[RefineResult, list[RefineState]]:
    states: list[RefineState] = []
    result = refine(turned(data[0], 9.0), data[1], torch_body(BOX).numpy(), SETTINGS, on_iteration=states.append)
    return result, states


def test_poses_and_map_are_the_true_ones(
    data: tuple[ParticleSet, ArrayParticles], refined: tuple[RefineResult, list[RefineState]]
) -> None:
    result, states = refined
    angle, place = errors(result, data[0])
    assert angle < 1.0
    assert place < 0.1
    mask = soft_mask((BOX,) * 3, 10, 3)
    truth = shell_correlation(torch.from_numpy(result.whole) * mask, torch_body(BOX) * mask)[1].numpy()
    assert truth[1:9].min() > 0.85
    assert len(states) == len(result.history)
    assert states[-1].finished
    assert all(0 < entry.certainty <= 1 for entry in result.history)


def test_a_killed_run_goes_on_to_the_same_bits(
    data: tuple[ParticleSet, ArrayParticles], refined: tuple[RefineResult, list[RefineState]]
) -> None:
    result, states = refined
    saved = RefineState.from_arrays({name: np.array(part) for name, part in states[1].arrays().items()})
    again = refine(turned(data[0], 9.0), data[1], torch_body(BOX).numpy(), SETTINGS, state=saved)
    for name in ("half1", "half2", "whole", "fsc"):
        np.testing.assert_array_equal(getattr(again, name), getattr(result, name))
    np.testing.assert_array_equal(again.particles.matrices(), result.particles.matrices())
    assert again.history == result.history


def test_half_sets_never_mix(data: tuple[ParticleSet, ArrayParticles]) -> None:
    """Other pictures of the second half set leave the first one's map as it is, as long as both compare alike."""
    particles, source = data
    one = SETTINGS.model_copy(update={"iterations": 1})
    first = refine(turned(particles, 5.0), source, torch_body(BOX).numpy(), one)
    generator = np.random.default_rng(5)
    halves = particles.members[0].half_set
    assert halves is not None
    changed = [
        picture if half == 1 else picture + generator.normal(size=picture.shape).astype(np.float32) * 0.01
        for picture, half in zip(source.arrays, halves, strict=True)
    ]
    second = refine(turned(particles, 5.0), ArrayParticles(changed), torch_body(BOX).numpy(), one)
    np.testing.assert_array_equal(first.half1, second.half1)
    assert not np.array_equal(first.half2, second.half2)


def test_without_a_reference_the_average_of_the_poses_begins(data: tuple[ParticleSet, ArrayParticles]) -> None:
    result = refine(turned(data[0], 4.0), data[1], None, SETTINGS)
    angles = rotation_angle_deg(result.particles.matrices(), data[0].matrices())
    # the frame is free: orientations agree among each other
    relative = result.particles.matrices()[1:] @ result.particles.matrices()[0].T
    true = data[0].matrices()[1:] @ data[0].matrices()[0].T
    assert np.median(rotation_angle_deg(relative, true)) < 2.0
    assert np.median(angles) < 4.0


def test_orientations_of_which_nothing_is_known_are_found() -> None:
    particles, source = particle_set(12, BOX, noise=0.03)
    member = particles.members[0]
    unknown = ParticleSet(members=(member.with_changes(angles_deg=np.zeros((12, 3)), origin_ang=np.zeros((12, 3))),))
    settings = RefineSettings(low_pass=30.0, iterations=2, shift_range=12.0)
    result = refine(unknown, source, torch_body(BOX).numpy(), settings)
    assert result.history[0].orientations == 4608
    assert rotation_angle_deg(result.particles.matrices(), particles.matrices()).max() < 3


def test_bad_input_is_one_clear_error(data: tuple[ParticleSet, ArrayParticles]) -> None:
    particles, source = data
    member, map_ = particles.members[0], torch_body(BOX).numpy()
    alone = ParticleSet(members=(member.with_changes(half_set=np.ones(len(member), dtype=np.int64)),))
    bare = ParticleSet(members=(member.with_changes(images=None),))
    large = SETTINGS.model_copy(update={"diameter": 500.0})
    held = SETTINGS.model_copy(update={"prior_tilt_psi": 5.0})
    with pytest.raises(InputError, match="half set"):
        refine(alone, source, map_, SETTINGS)
    with pytest.raises(InputError, match="reference of"):
        refine(particles, source, np.zeros((8, 8, 8)), SETTINGS)
    with pytest.raises(InputError, match="mask"):
        refine(particles, source, map_, SETTINGS, mask=np.full((BOX,) * 3, 2.0))
    with pytest.raises(SettingsError, match="larger box"):
        refine(particles, source, map_, large)
    with pytest.raises(InputError, match="prior"):
        refine(particles, source, map_, held)
    with pytest.raises(InputError, match="pictures"):
        refine(bare, source, map_, SETTINGS)
