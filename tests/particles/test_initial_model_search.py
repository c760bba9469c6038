"""Scores and sums of many particles at once, against one at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.particles.model_cases import BODY, body_map, pictures_of, tilt_series

from lamella.kernels.central_slices import padded_transform
from lamella.particles.initial_model_data import Pictures, coarse_box, read_pictures
from lamella.particles.initial_model_maps import centre_of_mass_px, shell_ssnr
from lamella.particles.initial_model_search import PoseGrid, add_nodes, node_scores, node_weights
from lamella.particles.likelihood import likelihood
from lamella.particles.refine_data import ParticleReader
from lamella.particles.refine_maps import MapSums

BOX, PIXEL = 24, 16.0
EYE = np.eye(3)[None]


@pytest.fixture(scope="module")
def case() -> tuple[Pictures, np.ndarray]:
    kinds = np.zeros(8, dtype=np.int64)
    series = [tilt_series(views=9)]
    particles, source, matrices, _ = pictures_of([BODY], kinds, box_px=BOX, pixel_ang=PIXEL, snr=0.5, series=series)
    reader = ParticleReader(particles, source)
    box, shell = coarse_box(BOX, PIXEL, 48.0)
    return read_pictures(particles, reader, np.arange(8), box, shell)[0], matrices


def grid(matrices: np.ndarray) -> PoseGrid:
    places = np.array([[0.0, 0.0, 0.0], [0.7, -0.4, 0.2]])
    return PoseGrid(matrices=matrices[:3], places_px=places, width_px=1.5)


def test_the_smaller_box_holds_the_finest_detail_over_the_same_field() -> None:
    assert coarse_box(96, 4.0, 30.0) == (28, 12)
    assert coarse_box(24, 16.0, 20.0) == (24, 11)  # no further than the pictures go


def test_nodes_score_as_the_likelihood_of_each_pose_with_its_prior(case: tuple[Pictures, np.ndarray]) -> None:
    pictures, matrices = case
    transform = padded_transform(torch.from_numpy(body_map(BODY, pictures.at.box_px, 384 / pictures.at.box_px))).numpy()
    nodes = grid(matrices)
    scores = node_scores([transform], pictures, nodes)
    for index, orientation, place in ((0, 0, 0), (3, 2, 1), (7, 1, 1)):
        wanted = (
            likelihood(transform, pictures.terms(index), nodes.matrices[orientation], nodes.places_px[place])
            - 0.5 * (nodes.places_px[place] ** 2).sum() / nodes.width_px**2
        )
        assert scores[index, 0, orientation, place] == pytest.approx(wanted, rel=1e-4, abs=1e-3)


def test_particles_added_together_are_the_sum_of_each(case: tuple[Pictures, np.ndarray]) -> None:
    pictures, matrices = case
    nodes = grid(matrices)
    weights = np.random.default_rng(1).random((8, 1, 3, 2)).astype(np.float32)
    together, apart = MapSums(pictures.at.box_px, EYE), MapSums(pictures.at.box_px, EYE)
    add_nodes([together], pictures, nodes, weights)
    for index in range(8):
        for place in range(2):
            places = np.repeat(nodes.places_px[place][None], 3, axis=0)
            apart.add(pictures.terms(index), nodes.matrices, places, weights[index, 0, :, place].astype(np.float64))
    scale = float(np.abs(apart.grid).max())
    np.testing.assert_allclose(together.grid, apart.grid, atol=2e-5 * scale)


def test_weights_of_a_particle_sum_to_one_and_flatten_with_the_temperature() -> None:
    scores = np.array([0.0, 1.0, 3.0, -50.0], np.float32).reshape(1, 1, 4, 1)
    cold, evidence = node_weights(scores, 1.0)
    hot, _ = node_weights(scores, 100.0)
    assert cold.sum() == pytest.approx(1)
    assert hot.sum() == pytest.approx(1)
    assert cold[0, 0, 3, 0] == 0
    assert hot.max() < 0.35 < cold.max()
    assert evidence[0] == pytest.approx(np.log(np.exp([0, 1, 3, -50]).mean()), abs=1e-6)


def test_the_signal_that_a_map_is_said_to_hold_is_what_it_has_over_its_noise() -> None:
    kinds = np.zeros(60, dtype=np.int64)
    particles, source, matrices, _ = pictures_of(
        [BODY], kinds, box_px=BOX, pixel_ang=PIXEL, snr=0.02, series=[tilt_series(views=9)]
    )
    reader = ParticleReader(particles, source)
    box, shell = coarse_box(BOX, PIXEL, 40.0)
    pictures = read_pictures(particles, reader, np.arange(60), box, shell)[0]
    noise = MapSums(box, EYE)
    rng = np.random.default_rng(0)
    for index in range(60):
        noise.add(pictures.terms(index), matrices[index][None], np.zeros((1, 3)), np.ones(1))
    # the same pictures turned at random hold no signal but the mean of all directions
    blurred = MapSums(box, EYE)
    for index in range(60):
        blurred.add(pictures.terms(index), matrices[rng.integers(60)][None], np.zeros((1, 3)), np.ones(1))
    mask = torch.ones((box,) * 3)
    true, lost = shell_ssnr(noise, mask), shell_ssnr(blurred, mask)
    assert (true[3:5] > 5 * lost[3:5]).all()
    assert np.median(lost[5 : shell + 1]) < 1.0


def test_centre_of_mass_is_that_of_the_positive_part() -> None:
    volume = torch.from_numpy(body_map([[12.0, -8.0, 4.0, 20.0, 1.0]], 24, 8.0))
    np.testing.assert_allclose(centre_of_mass_px(volume), [1.5, -1.0, 0.5], atol=1e-3)
    np.testing.assert_array_equal(centre_of_mass_px(-volume), 0)
