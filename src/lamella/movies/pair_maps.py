"""The likelihood of displacements as correlation maps of every two frames.

Where noise is Gaussian, all that frames say of their motion is in the weighted correlations of their pairs: the
log-likelihood of shifts s is Σ over pairs of M_fg(s_f − s_g). The maps are small, so a movie's frames need be in memory
once, and the motion of a whole series can be solved together afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import spline_filter1d
from torch import Tensor

from lamella.fourier import fast_size, frequency_axes
from lamella.movies.spectra import FrameSpectra

__all__ = ["PairMaps", "frame_pairs", "tile_maps"]

Array = NDArray[np.float64]

OVERSAMPLING = 2
"""Samples of a map per working pixel: a cubic spline through them is then exact to 1 % of the peak's curvature."""

_BAND = 64
"""Rows that are worked on at once: what stays in a processor's cache."""


@dataclass(frozen=True, eq=False)
class PairMaps:
    """Correlation maps of all pairs of frames, tile by tile.

    Attributes
    ----------
    values
        ``(tiles, pairs, m, m)`` log-likelihood at lags (y, x), as float32.
    step
        lag between samples in movie pixels, (y, x).
    centre_px
        ``(frames, 2)`` shifts (x, y) in movie pixels about which the maps were made: lag 0 stands for them.
    tile_centres
        ``(tiles, 2)`` (x, y) of each tile's centre as −1…1 over the frame.
    curvature_px
        ``(2,)`` second derivative (x, y) that a pair's log-likelihood of the whole field is expected to have, per movie
        pixel².
    """

    values: NDArray[np.float32]
    step: tuple[float, float]
    centre_px: Array
    tile_centres: Array
    curvature_px: Array

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.centre_px)

    @cached_property
    def _splines(self) -> NDArray[np.float32]:
        """Coefficients of the cubic splines through the maps."""
        out = spline_filter1d(self.values, 3, axis=-1, output=np.float32, mode="mirror")
        coefficients: NDArray[np.float32] = spline_filter1d(out, 3, axis=-2, output=np.float32, mode="mirror")
        return coefficients

    def whole_field(self) -> PairMaps:
        """The maps of all tiles together, as one tile."""
        total = self.values.sum(axis=0, dtype=np.float64)[None].astype(np.float32)
        return PairMaps(total, self.step, self.centre_px, np.zeros((1, 2)), self.curvature_px)

    @property
    def reach_px(self) -> float:
        """Largest lag (movie pixels) that the maps cover."""
        middle = self.values.shape[-1] // 2
        return float((middle - 1) * min(self.step))

    def likelihood(self, shifts_px: Array) -> tuple[float, Array]:
        """Log-likelihood of shifts ``(tiles, frames, 2)`` (x, y) in movie pixels, and its gradient of that shape.

        Lags beyond the maps' reach are held at their edge.
        """
        between = np.zeros((self.frames * (self.frames - 1) // 2, self.frames))
        first, second = frame_pairs(self.frames)
        pairs = np.arange(len(between))
        between[pairs, first], between[pairs, second] = 1.0, -1.0
        value, slope = self._at(between @ (shifts_px - self.centre_px))
        gradient: Array = np.einsum("tpc,pf->tfc", slope, between)
        return float(value.sum()), gradient

    def _at(self, lag_px: Array) -> tuple[Array, Array]:
        """Values ``(tiles, pairs)`` and slopes ``(tiles, pairs, 2)`` (x, y) of the splines at lags (x, y)."""
        size = self.values.shape[-1]
        places, inside = [], []
        for axis in (1, 0):  # y, x
            place = lag_px[..., axis] / self.step[1 - axis] + size // 2
            held = np.clip(place, 1.0, size - 2.0 - 1e-9)
            places.append(held)
            inside.append(place == held)
        base = [np.floor(place).astype(np.int64) for place in places]
        weights = [_spline_weights(place - low) for place, low in zip(places, base, strict=True)]
        tile, pair = np.ogrid[: lag_px.shape[0], : lag_px.shape[1]]
        taps = np.arange(-1, 3)
        rows = np.clip(base[0][..., None] + taps, 0, size - 1)[..., :, None]
        columns = np.clip(base[1][..., None] + taps, 0, size - 1)[..., None, :]
        patch = self._splines[tile[..., None, None], pair[..., None, None], rows, columns].astype(np.float64)
        (wy, dy), (wx, dx) = weights
        value = np.einsum("tpij,tpi,tpj->tp", patch, wy, wx)
        slope_y = np.einsum("tpij,tpi,tpj->tp", patch, dy, wx) / self.step[0] * inside[0]
        slope_x = np.einsum("tpij,tpi,tpj->tp", patch, wy, dx) / self.step[1] * inside[1]
        return value, np.stack([slope_x, slope_y], axis=-1)


def frame_pairs(frames: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and second frame of every pair."""
    first, second = np.triu_indices(frames, 1)
    return first, second


def tile_maps(
    spectra: FrameSpectra, weights: Tensor, curvature: float, centre_px: Array, tiles: tuple[int, int], reach: int
) -> PairMaps:
    """Correlate every two frames in every tile.

    Parameters
    ----------
    spectra
        of the frames, as recorded.
    weights
        ``(h, w // 2 + 1)`` of `Profile.weights`.
    curvature
        of `Profile.curvature`, per working pixel².
    centre_px
        ``(frames, 2)`` (x, y) shifts about which to correlate, movie pixels.
    tiles
        (rows, columns) of tiles.
    reach
        largest lag in working pixels.

    Notes
    -----
    The frames are filtered as a whole, moved back by their shifts, and only then cut into tiles: what a tile's sharp
    edge does to them is alike in all. Lags are small against a tile, so what wraps round it is lost, not wrong.
    Frequencies beyond the last one that has a weight are cropped first: most have none where the dose is low.
    """
    scale_xy = np.array([spectra.scale[1], spectra.scale[0]])
    shape, shares = _shape_of_weights(weights, spectra.shape, tiles)
    root = _low(weights.sqrt(), shape)
    height, width = shape
    sizes = (height // tiles[0], width // tiles[1])
    lags = _Lags.up_to(reach, sizes, shares, root)
    shift_px = torch.from_numpy(centre_px / scale_xy)
    if tiles == (1, 1):
        values = _whole_maps(spectra, root, shift_px, shape, lags)
    else:
        parts = root.new_empty((math.prod(tiles), len(spectra), sizes[0], sizes[1] // 2 + 1), dtype=torch.complex64)
        for index, terms in enumerate(_filtered(spectra, root, shift_px, shape)):
            parts[:, index] = _tile_terms(terms, shape, tiles, sizes)
        values = _lag_maps(parts, lags)
    scale = (height * width) / (sizes[0] * sizes[1])  # Parseval: a tile's terms have the tile's share of the power
    values = values * scale
    row, column = np.mgrid[: tiles[0], : tiles[1]].reshape(2, -1)
    centres = np.stack(
        [
            2 * (column + 0.5) * sizes[1] / width - 1,
            2 * (row + 0.5) * sizes[0] / height - 1,
        ],
        axis=-1,
    )
    return PairMaps(
        values=values.cpu().numpy().astype(np.float32),
        step=(spectra.scale[0] / OVERSAMPLING, spectra.scale[1] / OVERSAMPLING),
        centre_px=np.asarray(centre_px, dtype=np.float64),
        tile_centres=centres,
        curvature_px=curvature / scale_xy**2,
    )


def _shape_of_weights(
    weights: Tensor, shape: tuple[int, int], tiles: tuple[int, int]
) -> tuple[tuple[int, int], tuple[float, float]]:
    """The smallest size (h, w) that holds all frequencies with a weight, and its parts (y, x) of the whole `shape`.

    Where there are several tiles they divide it, into an even size without large prime factors.
    """
    there = weights > 0
    rows = there.any(dim=1).nonzero().ravel()
    rows = torch.minimum(rows, shape[0] - rows)
    columns = there.any(dim=0).nonzero().ravel()
    small = []
    for size, found, count in zip(shape, (rows, columns), tiles, strict=True):
        least = 2 * int(found.max()) + 2 if len(found) else 2
        wanted = count * fast_size(-(-least // count)) if count > 1 else least
        small.append(min(size, wanted))
    return (small[0], small[1]), (small[0] / shape[0], small[1] / shape[1])


def _low(terms: Tensor, shape: tuple[int, int]) -> Tensor:
    """The low frequencies of ``(h, w // 2 + 1)`` terms, as those of an image of a smaller `shape`; not scaled."""
    height, width = shape
    columns = terms[:, : width // 2 + 1]
    if height == len(columns):
        return columns
    return torch.cat([columns[: height // 2], columns[-(height - height // 2) :]])


def _filtered(spectra: FrameSpectra, root: Tensor, shift_px: Tensor, shape: tuple[int, int]) -> Iterator[Tensor]:
    """The low frequencies of each frame, times the root of their weights, moved back by its shift."""
    height, width = shape
    for terms, (rows, columns) in zip(spectra.terms, spectra.ramps(shift_px), strict=True):
        filtered = _low(terms, shape) * root
        filtered *= _low(rows[:, None], (height, 0))
        filtered *= columns[: width // 2 + 1]
        yield filtered


def _tile_terms(terms: Tensor, shape: tuple[int, int], tiles: tuple[int, int], sizes: tuple[int, int]) -> Tensor:
    """``(tiles, h, w // 2 + 1)`` transforms of the tiles of an image, of its own transform."""
    image = torch.fft.irfft2(terms, s=shape)
    cut = image[: sizes[0] * tiles[0], : sizes[1] * tiles[1]]
    cut = cut.reshape(tiles[0], sizes[0], tiles[1], sizes[1]).transpose(1, 2).reshape(-1, *sizes)
    of_tiles: Tensor = torch.fft.rfft2(cut)
    return of_tiles


@dataclass(frozen=True, eq=False)
class _Lags:
    """Matrices ``(m, h)`` and ``(w // 2 + 1, m)`` that take a product of transforms to correlations at m × m lags.

    Between them: Σ over the whole plane of Re z_f z_g* exp(2πi k·lag).
    """

    rows: Tensor
    columns: Tensor

    @classmethod
    def up_to(cls, reach: int, sizes: tuple[int, int], shares: tuple[float, float], like: Tensor) -> _Lags:
        """Of images of `sizes`; `reach` counts pixels from before these were cropped to `shares` (y, x)."""
        steps = torch.arange(-reach * OVERSAMPLING, reach * OVERSAMPLING + 1, dtype=torch.float64, device=like.device)
        lags = steps / OVERSAMPLING
        ky, kx = (line.reshape(-1) for line in frequency_axes(sizes, like.device))
        one = torch.ones(1, dtype=torch.float64, device=like.device)
        rows = torch.polar(one, 2 * math.pi * shares[0] * lags[:, None] * ky)
        columns = torch.polar(one, 2 * math.pi * shares[1] * kx[:, None] * lags)
        columns[1 : (sizes[1] + 1) // 2] *= 2  # the half of the plane that is not stored
        return cls(rows.to(torch.complex64), columns.to(torch.complex64))

    def __len__(self) -> int:
        return len(self.rows)


def _lag_maps(parts: Tensor, lags: _Lags) -> Tensor:
    """``(tiles, pairs, m, m)`` maps of transforms ``(tiles, frames, h, w // 2 + 1)``."""
    first, second = frame_pairs(parts.shape[1])
    out = torch.empty((len(parts), len(first), len(lags), len(lags)), dtype=torch.float32, device=parts.device)
    for place, (f, g) in enumerate(zip(first, second, strict=True)):
        product = parts[:, f] * parts[:, g].conj()
        out[:, place] = (lags.rows @ (product @ lags.columns)).real
    return out


def _whole_maps(spectra: FrameSpectra, root: Tensor, shift_px: Tensor, shape: tuple[int, int], lags: _Lags) -> Tensor:
    """``(1, pairs, m, m)`` maps of the whole field, of frames that are filtered and moved back by bands of rows."""
    columns = shape[1] // 2 + 1
    ramps = list(spectra.ramps(shift_px))
    down, across = torch.stack([pair[0] for pair in ramps]), torch.stack([pair[1][:columns] for pair in ramps])
    first, second = frame_pairs(len(spectra))
    out = torch.zeros((len(first), len(lags), len(lags)), dtype=torch.float32, device=root.device)
    for band, stored in _bands(shape[0], spectra.shape[0]):
        terms = spectra.terms[:, stored, :columns] * root[band]
        terms *= down[:, stored, None]
        terms *= across[:, None]
        for place, (f, g) in enumerate(zip(first, second, strict=True)):
            out[place] += (lags.rows[:, band] @ ((terms[f] * terms[g].conj()) @ lags.columns)).real
    return out[None]


def _bands(height: int, stored: int) -> Iterator[tuple[slice, slice]]:
    """Bands of the rows of low frequencies, and where these rows lie among all that are stored."""
    middle = height // 2
    for start, end in ((0, middle), (middle, height)):
        for first in range(start, end, _BAND):
            last = min(first + _BAND, end)
            more = stored - height if first >= middle else 0
            yield slice(first, last), slice(first + more, last + more)


def _spline_weights(t: Array) -> tuple[Array, Array]:
    """Weights ``(..., 4)`` of a cubic B-spline's four taps at a fraction t beyond the second, and their derivatives."""
    u = 1 - t
    weights = np.stack([u**3, 3 * t**3 - 6 * t**2 + 4, 3 * u**3 - 6 * u**2 + 4, t**3], axis=-1) / 6
    slopes = np.stack([-3 * u**2, 9 * t**2 - 12 * t, -9 * u**2 + 12 * u, 3 * t**2], axis=-1) / 6
    return weights, slopes
