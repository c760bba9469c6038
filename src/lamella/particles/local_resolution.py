"""Local resolution: how far two half maps agree around every voxel, and the map filtered by it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from lamella.fourier import band_pass, crop_spectrum, fast_size, frequency_grid, gaussian_low_pass
from lamella.progress import Progress, no_progress
from lamella.records.map_fsc import GOLD_STANDARD

__all__ = ["LocalResolution", "filter_locally", "local_resolution"]

Volume = NDArray[np.float32]

_WINDOW = 1.2  # standard deviation of the Gaussian window, in wavelengths of the band
_BAND = 1.12  # a band's edges over its middle
_STEP = 1.08  # from one band's middle to the next
_FINEST = 0.48  # cycles/px, the last band's middle; the corners of Fourier space fill what lies beyond Nyquist
_WIDEST = 1 / 6  # standard deviation of the widest window, of the box
_HALVED = 64  # boxes of this size and more are judged on every second voxel
_OVERSAMPLED = 2.5  # samples per wavelength of a band's finest detail: its products' slow part does not alias
_EDGE = 0.1  # falloff of the local low-pass, of its frequency


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalResolution:
    """The resolution around every voxel.

    Attributes
    ----------
    resolution_ang
        ``(n, n, n)`` float32, Å; 0 outside the mask.
    coarsest_ang, finest_ang
        between which it can be told: from the widest window that fits to the finest band.
    median_ang
        over the mask.
    percentiles_ang
        5th and 95th, over the mask.
    """

    resolution_ang: Volume
    coarsest_ang: float
    finest_ang: float
    median_ang: float
    percentiles_ang: tuple[float, float]


def local_resolution(
    half1: Volume, half2: Volume, mask: Volume, voxel_size_ang: float, progress: Progress = no_progress
) -> LocalResolution:
    """Find where around each voxel the halves' local correlation falls below 0.143.

    Parameters
    ----------
    half1, half2
        ``(n, n, n)`` half maps, not masked.
    mask
        ``(n, n, n)``: voxels above 0.5 are judged.
    voxel_size_ang
        Å.
    progress
        told how far it is.

    Notes
    -----
    Local Fourier shell correlation (Cardone, Heymann & Steven, J. Struct. Biol. 184, 226 (2013)), computed band by
    band in real space as in SPARX's sxlocres: both halves are filtered to a narrow band of frequencies k, and
    Σ w·a·b / √(Σ w·a² Σ w·b²) is taken over a window around every voxel at once by convolution. The window is a
    Gaussian of 1.2 wavelengths standard deviation, so every band's estimate rests on about 60 independent terms
    (standard error 0.1 where nothing correlates), whatever the resolution. A band that falls below the threshold
    counts if the next one does, too; the crossing is interpolated. Each band is computed on as coarse a grid as holds
    it.
    """
    size = half1.shape[0]
    inside = mask > 0.5
    grid = size // 2 if size >= _HALVED and size % 2 == 0 else size
    judged = inside if grid == size else ndimage.maximum_filter(inside, 3)[::2, ::2, ::2]
    cut = _cutoffs(half1, half2, judged, grid, progress)
    if grid != size:
        places = np.arange(size) * (grid / size)
        cut = ndimage.map_coordinates(
            cut, np.meshgrid(places, places, places, indexing="ij"), order=1, mode="nearest", output=np.float32
        )
    resolution = np.where(inside, voxel_size_ang / cut, 0).astype(np.float32)
    known = resolution[inside]
    bands = _bands(size)
    low, middle, high = (float(value) for value in np.percentile(known, (5, 50, 95)))
    return LocalResolution(
        resolution_ang=resolution,
        coarsest_ang=voxel_size_ang / bands[0],
        finest_ang=voxel_size_ang / bands[-1],
        median_ang=middle,
        percentiles_ang=(low, high),
    )


def filter_locally(
    volume: Volume, resolution_ang: Volume, voxel_size_ang: float, progress: Progress = no_progress
) -> Volume:
    """Low-pass a map at each voxel to the resolution there; 0 where that is not known.

    Interpolated between the map low-passed (raised-cosine edge) at steps of 8 % in frequency.
    """
    known = resolution_ang > 0
    cut = np.where(known, voxel_size_ang / np.where(known, resolution_ang, 1), 0)
    levels = _bands(volume.shape[0])
    place = np.interp(np.log(np.maximum(cut, levels[0])), np.log(levels), np.arange(len(levels)))
    terms = torch.fft.rfftn(torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32)))
    out = np.zeros(volume.shape, np.float32)
    for number, level in enumerate(levels):
        share = np.where(known, np.maximum(1 - np.abs(place - number), 0), 0).astype(np.float32)
        if share.any():
            response = band_pass(volume.shape, None, float(level), _EDGE * float(level))
            out += share * torch.fft.irfftn(terms * response, s=volume.shape).numpy()
        progress((number + 1) / len(levels), "filtering locally")
    return out


def _bands(size: int) -> NDArray[np.float64]:
    """Middles of the bands, cycles/px, from the widest window that fits to the finest one."""
    finest, coarsest = _FINEST, min(_WINDOW / (_WIDEST * size), 0.25)
    count = int(np.log(finest / coarsest) / np.log(_STEP)) + 1
    bands: NDArray[np.float64] = finest * _STEP ** -np.arange(count)[::-1].astype(np.float64)
    return bands


def _cutoffs(half1: Volume, half2: Volume, judged: NDArray[np.bool_], grid: int, progress: Progress) -> Volume:
    """`(grid, grid, grid)` frequency, cycles/px, at which the local correlation falls below the threshold for good."""
    bands = _bands(half1.shape[0])
    shape = (grid,) * 3
    cut = np.full(shape, bands[0], np.float32)  # where it first fell, or how far it holds
    before = np.ones(shape, np.float32)
    fallen = np.zeros(shape, bool)
    done = ~judged
    for number, correlation in enumerate(_local_correlations(half1, half2, bands, grid)):
        below = correlation < GOLD_STANDARD
        done |= below & fallen
        share = (before - GOLD_STANDARD) / np.maximum(before - correlation, 1e-6)
        last = bands[max(number - 1, 0)]
        crossing = np.where(below, last + share * (bands[number] - last), bands[number])
        cut = np.where(done | (below & fallen), cut, crossing).astype(np.float32)
        before, fallen = correlation, below
        progress((number + 1) / len(bands), "local resolution")
        if done.all():
            break
    return cut


def _local_correlations(half1: Volume, half2: Volume, bands: NDArray[np.float64], grid: int) -> Iterator[Volume]:
    """Correlation of the halves around every voxel, band after band, on a grid of the same field."""
    shape = half1.shape
    terms = [torch.fft.rfftn(torch.from_numpy(np.ascontiguousarray(half, dtype=np.float32))) for half in (half1, half2)]
    for middle in bands:
        fine = min(fast_size(int(np.ceil(shape[0] * _OVERSAMPLED * middle * _BAND))), shape[0])
        coarse = (fine,) * 3
        response = _band(coarse, float(middle) * shape[0] / fine)
        a, b = (torch.fft.irfftn(crop_spectrum(part, shape, coarse) * response, s=coarse) for part in terms)
        window = gaussian_low_pass(coarse, float(middle) * shape[0] / fine / (2 * np.pi * _WINDOW))
        cross, first, second = (_spread(product, window, grid) for product in (a * b, a * a, b * b))
        powers = (first * second).clamp_min(0).sqrt()
        yield torch.where(powers > 0, cross / powers.clamp_min(torch.finfo(powers.dtype).tiny), 0.0).numpy()


def _band(shape: tuple[int, ...], middle: float) -> Tensor:
    """A band in the layout of an rfft: squared cosine of ln k, from middle / 1.12 to middle · 1.12 cycles/px."""
    octaves = torch.log(frequency_grid(shape).clamp_min(1e-6) / middle) / float(np.log(_BAND))
    return torch.cos(octaves.clamp(-1, 1) * (np.pi / 2)) ** 2


def _spread(product: Tensor, window: Tensor, grid: int) -> Tensor:
    """The product averaged over the window, on the wanted grid."""
    shape, wanted = tuple(product.shape), (grid,) * 3
    spectrum = crop_spectrum(torch.fft.rfftn(product) * window, shape, wanted)
    spread: Tensor = torch.fft.irfftn(spectrum, s=wanted)
    return spread
