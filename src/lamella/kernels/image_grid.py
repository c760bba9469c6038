"""Where the pixels of a tilt image lie on the finer grid on which it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lamella.fourier import fast_size
from lamella.geometry import TiltGeometry
from lamella.kernels.rows import RowPlan
from lamella.kernels.taps import Taps, kaiser_bessel, quad_table

__all__ = ["ImageGrid"]

_OVERSAMPLING = 1.2
_MARGIN = 3  # samples kept beyond the image's edge, for the taps


@dataclass(frozen=True, kw_only=True)
class ImageGrid:
    """Where the pixels of a tilt image lie on the finer grid.

    Attributes
    ----------
    shape_px
        (height, width) of the images.
    pixel_size_ang, voxel_size_ang
        of the images and of the tomogram.
    swapped
        True where rows of the finer grid run along the images' columns: the loops that read across the tilt axis
        then read neighbouring memory. Everything below is in the order of the finer grid: slow axis, fast axis.
    padding
        least fraction by which the image is extended before the transform.
    """

    shape_px: tuple[int, int]
    pixel_size_ang: float
    voxel_size_ang: float
    swapped: bool = False
    padding: float = 0.05

    @classmethod
    def of(
        cls, geometry: TiltGeometry, shape_px: tuple[int, int], pixel_size_ang: float, voxel_size_ang: float
    ) -> ImageGrid:
        """The grid whose rows run across the tilt axis as nearly as they can."""
        axis = np.deg2rad(geometry.z_rot_deg)
        swapped = float(np.mean(np.abs(np.sin(axis)))) > float(np.mean(np.abs(np.cos(axis))))
        return cls(shape_px=shape_px, pixel_size_ang=pixel_size_ang, voxel_size_ang=voxel_size_ang, swapped=swapped)

    @property
    def binning(self) -> float:
        """Voxel over pixel."""
        return self.voxel_size_ang / self.pixel_size_ang

    @cached_property
    def image_shape(self) -> tuple[int, int]:
        """The images' shape in the grid's order of axes."""
        height, width = self.shape_px
        return (width, height) if self.swapped else (height, width)

    @cached_property
    def padded(self) -> tuple[int, int]:
        """Shape of the extended image."""
        reach = int(np.ceil(2 * (_MARGIN + 1) * max(self.binning, 1.0)))
        a, b = (fast_size(max(int(np.ceil(n * (1 + self.padding))), n + reach)) for n in self.image_shape)
        return a, b

    @cached_property
    def start(self) -> tuple[int, int]:
        """Where pixel (0, 0) stands in the extended image."""
        a, b = ((big - n) // 2 for big, n in zip(self.padded, self.image_shape, strict=True))
        return a, b

    @cached_property
    def band(self) -> tuple[int, int]:
        """Highest Fourier index that is kept: below the Nyquist frequency of pixels and of voxels."""
        a, b = (int(np.ceil(n / (2 * max(self.binning, 1.0)) - 1e-9)) - 1 for n in self.padded)
        return a, b

    @cached_property
    def fine(self) -> tuple[int, int]:
        """Shape of the finer grid."""
        a, b = (fast_size(max(int(np.ceil(_OVERSAMPLING * 2 * (m + 1))), 8)) for m in self.band)
        return a, b

    @cached_property
    def pitch(self) -> tuple[float, float]:
        """Pixels per sample of the finer grid."""
        a, b = (big / n for big, n in zip(self.padded, self.fine, strict=True))
        return a, b

    @cached_property
    def crop(self) -> tuple[slice, slice]:
        """The part of the finer grid that is stored."""
        parts = []
        for start, n, pitch, fine in zip(self.start, self.image_shape, self.pitch, self.fine, strict=True):
            first = max(int(np.floor((start - 0.5) / pitch)) - _MARGIN, 0)
            last = min(int(np.ceil((start + n - 0.5) / pitch)) + _MARGIN + 1, fine)
            parts.append(slice(first, last))
        return parts[0], parts[1]

    @property
    def stored(self) -> tuple[int, int]:
        """Shape of what is stored of a view."""
        rows, columns = self.crop
        return rows.stop - rows.start, columns.stop - columns.start

    @cached_property
    def taps(self) -> tuple[Taps, Taps]:
        """Taps along the slow and the fast axis."""
        a, b = (kaiser_bessel(n / (2 * m + 2)) for n, m in zip(self.fine, self.band, strict=True))
        return a, b

    @cached_property
    def tables(self) -> NDArray[np.float32]:
        """``(2, TABLE_STEPS + 1, 4)`` weights of the taps along the slow and the fast axis."""
        return np.stack([quad_table(taps) for taps in self.taps])

    def bounds(self) -> NDArray[np.float64]:
        """``(4,)`` least and greatest place along each axis, in stored samples, that lies within the image."""
        out = []
        for start, n, pitch, part in zip(self.start, self.image_shape, self.pitch, self.crop, strict=True):
            out += [(start - 0.5) / pitch - part.start, (start + n - 0.5) / pitch - part.start]
        return np.array(out)

    def places(self, geometry: TiltGeometry, plan: RowPlan, view: int) -> NDArray[np.float64]:
        """``(2, 2, 3)``: where samples lie, [0] in Å from the centre pixel (x, y), [1] in stored samples (slow, fast).

        Coefficients of (1, κ, j) for sample κ of row j of one view, the local field left out.
        """
        turn = np.deg2rad(geometry.z_rot_deg[view])
        scale = geometry.magnification[view] * self.voxel_size_ang
        cos, sin = np.cos(turn) * scale, np.sin(turn) * scale
        du, dv = plan.spacing_u[view], plan.spacing_v[view]
        q = np.array(
            [
                [geometry.x_shift_ang[view], cos * du, -sin * dv],
                [geometry.y_shift_ang[view], sin * du, cos * dv],
            ]
        )
        return np.stack([q, self._to_stored(q)])

    def _to_stored(self, q: NDArray[np.float64]) -> NDArray[np.float64]:
        height, width = self.shape_px
        pixels = q / self.pixel_size_ang
        pixels[:, 0] += (width // 2, height // 2)
        out = pixels if self.swapped else pixels[::-1]  # slow axis first
        out = out.copy()
        for axis in (0, 1):
            out[axis, 0] += self.start[axis]
            out[axis] /= self.pitch[axis]
            out[axis, 0] -= self.crop[axis].start
        return out

    def stored_places_ang(self) -> NDArray[np.float64]:
        """``(2, 2)``: per axis, where stored sample 0 lies, Å from the centre pixel, and the distance of samples, Å.

        The slow axis is the image's x where the grid is swapped, else its y.
        """
        middle = [n // 2 for n in self.image_shape]
        return np.array(
            [
                [(part.start * pitch - start - centre) * self.pixel_size_ang, pitch * self.pixel_size_ang]
                for part, pitch, start, centre in zip(self.crop, self.pitch, self.start, middle, strict=True)
            ]
        )

    def fine_frequencies(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Frequency in 1/Å of the rows and the columns of `filtered_spectrum`, along the slow and the fast axis."""
        a, b = (n * self.pixel_size_ang for n in self.padded)
        rows = np.fft.fftfreq(self.fine[0], 1 / self.fine[0]).astype(np.float64)  # whole numbers, in FFT order
        return rows / a, np.arange(self.band[1] + 1) / b

    def per_ang(self) -> NDArray[np.float64]:
        """``(2,)`` stored samples per Å along (x, y) of the image."""
        a, b = (1 / (pitch * self.pixel_size_ang) for pitch in self.pitch)
        return np.array([a, b] if self.swapped else [b, a])
