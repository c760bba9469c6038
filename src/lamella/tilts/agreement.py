"""How well the views of a series agree under a geometry: the score by which an alignment is accepted or refused.

Two numbers, both of band-passed views under the geometry and nothing but it, no shift being looked for:

- neighbours: the correlation of views next to each other in tilt, brought to one frame;
- reprojection: a tomogram is made from every second view and projected into the views between, which it has not seen;
  the correlation of those with their projections, over both halves.

The filters do not depend on the geometry, so that scores of two geometries of the same images can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.fourier import frequency_axes, frequency_grid
from lamella.geometry import TiltGeometry
from lamella.kernels.projector import Projector
from lamella.kernels.rows import Box
from lamella.tilts.working import Grid, SpecimenShape, WorkingImages, plane_matrices

__all__ = ["Agreement", "agreement"]

Array = NDArray[np.float64]

_FINEST, _COARSEST = 0.12, 0.015  # cycles per working pixel: the band that is compared
_CENTRE = 0.9  # part of the field that is compared: the edges are where the views differ in what they see
_EDGE = 0.2  # of half of that: the width over which it fades
_REPROJECTED_PX = 160  # longer side of the images that are reprojected


@dataclass(frozen=True, eq=False)
class Agreement:
    """Correlations under one geometry.

    Attributes
    ----------
    neighbours
        mean correlation of views next to each other in tilt.
    reprojection
        mean correlation of each view with the projection of a tomogram from views without it.
    per_view
        ``(n,)`` the latter, view by view.
    """

    neighbours: float
    reprojection: float
    per_view: Array

    def at_least(self, other: Agreement, slack: float = 0.0) -> bool:
        """Whether neither correlation is lower than the other's, by more than `slack`."""
        return self.neighbours >= other.neighbours - slack and self.reprojection >= other.reprojection - slack


def agreement(
    images: WorkingImages, geometry: TiltGeometry, thickness_ang: float, shape: SpecimenShape = "film"
) -> Agreement:
    """Score a geometry.

    Parameters
    ----------
    images
        working images, 256 px or so.
    geometry
        to be scored.
    thickness_ang
        of the tomograms that are reprojected; those of a compact object are as thick as wide.
    shape
        of the specimen: a film's neighbours are compared in its plane, a compact object's without foreshortening.
    """
    each = _reprojection(images.binned(_REPROJECTED_PX), geometry, thickness_ang, shape)
    return Agreement(_neighbours(images, geometry, shape), float(np.mean(each)), each)


def _neighbours(images: WorkingImages, geometry: TiltGeometry, shape: SpecimenShape) -> float:
    """Mean correlation of views next to each other in tilt, in the frame of the less tilted of the two."""
    order = np.argsort(geometry.y_tilt_deg, kind="stable")
    plane, shifts = plane_matrices(geometry, shape), geometry.shifts_ang()
    stack = torch.stack([_banded(image, images.stack.shape[-2:]) for image in images.stack])
    banded = WorkingImages(stack, images.pixel_ang, images.origin_px)
    pixels = images.pixels()
    fade = _fade(pixels, images.field_ang)
    out = []
    for a, b in pairwise(order):
        first, second = (a, b) if abs(geometry.y_tilt_deg[a]) <= abs(geometry.y_tilt_deg[b]) else (b, a)
        # both are sampled about their shifts, so that the parts compared do not depend on which was shifted
        maps = np.stack([np.eye(2), plane[second] @ np.linalg.inv(plane[first])])
        values, inside = banded.sample([int(first), int(second)], pixels, maps, shifts[[first, second]])
        out.append(_correlation(values[0], values[1], fade * inside[0] * inside[1]))
    return float(np.mean(out))


