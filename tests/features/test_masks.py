"""Masks against regions that are put into counted images, and against a simulated film."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lamella.features.masks import find_regions, regions_of_series, specimen_masks

H, W = 240, 256
Y, X = np.mgrid[:H, :W]


def specimen(rng, contrast=0.15, beads=12):
    """Transmission of ice with a crowd in it and gold beads of 8 px."""
    image = np.exp(-0.5 + contrast * gaussian_filter(rng.normal(size=(H, W)), 2) / 0.14)
    for y, x in rng.uniform(0, 1, (beads, 2)) * [H, W]:
        image[np.hypot(Y - y, X - x) < 4] *= 0.2
    return image


def counted(rng, transmission, dose=40.0):
    return torch.from_numpy(rng.poisson(dose * gaussian_filter(transmission, 0.7)).astype(np.float32))


def coarse(mask, shape):
    return torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(mask).float()[None], shape)[0].numpy() > 0.5


def corner(reach):
    """A film over a corner with a wavy edge."""
    return X + Y + 4 * np.sin(Y / 9) > W + H - reach


@pytest.mark.parametrize("dose", [3.0, 40.0, 2000.0])
@pytest.mark.parametrize("beads", [0, 40])
def test_a_specimen_alone_counts_everywhere(rng, dose, beads):
    weights = specimen_masks(torch.stack([counted(rng, specimen(rng, beads=beads), dose) for _ in range(4)]))
    assert weights.shape == (4, H, W)
    assert weights.dtype == torch.float32
    assert float((weights < 1).float().mean()) < 0.01


@pytest.mark.parametrize("reach", [60, 120, 250, 360])
@pytest.mark.parametrize("scale", [(1.0, 0.0), (0.002, -7.0)])
def test_an_opaque_film_is_covered_to_a_small_margin_in_any_unit(rng, reach, scale):
    film = corner(reach)
    image = counted(rng, np.where(film, 0.04, specimen(rng))) * scale[0] + scale[1]
    weights = specimen_masks(image[None])[0].numpy()
    assert (weights[film] < 0.5).mean() > 0.99
    assert (weights[~corner(reach + 34)] == 1).mean() > 0.995
    assert weights[film].max() < 0.6


def test_a_film_is_known_from_the_fewer_electrons_not_from_a_zero(rng):
    """The same step of the mean with the noise of the specimen is half-transparent matter, which stays."""
    film = corner(150)
    smooth = np.where(film, 0.2, 0.6) + 0.01 * gaussian_filter(rng.normal(size=(H, W)), 2) / 0.14
    image = torch.from_numpy((40 * smooth + rng.normal(scale=3, size=(H, W))).astype(np.float32))
    assert not find_regions(image).opaque.any()


def test_carbon_is_told_and_still_counts(rng):
    film = corner(180)
    image = counted(rng, specimen(rng, contrast=0.03, beads=0) * np.where(film, 0.75, 1.0), 60.0)
    regions = find_regions(image)
    truth = coarse(film, regions.carbon.shape)
    assert (regions.carbon == truth).mean() > 0.98
    assert regions.specimen.all()
    assert (specimen_masks(image[None]) == 1).all()


def test_vacuum_beyond_the_border_does_not_count(rng):
    vacuum = X < 70
    inside = specimen(rng, contrast=0.25, beads=0)
    image = counted(rng, np.where(vacuum, 1.15, inside), 40.0)
    regions = find_regions(image)
    assert (regions.vacuum == coarse(vacuum, regions.vacuum.shape)).mean() > 0.97
    assert not regions.opaque.any()


def test_plain_ice_beside_a_crowd_is_no_vacuum_where_it_has_detail(rng):
    thin = X < 100
    image = counted(rng, specimen(rng, contrast=0.12) * np.where(thin, 1.0, 0.85))
    assert not find_regions(image).vacuum.any()


@pytest.mark.parametrize("value", [0.0, 20.0])
def test_filler_at_the_border_does_not_count(rng, value):
    image = counted(rng, specimen(rng))
    image[:30] = value
    image[:, -22:] = value
    weights = specimen_masks(image[None])[0]
    assert weights[:30].max() < 0.05
    assert weights[:, -22:].max() < 0.05
    assert (weights[50:, :-42] == 1).all()


def test_an_image_without_noise_is_no_filler():
    y, x = np.mgrid[:128, :128]
    image = -np.exp(-((y - 60) ** 2 + (x - 50) ** 2) / 40).astype(np.float32)
    assert (specimen_masks(torch.from_numpy(image)[None]) == 1).all()


def test_a_gradient_of_thickness_is_no_film(rng):
    image = counted(rng, specimen(rng) * np.exp(-3 / (1 + np.exp(-(X - 128) / 25.0))))
    assert find_regions(image).specimen.all()


def test_large_beads_at_the_border_stay_where_the_pixel_is_known(rng):
    transmission = specimen(rng, beads=0)
    transmission[np.hypot(Y - 100, X - 4) < 12] *= 0.05
    image = counted(rng, transmission)
    assert find_regions(image, pixel_ang=10.0).specimen.all()


def test_a_sliver_is_found_where_the_next_view_shows_the_film(rng):
    views = torch.stack([counted(rng, np.where(corner(reach), 0.05, specimen(rng))) for reach in (14, 34, 90, 120)])
    alone = find_regions(views[1], pixel_ang=8.0)
    assert not alone.opaque.any()
    found = regions_of_series(views, pixel_ang=8.0)
    assert found[1].opaque.any()
    assert found[1].opaque.mean() == pytest.approx(corner(34).mean(), rel=0.25)


@pytest.mark.slow
def test_a_simulated_film_is_covered_at_every_tilt():
    from lamella.simulate import build_specimen, preset_settings, record_series
    from lamella.simulate.microscope import expose
    from lamella.simulate.mount import mount
    from lamella.simulate.transmission import film_picture

    settings = preset_settings("cellular", frames=0, size=256, pixel_size=10.0, tilt_step=30.0, seed=3)
    series, body = record_series(settings), build_specimen(settings)
    stack = torch.stack([torch.from_numpy(expose(body, series, settings, view)) for view in range(len(series))])
    weights = specimen_masks(stack, pixel_ang=10.0).numpy()
    assert series.geometry is not None
    for view, weight in enumerate(weights):
        film = film_picture(mount(body), series.geometry.select([view]), settings, (256, 256))
        truth = np.zeros((256, 256), bool) if film is None else film.transmission < 0.9
        if truth.mean() > 0.004:
            assert (weight[truth] < 0.5).mean() > 0.9
        assert ((weight < 0.5) & ~truth).mean() < 0.04
