"""Pictures of particles out of one tilt image: cut, levelled, binned, put in place, standardised, multiplied.

What is cut out is larger than what is kept, so that what the defocus carried out of the box is still there when the
transfer is multiplied, which brings half of it back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.fourier import crop_spectrum, frequency_axes
from lamella.particles.extract_box import PictureBox
from lamella.particles.views import SeriesTransfer

__all__ = ["PictureCutter"]

Array = NDArray[np.float64]
Pixels = NDArray[np.float32]

_PIXELS_AT_ONCE = 1 << 21


@dataclass(frozen=True, kw_only=True)
class PictureCutter:
    """Cuts the pictures of particles out of the tilt images of one series.

    Attributes
    ----------
    box
        sizes of the pictures.
    transfer
        of the series, at the size `crop_from_px` and the pictures' pixel.
    sign
        −1 where mass is dark (bright field), 1 where it is bright.
    """

    box: PictureBox
    transfer: SeriesTransfer
    sign: int

    def cut(self, image: Pixels, view: int, places_px: Array, positions_ang: Array) -> tuple[Pixels, Array]:
        """Pictures of particles in one view.

        Parameters
        ----------
        image
            ``(height, width)`` the tilt image.
        view
            its place in the series.
        places_px
            ``(n, 2)`` x, y of the particles in it.
        positions_ang
            ``(n, 3)`` of the particles in the tomogram, for their depth.

        Returns
        -------
        pictures
            ``(n, box, box)``: the particle's position is at pixel box // 2, mass positive; noise of unit variance
            outside the particle before it was multiplied by the transfer.
        spread
            ``(n,)`` standard deviation of that noise in the tilt image's unit; 0 for a picture that is constant or not
            finite, which holds nothing.
        """
        box = self.box.box_px
        pictures = np.zeros((len(places_px), box, box), np.float32)
        spread = np.zeros(len(places_px))
        step = max(1, _PIXELS_AT_ONCE // self.box.patch_px**2)
        for first in range(0, len(places_px), step):
            part = slice(first, first + step)
            made, noise = self._cut(image, view, places_px[part], positions_ang[part])
            pictures[part], spread[part] = made.numpy(), noise.numpy()
        return pictures, spread

    def _cut(self, image: Pixels, view: int, places_px: Array, positions_ang: Array) -> tuple[Tensor, Tensor]:
        size, small = self.box.patch_px, self.box.crop_from_px
        start = np.rint(places_px).astype(np.int64) - size // 2
        patches, inside = _patches(image, start, size)
        radius = self.box.diameter_ang / 2 / self.box.pixel_size_ang
        centre = small // 2 * self.box.binning  # where the particle comes to lie, in the patch's pixels
        patches = _levelled(patches, inside & (_distance(size, centre) > radius * self.box.binning))
        patches *= inside
        terms = torch.fft.rfft2(patches)
        if small != size:
            terms = crop_spectrum(terms, (size, size), (small, small))
            patches = torch.fft.irfft2(terms, s=(small, small))
            inside = _binned_marks(inside, small)
        spread = _spread(patches, inside & (_distance(small, small // 2) > radius))
        good = torch.isfinite(spread) & (spread > 0)
        gain = torch.where(good, self.sign / spread, 0.0)
        move = small // 2 - (places_px - start) / self.box.binning  # (n, 2) x, y in the picture's pixels
        terms = terms * _phases(small, torch.from_numpy(move)) * self.transfer.of_view(view, positions_ang)
        whole = torch.fft.irfft2(terms, s=(small, small)) * gain[:, None, None]
        low = small // 2 - self.box.box_px // 2
        kept = whole[:, low : low + self.box.box_px, low : low + self.box.box_px]
        return torch.where(good[:, None, None], kept, 0.0), torch.where(good, spread, 0.0).double()


def _patches(image: Pixels, start: NDArray[np.int64], size: int) -> tuple[Tensor, Tensor]:
    """Patches ``(n, size, size)`` whose first pixel (x, y) is `start`, 0 outside the image; and what lies inside."""
    height, width = image.shape
    patches = np.zeros((len(start), size, size), np.float32)
    inside = np.zeros((len(start), size, size), bool)
    for number, (x, y) in enumerate(start):
        rows, columns = slice(max(y, 0), min(y + size, height)), slice(max(x, 0), min(x + size, width))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        here = (slice(rows.start - y, rows.stop - y), slice(columns.start - x, columns.stop - x))
        patches[number][here] = image[rows, columns]
        inside[number][here] = True
    return torch.from_numpy(patches), torch.from_numpy(inside)


def _distance(size: int, centre: float) -> Tensor:
    """``(size, size)`` distance from a place on the diagonal."""
    line = torch.arange(size, dtype=torch.float32) - centre
    return torch.hypot(line[:, None], line[None])


def _levelled(patches: Tensor, background: Tensor) -> Tensor:
    """Patches less the plane that fits their background best."""
    n, size, _ = patches.shape
    line = torch.linspace(-1, 1, size, dtype=torch.float32)
    basis = torch.stack([torch.ones(size, size), line[:, None].expand(size, size), line[None].expand(size, size)])
    flat = basis.reshape(3, -1)
    products = (flat[:, None] * flat[None]).reshape(9, -1)
    weights = background.reshape(n, -1).float()
    matrix = (weights @ products.T).reshape(n, 3, 3).double()
    # an even grey is taken off first: single precision cannot carry its products
    grey = (weights * patches.reshape(n, -1)).sum(dim=1) / weights.sum(dim=1).clamp_min(1)
    patches = patches - grey[:, None, None]
    right = ((weights * patches.reshape(n, -1)) @ flat.T).double()
    held = matrix + 1e-6 * size**2 * torch.eye(3, dtype=torch.float64)  # a patch nearly all outside has no plane
    plane = torch.linalg.solve(held, right).float()
    levelled: Tensor = patches - (plane @ flat).reshape(n, size, size)
    return levelled


def _binned_marks(inside: Tensor, small: int) -> Tensor:
    """Which pixels of the binned patch lie inside the image."""
    place = (torch.arange(small) * (inside.shape[-1] / small)).long()
    return inside[:, place][:, :, place]


def _spread(patches: Tensor, background: Tensor) -> Tensor:
    """``(n,)`` standard deviation of the background."""
    weights = background.float()
    count = weights.sum(dim=(1, 2))
    mean = (patches * weights).sum(dim=(1, 2)) / count.clamp_min(1)
    away = (patches - mean[:, None, None]) * weights
    variance = (away**2).sum(dim=(1, 2)) / (count - 1).clamp_min(1)
    tiny = torch.finfo(torch.float32).eps * patches.abs().amax(dim=(1, 2))
    return torch.where(variance.sqrt() > tiny, variance.sqrt(), 0.0)


def _phases(size: int, move_px: Tensor) -> Tensor:
    """``(n, size, size // 2 + 1)`` factors that move pictures by ``(n, 2)`` x, y pixels; real at Nyquist."""
    ky, kx = frequency_axes((size, size))
    out = []
    for line, by in ((kx, move_px[:, 0]), (ky, move_px[:, 1])):
        turns = line[None] * by[:, None, None]
        phase = torch.polar(torch.ones_like(turns), -2 * torch.pi * turns)
        out.append(torch.where(line.abs() == 0.5, phase.real.to(phase.dtype), phase))
    phases: Tensor = out[0].to(torch.complex64) * out[1].to(torch.complex64)
    return phases
