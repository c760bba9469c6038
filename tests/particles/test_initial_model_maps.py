"""What a map of few particles owes to each of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.particles.model_cases import BODY, pictures_of, tilt_series

from lamella.fourier import shell_count, shell_sums, soft_mask
from lamella.kernels.central_slices import padded_transform, take_terms
from lamella.particles.initial_model_data import Pictures, coarse_box, read_pictures
from lamella.particles.initial_model_maps import BelievedDifference, believed_difference
from lamella.particles.refine_data import ParticleReader
from lamella.particles.refine_maps import MapSums

BOX, PIXEL, COUNT, SHELL = 24, 16.0, 30, 6
MASK = soft_mask((BOX,) * 3, 8.0, 2.5)


@pytest.fixture(scope="module")
def case() -> tuple[Pictures, np.ndarray]:
    kinds = np.zeros(COUNT, dtype=np.int64)
    particles, source, matrices, _ = pictures_of(
        [BODY], kinds, box_px=BOX, pixel_ang=PIXEL, snr=0.01, series=[tilt_series(views=11)]
    )
    _, shell = coarse_box(BOX, PIXEL, PIXEL * BOX / SHELL)
    return read_pictures(particles, ParticleReader(particles, source), np.arange(COUNT), BOX, shell)[0], matrices


def difference(case: tuple[Pictures, np.ndarray], without: int) -> BelievedDifference:
    """Of the first half of the particles, one of which is left out, against all."""
    pictures, matrices = case
    sums = [MapSums(BOX, np.eye(3)[None]) for _ in range(2)]
    for index in range(COUNT):
        if index != without:
            pose = matrices[index][None], np.zeros((1, 3))
            sums[2 * index // COUNT].add(pictures.terms(index), *pose, np.ones(1))
    return believed_difference(sums[0], sums[0].plus(sums[1]), MASK, 4.0, SHELL)


def cross(case: tuple[Pictures, np.ndarray], index: int, made: BelievedDifference) -> float:
    """Cross product of a particle's terms with those that a map has there."""
    pictures, matrices = case
    terms = pictures.terms(index)
    there = take_terms(
        padded_transform(made.volume.float()).numpy(), terms.at.index, terms.frames @ matrices[index], BOX
    )
    return float(np.vdot(terms.data, there).real)


@pytest.mark.parametrize("own", [True, False])
def test_a_particles_own_part_of_a_difference_is_known(case: tuple[Pictures, np.ndarray], own: bool) -> None:
    pictures, _ = case
    whole = difference(case, -1)
    of_class = range(0, COUNT // 2, 2) if own else range(COUNT // 2, COUNT, 2)
    seen, told = [], []
    for index in of_class:
        seen.append(cross(case, index, whole) - cross(case, index, difference(case, index)))
        terms = pictures.terms(index)
        energy = np.bincount(terms.at.shell, (np.abs(terms.data) ** 2).sum(axis=0), minlength=BOX // 2 + 1)
        told.append(float(energy @ (whole.own - whole.shared if own else -whole.shared)))
    assert np.mean(told) == pytest.approx(np.mean(seen), rel=0.15)
    assert abs(np.mean(told)) > 1  # as much as classes differ by


def test_the_noise_of_a_difference_is_its_power_where_nothing_differs(case: tuple[Pictures, np.ndarray]) -> None:
    made = difference(case, -1)
    power = shell_sums(torch.fft.rfftn(made.volume).abs() ** 2, (BOX,) * 3) / shell_count((BOX,) * 3)
    shells = slice(2, SHELL)
    assert float(power[shells].mean()) == pytest.approx(made.noise[shells].mean(), rel=0.35)
    assert (made.noise[SHELL + 1 :] == 0).all()
