"""Lumps of ice painted over: found by how dark they are, and as level and grainy as their surroundings afterwards."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lamella.records import ArrayImages
from lamella.tomograms.gold_lumps import find_lumps

SIZE, PIXEL_ANG = 256, 10.0


def scene(rng, dark=0.3, half_width=18):
    """Three views with a lump in two of them, on a ground that slopes; where the lump is."""
    y, x = np.mgrid[:SIZE, :SIZE]
    ground = 100 + 0.04 * x - 0.03 * y
    lump = (np.abs(x - 90) + 0.4 * np.abs(y - 140) < half_width) & (np.abs(y - 140) < half_width)
    bodies = np.zeros((SIZE, SIZE))
    bodies[rng.integers(10, SIZE - 10, 60), rng.integers(10, SIZE - 10, 60)] = 1
    bodies = gaussian_filter(bodies, 8) * (2 * np.pi * 64)
    views = []
    for view in range(3):
        shown = gaussian_filter(1 - dark * lump * (view != 1), 1.0) - 0.06 * bodies
        views.append(rng.poisson(ground * shown))
    return np.array(views, dtype=np.float32), lump, ground


def test_a_lump_is_found_and_bodies_are_not(rng):
    images, lump, _ = scene(rng)
    lumps = find_lumps(ArrayImages(images), PIXEL_ANG, np.arange(3))
    assert lumps.mask(0)[lump].all()
    assert lumps.mask(0).sum() < 4 * lump.sum()
    assert not lumps.masks[1].any()
    assert lumps.painted_fraction == pytest.approx(np.mean([lumps.mask(view).mean() for view in range(3)]), rel=0.1)


def test_paint_is_level_and_grainy(rng):
    images, _, ground = scene(rng)
    lumps = find_lumps(ArrayImages(images), PIXEL_ANG, np.arange(3))
    out, inside = lumps.paint(0, images[0]), lumps.mask(0)
    assert np.array_equal(out[~inside], images[0][~inside])
    off = out[inside] - ground[inside]
    outside = (images[0] - ground)[~inside]
    assert off.mean() == pytest.approx(outside.mean(), abs=2.0)
    assert off.std() == pytest.approx(outside.std(), rel=0.12)
    assert np.array_equal(lumps.paint(1, images[1]), images[1])


def test_halves_of_a_lump_share_no_noise(rng):
    images, _, _ = scene(rng)
    even, odd = (rng.poisson(images / 2).astype(np.float32) for _ in range(2))
    lumps = find_lumps(ArrayImages(even + odd), PIXEL_ANG, np.arange(3))
    inside = lumps.mask(0)
    halves = [lumps.paint(0, half[0], kind) for half, kind in ((even, "even"), (odd, "odd"))]
    fine = [(half - gaussian_filter(half, 4))[inside] for half in halves]
    assert abs(np.corrcoef(*fine)[0, 1]) < 0.06


def test_noise_alone_has_no_lumps(rng):
    images = rng.normal(0, 1, (2, SIZE, SIZE)).astype(np.float32)
    assert not any(mask.any() for mask in find_lumps(ArrayImages(images), PIXEL_ANG, np.arange(2)).masks)
