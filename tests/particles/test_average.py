"""Averages from known poses, against bodies whose transform is known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.particles.gaussian_scene import (
    PLACES_ANG,
    SIGMA_ANG,
    WEIGHTS,
    body,
    images_of,
    projection,
    random_particles,
    tilt_series,
)

from lamella.errors import InputError
from lamella.fourier import shell_correlation
from lamella.geometry import euler_matrix, point_group
from lamella.particles.average import Average, average, half_map_power
from lamella.particles.average_accumulator import Accumulator
from lamella.particles.extract import extract
from lamella.particles.extract_settings import ExtractSettings
from lamella.particles.map_fsc import half_map_fsc
from lamella.particles.volumes import centred_terms
from lamella.records import ArrayImages, ArrayParticles, Particles, ParticleSet

TILTS = np.arange(-60, 61, 10.0)
BOX = 32
Pixels = NDArray[np.float32]


def slices(box: int, pixel: float, count: int = 400, seed: int = 2) -> tuple[torch.Tensor, NDArray[np.float64]]:
    """Exact projections of the body in directions all over the sphere."""
    rng = np.random.default_rng(seed)
    matrices = euler_matrix(
        rng.uniform(-180, 180, count), np.degrees(np.arccos(rng.uniform(-1, 1, count))), rng.uniform(-180, 180, count)
    )
    centre = np.full(2, box // 2)
    pictures = np.stack([projection((box, box), pixel, centre, matrix) for matrix in matrices])
    return torch.from_numpy(pictures.astype(np.float32)), matrices


def fsc(a: Pixels, b: Pixels) -> NDArray[np.float64]:
    correlation: NDArray[np.float64] = shell_correlation(torch.from_numpy(a), torch.from_numpy(b))[1].numpy()
    return correlation


def extracted(particles: Particles, images: Pixels, **settings: object) -> tuple[ParticleSet, ArrayParticles]:
    pictures: list[Pixels] = []

    def sink(name: str, stack: Pixels, weights: Pixels | None) -> tuple[str, None]:
        pictures.append(stack)
        return name, None

    wanted = {"diameter": 130.0, "box": BOX, "duplicate_distance": 0.5} | settings
    made = extract(particles, ArrayImages(images), ExtractSettings(**wanted), sink)
    return ParticleSet(members=(made,)), ArrayParticles(pictures)


def one_by_one(particles: Particles, noise: float = 0.0, **settings: object) -> tuple[ParticleSet, ArrayParticles]:
    """Particles each in images of its own, so that none lies over another."""
    members: list[Particles] = []
    stacks: list[Pixels] = []
    for index in range(len(particles)):
        one = particles.select([index])
        some, pictures = extracted(one, images_of(one, noise=noise, seed=index), **settings)
        members += some.members
        stacks += pictures.arrays
    return ParticleSet(members=tuple(members)), ArrayParticles(stacks)


def averaged(particles: Particles, images: Pixels, symmetry: str = "C1", **settings: object) -> Average:
    return average(*extracted(particles, images, **settings), symmetry=symmetry)


@pytest.mark.parametrize(("padded", "error"), [(1, 0.12), (2, 0.02)])
def test_exact_projections_make_the_body_again(padded: int, error: float) -> None:
    """Pictures that are padded meet every sample of the finer grid; others leave some with little weight."""
    pictures, matrices = slices(BOX, 7.0)
    sums = Accumulator(BOX)
    size = padded * BOX
    sums.add(centred_terms(pictures, size), torch.ones(len(pictures), size, size // 2 + 1), matrices)
    made, exact = sums.map(), body(BOX, 7.0)
    assert np.abs(made - exact).max() < error * exact.max()
    finest = int(BOX * 7.0 / 30)  # the body's Gaussians leave next to nothing beyond 30 Å
    assert (fsc(made, exact)[1 : finest + 1] > 0.998).all()


def test_weights_are_counted_per_sample_of_the_box_however_fine_the_grids_are() -> None:
    pictures, matrices = slices(BOX, 7.0, 300)
    found = []
    for padding, size in ((1, BOX), (2, BOX), (2, 2 * BOX)):
        sums = Accumulator(BOX, padding=padding)
        sums.add(centred_terms(pictures, size), torch.ones(len(pictures), size, size // 2 + 1), matrices)
        found.append(sums.shell_weights().numpy()[3:13])
    # a shell of radius r holds 4 π r² samples, and 300 slices bring 2 π r each
    expected = 300 * 2 * np.pi * np.arange(3, 13) / (4 * np.pi * np.arange(3, 13) ** 2)
    for weights in found:
        np.testing.assert_allclose(weights, expected, rtol=0.08)


def test_expected_power_damps_what_was_not_measured_well() -> None:
    pictures, matrices = slices(BOX, 7.0)
    sums = Accumulator(BOX)
    sums.add(centred_terms(pictures), torch.ones(len(pictures), BOX, BOX // 2 + 1), matrices)
    free = sums.map()
    half = sums.map(sums.shell_weights())  # the map's power is what one measured W outweighs: half of it stays
    ratio = [np.abs(np.fft.rfftn(volume)).sum() for volume in (half, free)]
    assert ratio[0] / ratio[1] == pytest.approx(0.5, abs=0.05)


def test_the_halves_say_what_to_expect() -> None:
    weights = 4.0 / np.maximum(np.arange(21), 0.5)
    np.testing.assert_allclose(half_map_power(np.full(21, 0.5), weights), weights / 16)  # τ² W = 8 · 2
    np.testing.assert_allclose(half_map_power(np.full(21, -0.2), weights), weights / 0.8)
    hole = np.where(np.arange(21) == 10, 0.0, 0.5)
    assert half_map_power(hole, weights)[10] < weights[10] / 10  # a shell without transfer does not vanish


def test_symmetry_is_that_of_every_slice_turned() -> None:
    pictures, matrices = slices(BOX, 7.0, 60)
    group = point_group("D3")
    ones = torch.ones(len(pictures), BOX, BOX // 2 + 1)
    one, many = Accumulator(BOX), Accumulator(BOX)
    one.add(centred_terms(pictures), ones, matrices)
    for turn in group:
        many.add(centred_terms(pictures), ones, matrices @ turn)
    made, wanted = one.map(symmetry="D3"), many.map()
    assert np.abs(made - wanted).max() < 0.03 * wanted.max()
    exact = np.zeros((BOX,) * 3)
    line = (np.arange(BOX) - BOX // 2) * 7.0
    for turn in group:
        for place, weight in zip(PLACES_ANG @ turn.T, WEIGHTS, strict=True):
            x, y, z = (np.exp(-((line - p) ** 2) / 2 / SIGMA_ANG**2) for p in place)
            exact += weight / len(group) * z[:, None, None] * y[:, None] * x
    exact *= 7.0**3 / (2 * np.pi * SIGMA_ANG**2) ** 1.5
    assert np.corrcoef(made.ravel(), exact.ravel())[0, 1] > 0.99


def test_the_sums_do_not_hang_on_how_the_pictures_come(rng: np.random.Generator) -> None:
    pictures, matrices = slices(BOX, 7.0, 50)
    ones = torch.ones(len(pictures), BOX, BOX // 2 + 1)
    whole, parts, other = Accumulator(BOX), Accumulator(BOX), Accumulator(BOX)
    whole.add(centred_terms(pictures), ones, matrices)
    parts.add(centred_terms(pictures[:20]), ones[:20], matrices[:20])
    other.add(centred_terms(pictures[20:]), ones[20:], matrices[20:])
    parts.merge(other)
    np.testing.assert_allclose(parts.map(), whole.map(), atol=1e-6)
    whole.add(centred_terms(pictures) * 3, ones * 3, matrices)
    np.testing.assert_allclose(whole.map(), parts.map(), atol=1e-5)


@pytest.mark.parametrize(("pixel", "binning", "ctf"), [(5.0, 1.0, False), (5.0, 1.0, True), (3.5, 2.0, True)])
def test_from_tilt_images_to_the_body(pixel: float, binning: float, ctf: bool) -> None:
    """Noise-free images of particles apart from each other: the map is the body, whatever the pixel."""
    series = tilt_series(TILTS, pixel, (200, 200) if binning > 1 else (130, 130), ctf=ctf)
    some = random_particles(series, 6, reach_ang=20)
    result = average(*one_by_one(some, binning=binning, crop_from=64 if ctf else "auto"))
    exact = body(BOX, result.voxel_size_ang)
    correlation = fsc(result.whole, exact)
    finest = int(BOX * result.voxel_size_ang / 30)  # the body's Gaussians leave next to nothing beyond 30 Å
    assert result.particles[0] + result.particles[1] == 6
    assert (correlation[1:finest] > 0.97).all()
    assert np.argmax(result.whole) == np.argmax(exact)


def test_noise_is_averaged_away_and_told_by_the_halves() -> None:
    series = tilt_series(TILTS, size=(80, 80), ctf=True)
    halves = np.arange(30) % 2 + 1
    some = random_particles(series, 30, reach_ang=10).with_changes(half_set=halves)
    result = average(*one_by_one(some, noise=0.05))
    assert result.half1 is not None
    assert result.half2 is not None
    resolution = half_map_fsc(result.half1, result.half2, result.voxel_size_ang).resolution_ang()
    assert resolution is not None
    assert 20 < resolution < 60
    assert result.particles == (15, 15)
    truth = fsc(result.half1, body(BOX, 5.0))
    assert abs(np.argmax(result.correlation < 0.143) - np.argmax(truth < 0.143**0.5)) <= 2
    power = [np.abs(np.fft.rfftn(volume))[0, 0, 14] for volume in (result.whole, result.half1)]
    assert power[0] < 0.2 * power[1]  # the whole is damped where the halves do not agree, the halves are not


def test_places_found_since_the_extraction_are_used() -> None:
    """Pictures cut out beside the particle, and the record that says so, make the same map."""
    series = tilt_series(TILTS)
    some = random_particles(series, 1, reach_ang=20)
    images = images_of(some)
    straight = averaged(some, images)
    beside = some.with_changes(coordinates_ang=some.coordinates_ang + np.array([9.0, -6.0, 7.0]))
    pictures, source = extracted(beside, images)
    member = pictures.members[0].with_poses(positions_ang=some.positions_ang())
    moved = average(ParticleSet(members=(member,)), source)
    assert np.corrcoef(moved.whole.ravel(), straight.whole.ravel())[0, 1] > 0.99
    unmoved = average(pictures, source)
    assert np.corrcoef(unmoved.whole.ravel(), straight.whole.ravel())[0, 1] < 0.95
    assert moved.half1 is None or moved.half2 is None
    assert not len(moved.correlation)


def test_what_has_no_average_is_refused(rng: np.random.Generator) -> None:
    series = tilt_series(TILTS)
    some = random_particles(series, 2, reach_ang=20)
    images = images_of(some)
    pictures, source = extracted(some, images)
    with pytest.raises(InputError, match="no pictures"):
        average(ParticleSet(members=(some,)), source)
    other, more = extracted(some, images, box=40)
    both = ParticleSet(members=(*pictures.members, *other.members))
    with pytest.raises(InputError, match="different sizes"):
        average(both, ArrayParticles([*source.arrays, *more.arrays]))
    with pytest.raises(InputError, match="visible views"):
        average(pictures, ArrayParticles([stack[1:] for stack in source.arrays]))
    with pytest.raises(InputError, match="pictures of 1"):
        average(pictures, ArrayParticles(source.arrays[:1]))
    volumes, some_volumes = extracted(some, images, kind="volume")
    with pytest.raises(InputError, match="kind = stack"):
        average(volumes, some_volumes)
