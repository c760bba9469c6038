"""Small pictures of a specimen of random blobs and a foil with holes: pixels that a session must really compare.

The blobs are flat, lie on the terrain and are the same wherever and however often a place is looked at: each square of
the grid has its own, drawn from its number. A tilt shortens them and the way between them across the axis. Electrons
are counted, so that a small dose is noisy.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.microscope.port import Calibrations, Pixels, Preset
from lamella.acquire.microscope.simulated.grid import Terrain
from lamella.acquire.microscope.simulated.pictures import Scene
from lamella.geometry.rotations import rotation_z

__all__ = ["BlobPictures", "small_presets"]

Array = NDArray[np.float64]

_CELL_UM = 1.0
_BLOBS = 160  # on a square µm
_SIZES_UM = (0.004, 0.03)  # sigma; as many small as large ones on a logarithmic scale
_LOG_SIZES = (math.log(_SIZES_UM[0]), math.log(_SIZES_UM[1]))
_STRENGTHS = (0.03, 0.15)  # of the beam that a blob's middle takes away
_WIDEST_UM = 8.0  # a wider field shows the foil alone: its pixels are larger than blobs
_REACH = 3.5  # sigmas to which a blob is painted
_EFFICIENCY = 0.8  # of the camera


def small_presets(calibrations: Calibrations, side_px: int) -> Calibrations:
    """The same presets, binned so that a picture's shorter side has about so many pixels."""
    presets = {}
    for name, preset in calibrations.presets.items():
        binning = max(1, min(preset.shape_px) // side_px)
        height, width = (side // binning for side in preset.shape_px)
        presets[name] = replace(preset, shape_px=(height, width), pixel_size_ang=preset.pixel_size_ang * binning)
    return replace(calibrations, presets=presets)


class BlobPictures:
    """Pictures with pixels, row 0 at the bottom, the tilt axis turned as the calibrations state it.

    Parameters
    ----------
    grid
        whose holes are seen.
    axis_deg
        direction of the tilt axis in the pictures.
    rng
        a stream of random numbers.
    """

    def __init__(self, grid: Terrain, axis_deg: float, rng: np.random.Generator) -> None:
        self._grid = grid
        self._turn: Array = rotation_z(axis_deg)[:2, :2]
        places_rng, self._noise_rng = rng.spawn(2)
        self._seed = int(places_rng.integers(2**31))
        self._cells: dict[tuple[int, int], Array] = {}
        self.files: tuple[str, ...] = ()

    def picture(self, scene: Scene) -> Pixels:
        """Counts of an exposure."""
        to_image, origin = self._view(scene)
        lit = self._foil(scene.preset, to_image, origin, scene.middle_um)
        if max(scene.preset.field_um) <= _WIDEST_UM:
            lit *= self._specimen(scene, to_image)
        lit *= _beam(scene.preset)
        return Pixels(image=self._counted(scene, lit))

    def dark(self, scene: Scene) -> Pixels:
        """No beam."""
        return Pixels(image=self._counted(scene, np.full(scene.preset.shape_px, 1e-4)))

    def _counted(self, scene: Scene, lit: Array) -> NDArray[np.float32]:
        """``(height, width)`` electrons counted."""
        per_px = _EFFICIENCY * scene.dose * scene.preset.pixel_size_ang**2
        return self._noise_rng.poisson(per_px * np.clip(lit, 0.0, None)).astype(np.float32)

    def _view(self, scene: Scene) -> tuple[Array, Array]:
        """Matrix ``(2, 2)`` from steps on the grid to µm in the image, and where the middle appears ``(2,)``."""
        steps = scene.middle_um + np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        at = scene.appear(scene.surface(steps)) @ self._turn.T
        return (at[1:] - at[0]).T, at[0]

    def _foil(self, preset: Preset, to_image: Array, origin: Array, middle: Array) -> Array:
        """``(height, width)`` share of the beam that the foil lets through; edges as sharp as a pixel."""
        if not self._grid.hole_um:
            return np.ones(preset.shape_px)
        at = _pixel_places(preset) - origin
        places = middle + at @ np.linalg.inv(to_image).T
        lattice = self._grid.lattice_um()
        numbers = places @ np.linalg.inv(lattice)
        away = (numbers - np.round(numbers)) @ lattice
        edge = self._grid.hole_um / 2 - np.hypot(away[..., 0], away[..., 1])
        inside = np.clip(0.5 + edge / (preset.pixel_size_ang * 1e-4), 0.0, 1.0)
        return np.asarray(self._grid.foil + (1 - self._grid.foil) * inside)

    def _specimen(self, scene: Scene, to_image: Array) -> Array:
        """``(height, width)`` share that the blobs let through."""
        preset = scene.preset
        half = 0.5 * np.hypot(*preset.field_um) + _REACH * _SIZES_UM[1]
        # A field's diagonal on the tilted grid: the smallest singular value says how much it is shortened.
        reach = half / max(float(np.linalg.svd(to_image, compute_uv=False)[-1]), 0.1)
        blobs = self._near(scene.middle_um, reach)
        pixel_um = preset.pixel_size_ang * 1e-4
        at = scene.appear(scene.surface(blobs[:, :2])) @ self._turn.T
        taken = np.zeros(preset.shape_px)
        middle = np.array(preset.shape_px[::-1]) // 2
        shape: Array = np.asarray(np.linalg.inv(to_image @ to_image.T), np.float64)
        for (x, y), sigma, strength in zip(at / pixel_um + middle, blobs[:, 2] / pixel_um, blobs[:, 3], strict=True):
            _paint(taken, (x, y), sigma, strength, shape)
        return np.exp(-taken)

    def _near(self, middle: Array, reach: float) -> Array:
        """``(n, 4)`` x, y, sigma (µm) and strength of the blobs about a place."""
        low, high = (np.floor((middle + side * reach) / _CELL_UM).astype(int) for side in (-1, 1))
        cells = [self._cell(i, j) for i in range(low[0], high[0] + 1) for j in range(low[1], high[1] + 1)]
        blobs = np.concatenate(cells)
        near: Array = blobs[(np.abs(blobs[:, :2] - middle) <= reach).all(axis=1)]
        return near

    def _cell(self, i: int, j: int) -> Array:
        if (i, j) not in self._cells:
            rng = np.random.default_rng([self._seed, i + 2**20, j + 2**20])
            places = _CELL_UM * (np.array([i, j]) + rng.random((_BLOBS, 2)))
            sizes, strengths = np.exp(rng.uniform(*_LOG_SIZES, size=_BLOBS)), rng.uniform(*_STRENGTHS, size=_BLOBS)
            self._cells[i, j] = np.column_stack([places, sizes, strengths])
        return self._cells[i, j]


def _pixel_places(preset: Preset) -> Array:
    """``(height, width, 2)`` x, y of the pixels from the image's middle, µm."""
    height, width = preset.shape_px
    y, x = np.mgrid[:height, :width].astype(np.float64)
    places: Array = np.stack([x - width // 2, y - height // 2], axis=-1) * (preset.pixel_size_ang * 1e-4)
    return places


def _beam(preset: Preset) -> Array:
    """``(height, width)`` 1 inside the beam."""
    away = np.hypot(*np.moveaxis(_pixel_places(preset), -1, 0))
    return np.asarray(np.clip(0.5 + (preset.beam_um / 2 - away) / (preset.pixel_size_ang * 1e-4), 0.0, 1.0))


def _paint(taken: Array, at: tuple[float, float], sigma: float, strength: float, shape: Array) -> None:
    """Add one blob: exp(−rᵀ·shape·r / 2σ²) at ``(x, y)`` in pixels."""
    radius = int(_REACH * sigma) + 1
    column, row = round(at[0]), round(at[1])
    top, left = max(row - radius, 0), max(column - radius, 0)
    bottom, right = min(row + radius + 1, taken.shape[0]), min(column + radius + 1, taken.shape[1])
    if top >= bottom or left >= right:
        return
    y, x = np.arange(top, bottom)[:, None] - at[1], np.arange(left, right) - at[0]
    distance = shape[0, 0] * x**2 + 2 * shape[0, 1] * x * y + shape[1, 1] * y**2
    taken[top:bottom, left:right] += strength * np.exp(-0.5 * distance / sigma**2)
