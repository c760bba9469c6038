from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lamella.geometry import TiltGeometry
from lamella.records import ArrayImages
from lamella.tilts.held_out import RingSums
from lamella.tilts.score_reprojection import reprojected_sums
from lamella.tilts.score_spectra import ViewSpectra, view_spectra
from lamella.tilts.score_tiles import TileFrame
from lamella.tilts.working import WorkingImages, prepare

Simulate = Callable[..., Any]
THICKNESS = 600.0


def _sums(images: WorkingImages, geometry: TiltGeometry, spectra: ViewSpectra | None = None) -> tuple[RingSums, ...]:
    own = view_spectra(images) if spectra is None else spectra
    return reprojected_sums(images, own, TileFrame.of(geometry, "film"), 0.0, THICKNESS)


@pytest.fixture(scope="module")
def film(simulate: Simulate) -> tuple[WorkingImages, TiltGeometry]:
    simulated = simulate(size=192, views=31, shift_px=6, noise=1.0, particles=200)
    return prepare(ArrayImages(simulated.images), 10.0, 192), simulated.truth


def test_views_agree_with_reprojections_of_what_they_show(film: tuple[WorkingImages, TiltGeometry]) -> None:
    images, truth = film
    found, promised = _sums(images, truth)
    coarse = slice(3, 9)
    assert (found.correlation()[coarse] > 0.4).all()
    assert (found.correlation()[coarse] < promised.correlation()[coarse] + 0.05).all()
    assert (found.view_correlation() > 0.2).all()


def test_a_view_in_the_wrong_place_agrees_with_nothing(film: tuple[WorkingImages, TiltGeometry]) -> None:
    images, truth = film
    moved = truth.with_terms(x_shift_ang=truth.x_shift_ang + 150.0 * (np.arange(31) == 9))
    here, there = _sums(images, truth)[0].view_correlation(), _sums(images, moved)[0].view_correlation()
    assert there[9] < 0.2 * here[9]
    assert np.median(there) > 0.8 * np.median(here)


def test_noise_does_not_agree_with_its_own_reprojection(
    film: tuple[WorkingImages, TiltGeometry], rng: np.random.Generator
) -> None:
    """A view takes no part in its prediction, so that there is nothing to be found in noise."""
    noise = prepare(ArrayImages(rng.normal(size=(31, 192, 192)).astype(np.float32)), 10.0, 192)
    found, _ = _sums(noise, film[1])
    correlation = found.product.sum() / np.sqrt(found.view.sum() * found.prediction.sum())
    assert abs(correlation) < 4 / np.sqrt(0.5 * found.count.sum())


def test_the_promise_is_that_of_a_prediction_without_error(film: tuple[WorkingImages, TiltGeometry]) -> None:
    """Signal and signal with noise correlate by the root of the part that is signal."""
    images, truth = film
    n = len(images)
    even = ViewSpectra(np.linspace(0, 0.5, 11), np.full(11, 3.0), np.ones(n), np.ones(n))
    _, promised = _sums(images, truth, even)
    np.testing.assert_allclose(promised.correlation(), np.sqrt(0.75), rtol=1e-6)
    # so many terms lie within 0.3 cycles per pixel
    assert promised.count.sum() / n == pytest.approx(np.pi * 0.3**2 * 192**2, rel=0.02)


def test_three_views_and_an_empty_one_are_scored(film: tuple[WorkingImages, TiltGeometry]) -> None:
    images, truth = film
    stack = images.stack[12:15].clone()
    stack[1] = 0
    few = WorkingImages(stack, images.pixel_ang, images.origin_px)
    found, promised = _sums(few, truth.select([12, 13, 14]))
    assert np.isfinite(found.product).all()
    assert np.isfinite(promised.view_correlation()).all()
    assert found.view_correlation()[1] == 0
