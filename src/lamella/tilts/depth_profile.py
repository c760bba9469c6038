"""Where along z a specimen has structure: the covariance of its views, layer by layer and tile by tile.

Views v and w, brought to the height z of the specimen, show the same structure where there is any, and unlike noise
everywhere. Summed over all pairs of different views, the product of what they show,

    c(x, y, z) = Σ_{v≠w} f_v f_w = (Σ_v f_v)² − Σ_v f_v²,

is free of the noise's own power: on average it is the power of the structure at z, smeared along z by a kernel that
follows from the views' angles: narrow, with broad negative tails, since all that is the same at every height cancels.
The first term is a back-projection squared, the second a back-projection of squares. Frequencies across the tilt axis
count by their length, because only they tell heights apart.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.features.depth_map import DepthMap
from lamella.fourier import edge_taper, frequency_axes
from lamella.geometry import TiltGeometry
from lamella.kernels.projector import Projector
from lamella.kernels.rows import Box
from lamella.tilts.slab import view_slopes
from lamella.tilts.working import Grid, WorkingImages

__all__ = ["FALLS", "depth_map"]

Array = NDArray[np.float64]
Volume = NDArray[np.float32]

_COARSEST_PX = 12.0  # wavelength in voxels above which structure is left out: slow changes of brightness
_FINEST_PX = 3.0  # and below which it fades out
_LOCAL_PX = 12  # half width over which a view's contrast is made even
_CLIP = 3.0  # standard deviations to which it is clipped: beads and films are no more than what is strong
_BORDER_PX = 6  # along a view's edges, that fades out and is not compared
_LEAST_SHOWN = 0.5  # of a pixel that counts
_COARSER = 4  # voxels of the layers over voxels of the smooth sums
FALLS = (0.0, 1.5, 3.0, 6.0)
"""Powers of the wavelength by which the power of a specimen's structure may grow."""
_LEAST_COVERED = 0.35  # of the pairs of views, that a tile needs


