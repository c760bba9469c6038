"""Tilt images made ready for alignment: binned to a working pixel, freed of extremes, of mean 0 and deviation 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.errors import ImageError
from lamella.fourier import crop_image
from lamella.geometry import TiltGeometry, rotation_z
from lamella.parallel import each
from lamella.progress import Progress, no_progress
from lamella.records import ImageSource

__all__ = ["Grid", "SpecimenShape", "WorkingImages", "plane_matrices", "prepare"]

Array = NDArray[np.float64]
SpecimenShape = Literal["film", "compact"]
"""A thin film wider than the field, or an object as deep as it is wide that ends within it."""

_LEAST_VALID = 0.02  # of a view's pixels, or nothing can be said of it
_FARTHEST = 6.0  # standard deviations: brighter and darker pixels are drawn in
_EXTREME = 1e-3  # fraction of pixels at either end of the histogram whose values are drawn in


@dataclass(frozen=True, eq=False)
class Grid:
    """Nodes of a rectangular grid: `x_ang` ``(w,)`` and `y_ang` ``(h,)``, Å."""

    x_ang: Tensor
    y_ang: Tensor

    @classmethod
    def centred(cls, width: int, height: int, spacing_ang: float) -> Grid:
        """A grid whose node n // 2 is the origin."""
        return cls((torch.arange(width) - width // 2) * spacing_ang, (torch.arange(height) - height // 2) * spacing_ang)


@dataclass(frozen=True, eq=False)
class WorkingImages:
    """Binned tilt images in memory.

    Attributes
    ----------
    stack
        ``(n, h, w)`` float32, each of mean 0 and standard deviation 1.
    pixel_ang
        (x, y) edge of a working pixel, Å.
    origin_px
        (x, y) where the full image's centre pixel lies, working pixels.
    valid
        ``(n, h, w)`` how much each pixel shows the specimen, 0…1; None where all of them do. Pixels of 0 hold the mean.
    """

    stack: Tensor
    pixel_ang: tuple[float, float]
    origin_px: tuple[float, float]
    valid: Tensor | None = None

    def __len__(self) -> int:
        return len(self.stack)

    @property
    def field_ang(self) -> tuple[float, float]:
        """(x, y) width and height of the field of view, Å."""
        height, width = self.stack.shape[-2:]
        return width * self.pixel_ang[0], height * self.pixel_ang[1]

    def binned(self, longest_px: int) -> WorkingImages:
        """The same images with the longer side brought down to `longest_px`, or as they are where it is smaller."""
        shape = _working_shape((int(self.stack.shape[-2]), int(self.stack.shape[-1])), longest_px)
        factors = [old / new for old, new in zip(self.stack.shape[-2:], shape, strict=True)]  # y, x
        stack = torch.stack([_standard(crop_image(image, shape)) for image in self.stack])
        return WorkingImages(
            stack,
            (self.pixel_ang[0] * factors[1], self.pixel_ang[1] * factors[0]),
            (self.origin_px[0] / factors[1], self.origin_px[1] / factors[0]),
            None if self.valid is None else _resized(self.valid, shape),
        )

    def masked(self, valid: Tensor | None) -> WorkingImages:
        """The same images, of mean 0 and deviation 1 where they show the specimen, and 0 where they do not.

        Parameters
        ----------
        valid
            ``(n, a, b)`` how much each pixel counts, 0…1, in any sampling of the same field, best with soft edges;
            None leaves the images as they are.

        Raises
        ------
        ImageError
            if the mask is of another number of views, or leaves less than a fiftieth of a view.
        """
        if valid is None:
            return self
        if len(valid) != len(self):
            raise ImageError(f"masks of {len(valid)} views for {len(self)} images", mend="give one mask per view")
        weights = _resized(valid, (int(self.stack.shape[-2]), int(self.stack.shape[-1]))).clamp(0, 1)
        total = weights.mean(dim=(-2, -1))
        if float(total.min()) < _LEAST_VALID:
            view = int(total.argmin()) + 1
            raise ImageError(
                f"view {view} shows the specimen in {100 * float(total.min()):.0f} % of its pixels only",
                mend="exclude it (clean.exclude), or align without masks",
            )
        stack = torch.empty_like(self.stack)
        for image, weight, out in zip(self.stack, weights, stack, strict=True):
            share = weight / weight.sum()
            mean = (image * share).sum()
            deviation = ((image - mean).square() * share).sum().sqrt().clamp_min(1e-20)
            out[:] = ((image - mean) / deviation).clamp(-_FARTHEST, _FARTHEST) * weight
        return WorkingImages(stack, self.pixel_ang, self.origin_px, weights)

    def sample(
        self, views: Sequence[int], grid: Grid, matrices: Array, origins_ang: Array, *, cubic: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Values of some views at image points matrix · node + origin, for every node of a grid.

        Parameters
        ----------
        views
            k indices.
        grid
            of h × w nodes.
        matrices, origins_ang
            ``(k, 2, 2)`` and ``(k, 2)``: what takes the nodes to each view's points, Å from its centre pixel.
        cubic
            interpolate by cubic convolution; linearly otherwise, which is faster and blurs detail finer than 4 px.

        Returns
        -------
        values, inside
            ``(k, h, w)``, 0 (the mean) outside the image; and where the image has pixels.
        """
        return self._sampled(self.stack, views, grid, matrices, origins_ang, cubic)

    def sample_valid(self, views: Sequence[int], grid: Grid, matrices: Array, origins_ang: Array) -> Tensor:
        """How much some views show the specimen at the nodes of a grid, ``(k, h, w)``, 0…1; see `sample`."""
        if self.valid is None:
            return self._places(grid, matrices, origins_ang)[1].float()
        return self._sampled(self.valid, views, grid, matrices, origins_ang, cubic=False)[0]

    def _places(self, grid: Grid, matrices: Array, origins_ang: Array) -> tuple[Tensor, Tensor]:
        """``(k, h, w, 2)`` the nodes in the sampler's units, and which of them lie on the image."""
        height, width = self.stack.shape[-2:]
        # Å to the sampler's units: −1 and 1 are the centres of the outer pixels
        scale = 2 / (np.array(self.pixel_ang) * [width - 1, height - 1])
        start = 2 * np.array(self.origin_px) / [width - 1, height - 1] - 1
        maps = torch.from_numpy(np.asarray(matrices) * scale[:, None]).float()[..., None]
        starts = torch.from_numpy(np.asarray(origins_ang) * scale + start).float()
        places = torch.empty((len(maps), len(grid.y_ang), len(grid.x_ang), 2))
        for axis in (0, 1):
            along_x = maps[:, axis, 0] * grid.x_ang + starts[:, axis, None]  # (k, w)
            along_y = maps[:, axis, 1] * grid.y_ang  # (k, h)
            torch.add(along_x[:, None], along_y[..., None], out=places[..., axis])
        return places, (places[..., 0].abs() <= 1) & (places[..., 1].abs() <= 1)

    def _sampled(
        self,
        stack: Tensor,
        views: Sequence[int],
        grid: Grid,
        matrices: Array,
        origins_ang: Array,
        cubic: bool,
    ) -> tuple[Tensor, Tensor]:
        places, inside = self._places(grid, matrices, origins_ang)
        chosen = np.asarray(views, dtype=np.int64)
        everything = len(chosen) == len(self) and bool((chosen == np.arange(len(self))).all())
        images = (stack if everything else stack[torch.from_numpy(chosen)])[:, None]
        mode = "bicubic" if cubic else "bilinear"
        values = torch.nn.functional.grid_sample(images, places, mode=mode, padding_mode="border", align_corners=True)
        return values[:, 0] * inside, inside

    def pixels(self) -> Grid:
        """The pixels' own places."""
        height, width = self.stack.shape[-2:]
        return Grid(
            (torch.arange(width) - self.origin_px[0]) * self.pixel_ang[0],
            (torch.arange(height) - self.origin_px[1]) * self.pixel_ang[1],
        )


def prepare(
    images: ImageSource, pixel_size_ang: float, longest_px: int, progress: Progress = no_progress
) -> WorkingImages:
    """Read images one by one and make them ready.

    Parameters
    ----------
    images
        the tilt images.
    pixel_size_ang
        of the images.
    longest_px
        length in pixels to which the longer side is binned by cropping in Fourier space.
    progress
        told the fraction of the views that are read.

    Raises
    ------
    ImageError
        if a view holds numbers that are not finite, or the same number everywhere.
    """
    n, height, width = images.shape
    shape = _working_shape((height, width), longest_px)
    stack = torch.empty((n, *shape), dtype=torch.float32)

    def one(view: int) -> None:
        image = torch.from_numpy(np.ascontiguousarray(images.view(view), dtype=np.float32))
        low, high = (float(extreme) for extreme in torch.aminmax(image))  # NaN where one pixel is
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ImageError(f"view {view + 1} holds pixels that are not finite numbers", mend="mend or exclude it")
        if low == high:
            raise ImageError(f"view {view + 1} is constant: it shows nothing", mend="exclude it (clean.exclude)")
        stack[view] = _standard(crop_image(_draw_in(image), shape))

    each(one, range(n), progress, "reading views")
    factors = height / shape[0], width / shape[1]
    return WorkingImages(
        stack,
        (pixel_size_ang * factors[1], pixel_size_ang * factors[0]),
        (width // 2 / factors[1], height // 2 / factors[0]),
    )


def plane_matrices(geometry: TiltGeometry, shape: SpecimenShape = "film") -> Array:
    """``(n, 2, 2)`` what each view does to coarse detail of the specimen.

    A film's plane z = 0 is turned and foreshortened. A compact object is as deep as it is wide: from one view to the
    next it turns and is not narrowed, so only the axis's direction and the magnification count.
    """
    if shape == "film":
        return geometry.matrices()[:, :, :2]
    return np.asarray(geometry.magnification[:, None, None] * rotation_z(geometry.z_rot_deg)[:, :2, :2])


def _working_shape(shape: tuple[int, int], longest_px: int) -> tuple[int, int]:
    factor = min(1.0, longest_px / max(shape))
    height, width = (size if factor == 1.0 else max(2 * round(size * factor / 2), 8) for size in shape)
    return height, width


def _resized(weights: Tensor, shape: tuple[int, int]) -> Tensor:
    """Weights ``(n, a, b)`` in another sampling of the same field."""
    if tuple(weights.shape[-2:]) == shape:
        return weights.float()
    if weights.shape[-2] >= shape[0] and weights.shape[-1] >= shape[1]:
        return torch.nn.functional.interpolate(weights[:, None].float(), shape, mode="area")[:, 0]
    return torch.nn.functional.interpolate(weights[:, None].float(), shape, mode="bilinear", align_corners=False)[:, 0]


def _draw_in(image: Tensor) -> Tensor:
    """Bring the extreme pixels to the values that few others exceed."""
    step = max(1, image.numel() // 200_000)
    low, high = np.quantile(image.flatten()[::step].numpy(), [_EXTREME, 1 - _EXTREME]).tolist()
    return image.clamp(low, high) if high > low else image


def _standard(image: Tensor) -> Tensor:
    image = image - image.mean()
    return image / image.std().clamp_min(1e-20)
