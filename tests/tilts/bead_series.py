"""Tilt series of beads drawn for tests: balls that absorb, counted electrons, and things that are no beads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lamella.geometry import TiltGeometry
from lamella.records import ArrayImages

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BeadSeries:
    """Images, and what they show."""

    images: ArrayImages
    geometry: TiltGeometry
    points_ang: Array
    pixel_ang: float


def bead_series(
    *,
    beads: int = 12,
    size: int = 384,
    views: int = 21,
    pixel_ang: float = 8.0,
    diameter_ang: float = 100.0,
    half_thickness_ang: float = 500.0,
    counts: float = 60.0,
    contrast: float = 0.6,
    carbon: bool = False,
    decoys: int = 0,
    wander_deg: float = 0.0,
    dark_field: bool = False,
    seed: int = 1,
    points_ang: Array | None = None,
) -> BeadSeries:
    """Draw a series: beads on both faces of a film, `counts` electrons a pixel at tilt 0."""
    rng = np.random.default_rng(seed)
    tilt = np.linspace(-60, 60, views)
    half = 0.45 * size * pixel_ang
    if points_ang is None:
        points_ang = _apart(rng, beads, half, 1.6 * diameter_ang)
        points_ang[:, 2] = np.where(np.arange(beads) % 2, 1, -1) * half_thickness_ang
    geometry = TiltGeometry.from_angles(
        tilt + wander_deg * rng.normal(size=views),
        84.0,
        x_shift_ang=rng.uniform(-6, 6, views) * pixel_ang,
        y_shift_ang=rng.uniform(-6, 6, views) * pixel_ang,
    )
    bodies = np.stack([*rng.uniform(-half, half, (2, decoys)), np.zeros(decoys)], axis=-1)
    stack = np.empty((views, size, size), dtype=np.float32)
    line = (np.arange(size) - size // 2) * pixel_ang
    for view in range(views):
        shown = np.full((size, size), 1.0)
        x, y = line[None, :], line[:, None]
        places = geometry.project(points_ang)[view]
        for place in places:
            shown *= 1 - contrast * _ball(x - place[0], y - place[1], diameter_ang / 2)
        for number, place in enumerate(geometry.project(bodies)[view]):
            # crystals of ice: large, dark, of many shapes
            edge = diameter_ang * (1.2 + 0.8 * (number % 3))
            shown *= 1 - 0.5 * ((np.abs(x - place[0]) < edge) & (np.abs(y - place[1]) < edge * (0.5 + number % 2)))
        if carbon:
            edge = geometry.project([0.0, -0.25 * size * pixel_ang, 0.0])[view]
            turn = geometry.matrices()[view, :, 0]
            shown *= np.where((x - edge[0]) * -turn[1] + (y - edge[1]) * turn[0] < 0, 0.6, 1.0)
        shown = gaussian_filter(shown, 0.8, mode="nearest")
        level = counts * np.exp(0.4 * (1 - 1 / np.cos(np.deg2rad(tilt[view]))))
        expected = level * (1.05 - shown if dark_field else shown)
        stack[view] = rng.poisson(expected)
    return BeadSeries(ArrayImages(stack), geometry, points_ang, pixel_ang)


def disturbed(series: BeadSeries, shift_px: float = 5.0, axis_deg: float = 1.0, seed: int = 7) -> TiltGeometry:
    """A first guess: nominal angles, an axis that is off, shifts that are off."""
    rng = np.random.default_rng(seed)
    true = series.geometry
    off = rng.uniform(-shift_px, shift_px, (2, len(true))) * series.pixel_ang
    return TiltGeometry.from_angles(
        np.linspace(-60, 60, len(true)),
        true.z_rot_deg + axis_deg,
        x_shift_ang=true.x_shift_ang + off[0],
        y_shift_ang=true.y_shift_ang + off[1],
    )


def centre_errors_px(found: Array, series: BeadSeries) -> tuple[Array, NDArray[np.int64]]:
    """``(n, k, 2)`` how far found centres, Å, lie from those of the true beads next to them, and which these are."""
    true = series.geometry.project(series.points_ang)
    apart = found[:, :, None] - true[:, None]
    length = np.nanmedian(np.linalg.norm(apart, axis=-1), axis=0)
    which = length.argmin(axis=1)
    return apart[:, np.arange(len(which)), which] / series.pixel_ang, which


def _ball(x: Array, y: Array, radius: float) -> Array:
    return np.sqrt(np.clip(1 - (x**2 + y**2) / radius**2, 0, None))


def _apart(rng: np.random.Generator, count: int, half: float, least: float) -> Array:
    """Places ``(count, 3)`` at height 0 that keep a distance."""
    places: list[Array] = []
    while len(places) < count:
        place = rng.uniform(-half, half, 2)
        if all(np.linalg.norm(place - other) > least for other in places):
            places.append(place)
    return np.concatenate([np.stack(places), np.zeros((count, 1))], axis=1)
