"""Spots of the shape of a bead, against pictures drawn by formula."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.errors import SettingsError
from lamella.features.bead_diameter import find_diameter
from lamella.features.beads import find_spots, typical_contrast


def drawn(
    places: np.ndarray, radius: float, contrast: float, counts: float, rng: np.random.Generator, size: int = 300
) -> np.ndarray:
    """Absorbing balls on an even ground, counted."""
    y, x = np.mgrid[:size, :size]
    shown = np.ones((size, size))
    for place in places:
        ball = np.sqrt(np.clip(1 - ((x - place[0]) ** 2 + (y - place[1]) ** 2) / radius**2, 0, None))
        shown *= 1 - contrast * ball
    return rng.poisson(counts * shown).astype(np.float32)


PLACES = np.array([[40.3, 52.7], [150.0, 61.5], [221.2, 240.9], [88.4, 199.1], [250.5, 120.2]])


@pytest.mark.parametrize("radius", [3.0, 6.5, 15.0])
def test_places_and_contrast_of_drawn_balls(radius: float, rng: np.random.Generator) -> None:
    spots = find_spots(drawn(PLACES, radius, 0.5, 100.0, rng), 2 * radius, least_likeness=0.6)
    apart = np.linalg.norm(spots.places_px[:, None] - PLACES, axis=-1)
    assert len(spots) == len(PLACES)
    assert apart.min(axis=0).max() < 0.15 * radius
    assert spots.contrast == pytest.approx(np.full(5, 0.5), abs=0.06)


def test_bright_balls_on_a_dark_ground(rng: np.random.Generator) -> None:
    image = 60 - drawn(PLACES, 6.0, 0.6, 50.0, rng)
    spots = find_spots(image, 12.0, "dark", 0.6)
    assert len(spots) == len(PLACES)
    assert spots.contrast == pytest.approx(np.full(5, 30.0), rel=0.15)  # 0.6 of 50 counts


def test_an_edge_is_no_ball(rng: np.random.Generator) -> None:
    image = rng.poisson(np.where(np.arange(300)[None] < 130, 40, 90) * np.ones((300, 1))).astype(np.float32)
    assert len(find_spots(image, 12.0, least_likeness=0.7)) == 0


def test_noise_alone_holds_few_spots(rng: np.random.Generator) -> None:
    assert len(find_spots(rng.poisson(10, (300, 300)).astype(np.float32), 12.0, least_likeness=0.5)) < 3


def test_a_ball_too_small_is_refused() -> None:
    with pytest.raises(SettingsError, match="3 px across"):
        find_spots(np.ones((64, 64), np.float32), 2.0)


def test_few_deep_spots_outweigh_many_faint_ones(rng: np.random.Generator) -> None:
    contrast = np.concatenate([rng.normal(0.6, 0.03, 4), rng.uniform(0.02, 0.1, 60)])
    likeness = np.concatenate([np.full(4, 0.9), np.full(60, 0.7)])
    assert typical_contrast(contrast, likeness) == pytest.approx(0.6, abs=0.06)
    assert typical_contrast(np.zeros(0), np.zeros(0)) == 0.0


@pytest.mark.parametrize("diameter", [50.0, 100.0, 150.0, 250.0])
def test_the_diameter_is_found(diameter: float, rng: np.random.Generator) -> None:
    pixel = 8.0
    pictures = [drawn(PLACES, diameter / 2 / pixel, 0.6, 60.0, rng) for _ in range(2)]
    found = find_diameter(pictures, pixel)
    assert found.diameter_ang == pytest.approx(diameter, rel=0.12)
    assert found.count == pytest.approx(5, abs=1)


def test_no_picture_is_large_enough_for_any_diameter() -> None:
    assert find_diameter([np.ones((8, 8), np.float32)], 10.0).diameter_ang == 0.0
