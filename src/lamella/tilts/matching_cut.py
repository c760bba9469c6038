"""Patches of every view in the specimen's local plane, as Fourier terms of the frequencies that views share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.fourier import soft_mask
from lamella.geometry import TiltGeometry
from lamella.tilts.working import Grid, WorkingImages

__all__ = ["Cutter", "Frequencies", "PatchTerms", "plane_of_patch", "slopes_of_views"]

Array = NDArray[np.float64]

_LEAST_COVERED = 0.7  # of a patch that a view must show, or it counts for nothing there
_FLAT, _FADE = 0.2, 0.3  # of a patch's edge: radius of the window's level part, and width over which it fades


@dataclass(frozen=True, eq=False)
class Frequencies:
    """The Fourier terms that are looked at, of one patch's transform: one half of the plane.

    Attributes
    ----------
    index
        ``(k,)`` their places in the flattened rfft.
    k_per_ang
        ``(k, 2)`` frequency (x, y), cycles per Å.
    ring
        ``(k,)`` ring of equal |frequency|, counted in steps of 1 / edge.
    count
        ``(k,)`` independent numbers that each stands for: 1, or ½ on the line kx = 0, which holds both of a pair.
    """

    index: Tensor
    k_per_ang: Tensor
    ring: Tensor
    count: Tensor

    @classmethod
    def up_to(cls, size_px: int, spacing_ang: float, finest: float) -> Frequencies:
        """All of 1 / edge … `finest` (cycles per pixel) in patches of `size_px`."""
        k_x = torch.fft.rfftfreq(size_px)[None]
        k_y = torch.fft.fftfreq(size_px)[:, None]
        length = torch.sqrt(k_x**2 + k_y**2)
        index = torch.nonzero(((length > 0.7 / size_px) & (length <= finest)).flatten())[:, 0]
        both = torch.stack([k_x.expand_as(length).flatten()[index], k_y.expand_as(length).flatten()[index]], dim=-1)
        ring = (length.flatten()[index] * size_px).round().long()
        return cls(index, both / spacing_ang, ring, torch.where(both[:, 0] == 0, 0.5, 1.0))

    def chosen(self, keep: Tensor) -> Frequencies:
        """Some of them (a mask)."""
        return Frequencies(self.index[keep], self.k_per_ang[keep], self.ring[keep], self.count[keep])

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True, eq=False)
class PatchTerms:
    """One patch in all views.

    Attributes
    ----------
    terms
        ``(n, k)`` complex Fourier terms about the place where the geometry projects the patch's centre, of a patch
        of mean square 1 under its window; 0 where unseen.
    seen
        ``(n,)`` whether the view shows enough of it.
    """

    terms: Tensor
    seen: NDArray[np.bool_]


def plane_of_patch(geometry: TiltGeometry, gradient: Array) -> Array:
    """``(n, 2, 2)`` what each view does to a plane z = gradient · (x, y) of the specimen."""
    matrices = geometry.matrices()
    return np.asarray(matrices[:, :, :2] + matrices[:, :, 2:] * np.asarray(gradient)[None, None])


def slopes_of_views(geometry: TiltGeometry, gradient: Array) -> Array:
    """``(n, 2)`` by how much a point that lies 1 Å above the plane is seen shifted within it, Å per Å."""
    plane = plane_of_patch(geometry, gradient)
    return np.asarray(np.linalg.solve(plane, geometry.matrices()[:, :, 2:])[..., 0])


class Cutter:
    """Cuts windowed patches and transforms them.

    Parameters
    ----------
    images
        working images.
    mask
        ``(n, h, w)`` what each pixel counts, 0…1, or None.
    size_px
        edge of a patch, working pixels, even.
    """

    def __init__(self, images: WorkingImages, mask: Tensor | None, size_px: int) -> None:
        self.images, self.size_px = images, size_px
        self.weights = None if mask is None else WorkingImages(mask, images.pixel_ang, images.origin_px)
        self.spacing_ang = max(images.pixel_ang)
        self.grid = Grid.centred(size_px, size_px, self.spacing_ang)
        self.window = soft_mask((size_px, size_px), _FLAT * size_px, _FADE * size_px)
        energy = float((self.window**2).sum())
        self.area_ang2 = energy * self.spacing_ang**2
        across = torch.diff(self.window, dim=0)
        # second moment of the window's power spectrum along one axis: ∫ w'² / (4π² ∫ w²)
        self.blur_per_ang = float(((across**2).sum() / energy).sqrt()) / (2 * np.pi * self.spacing_ang)
        self.independent = float((self.window**2).mean())

    def cut(self, places_ang: Array, plane: Array, frequencies: Frequencies) -> PatchTerms:
        """The patch about ``(n, 2)`` image points, through ``(n, 2, 2)`` matrices from its plane to the image."""
        n = len(places_ang)
        values, inside = self.images.sample(range(n), self.grid, plane, places_ang)
        weight = inside * self.window
        if self.weights is not None:
            weight = weight * self.weights.sample(range(n), self.grid, plane, places_ang, cubic=False)[0]
        total = weight.sum(dim=(-2, -1))
        mean = (values * weight).sum(dim=(-2, -1)) / total.clamp_min(1e-6)
        patch = (values - mean[:, None, None]) * weight
        energy = (patch**2).sum(dim=(-2, -1))
        seen = (total >= _LEAST_COVERED * self.window.sum()) & (energy > 1e-9)
        patch *= (seen / (energy / (weight**2).sum(dim=(-2, -1)).clamp_min(1e-6)).clamp_min(1e-9).sqrt())[:, None, None]
        patch = torch.fft.ifftshift(patch, dim=(-2, -1))
        terms = torch.fft.rfft2(patch).flatten(1)[:, frequencies.index]
        return PatchTerms(terms / float((self.window**2).sum()) ** 0.5, seen.numpy())
