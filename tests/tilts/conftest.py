"""Tilt series of Gaussian particles, projected exactly by a known geometry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from lamella.geometry import TiltGeometry
from lamella.records import TiltSeries


@dataclass(frozen=True)
class Simulated:
    """A tilt series and its truth."""

    series: TiltSeries
    images: np.ndarray
    truth: TiltGeometry
    points: np.ndarray


def simulate_series(
    *,
    size: int = 256,
    views: int = 41,
    max_tilt: float = 60.0,
    pixel: float = 10.0,
    axis: float = 85.0,
    axis_error: float = 2.5,
    shift_px: float = 10.0,
    particles: int = 400,
    sigma_px: float = 2.0,
    thickness_px: float = 60.0,
    noise: float = 0.0,
    x_tilt: float = 0.0,
    tilt_offset: float = 0.0,
    compact: bool = False,
    sign: float = 1.0,
    seed: int = 1,
) -> Simulated:
    """Random particles, projected as Gaussians, in a slab that reaches beyond the field or in a compact cloud.

    Particles are dark unless `sign` is −1. The noise is white; `noise` is its deviation over that of the signal
    in the least tilted view.
    """
    rng = np.random.default_rng(seed)
    tilts = np.linspace(-max_tilt, max_tilt, views)
    wander = np.cumsum(rng.normal(size=(views, 2)), axis=0)
    wander = wander - wander.mean(axis=0)
    shifts = wander / np.abs(wander).max() * shift_px * pixel
    least = int(np.argmin(np.abs(tilts)))
    shifts = shifts - shifts[least]
    truth = TiltGeometry.from_angles(
        tilts + tilt_offset, axis, x_shift_ang=shifts[:, 0], y_shift_ang=shifts[:, 1], x_tilt_deg=x_tilt
    )
    reach = 0.5 * size * pixel
    wide = 1.2 * reach / np.cos(np.deg2rad(max_tilt)) + shift_px * pixel
    count = int(particles * wide / reach * 1.3)
    # the specimen's y lies along the axis, wherever that points in the image
    points = rng.uniform(-1, 1, (count, 3)) * [wide, 1.6 * reach, thickness_px * pixel / 2]
    if compact:
        points = rng.normal(size=(particles, 3)) * [0.12 * reach, 0.25 * reach, 0.12 * reach]
        count = particles
    weight = rng.uniform(0.5, 1.5, count)
    width = sigma_px * rng.uniform(0.7, 1.5, count)
    images = np.stack([_render(q / pixel + size // 2, weight, width, size) for q in truth.project(points)])
    images = -images
    images += noise * images[least].std() * rng.normal(size=images.shape)
    series = TiltSeries(
        name="simulated",
        pixel_size_ang=pixel,
        image_shape_px=(size, size),
        nominal_tilt_deg=tilts,
        nominal_axis_deg=np.full(views, axis + axis_error),
    )
    inside = (np.abs(truth.project(points)[least] / pixel) < 0.4 * size).all(axis=-1)
    return Simulated(series, (sign * images).astype(np.float32), truth, points[inside])


def _render(places: np.ndarray, weight: np.ndarray, width: np.ndarray, size: int) -> np.ndarray:
    image = np.zeros((size, size))
    for (x, y), height, sigma in zip(places, weight, width, strict=True):
        reach = int(4 * sigma) + 1
        x0, x1 = max(int(x) - reach, 0), min(int(x) + reach + 2, size)
        y0, y1 = max(int(y) - reach, 0), min(int(y) + reach + 2, size)
        if x0 < x1 and y0 < y1:
            across = np.exp(-0.5 * ((np.arange(x0, x1) - x) / sigma) ** 2)
            along = np.exp(-0.5 * ((np.arange(y0, y1) - y) / sigma) ** 2)
            image[y0:y1, x0:x1] += height * along[:, None] * across
    return image


@pytest.fixture(scope="session")
def simulate() -> Callable[..., Simulated]:
    """The function that simulates a tilt series: see `simulate_series`."""
    return simulate_series
