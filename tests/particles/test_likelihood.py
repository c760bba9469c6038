"""Likelihood, posterior and noise of single particles whose truth is a formula."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lamella.kernels.central_slices import padded_transform
from lamella.particles.expectation import expect
from lamella.particles.likelihood import ParticleTerms, Prior, climb, likelihood, picture_index
from lamella.particles.noise import noise_of, power_of_noise
from lamella.particles.refine_data import ParticleReader
from lamella.particles.sampling import Grids, first_range
from lamella.records import ArrayParticles, ParticleSet

sys.path.insert(0, str(Path(__file__).parent))
from particle_pictures import PIXEL, particle_set, torch_body

BOX, COUNT, NOISE = 32, 24, 0.03
PRIOR = Prior(place_px=np.zeros(3), place_width_px=50.0)
Data = tuple[ParticleSet, ArrayParticles, ParticleReader]


@pytest.fixture(scope="module")
def transform() -> NDArray[np.complex64]:
    return padded_transform(torch_body(BOX)).numpy()


@pytest.fixture(scope="module")
def data() -> Data:
    particles, source = particle_set(COUNT, BOX, NOISE)
    return particles, source, ParticleReader(particles, source)


def pose(data: Data, index: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The truth."""
    member = data[0].members[0]
    return member.matrices()[index], (member.positions_ang() - member.coordinates_ang)[index] / PIXEL


def terms_of(data: Data, index: int, shell: int = 12) -> ParticleTerms:
    noise = np.full(BOX // 2 + 1, (NOISE * BOX) ** 2)
    return data[2].read(index).at(picture_index(BOX, shell)).over_noise(noise)


def test_half_of_the_terms_stand_for_all() -> None:
    for volume in (False, True):
        found = picture_index(16, 6, volume=volume)
        both = {tuple(k) for k in found.index} | {tuple(-k) for k in found.index}
        assert len(both) == 2 * len(found.index)
        line = np.fft.fftfreq(16, 1 / 16)
        axes = np.meshgrid(*([line] * (3 if volume else 2)), indexing="ij")
        length = np.rint(np.sqrt(sum(axis**2 for axis in axes)))
        assert len(both) == ((length > 0) & (length <= 6)).sum()
        half = np.broadcast_to(np.fft.rfftfreq(16, 1 / 16), (16, 16, 9) if volume else (16, 9))
        np.testing.assert_array_equal(half.reshape(-1)[found.flat], found.index[:, 0])


def test_noise_left_at_the_true_pose_is_the_noise(data: Data, transform: NDArray[np.complex64]) -> None:
    power, squares = np.zeros(BOX // 2 + 1), np.zeros(BOX // 2 + 1)
    for index in range(COUNT):
        one = noise_of(data[2].read(index).at(picture_index(BOX, 15)), transform, *pose(data, index))
        power += one.power
        squares += one.squares
    noise = power_of_noise(power, squares)
    assert np.abs(noise[2:15] / (NOISE * BOX) ** 2 - 1).max() < 0.15


def test_errors_of_poses_are_those_that_the_curvature_states(data: Data, transform: NDArray[np.complex64]) -> None:
    """The squares of six errors over their covariance have the mean 6: the peak is Gaussian and its width is right."""
    squares = []
    for index in range(COUNT):
        matrix, place = pose(data, index)
        start = matrix @ Rotation.from_rotvec([0.03, -0.04, 0.02]).as_matrix()
        peak = climb(transform, terms_of(data, index), start, place + 0.2, PRIOR, 0.2, 1.0)
        error = np.concatenate([Rotation.from_matrix(matrix.T @ peak.matrix).as_rotvec(), peak.place_px - place])
        squares.append(error @ peak.curvature @ error)
    assert 3.5 < np.mean(squares) < 9.5


def test_a_grid_finds_what_is_far_off(data: Data, transform: NDArray[np.complex64]) -> None:
    search = first_range(BOX / 6, 18.0, everywhere=False, angle_range_deg=20.0, angle_step_deg=None, shift_range_px=2.5)
    grids = Grids(search, "C1", 9.0)
    for index in range(4):
        matrix, place = pose(data, index)
        start = matrix @ Rotation.from_rotvec([0.2, -0.12, 0.1]).as_matrix()
        found = expect(transform, terms_of(data, index, 6), grids.about(start, place + 1.1, None), PRIOR)
        assert np.rad2deg(Rotation.from_matrix(matrix.T @ found.best.matrix).magnitude()) < 3
        assert np.linalg.norm(found.best.place_px - place) < 0.3
        assert np.isclose(found.weights.sum(), 1)


def test_a_wide_peak_is_spread_as_the_posterior_is(data: Data, transform: NDArray[np.complex64]) -> None:
    """Against 3000 samples of the Gaussian, each weighed by the posterior."""
    terms = terms_of(data, 1)
    faint = ParticleTerms(terms.at, terms.data * np.float32(0.1), terms.squares * np.float32(0.1), terms.frames)
    matrix, place = pose(data, 1)
    grids = Grids(first_range(BOX / 12, 18.0, everywhere=False, angle_range_deg=5.0, angle_step_deg=5.0,
                              shift_range_px=0.5), "C1", 9.0)  # fmt: skip
    found = expect(transform, faint, grids.about(matrix, place), PRIOR)
    assert len(found.weights) >= 12
    generator = np.random.default_rng(1)
    steps = generator.multivariate_normal(np.zeros(6), np.linalg.inv(found.best.curvature), 3000)
    logs = np.array(
        [
            likelihood(
                transform, faint, found.best.matrix @ Rotation.from_rotvec(step[:3]).as_matrix(),
                found.best.place_px + step[3:],
            )
            + 0.5 * step @ found.best.curvature @ step
            for step in steps
        ]
    )  # fmt: skip
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    true = weights @ np.sum(steps[:, 3:] ** 2, axis=1)
    own = found.weights @ np.sum((found.places_px - found.best.place_px) ** 2, axis=1)
    assert np.isclose(own, true, rtol=0.35)


def test_priors_hold_a_pose() -> None:
    wanted = Rotation.from_euler("z", 20, degrees=True).as_matrix()

    def residuals(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        return Rotation.from_matrix(wanted.T @ matrix).as_rotvec()[:2] / 0.1

    prior = Prior(np.ones(3), 2.0, residuals)
    matrix, place = np.eye(3), np.array([3.0, 1.0, 0.0])
    slope, curvature = prior.slopes(matrix, place)
    for axis in range(6):
        ends = []
        for sign in (-1, 1):
            step = sign * 1e-4 * np.eye(6)[axis]
            ends.append(prior.value(matrix @ Rotation.from_rotvec(step[:3]).as_matrix(), place + step[3:]))
        assert np.isclose((ends[1] - ends[0]) / 2e-4, slope[axis], atol=1e-2)
    assert np.linalg.eigvalsh(curvature).min() > -1e-9
