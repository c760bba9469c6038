"""Round, heavy spots in a picture: gold beads, found by their shape at a known size.

A bead is a ball, so its projection is a half-ellipse, the same from every side. A picture is compared with it by the
correlation coefficient under a round window (Roseman 2003), which asks for the shape alone; how dark the spot is comes
out beside it and is judged apart: ice and edges of a film can be as dark, ribosomes nearly as round, few things both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.errors import SettingsError
from lamella.fourier import fast_size

__all__ = ["Imaging", "Spots", "ball_profile", "find_spots", "typical_contrast"]

Array = NDArray[np.float64]
Imaging = Literal["bright", "dark"]
"""Whether mass is dark on a bright ground (cryo-EM) or bright on a dark one (annular dark field)."""

_WORK_PX = 5.0
_WINDOW = 1.5  # radius of the window in radii of the bead: the ground round it is part of the shape
_APART = 0.6  # of a diameter: two spots closer than this are one
_CROWD = 0.2  # in the logarithm: how alike contrasts of beads are
_LEAST = 0.35  # correlation coefficient of a spot; noise alone under a window of some 50 pixels rarely reaches it


@dataclass(frozen=True, eq=False)
class Spots:
    """Spots of one picture.

    Attributes
    ----------
    places_px
        ``(k, 2)`` centres (x, y), pixels from the middle of pixel 0.
    likeness
        ``(k,)`` correlation coefficient with a bead, 0…1.
    contrast
        ``(k,)`` depth of the spot: over the ground's intensity for bright field, in the picture's unit for dark field.
    """

    places_px: Array
    likeness: Array
    contrast: Array

    def __len__(self) -> int:
        return len(self.likeness)

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Spots:
        """Some of the spots."""
        return Spots(self.places_px[chosen], self.likeness[chosen], self.contrast[chosen])


def ball_profile(radius_px: float, distance_px: Tensor) -> Tensor:
    """Projection of a ball at distances from its centre: 1 in the middle, 0 outside, soft over the last pixel."""
    inner = (1 - (distance_px / radius_px) ** 2).clamp_min(0).sqrt()
    if radius_px > 6:
        return inner
    # small balls: the mean over a pixel, from five places across it
    steps = torch.linspace(-0.4, 0.4, 5)
    spread = (distance_px[..., None] + steps).abs()
    return (1 - (spread / radius_px) ** 2).clamp_min(0).sqrt().mean(dim=-1)


def find_spots(
    image: NDArray[np.float32],
    diameter_px: float,
    imaging: Imaging = "bright",
    least_likeness: float = _LEAST,
    work_px: float = _WORK_PX,
) -> Spots:
    """Spots of the shape of a bead.

    Parameters
    ----------
    image
        `(h, w)` picture of any linear unit; for bright field with its zero kept (transmitted intensity).
    diameter_px
        of the beads, at least 3 pixels.
    imaging
        whether beads are dark or bright.
    least_likeness
        correlation coefficient below which nothing is a spot.
    work_px
        the picture is reduced by a whole factor so far that a bead keeps this many pixels across at least.

    Raises
    ------
    SettingsError
        if a bead is smaller than 3 pixels across.
    """
    if diameter_px < 3:
        raise SettingsError(f"beads of {diameter_px:.1f} px", mend="they must be 3 px across at least")
    factor = max(1, int(diameter_px / work_px))
    small = _pooled(torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)), factor)
    likeness, depth, ground = _compared(small if imaging == "dark" else -small, diameter_px / 2 / factor)
    rows, columns = _peaks(likeness, _APART * diameter_px / factor, least_likeness)
    if imaging == "bright":
        # a picture whose mean was taken off has no ground to compare with: its depth counts as it is
        level = (-ground).clamp_min(1e-20)
        depth = depth / level if float(level.median()) > 2 * float(small.std()) else depth
    places = np.stack(_climbed(likeness, rows, columns), axis=-1) * factor + (factor - 1) / 2
    found = rows.numpy(), columns.numpy()
    return Spots(places, likeness.numpy()[found].astype(np.float64), depth.numpy()[found].astype(np.float64))


def typical_contrast(contrast: Array, likeness: Array) -> float:
    """The contrast that beads share: where squared contrasts of likely spots crowd; 0 without spots.

    Beads of one size are all as deep. Squares let few heavy beads outweigh many faint round things.
    """
    depth = contrast[contrast > 0]
    if not len(depth):
        return 0.0
    weight = (likeness[contrast > 0] ** 4) * depth**2
    place = np.log(depth / depth.max())
    bins = np.arange(min(float(place.min()), -1.0) - _CROWD, _CROWD, _CROWD / 4)
    counted, edges = np.histogram(place, bins, weights=weight)
    kernel = np.exp(-0.5 * (np.arange(-12, 13) / 4) ** 2)
    best = int(np.argmax(np.convolve(counted, kernel)[12:-12]))
    near = np.abs(place - (edges[best] + edges[best + 1]) / 2) < 2 * _CROWD
    return float(np.average(depth[near], weights=weight[near]))


def _pooled(image: Tensor, factor: int) -> Tensor:
    """Means of blocks of factor × factor pixels; what is left over at the far edges is dropped."""
    if factor == 1:
        return image
    return torch.nn.functional.avg_pool2d(image[None, None], factor)[0, 0]


def _compared(image: Tensor, radius: float) -> tuple[Tensor, Tensor, Tensor]:
    """Correlation coefficient with a bright ball, its amplitude, and the ground under it, pixel by pixel."""
    height, width = image.shape
    reach = int(np.ceil(_WINDOW * radius)) + 1
    shape = fast_size(height + 2 * reach), fast_size(width + 2 * reach)
    middle = image.mean()
    padded = torch.nn.functional.pad(image[None, None] - middle, (reach, reach, reach, reach), mode="replicate")[0, 0]
    line = torch.arange(-reach, reach + 1, dtype=torch.float32)
    distance = torch.hypot(line[:, None], line[None, :])
    window = (distance <= max(_WINDOW * radius, radius + 1.5)).float()
    ball = ball_profile(radius, distance)
    count, ball_mean = float(window.sum()), float((ball * window).sum() / window.sum())
    shape_only = (ball - ball_mean) * window
    energy = float((shape_only**2).sum())

    terms = torch.fft.rfft2(padded, s=shape)
    squares = torch.fft.rfft2(padded**2, s=shape)

    def under(kernel: Tensor, of: Tensor) -> Tensor:
        full: Tensor = torch.fft.irfft2(of * torch.fft.rfft2(kernel, s=shape).conj(), s=shape)
        return full[:height, :width]

    product, total = under(shape_only, terms), under(window, terms)
    varied = under(window, squares) - total**2 / count
    likeness = product / (energy * varied.clamp_min(1e-3 * float(varied.mean()) + 1e-20)).sqrt()
    amplitude = product / energy
    return likeness, amplitude, total / count - amplitude * ball_mean + middle


def _peaks(values: Tensor, apart_px: float, least: float) -> tuple[Tensor, Tensor]:
    """Rows and columns of local maxima above a value, none nearer than `apart_px` to a higher one."""
    near = max(1, int(apart_px))
    size = 2 * near + 1
    highest = torch.nn.functional.max_pool2d(values[None, None], (1, size), stride=1, padding=(0, near))
    highest = torch.nn.functional.max_pool2d(highest, (size, 1), stride=1, padding=(near, 0))[0, 0]
    rows, columns = torch.nonzero((values == highest) & (values > least), as_tuple=True)
    return rows, columns


def _climbed(values: Tensor, rows: Tensor, columns: Tensor) -> tuple[Array, Array]:
    """(x, y) of maxima by a parabola through each and its neighbours along either axis."""
    height, width = values.shape
    out = []
    for along, place, size in ((1, columns, width), (0, rows, height)):

        def beside(step: int, along: int = along) -> Tensor:
            row = (rows + step).clamp(0, height - 1) if along == 0 else rows
            column = (columns + step).clamp(0, width - 1) if along == 1 else columns
            return values[row, column]

        before, here, after = beside(-1), beside(0), beside(1)
        bend = (before - 2 * here + after).clamp_max(-1e-9)
        offset = (0.5 * (before - after) / bend).clamp(-0.5, 0.5)
        offset[(place == 0) | (place == size - 1)] = 0
        out.append((place + offset).double().numpy())
    return out[0], out[1]
