"""The frames of a movie as spectra at a working resolution, and how much signal each frequency holds.

Motion is measured where its information lies: hardly any is finer than a few Å. So each frame is cropped in Fourier
space once, and all that follows handles a fraction of the pixels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from lamella.fourier import (
    crop_spectrum,
    edge_taper,
    frequency_axes,
    frequency_grid,
    shell_index,
    shell_sums,
)

__all__ = ["COARSEST_ANG", "FrameSpectra", "Profile", "spectra_of", "working_shape"]

WORKING_PIXEL_ANG = 2.5
"""Pixel of the working images: 99 % of the information on motion was found to be coarser than 5 Å."""

COARSEST_ANG = 400.0
"""Coarser frequencies are left out: the shape of the beam, which stays where it is."""

TAPER = 0.02
"""Part of the frame at each edge over which it is faded out, so that its edges do not correlate."""

_CROSS = 2
"""The lines k_x = 0 and k_y = 0 are left out with as many samples to either side: what whole rows or columns of the
detector have in common lies there, and does not move."""

_BAND = 256
"""Rows of a frame that are worked on at once."""

_NEXT_TO_NOTHING = 0.01
"""Part of the information on motion that the finest frequencies hold together and that is not worth their handling."""


@dataclass(frozen=True, eq=False)
class FrameSpectra:
    """Spectra of the frames of one movie.

    Attributes
    ----------
    terms
        ``(frames, h, w // 2 + 1)`` complex, of images `(h, w)` at the working resolution.
    shape
        (h, w) of the working images.
    scale
        movie pixels per working pixel along (y, x).
    pixel_size_ang
        of the working images, along the longer side.
    """

    terms: Tensor
    shape: tuple[int, int]
    scale: tuple[float, float]
    pixel_size_ang: float

    def __len__(self) -> int:
        return len(self.terms)

    def ramps(self, shift_px: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Factors along y and along x that move each frame back by its shift ``(frames, 2)`` (x, y) in working px."""
        ky, kx = (line.reshape(-1) for line in frequency_axes(self.shape, self.terms.device))
        for x, y in shift_px.to(ky):
            rows, columns = (
                torch.polar(torch.ones_like(line), 2 * math.pi * by * line) for by, line in ((y, ky), (x, kx))
            )
            yield rows.to(self.terms), columns.to(self.terms)

    def aligned(self, shift_px: Tensor) -> FrameSpectra:
        """The same frames, each moved back by its shift ``(frames, 2)`` (x, y) in working pixels."""
        terms = torch.empty_like(self.terms)
        for frame, moved, (rows, columns) in zip(self.terms, terms, self.ramps(shift_px), strict=True):
            torch.mul(frame, rows[:, None], out=moved).mul_(columns)
        return replace(self, terms=terms)

    def cropped(self, pixel_size_ang: float) -> FrameSpectra:
        """The same frames at a coarser working resolution."""
        shape = working_shape(self.shape, self.pixel_size_ang, pixel_size_ang)
        if shape == self.shape:
            return self
        terms = torch.stack([crop_spectrum(frame, self.shape, shape) for frame in self.terms])
        scale = (self.scale[0] * self.shape[0] / shape[0], self.scale[1] * self.shape[1] / shape[1])
        size = self.pixel_size_ang * max(self.shape) / max(shape)
        return FrameSpectra(terms=terms, shape=shape, scale=scale, pixel_size_ang=size)

    def grouped(self, groups: int) -> FrameSpectra:
        """Sums of neighbouring frames, as equal in number as can be."""
        if groups >= len(self):
            return self
        edges = torch.linspace(0, len(self), groups + 1).round().long().tolist()
        terms = torch.stack([self.terms[a:b].sum(dim=0) for a, b in itertools.pairwise(edges)])
        return replace(self, terms=terms)


def working_shape(
    shape: tuple[int, int], pixel_size_ang: float, working_ang: float = WORKING_PIXEL_ANG
) -> tuple[int, int]:
    """Even (h, w) of the working images of frames ``(h, w)``; never finer than the frames."""
    factor = max(1.0, working_ang / pixel_size_ang)
    height, width = (min(size - size % 2, max(16, 2 * round(size / factor / 2))) for size in shape)
    return height, width


def spectra_of(frames: Iterable[Tensor], count: int, shape_px: tuple[int, int], pixel_size_ang: float) -> FrameSpectra:
    """Transform corrected frames one by one and keep what lies below the working resolution.

    Parameters
    ----------
    frames
        `count` images `(height, width)`, float32.
    count
        their number.
    shape_px
        (height, width).
    pixel_size_ang
        of the frames.
    """
    shape = working_shape(shape_px, pixel_size_ang)
    terms: Tensor | None = None
    for index, frame in enumerate(frames):
        if terms is None:
            terms = torch.empty((count, shape[0], shape[1] // 2 + 1), dtype=torch.complex64, device=frame.device)
            down, across = (edge_taper((size,), TAPER * min(shape_px), frame.device) for size in shape_px)
        by_rows = frame.new_empty((shape_px[0], shape[1] // 2 + 1), dtype=torch.complex64)
        mean = frame.mean()
        for start in range(0, shape_px[0], _BAND):
            rows = slice(start, start + _BAND)
            faded = (frame[rows] - mean).mul_(down[rows, None]).mul_(across)
            by_rows[rows] = crop_spectrum(torch.fft.rfft(faded), shape_px[1:], shape[1:])
        del frame  # the next one is made while this name would hold it
        terms[index] = crop_spectrum(torch.fft.fft(by_rows, dim=0), (shape_px[0], shape[1]), shape)
        del by_rows
    assert terms is not None  # a movie has at least one frame
    scale = (shape_px[0] / shape[0], shape_px[1] / shape[1])
    return FrameSpectra(
        terms=terms, shape=shape, scale=scale, pixel_size_ang=pixel_size_ang * scale[shape[1] > shape[0]]
    )


@dataclass(frozen=True, eq=False)
class Profile:
    """Power of the signal and of a frame's noise in every shell of frequency.

    Attributes
    ----------
    signal, noise
        ``(shells,)`` mean power of a coefficient, float64.
    frames
        how many frames share the signal.
    shape
        (h, w) of the images.
    """

    signal: Tensor
    noise: Tensor
    frames: int
    shape: tuple[int, int]

    @property
    def ratio(self) -> Tensor:
        """``(shells,)`` signal over noise, ρ."""
        return self.signal / self.noise

    def weights(self) -> Tensor:
        """``(h, w // 2 + 1)`` weight of each coefficient's products of two frames in the log-likelihood.

        With signal and noise Gaussian, and the signal unknown but of known power P over the noise's σ², the likelihood
        of F aligned frames z depends on ``w |Σ z|²`` alone, w = P / σ² (σ² + F P); of each pair's product
        ``2 w Re z z'`` over half the plane.
        """
        shells = self.signal / (self.noise * (self.noise + self.frames * self.signal))
        index = shell_index(self.shape, shells.device)
        padded = torch.cat([shells * (torch.arange(len(shells)) <= self._finest), shells.new_zeros(1)])
        return (padded[index.clamp_max(len(shells))] * _band(self.shape, shells.device)).float()

    def curvature(self) -> float:
        """κ: second derivative, per working pixel² and axis, that a pair's log-likelihood is expected to have.

        The Fisher information on the frames' shifts is κ (F δ − 1): Σ ρ² / (1 + F ρ) (2π k_x)² over the whole plane.
        """
        return float(self._information.sum())

    @cached_property
    def _information(self) -> Tensor:
        """``(shells,)`` what each shell adds to κ."""
        ratio = self.ratio
        shells = ratio**2 / (1 + self.frames * ratio)
        k_squared = (2 * math.pi * frequency_grid(self.shape, shells.device)) ** 2 / 2
        return shells * shell_sums(k_squared * _band(self.shape, shells.device), self.shape)

    @property
    def _finest(self) -> int:
        """The shell beyond which next to nothing of κ lies."""
        so_far = self._information.cumsum(dim=0)
        return int(torch.searchsorted(so_far, so_far[-1] * (1 - _NEXT_TO_NOTHING)))


def _band(shape: tuple[int, int], device: torch.device | str) -> Tensor:
    """``(h, w // 2 + 1)`` 1 where motion is measured; 0 on the axes."""
    ky, kx = frequency_axes(shape, device)
    rows, columns = (ky * shape[0]).abs() > _CROSS + 0.5, (kx * shape[1]).abs() > _CROSS + 0.5
    return (rows & columns).float()
