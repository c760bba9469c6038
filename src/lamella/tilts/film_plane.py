"""Views laid out in the plane: a patch is then a window of whole pixels, and none is interpolated twice.

In the plane z = 0 every view is the same picture, turned and foreshortened by its 2 × 2 matrix P. Each view is
resampled once by P into that plane; a point at any depth appears in it at P⁻¹ (q − shift), and a patch about it is cut
at the nearest pixel. What the rounding leaves is known exactly and is given back with the patch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.fourier import soft_mask
from lamella.geometry import TiltGeometry
from lamella.parallel import each
from lamella.tilts.working import Grid, WorkingImages, plane_matrices

__all__ = ["FilmPlanes", "Windows"]

Array = NDArray[np.float64]

_FLAT, _FADE = 0.28, 0.2  # radius of a window's flat part and width of its fall, over its edge
_LEAST_COVERED = 0.5  # of a patch that shows the specimen, or it is not seen in that view
_FULL = 255  # weight of a pixel that counts fully


@dataclass(frozen=True, eq=False)
class Windows:
    """One patch in all views.

    Attributes
    ----------
    values
        ``(n, s, s)`` windowed, of mean 0 and energy 1; 0 where the patch is not seen.
    covered
        ``(n,)`` part of the window, 0…1, that shows the specimen.
    seen
        ``(n,)`` whether that is enough.
    """

    values: Tensor
    covered: Array
    seen: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Sheet:
    """One view in the plane: pixels, what each counts, and which pixel of the plane (row, column) its first one is."""

    values: Tensor
    weights: Tensor
    first: tuple[int, int]


class FilmPlanes:
    """All views in the specimen's plane, as far as given patches need them.

    Parameters
    ----------
    images
        working images.
    geometry
        what lays them out.
    points_ang
        ``(p, 3)`` centres of the patches.
    size_px
        edge of a patch, pixels of the plane, even; one is as large as the coarser side of a working pixel.
    """

    def __init__(self, images: WorkingImages, geometry: TiltGeometry, points_ang: Array, size_px: int) -> None:
        self.geometry, self.points_ang = geometry, points_ang
        self.size_px, self.spacing_ang = size_px, max(images.pixel_ang)
        self.window = soft_mask((size_px, size_px), _FLAT * size_px, _FADE * size_px)
        self.total = float(self.window.sum())
        self.plane = plane_matrices(geometry)
        shifts = geometry.shifts_ang()
        shown = geometry.project(points_ang)  # (n, p, 2)
        exact = np.einsum("nij,npj->npi", np.linalg.inv(self.plane), shown - shifts[:, None]) / self.spacing_ang
        self.pixels = np.rint(exact).astype(np.int64)
        self.places_ang = shown + np.einsum("nij,npj->npi", self.plane, (self.pixels - exact) * self.spacing_ang)
        self.sheets = each(lambda view: self._laid_out(images, view, shifts[view]), range(len(geometry)))

    def _laid_out(self, images: WorkingImages, view: int, shift: Array) -> _Sheet:
        half = self.size_px // 2
        low, high = self.pixels[view].min(axis=0) - half, self.pixels[view].max(axis=0) + half  # x, y
        grid = Grid(*(torch.arange(a, b) * self.spacing_ang for a, b in zip(low, high, strict=True)))
        where = self.plane[view][None], shift[None]
        values, inside = images.sample([view], grid, *where)
        weights = inside[0].to(torch.uint8) * _FULL
        if images.valid is not None:
            known = images.sample_valid([view], grid, *where)[0]
            weights = (known * _FULL).round().to(torch.uint8)
        return _Sheet(values[0], weights, (int(low[1]), int(low[0])))

    def __len__(self) -> int:
        """Number of patches."""
        return int(self.pixels.shape[1])

    def cut(self, point: int) -> Windows:
        """The patch about one point; `places_ang` says where in the images its windows' centres lie."""
        n, size = len(self.sheets), self.size_px
        values, weights = torch.empty(n, size, size), torch.empty(n, size, size)
        for view, sheet in enumerate(self.sheets):
            column, row = (int(c) - size // 2 for c in self.pixels[view, point])
            place = (
                slice(row - sheet.first[0], row - sheet.first[0] + size),
                slice(column - sheet.first[1], column - sheet.first[1] + size),
            )
            values[view], weights[view] = sheet.values[place], sheet.weights[place]
        weights *= self.window / _FULL
        total = weights.sum(dim=(-2, -1))
        values *= self.window  # the images are faded by their weights already
        mean = values.sum(dim=(-2, -1)) / total.clamp_min(1e-6)
        values -= weights.mul_(mean[:, None, None])
        energy = values.square().sum(dim=(-2, -1)).sqrt()
        covered = (total / self.total).double().numpy()
        seen = (covered >= _LEAST_COVERED) & (energy > 1e-6).numpy()
        values *= torch.where(torch.from_numpy(seen), 1 / energy.clamp_min(1e-6), 0.0)[:, None, None]
        return Windows(values, covered, seen)
