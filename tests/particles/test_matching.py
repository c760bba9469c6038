import numpy as np
import pytest
import torch
from tests.particles.blobs import DIAMETER, blob_map, series_of, tomogram_of, unseen_removed

from lamella.fourier import soft_mask
from lamella.geometry import euler_matrix, rotation_angle_deg
from lamella.particles.matching import BlockSearch, _TorchLoop
from lamella.particles.peak_poses import Poses, polish_poses
from lamella.particles.search_grid import search_grid
from lamella.particles.template import EDGE_ANG, prepare_template
from lamella.particles.template_cube import TemplateCube
from lamella.particles.template_weights import SearchWeights
from lamella.records import ArrayVolume

VOXEL = 10.0
SHAPE = (48, 64, 72)
HIGHEST = VOXEL / 40


def template():
    return prepare_template(blob_map(36, VOXEL), VOXEL, VOXEL, diameter_ang=DIAMETER)


def weights():
    return SearchWeights.of(series_of(), VOXEL, DIAMETER, None, highest_px=0.4)


def search_of(volume, shape=SHAPE):
    block = torch.from_numpy((volume - volume.mean()).astype(np.float32))
    return BlockSearch(block, torch.ones(shape), 1.0, DIAMETER / VOXEL / 2, weights(), HIGHEST)


def test_scores_of_noise_have_unit_deviation(rng):
    search = search_of(rng.normal(size=SHAPE))
    cube = TemplateCube.of(template().volume, HIGHEST)
    for turn in search_grid(60.0)[::20]:
        score = search.normalised(search.search(cube, turn[None])).numpy()
        assert score.mean() == pytest.approx(0, abs=0.2)
        assert score.std() == pytest.approx(1, abs=0.12)


def test_the_score_is_the_correlation_with_the_turned_template(rng):
    # against a plain correlation with the template turned in real space and put under its mask there
    volume = rng.normal(size=SHAPE).astype(np.float32)
    turn = euler_matrix(50.0, 70.0, -20.0)
    search = search_of(volume)
    found = search.search(TemplateCube.of(template().volume, HIGHEST), turn[None]).best.numpy()
    made = tomogram_of([np.zeros(3)], [turn], SHAPE, VOXEL)
    mask = soft_mask(SHAPE, DIAMETER / 2 / VOXEL, EDGE_ANG / VOXEL).numpy()
    made = (made - (made * mask).sum() / mask.sum()) * mask
    made = np.roll(made, [-(n // 2) for n in SHAPE], axis=(0, 1, 2))
    band = search.band
    amplitude, _power = weights().at(band.frequencies())
    terms = np.zeros(SHAPE[0] * SHAPE[1] * (SHAPE[2] // 2 + 1), np.complex64)
    own = np.fft.rfftn(made).reshape(-1)[band.flat()]
    data = np.fft.rfftn(search.whitened.numpy()).reshape(-1)[band.flat()]
    terms[band.flat()] = data * amplitude * own.conj()
    plain = np.fft.irfftn(terms.reshape(SHAPE[0], SHAPE[1], -1), s=SHAPE, axes=(0, 1, 2))
    assert np.corrcoef(found.ravel(), plain.ravel())[0, 1] > 0.995


def test_a_particle_is_found_where_and_as_it_is(rng):
    centre, turn = np.array([83.0, -64.0, 37.0]), euler_matrix(100.0, 50.0, 30.0)
    volume = unseen_removed(tomogram_of([centre], [turn], SHAPE, VOXEL), 60.0)
    volume = volume + rng.normal(0, 0.3 * volume.max(), SHAPE)
    search = search_of(volume)
    grid = search_grid(20.0)
    found = search.search(TemplateCube.of(template().volume, HIGHEST), grid)
    score = search.normalised(found).numpy()
    peak = np.unravel_index(score.argmax(), SHAPE)
    place = (np.array(peak[::-1]) - np.array(SHAPE[::-1]) // 2) * VOXEL
    assert np.linalg.norm(place - centre) < 15
    matrix = grid[found.which.numpy()[peak]]
    assert rotation_angle_deg(matrix, turn) < 18
    start = Poses(np.array(peak[::-1], float)[None], matrix[None], np.array([score[peak]]))
    polished = polish_poses(
        ArrayVolume(-volume.astype(np.float32)), template(), weights(), start,
        highest_px=0.33, step_deg=20.0, finest_deg=1.5,
    )  # fmt: skip
    place = (polished.places_px[0] - np.array(SHAPE[::-1]) // 2) * VOXEL
    assert np.linalg.norm(place - centre) < 3
    assert rotation_angle_deg(polished.matrices[0], turn) < 3
    assert polished.scores[0] > score[peak]


def test_the_torch_loop_gives_the_same_scores(rng):
    search = search_of(rng.normal(size=SHAPE))
    cube, grid = TemplateCube.of(template().volume, HIGHEST), search_grid(60.0)[:5]
    compiled = search.search(cube, grid)
    search._loop = _TorchLoop(search, torch.from_numpy(search.band.multiplicity()))
    plain = search.search(cube, grid)
    np.testing.assert_allclose(plain.best, compiled.best, atol=2e-3)
    assert (plain.which == compiled.which).float().mean() > 0.999


def test_a_search_goes_on_where_it_stopped(rng):
    search = search_of(rng.normal(size=SHAPE))
    cube, grid = TemplateCube.of(template().volume, HIGHEST), search_grid(60.0)[:8]
    whole = search.search(cube, grid)
    part = search.search(cube, grid[4:], search.search(cube, grid[:4]), first=4)
    np.testing.assert_array_equal(whole.best, part.best)
    np.testing.assert_array_equal(whole.which, part.which)


def test_empty_places_have_no_score(rng):
    volume = rng.normal(size=SHAPE)
    inside = torch.zeros(SHAPE)
    inside[:, :40] = 1
    block = torch.from_numpy(volume.astype(np.float32)) * inside
    search = BlockSearch(block, inside, 1.0, DIAMETER / VOXEL / 2, weights(), HIGHEST)
    score = search.normalised(search.search(TemplateCube.of(template().volume, HIGHEST), search_grid(60.0)[:2]))
    assert torch.isneginf(score[:, 45:60]).all()
    assert torch.isfinite(score[:, 5:35]).all()
