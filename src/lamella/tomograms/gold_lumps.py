"""Lumps of ice and whatever else is dense, painted over: for specimens that bear no gold, or more than gold.

Each view is judged by itself, on a coarse map: what is much darker than the view's own ground, over an area larger than
a macromolecule, is a lump. Under it the ground is continued as a membrane that hangs from the lump's rim (Laplace's
equation), with the view's texture on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.linalg import spsolve

from lamella.parallel import each
from lamella.progress import Progress, no_progress
from lamella.records import ImageSource
from lamella.tomograms.gold_noise import (
    Kind,
    Texture,
    detail_of,
    draw,
    gain_of,
    noise_bytes,
    texture_bytes,
    texture_of,
    white_noise,
)

__all__ = ["LumpPaint", "find_lumps"]

Array = NDArray[np.float64]
Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

_CELL_ANG = 30.0
_MOST_CELLS = 256  # along an image's longer side
_SMOOTH_ANG = 60.0
_DARK = 6.0, 3.0  # robust standard deviations of the smoothed map: a lump's core, and how far it reaches
_DARKER = 0.12, 0.05  # the same in parts of the ground's level, where the images have one
_LEAST_ANG = 200.0  # diameter of a disc as large as the smallest lump
_MARGIN_ANG = 80.0  # round a lump: its fringes
_ROUNDS = 4  # of fitting the ground without what is dark
_MAD_TO_SD = 1.4826
_ZERO_KEPT = 2.0  # least level over standard deviation of images that have their zero
_TEXTURE_PX = 64


@dataclass(frozen=True, eq=False)
class LumpPaint:
    """How lumps are painted over.

    Attributes
    ----------
    images
        the whole images, gold painted over already if there was any.
    masks
        per view a coarse map of what is painted.
    factor
        pixels along the edge of a cell of the maps.
    numbers, seed
        as in `GoldPaint`.
    """

    images: ImageSource
    masks: tuple[Mask, ...]
    factor: int
    numbers: NDArray[np.int64]
    seed: int = 0
    _textures: dict[int, Texture] = field(default_factory=dict, repr=False)

    @property
    def painted_fraction(self) -> float:
        """Mean part of the images that is painted."""
        return float(np.mean([mask.mean() for mask in self.masks]))

    def mask(self, view: int) -> Mask:
        """``(h, w)`` what is painted in a view."""
        height, width = self.images.shape[1:]
        fine = np.repeat(np.repeat(self.masks[view], self.factor, axis=0), self.factor, axis=1)
        mask: Mask = np.pad(fine, ((0, self.factor), (0, self.factor)), mode="edge")[:height, :width]
        return mask

    def paint(self, view: int, image: Image, kind: Kind = "full") -> Image:
        """A view `(h, w)` with its lumps painted over; see `GoldPaint.paint`."""
        coarse = self.masks[view]
        if not coarse.any() or coarse.all():
            return image
        mask = self.mask(view)
        if view not in self._textures:
            whole = image if kind == "full" else self.images.view(view)
            self._textures[view] = texture_of(whole, mask, _TEXTURE_PX)
        texture = self._textures[view]
        noise = draw(texture, white_noise(self.seed, int(self.numbers[view]), kind, image.shape))
        noise *= gain_of(detail_of(image), ~mask, texture)
        ground = _membrane(_pooled(image - noise, self.factor), coarse)
        grid = np.meshgrid(*(_places(n, self.factor) for n in image.shape), indexing="ij")
        fine = ndimage.map_coordinates(ground, grid, order=1, mode="nearest")
        return np.where(mask, noise + fine, image).astype(np.float32)

    def bytes_of(self, view: int) -> int:
        """Most that painting a view holds, beside its image and what it becomes."""
        if not self.masks[view].any():
            return 0
        shape = self.images.shape[1:]
        # the mask, the texture, and the noise beside the places (two float64 and their copy) at which it is gained
        return max(texture_bytes(shape, _TEXTURE_PX), noise_bytes(shape) + 48 * shape[0] * shape[1])


def find_lumps(
    images: ImageSource, pixel_size_ang: float, numbers: NDArray[np.int64], seed: int = 0,
    progress: Progress = no_progress,
) -> LumpPaint:  # fmt: skip
    """Find what is dense in every view.

    Parameters
    ----------
    images
        bright-field views `(n, h, w)`, gold painted over.
    pixel_size_ang
        of the images.
    numbers, seed
        as in `GoldPaint`.
    progress
        told the fraction of the work that is done.
    """
    longest = max(images.shape[1:])
    factor = max(1, round(_CELL_ANG / pixel_size_ang), -(-longest // _MOST_CELLS))
    cell = factor * pixel_size_ang

    def one(view: int) -> Mask:
        return _dense(images.view(view), factor, cell)

    masks = each(one, range(len(images)), progress, "looking for lumps")
    return LumpPaint(images, tuple(masks), factor, numbers, seed)


def _dense(image: Image, factor: int, cell_ang: float) -> Mask:
    """Coarse map of the lumps of a view."""
    smooth = ndimage.gaussian_filter(_pooled(image, factor), _SMOOTH_ANG / cell_ang, mode="nearest")
    lower = _ground(smooth) - smooth
    spread = _MAD_TO_SD * float(np.median(np.abs(lower - np.median(lower))))
    core, reach = (number * spread for number in _DARK)
    level = float(np.median(smooth))
    if level > _ZERO_KEPT * float(image.std()):
        core, reach = max(core, _DARKER[0] * level), max(reach, _DARKER[1] * level)
    labels, count = ndimage.label(lower > reach)
    if not count:
        return np.zeros(lower.shape, dtype=bool)
    number = np.arange(count + 1)
    area = np.bincount(labels.ravel(), minlength=count + 1)
    kept = (ndimage.maximum(lower, labels, number) > core) & (area * cell_ang**2 > np.pi / 4 * _LEAST_ANG**2)
    kept[0] = False
    lumps = ndimage.binary_fill_holes(kept[labels])
    return np.asarray(ndimage.distance_transform_edt(~lumps) * cell_ang <= _MARGIN_ANG) if lumps.any() else lumps


def _ground(smooth: Array) -> Array:
    """A view's own level, a quadratic surface through what is not dark."""
    height, width = smooth.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6)
    values = smooth.ravel()
    use = np.ones(values.size, dtype=bool)
    surface = np.full(values.size, float(np.median(values)))
    for _ in range(_ROUNDS):
        left = values - surface
        middle = float(np.median(left))
        spread = _MAD_TO_SD * float(np.median(np.abs(left - middle)))
        use = np.abs(left - middle) <= 2.5 * spread
        if np.count_nonzero(use) < 2 * terms.shape[1]:
            break
        surface = terms @ np.linalg.lstsq(terms[use], values[use], rcond=None)[0]
    return surface.reshape(smooth.shape)