def _reprojection(images: WorkingImages, geometry: TiltGeometry, thickness_ang: float, shape: SpecimenShape) -> Array:
    """``(n,)`` correlation of each view with the projection of a tomogram made from every second of the others."""
    height, width = (int(size) for size in images.stack.shape[-2:])
    pixel = max(images.pixel_ang)
    # the projector's images have square pixels and their origin at n // 2
    square = Grid.centred(width, height, pixel)
    same = np.broadcast_to(np.eye(2), (len(images), 2, 2))
    stack = images.sample(range(len(images)), square, same, np.zeros((len(images), 2)))[0]
    size = 2 * (max(height, width) // 2)
    depth = size if shape == "compact" else max(2 * round(thickness_ang / pixel / 2), 4)
    box = Box(shape=(depth, size, size), voxel_size_ang=pixel)
    if shape == "compact":
        stack = stack - torch.stack([_background(image) for image in stack])[:, None, None]
    fade = _fade(square, images.field_ang)
    order = np.argsort(geometry.y_tilt_deg, kind="stable")
    out = np.zeros(len(images))
    for half in (0, 1):
        held, used = order[half::2], order[1 - half :: 2]
        weighted = torch.stack([_ramped(stack[view], float(geometry.z_rot_deg[view])) for view in used]).numpy()
        volume = Projector(geometry.select(used), (height, width), pixel, box).back_project(weighted)
        if shape == "compact":
            # around the object there is nothing, whichever sign its mass has: the wedge's streaks are taken off
            volume = np.maximum(volume, 0) if volume.max() > -volume.min() else np.minimum(volume, 0)
            volume *= _cylinder(volume.shape)
        seen = Projector(geometry.select(held), (height, width), pixel, box)
        for view, projection in zip(held, seen.project(volume), strict=True):
            # a film goes on beyond the box: what is seen through less than all of it is not compared
            whole = _covered(square, geometry, int(view), size * pixel, depth * pixel) if shape == "film" else 1.0
            prediction = _banded(torch.from_numpy(projection), (height, width))
            out[view] = _correlation(_banded(stack[view], (height, width)), prediction, fade * whole)
    return out


def _cylinder(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """``(z, 1, x)`` the part of a box about the axis that every view sees."""
    z, x = (np.arange(size) - size // 2 for size in (shape[0], shape[2]))
    return np.asarray(z[:, None, None] ** 2 + x[None, None] ** 2 <= (min(shape[0], shape[2]) / 2 - 2) ** 2)


def _covered(grid: Grid, geometry: TiltGeometry, view: int, width_ang: float, depth_ang: float) -> Tensor:
    """``(h, w)`` where a view's beam passes a box from its top to its bottom."""
    tilt, turn = np.deg2rad(geometry.y_tilt_deg[view]), np.deg2rad(geometry.z_rot_deg[view])
    x, y = grid.x_ang - geometry.x_shift_ang[view], grid.y_ang - geometry.y_shift_ang[view]
    across = (x * np.cos(turn)) + (y * np.sin(turn))[:, None]
    limit = max(width_ang * np.cos(tilt) - depth_ang * abs(np.sin(tilt)), 0.0) / 2
    return torch.as_tensor(across.abs() <= limit)


def _background(image: Tensor) -> Tensor:
    """What surrounds a compact object: the median along the image's border."""
    return torch.cat(
        [image[:2].flatten(), image[-2:].flatten(), image[:, :2].flatten(), image[:, -2:].flatten()]
    ).median()


def _fade(grid: Grid, field_ang: tuple[float, float]) -> Tensor:
    """``(h, w)`` 1 in the middle of the field, falling to 0 towards its edges."""
    inward = [
        1 - line.abs() / (0.5 * _CENTRE * field)
        for line, field in zip((grid.x_ang, grid.y_ang), field_ang, strict=True)
    ]
    nearest = torch.minimum(inward[0], inward[1][:, None])
    return 0.5 * (1 - torch.cos(torch.pi * (nearest / _EDGE).clamp(0, 1))).float()


def _banded(image: Tensor, size: tuple[int, ...] | torch.Size) -> Tensor:
    """The band of an image that is compared."""
    k = frequency_grid(size)
    band = torch.exp(-0.5 * (k / _FINEST) ** 2) * (1 - torch.exp(-0.5 * (k / _COARSEST) ** 2))
    out: Tensor = torch.fft.irfft2(torch.fft.rfft2(image) * band, s=(int(size[0]), int(size[1])))
    return out


def _ramped(image: Tensor, axis_deg: float) -> Tensor:
    """An image weighted by its frequency across the tilt axis, for back-projection."""
    size = (int(image.shape[0]), int(image.shape[1]))
    k_y, k_x = frequency_axes(size)
    turn = np.deg2rad(axis_deg)
    across = (k_x * np.cos(turn) + k_y * np.sin(turn)).abs()
    # at the origin the ramp's sampled kernel leaves a little (Kak & Slaney 1988, eq. 61)
    weight = across.clamp_min(0.25 / max(size)) * torch.exp(-0.5 * (across / 0.3) ** 2)
    out: Tensor = torch.fft.irfft2(torch.fft.rfft2(image) * weight, s=size)
    return out.float()


def _correlation(a: Tensor, b: Tensor, weight: Tensor) -> float:
    """Weighted correlation coefficient; 0 where there is nothing to compare."""
    total = weight.sum()
    if float(total) < 16:
        return 0.0
    a = a - (a * weight).sum() / total
    b = b - (b * weight).sum() / total
    scale = ((a**2 * weight).sum() * (b**2 * weight).sum()).sqrt()
    return float((a * b * weight).sum() / scale) if float(scale) > 0 else 0.0
