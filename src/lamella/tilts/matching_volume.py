"""Every view's prediction by the others: a reconstruction without it, freed of what is not clearly there, reprojected.

A plain reconstruction predicts a view no better than a linear interpolation between its neighbours: detail that lies at
different heights is smeared over them. Single objects stand out of that smear, and once they are told from it (soft
threshold, Donoho 1995) their places in the volume say where far views show them. That is what lets all views be held
together, not neighbours only.

Back-projection is linear, so a reconstruction without some views is the whole one less theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from lamella.fourier import frequency_axes
from lamella.geometry import TiltGeometry
from lamella.kernels.projector import Projector
from lamella.kernels.rows import Box
from lamella.progress import Progress, no_progress
from lamella.runtime import give_memory_back
from lamella.tilts.ramp import ramped
from lamella.tilts.working import Grid, WorkingImages

__all__ = ["Reprojected", "flattened", "reproject_others", "without_background"]

Array = NDArray[np.float64]
Volume = NDArray[np.float32]

_GROUPS = 8  # a view is left out together with every eighth, which are too far from it to matter, or with an eighth
_THRESHOLD = 3.0  # standard deviations of the reconstruction, below which nothing is believed
_WIDER = 1.15  # the box, across the axis, over the field: steep views look past the field's edge
_DEEPER = 1.1  # the box over the thickness
_OBJECT_PX = 3.5  # standard deviation of the smoothing under which objects are sought
_APART_PX = 7  # least distance of two objects
_CLEAR = 2.0  # robust standard deviations of the smoothed volume that an object stands out by
_LOWEST = 0.02  # cycles per pixel: coarser than that lies uneven brightness
_SMOOTH_RINGS = 5
_LEAST_SHOWN = 0.5  # of the views that an object must be seen in
_LEAST_WEIGHT = 0.05  # mean weight below which there is no background to speak of


@dataclass(frozen=True, eq=False)
class Reprojected:
    """Predictions of all views.

    Attributes
    ----------
    predictions
        ``(n, h, w)`` each view as the others show it, flattened as the views are.
    points_ang
        ``(p, 3)`` the clearest objects, the clearest first; none where they were not asked for.
    sign
        −1 where what stands out is darker than what surrounds it, 1 where brighter.
    """

    predictions: Tensor
    points_ang: Array
    sign: int


def without_background(stack: Tensor, mask: Tensor, sigma_px: float) -> Tensor:
    """Views ``(n, h, w)`` less their weighted local mean within `sigma_px`, 0 where masked.

    Beside a film or a border the mean is that of the specimen alone, so that a mask's edge makes no step.
    """
    shape = (int(stack.shape[-2]), int(stack.shape[-1]))
    k_y, k_x = frequency_axes((2 * shape[0], 2 * shape[1]))
    low = torch.exp(-2 * (torch.pi * sigma_px) ** 2 * (k_x**2 + k_y**2)).float()

    def blurred(image: Tensor) -> Tensor:
        padded = torch.fft.rfft2(image, s=(2 * shape[0], 2 * shape[1])) * low
        out: Tensor = torch.fft.irfft2(padded, s=(2 * shape[0], 2 * shape[1]))[: shape[0], : shape[1]]
        return out

    pairs = zip(stack, mask, strict=True)
    return torch.stack([(v - blurred(v * w) / blurred(w).clamp_min(_LEAST_WEIGHT)) * w for v, w in pairs])


def flattened(stack: Tensor, mask: Tensor | None, finest: float) -> Tensor:
    """Views ``(n, h, w)`` with the same power at all frequencies up to `finest` (cycles per pixel), 0 where masked."""
    out = torch.empty_like(stack)
    shape = (int(stack.shape[-2]), int(stack.shape[-1]))
    k_y, k_x = frequency_axes(shape)
    k = torch.sqrt(k_x**2 + k_y**2)
    ring = (k * max(shape)).round().long()
    count = torch.bincount(ring.flatten()).clamp_min(1)
    band = torch.exp(-((k / finest) ** 4)) * (1 - torch.exp(-0.5 * (k / _LOWEST) ** 2))
    for view, image in enumerate(stack):
        terms = torch.fft.rfft2(image)
        power = torch.bincount(ring.flatten(), weights=(terms.abs() ** 2).flatten().double()) / count
        even = torch.nn.functional.avg_pool1d(power[None], _SMOOTH_RINGS, 1, _SMOOTH_RINGS // 2, False, False)[0]
        level = (
            even.clamp_min(max(float(even.max()) * 1e-12, 1e-30))[ring].rsqrt().float() * (shape[0] * shape[1]) ** 0.5
        )
        out[view] = torch.fft.irfft2(terms * level * band, s=shape)
    return out if mask is None else out * mask


def reproject_others(
    views: WorkingImages,
    mask: Tensor,
    geometry: TiltGeometry,
    thickness_ang: float,
    finest: float,
    *,
    objects: int = 0,
    sign: int = 0,
    neighbours: bool = True,
    progress: Progress = no_progress,
) -> Reprojected:
    """Predict each view.

    Parameters
    ----------
    views
        flattened.
    mask
        ``(n, h, w)`` what each pixel counts.
    geometry
        of the views.
    thickness_ang
        of the specimen.
    finest
        up to which the predictions are flattened, cycles per pixel.
    objects
        how many of the clearest objects to give at most; 0: none.
    sign
        of what stands out: −1 dark, 1 bright; 0: the one that predicts better.
    neighbours
        whether a view's neighbours predict it too; if not, it is left out with those in its eighth of the tilts.
    progress
        told the fraction done.
    """
    height, width = (int(size) for size in views.stack.shape[-2:])
    pixel = max(views.pixel_ang)
    square = Grid.centred(width, height, pixel)
    same, still = np.eye(2)[None], np.zeros((1, 2))
    images = torch.cat([views.sample([view], square, same, still)[0] for view in range(len(views))])
    weighted = torch.stack(
        [ramped(image, float(turn)) for image, turn in zip(images, geometry.z_rot_deg, strict=True)]
    ).numpy()
    box = _box(geometry, views.field_ang, thickness_ang, pixel)
    order = np.argsort(geometry.y_tilt_deg, kind="stable")
    count = min(_GROUPS, len(order))
    groups = [order[group::count] for group in range(count)] if neighbours else np.array_split(order, count)
    whole = np.zeros(box.shape, dtype=np.float32)
    for held in groups:  # few at a time: the projector holds its views' rows in fine steps
        whole += Projector(geometry.select(held), (height, width), pixel, box).back_project(weighted[held])
        give_memory_back()  # threads keep what they freed, each its own
    progress(0.3, "reprojecting")
    least = _THRESHOLD * 1.4826 * float(np.median(np.abs(whole[::3, ::5, ::5])))

    def predicted(held: NDArray[np.int64], which: int) -> Tensor:
        some = Projector(geometry.select(held), (height, width), pixel, box)
        others = some.back_project(weighted[held])
        np.subtract(whole, others, out=others)
        others *= which
        others -= least
        np.maximum(others, 0, out=others)
        return flattened(torch.from_numpy(some.project(others)) * which, mask[torch.from_numpy(held)], finest)

    if sign == 0:
        middle = groups[len(groups) // 2]
        agreed = [float((predicted(middle, which) * images[torch.from_numpy(middle)]).sum()) for which in (-1, 1)]
        sign = -1 if agreed[0] >= agreed[1] else 1
    predictions = torch.empty_like(images)
    for number, held in enumerate(groups):
        predictions[torch.from_numpy(held)] = predicted(held, sign)
        give_memory_back()
        progress(0.3 + 0.7 * (number + 1) / len(groups), "reprojecting")
    points = np.zeros((0, 3))
    if objects:
        points = _objects(_smoothed(whole) * sign, box, pixel, thickness_ang)
        points = points[_shown(views, mask, geometry, points) >= _LEAST_SHOWN][:objects]
    return Reprojected(predictions, points, sign)


def _box(geometry: TiltGeometry, field_ang: tuple[float, float], thickness_ang: float, pixel: float) -> Box:
    """The box of the reconstruction: wider than the field across the axis, along it as long."""
    turn = np.deg2rad(float(np.mean(geometry.z_rot_deg)))
    across = abs(field_ang[0] * np.cos(turn)) + abs(field_ang[1] * np.sin(turn))
    along = abs(field_ang[0] * np.sin(turn)) + abs(field_ang[1] * np.cos(turn))
    sizes = (_DEEPER * thickness_ang, min(along, max(field_ang)), _WIDER * min(across, max(field_ang)))
    z, y, x = (2 * max(int(np.ceil(size / pixel / 2)), 2) for size in sizes)
    return Box(shape=(z, y, x), voxel_size_ang=pixel)


def _smoothed(volume: Volume) -> Volume:
    """A volume at half the sampling, smoothed to the size of an object."""
    z, y, x = (size // 2 for size in volume.shape)
    halved = volume[: 2 * z, : 2 * y, : 2 * x].reshape(z, 2, y, 2, x, 2).mean(axis=(1, 3, 5))
    return np.asarray(ndimage.gaussian_filter(halved, _OBJECT_PX / 2), dtype=np.float32)


def _objects(smooth: Volume, box: Box, pixel: float, thickness_ang: float) -> Array:
    """``(p, 3)`` places of peaks, the highest first."""
    level = _CLEAR * 1.4826 * float(np.median(np.abs(smooth)))
    index = np.argwhere((smooth == ndimage.maximum_filter(smooth, size=_APART_PX)) & (smooth > level))
    # voxel i of the halved volume is the mean of 2i and 2i + 1
    points = (2 * index[:, ::-1] + 0.5 - np.array(box.shape[::-1]) // 2) * pixel
    order = np.argsort(-smooth[tuple(index.T)], kind="stable")
    points = points[order]
    return np.asarray(points[np.abs(points[:, 2]) < 0.55 * thickness_ang])


def _shown(views: WorkingImages, mask: Tensor, geometry: TiltGeometry, points_ang: Array) -> Array:
    """``(p,)`` part of the views that show each point."""
    if not len(points_ang):
        return np.zeros(0)
    height, width = mask.shape[-2:]
    places = np.round(geometry.project(points_ang) / views.pixel_ang + views.origin_px).astype(np.int64)
    inside = ((places >= 0) & (places < [width, height])).all(axis=-1)
    x, y = (np.clip(places[..., axis], 0, size - 1) for axis, size in ((0, width), (1, height)))
    view = np.broadcast_to(np.arange(len(mask))[:, None], x.shape)
    return np.asarray((mask.numpy()[view, y, x] * inside).mean(axis=0))
