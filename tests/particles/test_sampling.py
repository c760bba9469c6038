"""How searches narrow, when a refinement ends, and what the halves' correlation says of the signal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from lamella.geometry.symmetry import point_group
from lamella.particles.convergence import IterationNumbers, converged, highest_shell, resolved_shell
from lamella.particles.likelihood import ParticleTerms, picture_index
from lamella.particles.refine_maps import MapSums, signal_to_noise
from lamella.particles.sampling import Grids, first_range, next_range, place_grid, settled

NUMBERS = IterationNumbers(
    resolution_ang=10.0, shell=20.0, compared_ang=9.0, angle_change_deg=0.05, shift_change_px=0.01,
    angle_error_deg=0.2, shift_error_px=0.05, certainty=1.0, orientations=27, places=7, angle_step_deg=2.0,
)  # fmt: skip


def test_a_search_narrows_until_a_nodes_neighbours_are_left() -> None:
    search = first_range(10.0, 70.0, everywhere=False, angle_range_deg=None, angle_step_deg=None, shift_range_px=12.0)
    grids = Grids(search, "C1", 35.0)
    assert search.angle_step_deg == pytest.approx(np.rad2deg(0.8 * 10 / 70))
    for _ in range(6):
        search = next_range(search, 3.0, 70.0)
        fewer = Grids(search, "C1", 35.0)
        assert fewer.counts[0] == 27
        assert fewer.counts[1] <= grids.counts[1]
        grids = fewer
    assert grids.counts == (27, 7)
    assert search.detail_px == 3.0


def test_orientations_go_no_further_than_they_may() -> None:
    search = first_range(10.0, 70.0, everywhere=False, angle_range_deg=20.0, angle_step_deg=None, shift_range_px=5.0)
    given = Rotation.random(random_state=1).as_matrix()
    own = Rotation.from_rotvec([0.3, 0, 0]).as_matrix() @ given
    found = Grids(search, "C1", 35.0).about(own, np.zeros(3), given, 20.0)
    turns = Rotation.from_matrix(found.matrices @ given.T).magnitude()
    assert len(found.matrices) > 10
    assert np.rad2deg(turns.max()) <= 20 + 1e-6


def test_a_search_everywhere_has_each_orientation_once() -> None:
    whole = first_range(10.0, 70.0, everywhere=True, angle_range_deg=None, angle_step_deg=None, shift_range_px=5.0)
    plain, symmetric = (Grids(whole, name, 35.0).counts[0] for name in ("C1", "D7"))
    assert plain / 16 < symmetric < plain / 10


def test_a_search_everywhere_compares_what_its_steps_can_tell() -> None:
    fine, coarse = (
        first_range(detail, 70.0, everywhere=True, angle_range_deg=None, angle_step_deg=None, shift_range_px=12.0)
        for detail in (4.0, 20.0)
    )
    assert fine.angle_step_deg == coarse.angle_step_deg == 15.0
    assert fine.detail_px == pytest.approx(np.deg2rad(15) * 70 / 1.6)  # half a step moves the rim by 0.8 of it
    assert coarse.detail_px == 20.0
    assert Grids(fine, "C1", 35.0).counts[0] == 4608
    asked = first_range(4.0, 70.0, everywhere=True, angle_range_deg=None, angle_step_deg=3.75, shift_range_px=12.0)
    assert asked.detail_px == 4.0


def test_places_fill_a_ball() -> None:
    places = place_grid(3.0, 1.0)
    assert (places[0] == 0).all()
    assert len(places) == 123  # points of the cubic lattice within three of its steps
    assert np.linalg.norm(places, axis=1).max() <= 3


def test_a_particle_settles_when_the_grid_finds_it_where_it_was() -> None:
    search = first_range(10.0, 70.0, everywhere=False, angle_range_deg=None, angle_step_deg=6.0, shift_range_px=5.0)
    turns, moves, sure = np.array([1.0, 4.0, 1.0, 1.0]), np.array([0.5, 0.5, 2.0, 0.5]), np.array([1.0, 1.0, 1.0, 0.6])
    assert settled(search, turns, moves, sure).tolist() == [True, False, False, False]
    assert not settled(replace(search, everywhere=True), turns, moves, sure).any()


def test_refinement_ends_when_nothing_is_gained() -> None:
    still = (NUMBERS,) * 4
    assert converged(still)
    assert not converged(still[:2])
    assert not converged((*still[:3], replace(NUMBERS, shell=22.0)))
    moving = replace(NUMBERS, angle_change_deg=2.0)
    assert not converged((*still[:3], moving))
    assert converged((*still[:3], moving, moving, moving, moving))


def test_shells_are_read_off_a_correlation() -> None:
    fsc = np.concatenate([np.linspace(1, 0.2, 20), [0.1, 0.12], np.full(6, 0.4), np.zeros(12)])
    assert 27 < resolved_shell(fsc) < 28  # the dip is not the end
    assert highest_shell(fsc) > 29
    assert resolved_shell(np.ones(17)) == 16
    np.testing.assert_allclose(signal_to_noise(np.array([1, 0.5, 0.8, 0.01, 0.5])), [1, 1, 4, 0, 0])
    np.testing.assert_allclose(signal_to_noise(np.array([1, 0.5]), whole=True), [2, 2])


def test_a_map_has_the_symmetry_that_is_imposed() -> None:
    generator = np.random.default_rng(1)
    at = picture_index(24, 11)
    matrices = Rotation.random(40, random_state=2).as_matrix()
    group = point_group("C4")
    sums = MapSums(24, group)
    for matrix in matrices:
        data = (generator.normal(size=(1, len(at.index))) + 1j * generator.normal(size=(1, len(at.index)))) * 0.1
        terms = ParticleTerms(at, data.astype(np.complex64), np.ones((1, len(at.index)), np.float32), np.eye(3)[None])
        sums.add(terms, matrix[None], np.zeros((1, 3)), np.ones(1))
    volume = sums.unfiltered()[1:, 1:, 1:]  # symmetric about voxel n // 2
    turned = torch.rot90(volume, 1, (1, 2))
    assert torch.corrcoef(torch.stack([volume.flatten(), turned.flatten()]))[0, 1] > 0.999
