"""Aligned tilt series with gold beads drawn for tests: absorbing balls on a noisy ground, among faint bodies."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lamella.geometry import ImageField, TiltGeometry
from lamella.records import ArrayImages, TiltSeries

Array = NDArray[np.float64]
PIXEL_ANG = 10.0
DIAMETER_ANG = 100.0


@dataclass(frozen=True, eq=False)
class GoldScene:
    """A series, its images (all frames; even; odd), and where its beads are."""

    series: TiltSeries
    images: ArrayImages
    even: ArrayImages
    odd: ArrayImages
    points_ang: Array

    def with_geometry(self, geometry: TiltGeometry) -> GoldScene:
        """The same pictures, thought to have been taken otherwise."""
        return replace(self, series=self.series.with_changes(geometry=geometry))

    def mask(self, view: int, radius_ang: float) -> NDArray[np.bool_]:
        """Discs round the beads of a view."""
        _, height, width = self.images.shape
        y, x = (np.arange(n) - n // 2 for n in (height, width))
        out = np.zeros((height, width), dtype=bool)
        assert self.series.geometry is not None
        for place in self.series.geometry.project(self.points_ang)[view]:
            out |= np.hypot(x[None] * PIXEL_ANG - place[0], y[:, None] * PIXEL_ANG - place[1]) < radius_ang
        return out


def gold_scene(
    *,
    beads: int = 10,
    size: int = 192,
    views: int = 21,
    absorbs: float = 0.6,
    bodies: int = 10,
    film: bool = False,
    field: bool = False,
    counts: float = 60.0,
    points_ang: Array | None = None,
    geometry: TiltGeometry | None = None,
    seed: int = 3,
) -> GoldScene:
    """Draw a series of `views` from −60° to 60°, electrons counted in two halves of `counts` each.

    Without `points_ang`, `beads` lie at random on two planes, none over another at tilt 0; without `geometry`, views
    are a little shifted.
    """
    rng = np.random.default_rng(seed)
    half = 0.42 * size * PIXEL_ANG
    if points_ang is None:
        points_ang = np.empty((0, 3))
        while len(points_ang) < beads:
            point = np.append(rng.uniform(-half, half, 2), rng.choice([-400.0, 400.0]))
            if (np.linalg.norm((points_ang - point)[:, :2], axis=1) > 1.3 * DIAMETER_ANG).all():
                points_ang = np.concatenate([points_ang, point[None]])
    blobs = np.column_stack([rng.uniform(-half, half, (bodies, 2)), rng.uniform(-300, 300, bodies)])
    tilt = np.linspace(-60, 60, views)
    geometry = geometry or TiltGeometry.from_angles(
        tilt, 85.0, x_shift_ang=rng.uniform(-40, 40, views), y_shift_ang=rng.uniform(-40, 40, views),
        field=_field(views, size, rng) if field else None,
    )  # fmt: skip
    plain = geometry.with_terms(field=None)
    stack = np.ones((views, size, size))
    for view in range(views):
        for place in geometry.project(points_ang)[view]:
            _absorb(stack[view], place, DIAMETER_ANG / 2, absorbs)
        for place in plain.project(blobs)[view]:
            _absorb(stack[view], place, 120.0, 0.08)
        if film:
            edge = plain.project([0.0, -0.2 * size * PIXEL_ANG, 0.0])[view] / PIXEL_ANG + size // 2
            stack[view, :, : int(edge[0])] *= 0.05
        stack[view] = gaussian_filter(stack[view], 0.6, mode="nearest")
    even, odd = (rng.poisson(counts * stack).astype(np.float32) for _ in range(2))
    series = TiltSeries(
        name="TS", pixel_size_ang=PIXEL_ANG, image_shape_px=(size, size), nominal_tilt_deg=tilt,
        nominal_axis_deg=np.full(views, 85.0), geometry=geometry, thickness_ang=900.0,
    )  # fmt: skip
    return GoldScene(series, ArrayImages(even + odd), ArrayImages(even), ArrayImages(odd), points_ang)


def matched(found_ang: Array, true_ang: Array, reach_ang: float = DIAMETER_ANG / 2) -> tuple[float, float, float]:
    """Recall, precision, and the median distance of those that match, Å."""
    apart = np.linalg.norm(true_ang[:, None] - found_ang[None], axis=-1)
    near = apart.min(axis=1) < reach_ang
    right = apart.min(axis=0) < reach_ang
    return float(near.mean()), float(right.mean()), float(np.median(apart.min(axis=1)[near]))


def _absorb(image: Array, place_ang: Array, radius_ang: float, part: float) -> None:
    """Take away what a ball absorbs, drawn where it is alone."""
    centre, reach = place_ang / PIXEL_ANG + np.array(image.shape[::-1]) // 2, radius_ang / PIXEL_ANG + 1
    low = np.clip(np.floor(centre - reach).astype(int), 0, image.shape[::-1])
    high = np.clip(np.ceil(centre + reach).astype(int) + 1, low, image.shape[::-1])
    x, y = (np.arange(a, b) - c for a, b, c in zip(low, high, centre, strict=True))
    inner = 1 - (x[None] ** 2 + y[:, None] ** 2) * (PIXEL_ANG / radius_ang) ** 2
    image[low[1] : high[1], low[0] : high[0]] *= 1 - part * np.sqrt(np.clip(inner, 0, None))


def _field(views: int, size: int, rng: np.random.Generator) -> ImageField:
    half = (size * PIXEL_ANG / 2, size * PIXEL_ANG / 2)
    return ImageField(nodes_ang=rng.normal(0, 15.0, (views, 2, 4, 4)), half_width_ang=half)
