"""Project a volume into tilt images, and back: an exactly adjoint pair for the full geometry.

Back-projection gives every voxel the sum, over the views, of the band-limited image at the place where the voxel
appears; projection is its transpose, which draws every voxel as a band-limited spot.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.errors import ImageError
from lamella.geometry import TiltGeometry
from lamella.kernels.gather import RowReader
from lamella.kernels.loops import Loops
from lamella.kernels.rows import Box, RowPlan
from lamella.kernels.sampling import ImageGrid, sample_image, unsample_image, view_filter
from lamella.runtime import threads

__all__ = ["Projector"]

Volume = NDArray[np.float32]

_PARTS = 4  # of a volume per thread: one of them is worked on beside the volume itself


class Projector:
    """Projection and back-projection of one tomogram.

    Parameters
    ----------
    geometry
        the model, ``n`` views.
    image_shape, pixel_size_ang
        of the tilt images.
    box
        the tomogram. Both directions are band-limited to its voxels' Nyquist frequency and to the pixels'.
    device
        ``cpu`` for the compiled loops; ``torch`` for the torch loops on the CPU; or a torch device such as ``cuda``.
    """

    def __init__(
        self,
        geometry: TiltGeometry,
        image_shape: tuple[int, int],
        pixel_size_ang: float,
        box: Box,
        *,
        device: str = "cpu",
    ) -> None:
        self.geometry, self.box = geometry, box
        self.plan = RowPlan.fine(geometry)
        self.grid = ImageGrid.of(geometry, image_shape, pixel_size_ang, box.voxel_size_ang)
        self.reader = RowReader(self.grid, geometry, self.plan)
        self.window = self.plan.window(box.first(), box.shape)
        self.loops = Loops.on(device)
        self.device = torch.device("cpu" if device == "torch" else device)

    def back_project(self, images: Volume) -> Volume:
        """Volume ``(z, y, x)`` of the sums over views, from images ``(n, h, w)``.

        Raises
        ------
        ImageError
            if the images' shape is not that of the plan.
        """
        if images.shape != (len(self.geometry), *self.grid.shape_px):
            raise ImageError(
                f"images of shape {images.shape} for {len(self.geometry)} views of {self.grid.shape_px}",
                mend="give one image per view",
            )
        rows = torch.empty(self.window.size, device=self.device)
        self._each_view(lambda view: self._read(images[view], view, rows))
        out = torch.empty(self.box.shape, device=self.device)
        if self.loops.compiled:
            self._each_slab(
                lambda first, part: self.loops.back_project(
                    rows, self.plan, self.window, first, torch.from_numpy(part)
                ),
                out.numpy(),
            )
        else:
            self.loops.back_project(rows, self.plan, self.window, self.box.first(), out)
        return out.cpu().numpy()

    def project(self, volume: Volume) -> Volume:
        """Images ``(n, h, w)`` from a volume ``(z, y, x)``: each voxel adds its value at the place where it appears.

        Raises
        ------
        ImageError
            if the volume's shape is not that of the box.
        """
        if volume.shape != self.box.shape:
            raise ImageError(
                f"a volume of shape {volume.shape} for a box of {self.box.shape}", mend="give one of that size"
            )
        rows = torch.zeros(self.window.size, device=self.device)
        source = torch.from_numpy(np.ascontiguousarray(volume, np.float32)).to(self.device)
        self.loops.project(source, self.plan, self.window, self.box.first(), rows)
        out = np.empty((len(self.geometry), *self.grid.shape_px), np.float32)
        self._each_view(lambda view: self._add(rows, view, out[view]))
        return out

    def _read(self, image: Volume, view: int, rows: torch.Tensor) -> None:
        padded = np.zeros(self.grid.padded, np.float32)
        padded[self._inner()] = image.T if self.grid.swapped else image
        what = view_filter(self.grid, self.geometry, self.plan, view)
        stored = sample_image(torch.from_numpy(padded).to(self.device), self.grid, what).contiguous()
        self.loops.read(self.reader, stored, view, self.window, rows)

    def _add(self, rows: torch.Tensor, view: int, image: Volume) -> None:
        stored = torch.zeros(self.grid.stored, device=self.device)
        self.loops.add(self.reader, rows, view, self.window, stored)
        what = view_filter(self.grid, self.geometry, self.plan, view)
        inner = unsample_image(stored, self.grid, what).cpu().numpy()[self._inner()]
        image[...] = inner.T if self.grid.swapped else inner

    def _inner(self) -> tuple[slice, slice]:
        a, b = (slice(s, s + n) for s, n in zip(self.grid.start, self.grid.image_shape, strict=True))
        return a, b

    def _each_view(self, work: Callable[[int], None]) -> None:
        with ThreadPoolExecutor(threads() if self.loops.compiled else 1) as pool:
            list(pool.map(work, range(len(self.geometry))))

    def _each_slab(self, work: Callable[[tuple[int, int, int], Volume], None], volume: Volume) -> None:
        z0, y0, x0 = self.box.first()
        count = min(_PARTS * threads(), volume.shape[1])
        edges = np.linspace(0, volume.shape[1], count + 1).astype(int)
        parts = list(itertools.pairwise(edges))

        def one(ends: tuple[int, int]) -> None:
            part = np.empty((volume.shape[0], ends[1] - ends[0], volume.shape[2]), np.float32)
            work((z0, y0 + int(ends[0]), x0), part)
            volume[:, ends[0] : ends[1]] = part

        with ThreadPoolExecutor(min(threads(), count)) as pool:
            list(pool.map(one, parts))
