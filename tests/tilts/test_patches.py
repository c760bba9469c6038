from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from lamella.geometry import TiltGeometry
from lamella.records import ArrayImages
from lamella.tilts.compare import geometry_error
from lamella.tilts.film_plane import FilmPlanes
from lamella.tilts.patch_spectrum import patch_spectrum
from lamella.tilts.patches import PatchPlan, follow_patches, patch_grid
from lamella.tilts.slab import slab_correlation, view_slopes
from lamella.tilts.solve import solve
from lamella.tilts.working import prepare

Simulate = Callable[..., Any]


def test_the_grid_covers_the_least_tilted_view() -> None:
    geometry = TiltGeometry.from_angles([-30, 2, 30], 70.0, x_shift_ang=[0, 150, 0], y_shift_ang=[0, -90, 0])
    points = patch_grid(geometry, (4000.0, 3000.0), 800.0, 500.0)
    seen = geometry.project(points)[1]
    np.testing.assert_allclose(np.abs(seen).max(axis=0), [1600, 1100], atol=1e-6)
    columns = np.unique(seen[:, 0].round(6))
    assert np.diff(columns).max() <= 500
    assert (points[:, 2] == 0).all()


def test_a_patch_is_followed_to_where_its_particle_is(simulate: Simulate) -> None:
    """One bright particle per patch, so that the truth of a track is known; the prediction is some pixels wrong."""
    simulated = simulate(size=128, views=21, shift_px=3, axis_error=0.0, noise=0.5, particles=400, thickness_px=2)
    images = prepare(ArrayImages(simulated.images), 10.0, 128)
    start = TiltGeometry.from_angles(simulated.series.nominal_tilt_deg, 85.0)
    points = patch_grid(start, images.field_ang, 400, 200)
    tracks = follow_patches(FilmPlanes(images, start, points, 48), PatchPlan(reach_px=10))
    assert tracks.seen.mean() > 0.8
    # in a thin film the whole patch moves with the point at its centre
    shown = simulated.truth.project(points)
    off = tracks.observations_ang - shown
    off = off - np.nanmedian(off, axis=0)  # where in the patch its detail lies is free
    assert np.nanmedian(np.linalg.norm(off, axis=-1)) < 5
    start_off = start.project(points) - shown
    assert np.median(np.linalg.norm(start_off, axis=-1)) > 15


def test_weights_fall_where_a_view_shows_less(simulate: Simulate, rng: np.random.Generator) -> None:
    simulated = simulate(size=128, views=21, shift_px=1, axis_error=0.0, noise=0.5, particles=400)
    stack = simulated.images.copy()
    stack[[4, 15]] += rng.normal(scale=6 * stack.std(), size=(2, 128, 128)).astype(np.float32)
    images = prepare(ArrayImages(stack), 10.0, 128)
    start = TiltGeometry.from_angles(simulated.series.nominal_tilt_deg, 85.0)
    planes = FilmPlanes(images, start, patch_grid(start, images.field_ang, 400, 200), 48)
    weights = follow_patches(planes, PatchPlan(reach_px=5)).weights.mean(axis=1)
    assert weights[[4, 15]].max() < 0.5 * np.median(weights)


def test_points_outside_of_a_view_are_not_seen_there(simulate: Simulate) -> None:
    simulated = simulate(size=128, views=11, shift_px=0, axis_error=0.0, particles=400)
    images = prepare(ArrayImages(simulated.images), 10.0, 128)
    geometry = TiltGeometry.from_angles(simulated.series.nominal_tilt_deg, 85.0).with_terms(
        x_shift_ang=np.where(np.arange(11) == 3, 400.0, 0.0)
    )
    points = patch_grid(geometry, images.field_ang, 400, 200)
    tracks = follow_patches(FilmPlanes(images, geometry, points, 48), PatchPlan(reach_px=5))
    outside = geometry.project(points)[3, :, 0] > 640
    assert outside.any()
    assert not tracks.seen[3, outside].any()


def test_solves_a_series_to_a_fraction_of_a_pixel(simulate: Simulate) -> None:
    simulated = simulate(size=192, views=31, shift_px=3, axis_error=1.0, noise=2.0, particles=400)
    images = prepare(ArrayImages(simulated.images), 10.0, 192)
    geometry = TiltGeometry.from_angles(simulated.series.nominal_tilt_deg, 86.0)
    points = patch_grid(geometry, images.field_ang, 500, 250)
    for reach in (12, 4):
        planes = FilmPlanes(images, geometry, points, 60)
        solution = solve(follow_patches(planes, PatchPlan(reach_px=reach, thickness_ang=600.0)), geometry)
        geometry = solution.geometry
        points = np.where(np.isfinite(solution.tracks.points_ang), solution.tracks.points_ang, points)
    assert geometry_error(geometry, simulated.truth, simulated.points).rms_ang < 4


def test_coherence_is_what_neighbours_share(simulate: Simulate, rng: np.random.Generator) -> None:
    simulated = simulate(size=128, views=21, shift_px=0, axis_error=0.0, noise=0.2, particles=400, thickness_px=2)
    geometry = simulated.truth
    points = patch_grid(geometry, (1280.0, 1280.0), 400, 200)
    blind = rng.normal(size=(21, 128, 128)).astype(np.float32)
    shared, nothing = (
        patch_spectrum(FilmPlanes(prepare(ArrayImages(images), 10.0, 128), geometry, points, 48)).coherence
        for images in (simulated.images, blind)
    )
    assert shared[4, 4] > 0.8
    assert float(nothing.max()) < 0.2
    assert float(torch.count_nonzero(nothing)) < 0.05 * nothing.numel()


def test_the_depth_that_views_share_grows_with_the_thickness(simulate: Simulate) -> None:
    found = []
    for thickness_px in (20, 80, 150):
        simulated = simulate(size=192, noise=1.0, axis_error=0.0, thickness_px=thickness_px)
        points = patch_grid(simulated.truth, (1920.0, 1920.0), 600, 350)
        images = prepare(ArrayImages(simulated.images), 10.0, 192)
        found.append(patch_spectrum(FilmPlanes(images, simulated.truth, points, 64)).thickness_ang)
    assert found[0] < found[1] < found[2]
    assert 1000 < found[2] < 2300


def test_far_views_share_less_detail() -> None:
    slopes = view_slopes(TiltGeometry.from_angles([0.0, 45.0, 60.0], 30.0))
    np.testing.assert_allclose(slopes, [0, -1, -np.sqrt(3)], atol=1e-9)
    correlation = slab_correlation(slopes, np.array([0.0, 1e-3]), 1000.0)
    np.testing.assert_allclose(correlation[0], 1.0)
    # the transform of a Gaussian of variance 1000² / 12 at 1e-3 cycles/Å
    assert np.isclose(correlation[1, 0, 1], np.exp(-2 * np.pi**2 / 12))
    assert correlation[1, 0, 2] < correlation[1, 0, 1]
