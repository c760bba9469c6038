"""Tomograms by SIRT and SART: masks, signs, rounds chosen by held-out views, memory."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tomograms.blobs import blob_images, blob_volume, series_of

from lamella.errors import ImageError, InputError, PostconditionError, SettingsError
from lamella.geometry import TiltGeometry
from lamella.records import ArrayImages, ArrayVolume
from lamella.tomograms.box import tomogram_shape
from lamella.tomograms.held_out import held_out_views
from lamella.tomograms.reconstruct import plan_tomogram, reconstruct
from lamella.tomograms.reconstruct_settings import ReconstructSettings

PIXEL, SIGMA, SHAPE = 5.0, 12.0, (76, 84)
WEDGE = np.arange(-60, 61, 4.0)
MASS = (2 * np.pi * SIGMA**2) ** 1.5


def settings(**changes):
    return ReconstructSettings(**{"pixel_size": PIXEL, "thickness": 200.0, "iterations": 8, "method": "sirt"} | changes)


def run(series, images, how, mask=None):
    tomogram = plan_tomogram(series, how)
    volume = np.full(tomogram_shape(tomogram), np.nan, np.float32)
    source = None if mask is None else ArrayVolume(mask)
    result = reconstruct(series, ArrayImages(images), tomogram, how, ArrayVolume(volume), mask=source)
    return volume, result


def specimen(rng, noise=0.0, x_tilt=0.0, count=10, **changes):
    """Images of blobs, the record, and the blobs' density in a box of 40 × 76 × 84 voxels."""
    geometry = TiltGeometry.from_angles(WEDGE, 0.0, x_tilt_deg=x_tilt)
    points = rng.uniform(-1, 1, (count, 3)) * (140, 130, 55)
    images = blob_images(geometry, SHAPE, PIXEL, points, SIGMA, np.full(count, MASS))
    images += rng.normal(0, noise * images.std(), images.shape).astype(np.float32)
    truth = blob_volume((40, *SHAPE), PIXEL, points, SIGMA, np.full(count, MASS))
    return series_of(geometry, SHAPE, PIXEL, **changes), images, truth


def likeness(volume, truth):
    return float(np.corrcoef(volume.ravel(), truth.ravel())[0, 1])


def test_sart_with_one_subset_is_sirt(rng):
    series, images, _truth = specimen(rng)
    sirt, _ = run(series, images, settings())
    sart, _ = run(series, images, settings(method="sart", subsets=1))
    np.testing.assert_array_equal(sart, sirt)


@pytest.mark.parametrize("x_tilt", [0.0, 4.0])
def test_more_subsets_take_fewer_rounds(rng, x_tilt):
    series, images, truth = specimen(rng, x_tilt=x_tilt)
    sirt, slow = run(series, images, settings(iterations=3))
    for subsets in (8, "auto"):
        sart, fast = run(series, images, settings(method="sart", subsets=subsets, iterations=3))
        assert likeness(sart, truth) > likeness(sirt, truth)
        assert fast.rounds.residual < slow.rounds.residual


@pytest.mark.parametrize("method", ["sirt", "sart"])
def test_a_mask_keeps_voxels_at_zero_and_helps(rng, method):
    series, images, truth = specimen(rng, imaging="dark")
    mask = (truth > 0.02).astype(np.float32)
    how = settings(method=method, non_negative=True)
    free, _ = run(series, images, how)
    kept, _ = run(series, images, how, mask)
    assert not kept[mask == 0].any()
    assert kept.min() >= 0
    assert likeness(kept, truth) > likeness(free, truth)
    everywhere, _ = run(series, images, how, np.ones_like(mask))
    np.testing.assert_allclose(everywhere, free, atol=0.02 * free.max())


def test_bright_field_mass_is_dark(rng):
    series, images, _truth = specimen(rng)
    volume, _ = run(series, -images, settings(method="sart", non_negative=True, iterations=2))
    assert volume.max() <= 0
    assert volume.min() < -0.1


@pytest.mark.parametrize("method", ["sirt", "sart"])
def test_held_out_views_choose_nearly_the_best_round(method):
    """On noisy views of a known specimen the chosen round's error is within a tenth of the best round's."""
    chosen = []
    for noise in (0.3, 3.0):
        rng = np.random.default_rng(11)
        series, images, truth = specimen(rng, noise, count=30)
        volume, result = run(series, images, settings(method=method, iterations="auto"))
        held = result.rounds.held_out
        assert result.rounds.count == held.rounds
        assert np.argmin(held.errors) + 1 == held.best
        assert not held.at_the_limit
        best = max(
            likeness(run(series, images, settings(method=method, iterations=rounds))[0], truth)
            for rounds in np.unique([1, 3, 8, 20, held.rounds]).tolist()
        )
        ours = likeness(volume, truth)
        assert ours > 0.9 * best
        assert np.sqrt(1 - ours**2) < 1.1 * np.sqrt(1 - best**2)
        chosen.append(result.rounds.count)
    assert chosen[0] > chosen[1]


def test_held_out_views_are_spread_and_never_the_outermost(rng):
    for count in (6, 7, 15, 41, 61, 140):
        tilts = rng.permutation(np.linspace(-60, 60, count))
        views = held_out_views(tilts)
        assert 2 <= len(views) == len(set(views.tolist())) <= 8
        assert np.abs(tilts[views]).max() < 60
        assert tilts[views].min() < 0 < tilts[views].max()
        assert np.diff(np.sort(tilts[views])).min() > 1.5 * np.diff(np.sort(tilts)).min()


def test_a_stated_budget_holds_or_says_how_much_is_missing(rng):
    series, images, _truth = specimen(rng)
    roomy, result = run(series, images, settings())
    tight, cut = run(series, images, settings(memory=0.004))
    assert cut.slabs > result.slabs
    np.testing.assert_allclose(tight, roomy, atol=1e-5 * np.abs(roomy).max())
    with pytest.raises(SettingsError, match=r"a slab of 4 rows by iteration takes .* give reconstruct.memory"):
        run(series, images, settings(memory=0.0005))


class TestBadInput:
    def test_a_mask_of_another_shape(self, rng):
        series, images, _truth = specimen(rng)
        with pytest.raises(ImageError, match=r"84 × 76 × 38 voxels .* the tomogram 84 × 76 × 40"):
            run(series, images, settings(), np.ones((38, *SHAPE), np.float32))

    def test_a_mask_with_nan_or_nothing_in_it(self, rng):
        series, images, _truth = specimen(rng)
        mask = np.zeros((40, *SHAPE), np.float32)
        with pytest.raises(ImageError, match="0 everywhere"):
            run(series, images, settings(), mask)
        mask[7, 3, 3] = np.nan
        with pytest.raises(ImageError, match="NaN or infinity in plane 8"):
            run(series, images, settings(), mask)

    def test_too_few_views_to_hold_some_out(self, rng):
        series, images, _truth = specimen(rng)
        with pytest.raises(InputError, match="5 views are too few"):
            run(series.select(np.arange(0, 30, 6)), images[0:30:6], settings(iterations="auto"))

    def test_rounds_that_lead_away(self, rng):
        series, images, _truth = specimen(rng, noise=1.0)
        with pytest.raises(PostconditionError, match=r"their difference grew .*lower reconstruct.relaxation"):
            run(series, images, settings(relaxation=40.0))
