"""Hot and dead pixels, columns and rows found in counts, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from tests.movies.camera import movies, sources, structured_gain

from lamella.errors import ImageError
from lamella.movies.defects import find_defects, spread_order, survey
from lamella.records import ArrayFrames

SHAPE = (768, 640)


def test_planted_faults_are_found_and_nothing_else(rng: np.random.Generator) -> None:
    gain = structured_gain(rng, SHAPE)
    stacks = movies(rng, SHAPE, 1.0, gain=gain, views=10, frames=6)  # 60 counts per pixel
    hot = rng.integers(5, 600, (30, 2))
    dead = rng.integers(5, 600, (20, 2))
    for stack in stacks:
        stack[:, hot[:, 0], hot[:, 1]] += 2
        stack[:, dead[:, 0], dead[:, 1]] = 0
        stack[:, :, 333] += rng.poisson(0.05, (6, SHAPE[0])).astype(np.uint8)  # 5 % more
        stack[:, 211, :] += rng.poisson(0.08, (6, SHAPE[1])).astype(np.uint8)
        stack[:, : SHAPE[0] // 2, 402] += rng.poisson(0.15, (6, SHAPE[0] // 2)).astype(np.uint8)  # half a column
        stack[:, 700:724, 500:524] = 0  # a dead corner of a tile
    found = find_defects(survey(sources(stacks)), gain)
    assert set(found.columns) == {333, 402}
    assert set(found.rows) == {211}
    assert found.mask[hot[:, 0], hot[:, 1]].all()
    assert found.mask[dead[:, 0], dead[:, 1]].all()
    assert found.mask[702:722, 502:522].all()
    assert found.mask[: SHAPE[0] // 2 - 10, 402].all()
    planted = np.zeros(SHAPE, bool)
    planted[hot[:, 0], hot[:, 1]] = planted[dead[:, 0], dead[:, 1]] = True
    planted[:, [333, 402]] = planted[211] = planted[700:724, 500:524] = True
    assert (found.mask & ~planted).sum() <= 2
    assert "bad columns" in found.note
    assert "x = 333, 402" in found.note


@pytest.mark.parametrize("dose", [0.02, 0.2, 1.5])
def test_a_sound_camera_has_no_faults(dose: float, rng: np.random.Generator) -> None:
    stacks = movies(rng, SHAPE, dose, views=6, frames=4)
    found = find_defects(survey(sources(stacks)), None)
    assert found.mask.mean() < 1e-5
    assert len(found.columns) == len(found.rows) == 0
    assert found.note == ""


def test_weak_columns_at_the_dose_of_a_few_views(rng: np.random.Generator) -> None:
    """5 % more in columns of 2048 pixels, at 12 counts in all."""
    stacks = [rng.poisson(1.0, (4, 2048, 256)).astype(np.uint8) for _ in range(3)]
    for stack in stacks:
        for column in (20, 100, 101, 230):
            stack[:, :, column] += rng.poisson(0.05, (4, 2048)).astype(np.uint8)
    found = find_defects(survey(sources(stacks)), None)
    assert set(found.columns) == {20, 100, 101, 230}


def test_an_x_ray_is_no_hot_pixel(rng: np.random.Generator) -> None:
    stacks = movies(rng, SHAPE, 1.0, views=10)
    stacks[3][1, 100, 100] = 255
    stacks[4][0, 300, 301] = 120
    assert find_defects(survey(sources(stacks)), None).mask.sum() == 0


def test_what_is_known_is_not_counted_again(rng: np.random.Generator) -> None:
    stacks = movies(rng, SHAPE, 1.0, views=10)
    for stack in stacks:
        stack[:, 50, 60] = 30
    known = np.zeros(SHAPE, bool)
    known[50, 60] = True
    assert find_defects(survey(sources(stacks)), None).hot == 1
    found = find_defects(survey(sources(stacks)), None, known)
    assert found.hot == 0
    assert found.note == ""


def test_frames_of_another_gain_are_left_alone(rng: np.random.Generator) -> None:
    found = find_defects(survey(sources(movies(rng, SHAPE, 2.0, views=10))), structured_gain(rng, SHAPE, spread=0.6))
    assert not found.mask.any() or found.mask.mean() < 0.02


def test_a_survey_stops_when_there_is_enough(rng: np.random.Generator) -> None:
    stacks = [ArrayFrames(rng.poisson(10, (2, 64, 64)).astype(np.uint8)) for _ in range(20)]
    found = survey(stacks, enough=100, fewest=3)
    assert (found.frames, found.movies) == (10, 5)
    assert found.mean == pytest.approx(100, rel=0.02)
    assert found.are_counts
    assert survey(stacks, enough=1, fewest=3).movies == 3
    assert sorted(spread_order(13)) == list(range(13))
    assert spread_order(8)[:4] == [0, 4, 2, 6]


def test_movies_that_do_not_belong_together_are_named() -> None:
    with pytest.raises(ImageError, match="no movie"):
        survey([])
    with pytest.raises(ImageError, match="32 × 16 and of 16 × 16"):
        survey([ArrayFrames(np.ones((2, 16, 16), np.uint8)), ArrayFrames(np.ones((2, 16, 32), np.uint8))])
    with pytest.raises(ImageError, match="counted nothing"):
        survey([ArrayFrames(np.zeros((2, 16, 16), np.uint8))])
