"""What a view's texture is like: its power spectrum, from tiles that show no gold, and textures drawn from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

__all__ = [
    "Kind",
    "Texture",
    "detail_of",
    "draw",
    "gain_of",
    "noise_bytes",
    "texture_bytes",
    "texture_of",
    "white_noise",
]

Array = NDArray[np.float64]
Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Kind = Literal["full", "even", "odd"]
"""What an image is the sum of: all frames of a view, or half of them."""

_CLEANEST = 0.4  # of the tiles, those least touched by gold, tell the spectrum
_LEAST_TILES = 12
_LEVEL_PX = 512  # along the shorter side, from which a view's level is taken
_GAIN = 0.5, 2.0  # of the noise at a place over the view's, in standard deviations: what is believed
_LEAST_PIXELS = 100  # from which the noise at a place is taken
_LN2 = float(np.log(2.0))


@dataclass(frozen=True, eq=False)
class Texture:
    """Texture of a view.

    Attributes
    ----------
    power
        ``(s, s)`` power spectrum, whose mean is the variance of a pixel, in the order of an FFT.
    detail
        mean of `detail_of` where the spectrum comes from: the strength of noise that it stands for.
    """

    power: Array
    detail: float

    @property
    def covariance(self) -> Array:
        """``(s, s)`` covariance of two pixels by what lies between them, periodic."""
        covariance: Array = np.fft.ifft2(self.power).real
        return covariance

    def power_on(self, shape: tuple[int, int]) -> Array:
        """The spectrum at the frequencies of another size of picture."""
        if shape == self.power.shape:
            return self.power
        places = [np.arange(n) * (size / n) for n, size in zip(shape, self.power.shape, strict=True)]
        grid = np.stack(np.meshgrid(*places, indexing="ij"))
        power: Array = map_coordinates(self.power, grid, order=1, mode="grid-wrap")
        return power


def detail_of(image: Image) -> Image:
    """Squared mixed second difference of each pixel with three neighbours: noise, whatever slopes and edges there are.

    ``(h − 1, w − 1)``; of white noise its mean is the variance.
    """
    cross = (image[1:, 1:] - image[1:, :-1] - image[:-1, 1:] + image[:-1, :-1]) / 2
    return np.asarray(cross * cross, dtype=np.float32)


def texture_of(image: Image, painted: Mask, size: int) -> Texture:
    """Measure a view's texture.

    Parameters
    ----------
    image
        `(h, w)`.
    painted
        `(h, w)` where there is gold: as good as left out.
    size
        edge of a tile, px.

    Notes
    -----
    Periodograms of tiles under Hann's window; the median over tiles by ln 2 is the mean of what most of them show, as a
    periodogram's values are distributed exponentially. A crystal of ice or a film's edge here and there does not count.
    """
    height, width = image.shape
    size = min(size, height, width)
    step = max(1, min(image.shape) // _LEVEL_PX)
    clean = image[::step, ::step][~painted[::step, ::step]]
    level = float(np.median(clean)) if clean.size else 0.0
    # where gold is: the view's level; few pixels of few tiles, and those are asked last
    filled = np.where(painted, np.float32(level), image)
    corners, count = _tiles((height, width), size)
    share = np.array([painted[y : y + size, x : x + size].mean() for y, x in corners])
    chosen = [corners[number] for number in np.argsort(share, kind="stable")[:count]]
    line = np.hanning(size + 2)[1:-1]
    window = np.outer(line, line)
    tiles = np.stack([filled[y : y + size, x : x + size] for y, x in chosen]) - level
    spectra = np.abs(torch.fft.fft2(torch.from_numpy((tiles * window).astype(np.float32))).numpy()) ** 2
    # what is filled has no power: the rest stands for it
    counted = [float((window**2)[~painted[y : y + size, x : x + size]].sum()) for y, x in chosen]
    spectra /= np.maximum(counted, 1e-3 * (window**2).sum())[:, None, None]
    power = np.median(spectra, axis=0) / _LN2
    return Texture(np.maximum(power, 1e-6 * power.mean() + 1e-30), _strength(image, ~painted, chosen, size))


def texture_bytes(shape: tuple[int, int], size: int) -> int:
    """Most that `texture_of` holds: the image without gold, and its tiles with their spectra."""
    size = min(size, *shape)
    return 4 * shape[0] * shape[1] + 24 * _tiles(shape, size)[1] * size**2


def _tiles(shape: tuple[int, int], size: int) -> tuple[list[tuple[int, int]], int]:
    """Corners of an image's tiles, and how many of them are asked."""
    height, width = shape
    step = size if (height // size) * (width // size) * _CLEANEST >= _LEAST_TILES else max(1, size // 3)
    corners = [(y, x) for y in range(0, height - size + 1, step) for x in range(0, width - size + 1, step)]
    return corners, max(int(_CLEANEST * len(corners)), min(_LEAST_TILES, len(corners)))


def _strength(image: Image, known: Mask, corners: list[tuple[int, int]], size: int) -> float:
    """Median over tiles of the mean detail of their known pixels."""
    means = []
    for y, x in corners:
        part = slice(y, y + size), slice(x, x + size)
        inner = _whole(known[part])
        if inner.any():
            means.append(float(detail_of(image[part])[inner].mean()))
    return float(np.median(means)) if means else 0.0


def _whole(known: Mask) -> Mask:
    """Which squares of 2 × 2 pixels are known."""
    whole: Mask = known[1:, 1:] & known[1:, :-1] & known[:-1, 1:] & known[:-1, :-1]
    return whole


def draw(texture: Texture, white: Image) -> Image:
    """Textures ``(..., h, w)`` of a view's spectrum from white noise of variance 1, of any shape."""
    height, width = white.shape[-2:]
    gain = torch.from_numpy(np.sqrt(texture.power_on((height, width)))).float()
    spectrum = torch.fft.rfft2(torch.from_numpy(white)) * gain[:, : width // 2 + 1]
    out: Image = torch.fft.irfft2(spectrum, s=(height, width)).numpy()
    return out


def white_noise(seed: int, view: int, kind: Kind, shape: tuple[int, ...]) -> Image:
    """White noise of variance 1 for the paint of a view, the same in every run.

    That of even and of odd frames is independent; that of all frames is their sum over √2.
    """
    halves = {
        half: np.random.default_rng((seed, view, number)).standard_normal(shape, dtype=np.float32)
        for number, half in enumerate(("even", "odd"))
        if kind in ("full", half)
    }
    return halves[kind] if kind != "full" else (halves["even"] + halves["odd"]) / np.float32(np.sqrt(2))


def noise_bytes(shape: tuple[int, ...]) -> int:
    """Most that drawing textures of a shape holds: white noise of both halves, then its transform."""
    return 20 * math.prod(shape)


def gain_of(detail: Image, known: Mask, texture: Texture) -> np.float32:
    """Noise at a place over that of a view's texture, in standard deviations.

    Parameters
    ----------
    detail
        `(h − 1, w − 1)` of the place, as `detail_of` makes it.
    known
        `(h, w)` which pixels are to be believed.
    texture
        of the view.
    """
    whole = _whole(known)
    if np.count_nonzero(whole) < _LEAST_PIXELS or not texture.detail > 0:
        return np.float32(1)
    return np.float32(np.clip(np.sqrt(float(detail[whole].mean()) / texture.detail), *_GAIN))
