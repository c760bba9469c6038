"""Power spectra of a tilt image, tile by tile, summed over tiles of the same depth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray
from scipy import ndimage

from lamella.features.masks import find_regions, weights_of
from lamella.fourier.grids import fast_size
from lamella.fourier.resample import crop_spectrum
from lamella.geometry import TiltGeometry
from lamella.kernels.rings import add_power
from lamella.tilts.ctf_rings import Rings, hann, overlap_factor

__all__ = ["Looked", "TilePlan", "ViewSpectra", "look_at_view", "view_spectra"]

Array = NDArray[np.float64]
Image = NDArray[np.float32]

_NYQUIST = 0.97  # of it: the finest that is used
_HIGH_PASS_ANG = 90.0  # coarser detail is taken out before images are cut: it would leak through the tiles' edges
_CLIP = 10.0  # standard deviations beyond which a pixel is an X-ray or a hot pixel
_BEAD_ANG = 40.0  # detail in which beads and contamination stand out
_AROUND_ANG = 400.0  # over which the level around them is taken
_COARSE_ANG = 16.0  # pixel of the map on which they are sought
_MOST_BEADS = 0.3  # of the image that may be masked so: where more stands out it is the specimen
_BEAD = 6.0  # robust standard deviations of that detail
_MARGIN_ANG = 80.0  # left out about them: their fringes
_LEAST_AREA = 0.3  # of a tile that must lie on the specimen
_OVERHANG = 0.4  # of a tile that may lie beyond the image's edge
_BLOCK_ANG = 1500.0  # tiles of one class lie this near to each other along the axis
_MANY = 600  # tiles of a view from which they overlap less
_SHARE_OF_NOISE = 0.3  # of the bins, the finest: by their mean a tile's power is made relative


@dataclass(frozen=True, kw_only=True)
class TilePlan:
    """How tiles are cut.

    Attributes
    ----------
    edge_ang
        of a tile.
    frequency_per_ang
        lowest and highest that is used.
    turn_per_square
        change of the phase 2χ with squared frequency at the largest defocus, rad Å².
    mask
        whether beads, opaque film and borders are left out.
    sectors
        directions over half a turn that spectra are kept in.
    """

    edge_ang: float
    frequency_per_ang: tuple[float, float]
    turn_per_square: float
    mask: bool = True
    sectors: int = 12

    @classmethod
    def finest_ang(cls, pixel_ang: float, wanted_ang: float) -> float:
        """Finest detail that may be used of images of that pixel."""
        return max(wanted_ang, 2 * pixel_ang / _NYQUIST)

    def grid(self, shape: tuple[int, int], pixel_ang: float) -> tuple[tuple[int, int], tuple[float, float]]:
        """Size to which images are reduced, and the size (y, x) of a pixel then, Å."""
        wanted = _NYQUIST / (2 * self.frequency_per_ang[1])
        if wanted < 1.15 * pixel_ang:
            return shape, (pixel_ang, pixel_ang)
        reduced = tuple(min(size, fast_size(int(np.ceil(size * pixel_ang / wanted)))) for size in shape)
        return (reduced[0], reduced[1]), (shape[0] * pixel_ang / reduced[0], shape[1] * pixel_ang / reduced[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Looked:
    """An image made ready to be cut into tiles: reduced, without its coarse detail, X-rays clipped.

    Attributes
    ----------
    image
        ``(h, w)``.
    weight
        ``(h, w)`` how much each pixel counts, or None where all count 1.
    pixel_ang
        (y, x) size of a pixel.
    origin_px
        (y, x) place of the tilt image's centre pixel.
    """

    image: Image
    weight: Image | None
    pixel_ang: tuple[float, float]
    origin_px: tuple[float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class ViewSpectra:
    """Power spectra of one view, a row per class of tiles that have the same place across the axis.

    Attributes
    ----------
    rings
        the bins.
    power
        ``(classes, sectors, bins)`` float32, mean over a class's tiles of power over the tile's noise; 0 where a bin
        holds no term.
    tiles
        ``(classes,)`` independent tiles behind each class.
    points_ang
        ``(classes, 3)`` mean place of the class on the specimen's mid-plane z = 0.
    depth_ang
        ``(classes,)`` its depth in this view, as `TiltGeometry.depth_ang`.
    """

    rings: Rings
    power: NDArray[np.float32]
    tiles: Array
    points_ang: Array
    depth_ang: Array

    def whole(self) -> NDArray[np.float64]:
        """``(sectors, bins)`` mean over all classes."""
        return np.asarray(np.tensordot(self.tiles / self.tiles.sum(), self.power, 1), dtype=np.float64)

    def merged(self, factor: int) -> ViewSpectra:
        """The same with so many neighbouring bins in one: for defoci far below the largest that was sought."""
        if factor == 1:
            return self
        rings = self.rings.merged(factor)
        count = rings.terms.shape[1]
        shape = (*self.power.shape[:2], count, factor)
        terms = self.rings.terms[:, : count * factor].reshape(shape[1:])
        power = (self.power[:, :, : count * factor].reshape(shape) * terms).sum(axis=3) / np.maximum(rings.terms, 1)
        return replace(self, rings=rings, power=power.astype(np.float32))


def look_at_view(image: Image, pixel_ang: float, plan: TilePlan) -> Looked | None:
    """Prepare one image; None where it holds nothing: constant, or not a finite number in most of it.

    Pixels that are no numbers get the median and no weight.
    """
    height, width = image.shape
    finite = np.isfinite(image)
    everywhere = bool(finite.all())
    if finite.mean() < 0.5:
        return None
    some = image[::5, ::5][finite[::5, ::5]]
    middle = float(np.median(some))
    spread = 1.4826 * float(np.median(np.abs(some - middle)))
    if spread == 0:
        spread = float(some.std())
    if not spread > 1e-12 * max(abs(middle), 1e-30):
        return None
    clean = np.where(finite, image, middle) if not everywhere else image
    limit = _CLIP * max(spread, float(np.quantile(np.abs(some - middle), 0.99)) / 2.6)
    clean = np.where(np.abs(clean - middle) > limit, 0.0, clean - middle).astype(np.float32)
    shape, pixel = plan.grid((height, width), pixel_ang)
    terms = torch.fft.rfft2(torch.from_numpy(clean))
    if shape != (height, width):
        terms = crop_spectrum(terms, (height, width), shape)
    ky = torch.fft.fftfreq(shape[0])[:, None] / pixel[0]
    kx = torch.fft.rfftfreq(shape[1])[None, :] / pixel[1]
    square = ky**2 + kx**2
    ready = torch.fft.irfft2(terms * -torch.expm1(-square * (_HIGH_PASS_ANG**2 / 2)), s=shape)
    weight = _weight(torch.from_numpy(clean), terms, shape, pixel_ang) if plan.mask else None
    if not everywhere:
        kept = ndimage.zoom(
            finite.astype(np.float32), (shape[0] / height, shape[1] / width), order=1, grid_mode=True, mode="nearest"
        )
        weight = kept if weight is None else weight * kept
    origin = (height // 2 * shape[0] / height, width // 2 * shape[1] / width)
    return Looked(image=ready.numpy(), weight=weight, pixel_ang=pixel, origin_px=origin)


def _weight(clean: torch.Tensor, terms: torch.Tensor, shape: tuple[int, int], pixel_ang: float) -> Image | None:
    """Where there is plain specimen: no bead, no opaque film, no filler; None where that is everywhere.

    Beads are sought, and distances from them measured, on a coarse map of the image.
    """
    extent = clean.shape[0] * pixel_ang, clean.shape[1] * pixel_ang
    small = tuple(
        min(size, fast_size(int(np.ceil(reach / _COARSE_ANG)))) for size, reach in zip(shape, extent, strict=True)
    )
    pixel = extent[0] / small[0], extent[1] / small[1]
    part = crop_spectrum(terms, shape, small)
    square = (torch.fft.fftfreq(small[0])[:, None] / pixel[0]) ** 2 + (torch.fft.rfftfreq(small[1]) / pixel[1]) ** 2
    fine, broad = _BEAD_ANG**2 / 2, _AROUND_ANG**2 / 2
    coarse = torch.fft.irfft2(part * (torch.exp(-square * fine) - torch.exp(-square * broad)), s=small).numpy()
    middle = float(np.median(coarse))
    spread = 1.4826 * float(np.median(np.abs(coarse - middle)))
    odd = np.abs(coarse - middle) > _BEAD * spread
    regions = find_regions(clean, pixel_ang=pixel_ang)
    weight = weights_of(regions.specimen, shape) if not regions.specimen.all() else None
    if odd.any() and odd.mean() < _MOST_BEADS:
        near = ndimage.distance_transform_edt(~odd, sampling=pixel) / _MARGIN_ANG
        beads = torch.from_numpy(np.clip(2 * near - 1, 0, 1).astype(np.float32))[None, None]
        free = torch.nn.functional.interpolate(beads, shape, mode="bilinear", align_corners=False)[0, 0]
        weight = free if weight is None else weight * free
    return None if weight is None else weight.numpy()


def view_spectra(looked: Looked, geometry: TiltGeometry, plan: TilePlan) -> ViewSpectra | None:
    """Spectra of one view, whose geometry stands alone in `geometry`; None where no tile lies on the specimen.

    Notes
    -----
    Tiles stand in rows parallel to the tilt axis, so that all of a row have one depth: nothing is averaged over
    depths. A tile's depth is that of the centroid of its window times the weights, on the plane z = 0. Its power
    is made relative to its own noise, which is the mean of the finest bins. One transform for each tile.
    """
    edge = _even(plan.edge_ang / looked.pixel_ang[0]), _even(plan.edge_ang / looked.pixel_ang[1])
    edge = min(edge[0], _even(1.5 * looked.image.shape[0])), min(edge[1], _even(1.5 * looked.image.shape[1]))
    rings = _rings(edge, looked.pixel_ang, plan.frequency_per_ang, plan.turn_per_square, plan.sectors)
    places, lines, step = _places(looked, float(geometry.z_rot_deg[0]), edge)
    if len(places) == 0:
        return None
    classes, number = np.unique(lines, axis=0, return_inverse=True)
    number = number.reshape(-1)
    power = np.zeros((len(classes), rings.terms.size))
    area, centre = np.zeros(len(classes)), np.zeros((len(classes), 2))
    window = np.outer(hann(edge[0]), hann(edge[1]))
    full = float((window**2).sum())
    one = np.zeros(rings.terms.size)
    finest = rings.terms.copy()
    finest[:, : round((1 - _SHARE_OF_NOISE) * finest.shape[1])] = 0
    finest = finest.reshape(-1) / finest.sum()
    terms = np.maximum(rings.terms.reshape(-1), 1)
    for (y, x), group in zip(places, number, strict=True):
        tile, apparent = _cut(looked, y, x, window)
        squares = apparent**2
        weight = float(squares.sum())
        if weight < _LEAST_AREA * full:
            continue
        one[:] = 0
        add_power(scipy.fft.rfft2(tile), rings.index, one)
        mean = one / terms
        noise = float(mean @ finest)
        if not noise > 0:
            continue
        share = weight / full
        power[group] += share / noise * mean
        area[group] += share
        middle_y = float(squares.sum(axis=1) @ np.arange(edge[0])) / weight
        middle_x = float(squares.sum(axis=0) @ np.arange(edge[1])) / weight
        centre[group] += share * np.array(
            [
                (x + middle_x - looked.origin_px[1]) * looked.pixel_ang[1],
                (y + middle_y - looked.origin_px[0]) * looked.pixel_ang[0],
            ]
        )
    used = area > 0
    if not used.any():
        return None
    power = power[used] / area[used, None]
    points = geometry.back_project((centre[used] / area[used, None])[None], 0.0)[0]
    return ViewSpectra(
        rings=rings,
        power=power.reshape(-1, *rings.terms.shape).astype(np.float32),
        tiles=area[used] / overlap_factor(edge[0], step),
        points_ang=points,
        depth_ang=geometry.depth_ang(points)[0],
    )


@lru_cache(maxsize=8)
def _rings(
    edge: tuple[int, int],
    pixel: tuple[float, float],
    frequency: tuple[float, float],
    turn_per_square: float,
    sectors: int,
) -> Rings:
    return Rings.of(edge, pixel, frequency, turn_per_square=turn_per_square, sectors=sectors)


def _even(size: float) -> int:
    return max(16, 2 * round(size / 2))


def _places(looked: Looked, axis_deg: float, edge: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """First pixels (y, x) of the tiles, the class (line across the axis, block along it) of each, and their step."""
    height, width = looked.image.shape
    across, along = np.deg2rad(axis_deg), np.deg2rad(axis_deg) + np.pi / 2
    reach = int(np.ceil(np.hypot(height, width)))
    pixel = min(looked.pixel_ang)
    for parts in (3, 2):
        step = edge[0] // parts
        number = np.arange(-(reach // step) - 1, reach // step + 2)
        u, v = (grid.reshape(-1) for grid in np.meshgrid(number, number, indexing="ij"))
        x = width / 2 + step * (u * np.cos(across) + v * np.cos(along))
        y = height / 2 + step * (u * np.sin(across) + v * np.sin(along))
        first_y, first_x = np.round(y - edge[0] / 2).astype(int), np.round(x - edge[1] / 2).astype(int)
        beyond_y, beyond_x = _allowed(height, edge[0]), _allowed(width, edge[1])
        inside = (first_y >= -beyond_y) & (first_y + edge[0] <= height + beyond_y)
        inside &= (first_x >= -beyond_x) & (first_x + edge[1] <= width + beyond_x)
        if inside.sum() <= _MANY:
            break
    block = np.floor(v * step * pixel / _BLOCK_ANG + 0.5).astype(int)
    return np.stack([first_y, first_x], 1)[inside], np.stack([u, block], 1)[inside], step


def _allowed(size: int, edge: int) -> int:
    """Pixels that a tile may lie beyond the edge of an image: more where the image is hardly larger than a tile."""
    return max(int(_OVERHANG * edge), (edge - size + 1) // 2)


def _cut(looked: Looked, y: int, x: int, window: Image) -> tuple[Image, Image]:
    """A tile under its window, and that window times the weights; what lies beyond the image is 0."""
    height, width = looked.image.shape
    rows, columns = (
        slice(max(y, 0), min(y + window.shape[0], height)),
        slice(max(x, 0), min(x + window.shape[1], width)),
    )
    inside = slice(rows.start - y, rows.stop - y), slice(columns.start - x, columns.stop - x)
    whole = rows.stop - rows.start == window.shape[0] and columns.stop - columns.start == window.shape[1]
    if whole and looked.weight is None:
        return looked.image[rows, columns] * window, window
    apparent = np.zeros_like(window)
    apparent[inside] = window[inside]
    if looked.weight is not None:
        apparent[inside] *= looked.weight[rows, columns]
    tile = np.zeros_like(window)
    tile[inside] = looked.image[rows, columns] * apparent[inside]
    return tile, apparent