def _membrane(values: Array, unknown: Mask) -> Array:
    """Values with the unknown ones replaced by the solution of Laplace's equation, given those round them."""
    known = (~unknown).astype(np.float64)
    weight = ndimage.gaussian_filter(known, 1.5, mode="nearest")
    # the rim, less noisy: what a lump hangs from is the mean over a few cells
    rim = ndimage.gaussian_filter(np.where(unknown, 0.0, values), 1.5, mode="nearest") / np.maximum(weight, 1e-6)
    number = np.full(values.shape, -1)
    number[unknown] = np.arange(np.count_nonzero(unknown))
    rows, columns, entries = [], [], []
    right, neighbours = np.zeros(np.count_nonzero(unknown)), np.zeros(np.count_nonzero(unknown))
    for axis in (0, 1):
        for step in (-1, 1):
            here, there = _pairs(values.shape, axis, step)
            inner = number[here] >= 0
            mine, other = number[here][inner], number[there][inner]
            np.add.at(neighbours, mine, 1)
            linked = other >= 0
            rows.append(mine[linked])
            columns.append(other[linked])
            np.add.at(right, mine[~linked], rim[there][inner][~linked])
    rows.append(np.arange(len(right)))
    columns.append(np.arange(len(right)))
    entries = [np.full(len(part), -1.0) for part in rows[:-1]] + [neighbours]
    matrix = coo_array((np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))))
    out = values.copy()
    out[unknown] = spsolve(matrix.tocsc(), right)
    return out


def _pairs(shape: tuple[int, ...], axis: int, step: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of all cells that have a neighbour in a direction, and of these neighbours."""
    first, last = slice(0, shape[axis] - 1), slice(1, shape[axis])
    here, there = (first, last) if step > 0 else (last, first)
    full = (slice(None), slice(None))
    return tuple(here if a == axis else full[a] for a in (0, 1)), tuple(there if a == axis else full[a] for a in (0, 1))


def _pooled(image: NDArray[np.float32], factor: int) -> Array:
    """Means of whole cells; pixels beyond the last whole one are left out."""
    height, width = (n // factor for n in image.shape)
    cut = image[: height * factor, : width * factor].reshape(height, factor, width, factor)
    return np.asarray(cut.mean(axis=(1, 3)), dtype=np.float64)


def _places(count: int, factor: int) -> Array:
    """Where pixels lie among the middles of cells."""
    return (np.arange(count) - (factor - 1) / 2) / factor
