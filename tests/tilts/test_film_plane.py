from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lamella.errors import ImageError
from lamella.geometry import TiltGeometry
from lamella.records import ArrayImages
from lamella.tilts.film_plane import FilmPlanes
from lamella.tilts.patch_spectrum import patch_spectrum
from lamella.tilts.patches import PatchPlan, follow_patches, patch_grid
from lamella.tilts.working import WorkingImages, prepare

Simulate = Callable[..., Any]


def spot_images(geometry: TiltGeometry, point: np.ndarray, size: int = 128, pixel: float = 10.0) -> WorkingImages:
    """A round spot at one specimen point."""
    y, x = np.mgrid[:size, :size]
    images = []
    for q in geometry.project(point[None])[:, 0] / pixel + size // 2:
        images.append(np.exp(-((x - q[0]) ** 2 + (y - q[1]) ** 2) / (2 * 2.5**2)))
    return prepare(ArrayImages(np.stack(images).astype(np.float32)), pixel, size)


def test_windows_stand_where_they_are_said_to() -> None:
    """The spot's centre in a window, taken back into the image, is where the geometry projects the point."""
    geometry = TiltGeometry.from_angles([-40, 0, 35], 70.0, x_shift_ang=[31.0, 0, -17.0], y_shift_ang=[-22.0, 0, 13.0])
    point = np.array([150.0, -120.0, 80.0])
    planes = FilmPlanes(spot_images(geometry, point), geometry, point[None] + [7.0, 4.0, 0.0], 48)
    values = planes.cut(0).values
    values = torch.where(values > 0.3 * values.amax(dim=(-2, -1), keepdim=True), values, 0.0)
    offsets = (torch.arange(48) - 24) * planes.spacing_ang
    total = values.sum(dim=(-2, -1))
    centre = torch.stack(
        [(values.sum(dim=-2) * offsets).sum(dim=-1) / total, (values.sum(dim=-1) * offsets).sum(dim=-1) / total], dim=-1
    ).numpy()
    back = planes.places_ang[:, 0] + np.einsum("nij,nj->ni", planes.plane, centre)
    np.testing.assert_allclose(back, geometry.project(point[None])[:, 0], atol=1.0)


def test_windows_are_of_mean_zero_and_energy_one(rng: np.random.Generator) -> None:
    stack = rng.normal(size=(3, 96, 96)).astype(np.float32) + 5
    geometry = TiltGeometry.from_angles([-20, 0, 20], 10.0)
    windows = FilmPlanes(prepare(ArrayImages(stack), 8.0, 96), geometry, np.zeros((1, 3)), 32).cut(0)
    assert windows.seen.all()
    np.testing.assert_allclose(windows.values.sum(dim=(-2, -1)), 0, atol=1e-4)
    np.testing.assert_allclose((windows.values**2).sum(dim=(-2, -1)), 1, rtol=1e-4)


def test_masked_patches_are_not_seen(rng: np.random.Generator) -> None:
    stack = rng.normal(size=(3, 96, 96)).astype(np.float32)
    stack[:, :, :48] -= 20  # an opaque film over the left half
    mask = torch.ones(3, 24, 24)
    mask[:, :, :14] = 0
    images = prepare(ArrayImages(stack), 8.0, 96).masked(mask)
    assert images.valid is not None
    assert float(images.stack[:, :, :40].abs().max()) < 1e-6
    np.testing.assert_allclose(images.stack[:, :, 60:].std(), 1, rtol=0.1)
    geometry = TiltGeometry.from_angles([-10, 0, 10], 0.0)
    planes = FilmPlanes(images, geometry, np.array([[-200.0, 0, 0], [200.0, 0, 0]]), 32)
    assert not planes.cut(0).seen.any()
    assert planes.cut(1).seen.all()
    assert planes.cut(1).covered.min() > 0.95


def test_a_film_is_ignored(simulate: Simulate) -> None:
    """The edge of an opaque film that does not move with the specimen misleads patches, unless it is masked."""
    simulated = simulate(size=128, views=21, shift_px=2, axis_error=0.0, noise=0.5, particles=400, thickness_px=2)
    stack, mask = simulated.images.copy(), torch.ones(21, 128, 128)
    for view in range(21):
        edge = 40 + 2 * view
        stack[view, :, :edge] = stack.mean() - 8 * stack.std()
        mask[view, :, : edge + 3] = 0
    images = prepare(ArrayImages(stack), 10.0, 128)
    start = TiltGeometry.from_angles(simulated.series.nominal_tilt_deg, 85.0)
    points = patch_grid(start, images.field_ang, 400, 200)
    off = []
    for tried in (images, images.masked(mask)):
        tracks = follow_patches(FilmPlanes(tried, start, points, 48), PatchPlan(reach_px=8))
        error = tracks.observations_ang - simulated.truth.project(points)
        error = error - np.nanmedian(error, axis=0)
        off.append(float(np.nanpercentile(np.linalg.norm(error, axis=-1), 90)))
    assert off[1] < 0.5 * off[0]
    assert off[1] < 12


def test_a_view_without_specimen_is_named(rng: np.random.Generator) -> None:
    images = prepare(ArrayImages(rng.normal(size=(3, 64, 64)).astype(np.float32)), 8.0, 64)
    mask = torch.ones(3, 64, 64)
    mask[1] = 0
    with pytest.raises(ImageError, match="view 2 shows the specimen in 0 %"):
        images.masked(mask)
    with pytest.raises(ImageError, match="masks of 2 views"):
        images.masked(mask[:2])


def test_larger_patches_are_found_more_certainly(simulate: Simulate) -> None:
    simulated = simulate(size=128, views=21, shift_px=0, axis_error=0.0, noise=1.0, particles=400)
    images = prepare(ArrayImages(simulated.images), 10.0, 128)
    points = patch_grid(simulated.truth, images.field_ang, 500, 250)
    found = []
    for size in (32, 64):
        planes = FilmPlanes(images, simulated.truth, points, size)
        found.append(patch_spectrum(planes, 600.0).certainty(planes))
    assert found[1] > 1.5 * found[0] > 0
