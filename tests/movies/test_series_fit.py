"""Whole series of exactly Gaussian likelihoods: what differs over the field is believed only where it is there."""

from __future__ import annotations

import numpy as np
import pytest
from tests.movies.moving import quadratic_maps
from tests.movies.test_modes import centres

from lamella.movies.modes import DEGREES, tile_modes
from lamella.movies.pair_maps import PairMaps
from lamella.movies.series_fit import Solved, solve_local, solve_whole_field

FRAMES, PIXEL_ANG = 6, 1.5
TILES = centres(4, 4)
MODES, MIXING = tile_modes(TILES)
EARLY = -np.expm1(-np.linspace(0, 1, FRAMES) / 0.15)
COURSE = (EARLY - EARLY.mean())[:, None]
Array = np.ndarray


def fields(rng: np.random.Generator, views: int, local_px: float, degree: int = 1, jitter: float = 0.1) -> list[Array]:
    """``(tiles, frames, 2)`` of each view: the whole field moves by some px, and modes of a degree by `local_px`."""
    out = []
    for _ in range(views):
        whole = 2 * COURSE * rng.normal(size=(1, 2)) + rng.normal(0, jitter, (FRAMES, 2))
        strengths = np.zeros((len(DEGREES), FRAMES, 2))
        strengths[0] = whole - whole.mean(axis=0)
        for mode, its_degree in enumerate(DEGREES):
            if its_degree == degree:
                strengths[mode] = local_px * COURSE / np.linalg.norm(COURSE) * rng.normal(size=(1, 2))
        out.append(np.einsum("tm,mfc->tfc", MODES, strengths))
    return out


def solved_both(
    rng: np.random.Generator, true: list[Array], sigma: float
) -> tuple[list[Solved], list[Solved], Array | None]:
    kappa = 1 / (FRAMES * sigma**2)
    maps = [quadratic_maps(rng, one, (kappa, kappa), tile_centres=TILES, reach=16) for one in true]
    whole = solve_whole_field([one.whole_field() for one in maps], [np.zeros((FRAMES, 2))] * len(maps), PIXEL_ANG)
    local, mixing = solve_local(maps, whole, PIXEL_ANG)
    return whole, local, mixing


def rms_error(true: list[Array], solved: list[Solved]) -> float:
    """Over tiles, frames and views."""
    errors = []
    for field, one in zip(true, solved, strict=True):
        found = np.einsum("tm,mfc->tfc", MODES[:, : len(one.strengths_px)], one.strengths_px)
        errors.append(found - field)
    return float(np.sqrt(np.mean(np.square(errors))))


def test_local_motion_is_found_where_it_is() -> None:
    """Gradients over the field, of the size of their error in one view, in most series; and they better the field."""
    found, before, after = 0, [], []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        true = fields(rng, 10, 0.8)
        whole, local, mixing = solved_both(rng, true, 0.3)
        found += mixing is not None
        before.append(rms_error(true, whole))
        after.append(rms_error(true, local))
    assert found == 2
    assert np.mean(after) < 0.6 * np.mean(before)
    assert all(a < b for a, b in zip(after, before, strict=True))


def test_only_the_degrees_that_are_there() -> None:
    rng = np.random.default_rng(3)
    _, local, mixing = solved_both(rng, fields(rng, 8, 1.5, degree=2), 0.3)
    assert mixing is not None
    np.testing.assert_allclose(mixing, MIXING)
    power = np.zeros(4)
    for one in local:
        assert one.strengths_px.shape == (10, FRAMES, 2)
        for mode, degree in enumerate(DEGREES):
            power[degree] += np.square(one.strengths_px[mode]).sum()
    assert power[2] > 0
    assert power[3] == 0


def false_findings(seeds: range, views: int, sigma: float) -> tuple[int, float, float]:
    found, before, after = 0, [], []
    for seed in seeds:
        rng = np.random.default_rng([seed, 7])
        true = fields(rng, views, 0.0)
        whole, local, mixing = solved_both(rng, true, sigma)
        found += mixing is not None
        before.append(rms_error(true, whole))
        after.append(rms_error(true, local))
    return found, float(np.mean(before)), float(np.mean(after))


def test_where_nothing_differs_nothing_is_found() -> None:
    found, before, after = false_findings(range(3), 6, 0.6)
    assert found == 0
    assert after == before


@pytest.mark.slow
@pytest.mark.parametrize(("views", "sigma", "series"), [(3, 0.6, 60), (8, 0.3, 40), (8, 1.2, 40)])
def test_local_motion_is_seldom_found_where_there_is_none(views: int, sigma: float, series: int) -> None:
    found, before, after = false_findings(range(series), views, sigma)
    assert found < 0.05 * series
    assert after < 1.01 * before


@pytest.mark.slow
@pytest.mark.parametrize("local_px", [0.1, 0.2, 0.4])
def test_local_is_never_worse_than_global(local_px: float) -> None:
    """Faint local motion, at the border of what can be seen: on average nothing is lost, and in no series much."""
    before, after = [], []
    for seed in range(10):
        rng = np.random.default_rng([seed, 9])
        true = fields(rng, 8, local_px)
        whole, local, _ = solved_both(rng, true, 0.4)
        before.append(rms_error(true, whole))
        after.append(rms_error(true, local))
    assert np.mean(after) <= 1.005 * np.mean(before)
    assert (np.asarray(after) < 1.1 * np.asarray(before)).all()


def test_views_of_different_lengths_and_blank_ones() -> None:
    """Views with other numbers of frames share no prior with the rest; a blank one follows the prior."""
    rng = np.random.default_rng(1)
    true = [one[:1] for one in fields(rng, 8, 0.0)]
    short = [one[:, :3] - one[:, :3].mean(axis=1, keepdims=True) for one in true[:4]]
    kappa = (2.0, 2.0)
    maps = [quadratic_maps(rng, one, kappa, reach=16) for one in (*true, *short)]
    blank = PairMaps(
        np.zeros((1, 15, 9, 9), np.float32), (0.5, 0.5), np.zeros((FRAMES, 2)), np.zeros((1, 2)), np.zeros(2)
    )
    maps = [blank, *maps]
    solved = solve_whole_field(maps, [np.zeros((one.frames, 2)) for one in maps], PIXEL_ANG)
    assert [one.strengths_px.shape[1] for one in solved] == [FRAMES] * 9 + [3] * 4
    for one in solved:
        assert np.isfinite(one.strengths_px).all()
        assert np.isfinite(one.error_px).all()
    without = solve_whole_field(maps[1:9], [np.zeros((FRAMES, 2))] * 8, PIXEL_ANG)
    for one, other in zip(solved[1:9], without, strict=True):
        np.testing.assert_allclose(one.strengths_px, other.strengths_px, atol=1e-6)
    assert (solved[0].error_px >= solved[1].error_px).all()