def depth_map(
    images: WorkingImages, geometry: TiltGeometry, *, voxel_ang: float, half_depth_ang: float, tiles: int = 8
) -> DepthMap:
    """Covariance of the views over the depth of the field.

    Parameters
    ----------
    images
        working images, masked where they show no specimen; binned here to the voxels.
    geometry
        under which they are compared.
    voxel_ang
        distance of the layers.
    half_depth_ang
        how far above and below z = 0 is looked.
    tiles
        along the longer side of the field.
    """
    stack, inside, pixel = _square(images, voxel_ang)
    height, width = (int(size) for size in stack.shape[-2:])
    weights = np.sqrt(np.clip(np.cos(np.deg2rad(geometry.y_tilt_deg)), 0.05, 1.0))
    detail = (
        torch.stack(
            [
                _detail(image, float(turn)) * float(weight)
                for image, turn, weight in zip(stack, geometry.z_rot_deg, weights, strict=True)
            ]
        )
        * inside
    )
    box = Box(shape=(2 * int(np.ceil(half_depth_ang / pixel)), height, width), voxel_size_ang=pixel)
    layers = Projector(geometry, (height, width), pixel, box).back_project(detail.numpy())
    per_side = (max(2, round(tiles * height / max(height, width))), max(2, round(tiles * width / max(height, width))))
    together = _tiled(layers**2, per_side)  # (z, ty, tx)
    own, seen = _smooth_sums(detail, inside, weights, geometry, box, per_side)
    covered = seen / max(float(weights.sum() ** 2 - (weights**2).sum()), 1e-9)
    covariance = np.where(covered > _LEAST_COVERED, (together - own) / np.sqrt(np.maximum(seen, 1e-9)), np.nan)
    z = np.asarray((np.arange(box.shape[0]) - box.shape[0] // 2) * pixel, dtype=np.float64)
    y, x = np.meshgrid(
        *(_centres(size, count) for size, count in zip((height, width), per_side, strict=True)), indexing="ij"
    )
    return DepthMap(
        z_ang=z,
        places_ang=np.stack([x.ravel(), y.ravel()], axis=-1) * pixel,
        covariance=covariance.reshape(len(z), -1).T,
        kernels=_kernels(geometry, weights, len(z)),
    )


def _square(images: WorkingImages, voxel_ang: float) -> tuple[Tensor, Tensor, float]:
    """Views of square pixels with their origin at n // 2, sides multiples of twice the smooth sums' voxels."""
    binned = images.binned(max(round(max(images.field_ang) / voxel_ang), 32))
    pixel, unit = max(binned.pixel_ang), 2 * _COARSER
    width, height = (max(unit * int(field / pixel / unit), 2 * unit) for field in images.field_ang)
    same = np.broadcast_to(np.eye(2), (len(images), 2, 2))
    grid = Grid.centred(width, height, pixel)
    stack, inside = binned.sample(range(len(images)), grid, same, np.zeros((len(images), 2)))
    inner = torch.zeros_like(inside)
    inner[:, _BORDER_PX:-_BORDER_PX, _BORDER_PX:-_BORDER_PX] = True
    inner &= binned.sample_valid(range(len(images)), grid, same, np.zeros((len(images), 2))) > _LEAST_SHOWN
    return stack, inside & inner, pixel


def _band(k_x: Tensor, k_y: Tensor, across: Tensor) -> Tensor:
    """Weight of frequencies, cycles per voxel: a band, and their length across the tilt axis."""
    k = (k_x**2 + k_y**2).sqrt()
    return torch.exp(-0.5 * (k * _FINEST_PX) ** 2) * (1 - torch.exp(-0.5 * (k * _COARSEST_PX) ** 2)) * across.abs()


def _detail(image: Tensor, axis_deg: float) -> Tensor:
    """A view's detail of even contrast, of standard deviation about 1."""
    shape = (int(image.shape[0]), int(image.shape[1]))
    k_y, k_x = frequency_axes(shape)
    turn = np.deg2rad(axis_deg)
    band = _band(k_x, k_y, k_x * np.cos(turn) + k_y * np.sin(turn))
    detail = torch.fft.irfft2(torch.fft.rfft2(image * edge_taper(shape, _BORDER_PX)) * band, s=shape)
    local = detail[None] ** 2
    for size, beside in (((2 * _LOCAL_PX + 1, 1), (_LOCAL_PX, 0)), ((1, 2 * _LOCAL_PX + 1), (0, _LOCAL_PX))):
        local = torch.nn.functional.avg_pool2d(local, size, 1, beside, count_include_pad=False)
    local = local[0].sqrt()
    even = detail / (local + 0.1 * local.mean()).clamp_min(1e-12)
    clipped: Tensor = even.clamp(-_CLIP, _CLIP).float()
    return clipped


def _smooth_sums(
    detail: Tensor, inside: Tensor, weights: Array, geometry: TiltGeometry, box: Box, per_side: tuple[int, int]
) -> tuple[Array, Array]:
    """``(z, ty, tx)`` sums over the views of their own power, and of the weights of the pairs that see a tile."""
    pool = 2 * (_COARSER // 2) + 1
    shape = tuple(-(-size // _COARSER) for size in box.shape)
    shape = (shape[0] + shape[0] % 2, shape[1], shape[2])
    coarse = Box(shape=shape, voxel_size_ang=box.voxel_size_ang * _COARSER)
    projector = Projector(geometry, (shape[1], shape[2]), coarse.voxel_size_ang, coarse)
    seen = inside.float() * torch.from_numpy(weights).float()[:, None, None]

    def summed(images: Tensor) -> Array:
        less = torch.nn.functional.avg_pool2d(images[:, None], pool, _COARSER, pool // 2, count_include_pad=False)[:, 0]
        volume = _tiled(projector.back_project(less.contiguous().numpy()), per_side)
        # layers of the coarse box lie at every _COARSER-th of the fine one, counted from the middle
        at = (np.arange(box.shape[0]) - box.shape[0] // 2) / _COARSER + shape[0] // 2
        low = np.clip(np.floor(at).astype(int), 0, shape[0] - 2)
        part = (at - low)[:, None, None]
        return np.asarray(volume[low] * (1 - part) + volume[low + 1] * part)

    return summed(detail**2), summed(seen) ** 2 - summed(seen**2)


def _centres(size: int, count: int) -> Array:
    edges = np.linspace(0, size, count + 1)
    return np.asarray((edges[:-1] + edges[1:] - 1) / 2 - size // 2)


def _tiled(volume: Volume | Array, per_side: tuple[int, int]) -> Array:
    """``(z, ty, tx)`` means over tiles of a volume's layers."""
    sums: NDArray[np.floating] = np.asarray(volume, dtype=np.float32)
    for axis, count in zip((1, 2), per_side, strict=True):
        edges = np.linspace(0, sums.shape[axis], count + 1).round().astype(int)
        sums = np.add.reduceat(sums, edges[:-1], axis=axis) / np.diff(edges).reshape([-1, 1] if axis == 1 else [-1])
    return sums.astype(np.float64)


def _kernels(geometry: TiltGeometry, weights: Array, layers: int) -> Array:
    """Covariance over depth of a thin layer of structure, for each of `FALLS`, by distance in layers, 1 at none."""
    k_x, k_y = torch.linspace(0, 0.5, 49)[1:, None], torch.linspace(0, 0.5, 17)
    falls = torch.tensor(FALLS)[:, None, None]
    structure = (k_x**2 + k_y**2 + _COARSEST_PX**-2) ** (-falls / 2)  # (falls, kx, ky)
    slopes = torch.from_numpy(view_slopes(geometry)).float()
    narrow = torch.cos(torch.deg2rad(torch.tensor(geometry.y_tilt_deg).float())).abs().clamp_min(0.05)
    in_view = k_x / narrow[:, None, None]  # (n, kx, 1): a tilted view shows the specimen narrower
    amplitude = _band(in_view, k_y, in_view) * torch.from_numpy(weights).float()[:, None, None]  # (n, kx, ky)
    phase = 2 * torch.pi * k_x * slopes[:, None, None]  # (n, kx, 1) per layer
    kernel = torch.zeros(len(FALLS), layers)
    for part in torch.split(torch.arange(layers), 64):
        turned = torch.exp(1j * phase * part)  # (n, kx, layers)
        together = torch.einsum("nab,nac->abc", amplitude.to(turned.dtype), turned)
        kernel[:, part] = torch.einsum("fab,abc->fc", structure, together.abs() ** 2)
    kernel = kernel - (structure * (amplitude**2).sum(dim=0)).sum(dim=(1, 2))[:, None]
    kernel = kernel / kernel[:, :1]
    return np.asarray(torch.cat([kernel.flip(1)[:, :-1], kernel], dim=1).double().numpy())
