"""Patches: where there is something, apart from what is held out, and flipped only as the wedge allows."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tomograms.networks.scenes import halves, noisy, training_set

from lamella.errors import ImageError
from lamella.records import ArrayVolume
from lamella.tomograms.networks.patches import lay_out, plan_patches


def test_nothing_trained_on_comes_near_what_is_held_out():
    _truth, first, second = halves((40, 128, 96))
    cut = plan_patches([first.shape], 32, 4, cubes=False)
    ground = lay_out(training_set(first, second), cut, seed=1)
    used = np.zeros(first.shape, bool)
    for z, y, x in ground.corners:
        used[z : z + cut.size[0], y : y + cut.size[1], x : x + cut.size[2]] = True
    margin = 8
    for z, y, x in ground.held:
        a, b, c = ground.held_size
        assert z >= 0
        assert y >= 0
        assert x >= 0
        assert z + a <= 40
        assert y + b <= 128
        assert x + c <= 96
        assert not used[:, max(0, y - margin) : y + b + margin, max(0, x - margin) : x + c + margin].any()
    assert used.any()
    assert len(ground.held) > 1
    assert all(edge % 4 == 0 for edge in (*cut.size, *ground.held_size))


@pytest.mark.parametrize("single", [False, True])
def test_patches_are_drawn_where_something_is(single):
    truth = np.zeros((32, 160, 160), np.float32)
    truth[8:24, 60:100, 80:120] = -3.0
    first, second = noisy(truth, 1.0, 1), noisy(truth, 1.0, 2)
    source = training_set(first) if single else training_set(first, second)
    cut = plan_patches([first.shape], 32, 4, cubes=False)
    ground = lay_out(source, cut, seed=1)
    middles = ground.corners + np.array(cut.size) / 2
    near = (np.abs(middles[:, 1] - 80) < 30) & (np.abs(middles[:, 2] - 100) < 30)
    assert ground.odds[near].sum() > 2.5 * near.mean()
    assert ground.odds.sum() == pytest.approx(1.0)
    assert ground.odds.min() > 0


def test_patches_are_in_units_of_the_noise_and_flipped_alike():
    random = np.random.default_rng(4)
    same = random.normal(50.0, 7.0, size=(32, 64, 64)).astype(np.float32)
    ground = lay_out(training_set(same, same.copy()), plan_patches([same.shape], 32, 4, cubes=False), seed=1)
    seen = set()
    for _ in range(40):
        first, second = ground.draw(random, (32, 32, 32))
        assert np.array_equal(first, second)
        seen.add(first.tobytes())
    assert abs(first.mean()) < 0.2
    assert first.std() == pytest.approx(1.0, abs=0.1)
    # every flip is among 40 draws of few places: more arrays than places
    assert len(seen) > len(ground.corners)


def test_a_thin_tomogram_is_centred_in_cubes():
    _truth, first, second = halves((12, 96, 96))
    cut = plan_patches([first.shape], 32, 4, cubes=True)
    assert cut.size == (32, 32, 32)
    ground = lay_out(training_set(first, second), cut, seed=1)
    a, _ = ground.read(ground.corners[0], cut.size)
    assert a.shape == cut.size
    assert np.all(a[:10] == 0)
    assert np.all(a[22:] == 0)
    assert a[10:22].std() > 0.5


def test_what_is_too_small_is_refused_in_words():
    with pytest.raises(ImageError, match="20 × 20 × 32 voxels is too small to train a network on"):
        plan_patches([(32, 20, 20)], 32, 4, cubes=False)
    _truth, first, second = halves()
    cut = plan_patches([first.shape], 32, 4, cubes=False)
    with pytest.raises(ImageError, match="reconstruct both again"):
        lay_out(training_set(first, second[:, :-1]), cut, seed=1)
    second[3, 4, 5] = np.nan
    with pytest.raises(ImageError, match="z=3, y=4, x=5 is not a finite number"):
        lay_out(training_set(first, second), cut, seed=1)
    with pytest.raises(ImageError, match="every voxel"):
        lay_out(training_set(first, np.zeros_like(first)), cut, seed=1)
    assert ArrayVolume(first).shape == (32, 72, 72)
