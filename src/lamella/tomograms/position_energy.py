"""Where in a tomogram there is texture: the energy of its detail, layer by layer and tile by tile.

Noise of a back-projection is alike throughout the box, and so, nearly, is what each view leaves of a specimen along its
rays. Where views agree, in the specimen, some places have more, and empty ones between them less. Detail is what a band
of lengths within each layer holds: slow changes of brightness tell no heights, and along z the missing wedge has
smeared everything.

Of two halves the product is taken instead of the square: noise that they do not share has none on average, and what a
view leaves outside the specimen falls apart between halves whose views have other directions. Layers are read one at a
time and binned at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, find_objects, generic_filter, label

from lamella.errors import ImageError
from lamella.fourier import frequency_axes
from lamella.records import VolumeSource

__all__ = ["Energy", "measure_energy"]

Array = NDArray[np.float64]
Layers = NDArray[np.float32]
Halves = tuple[VolumeSource, VolumeSource]

_ACROSS = 512  # pixels that the longer side is binned to
_FINEST_ANG = 16.0  # but not finer than this
_SHORTEST_ANG, _SHORTEST_PX = 28.0, 1.4  # wavelength above which detail fades out, whichever is longer
_LONGEST = 4.0  # wavelength below which it fades out, over that
_CLIP = 3.0  # standard deviations, beyond which detail counts no more
_TILE_ANG = 120.0  # half a large complex, so that one fills tiles of its own
_TILES = (8, 32)  # along the longer side
_BORDER_PX = 6  # along the box's sides, that filtering spoils
_LEAST_COVERED = 0.3  # of the usual energy, below which a tile is an empty corner
_FULLEST = 1.6  # of it, above which a tile shows something else throughout
_GOLD = 4.0  # times the strongest twentieth of all detail: no protein is so dense
_GOLD_RADIUS_ANG = 120.0  # about gold, whose columns its streaks fill
_LARGEST_BEAD_ANG = 350.0  # beyond which a lump is no bead but ice or a film
_LEAST_FREE = 0.4  # of a tile, that is not near gold


@dataclass(frozen=True, kw_only=True, eq=False)
class Energy:
    """Energy of a tomogram's detail.

    Attributes
    ----------
    z_ang
        ``(z,)`` heights of the layers, evenly spaced; 0 is the tomogram's centre.
    places_ang
        ``(t, 2)`` (x, y) of the tiles' centres.
    values
        ``(t, z)`` mean square of the detail, or mean product of two halves, from the usual one, in standard deviations
        of the usual tile; NaN where the tomogram is empty, or gold or a film of metal covers the tile.
    halves
        whether two halves were multiplied.
    gold_ang
        ``(g, 3)`` where lumps as dense as gold beads lie, xyz; they are left out of the values, with their columns.
    """

    z_ang: Array
    places_ang: Array
    values: Array
    gold_ang: Array
    halves: bool = False


def measure_energy(volume: VolumeSource, voxel_size_ang: float, halves: Halves | None = None) -> Energy:
    """Energy of detail over the depth of a tomogram.

    Parameters
    ----------
    volume
        ``(z, y, x)``; where voxels are small beside the detail, not every layer is read.
    voxel_size_ang
        edge of a voxel, Å.
    halves
        the even and the odd half tomogram, of the volume's shape, where there are two: energy is then what they have in
        common, and the volume is not read.

    Raises
    ------
    ImageError
        if a voxel is not finite, the volume is constant or too narrow, or the halves have another shape.
    """
    nz, ny, nx = volume.shape
    sources = (volume,) if halves is None else halves
    for half in sources:
        if half.shape != volume.shape:
            raise ImageError(
                f"a half tomogram of {half.shape} voxels (z, y, x) for a tomogram of {volume.shape}",
                mend="reconstruct the tomogram and its halves in one run",
            )
    bin_px = max(1, round(max(max(ny, nx) / _ACROSS, _FINEST_ANG / voxel_size_ang)))
    heights = np.arange((nz // 2) % bin_px, nz, bin_px)
    pixel_ang = bin_px * voxel_size_ang
    details = [_details(source, heights, bin_px, pixel_ang) for source in sources]
    whole: Layers = details[0] if len(details) == 1 else (details[0] + details[1]) / np.float32(2)
    strength = _strength(whole)
    gold, beads = _gold(whole, strength, pixel_ang)
    inner = (slice(None), slice(_BORDER_PX, -_BORDER_PX), slice(_BORDER_PX, -_BORDER_PX))
    free = ~gold[inner[1:]]
    per_side = _tiles(free.shape, pixel_ang)
    share, _ = _tiled(free[None].astype(np.float32), per_side)
    share = np.where(share >= _LEAST_FREE, share, np.nan)
    power, places = _tiled(np.square(_clipped(whole, strength)[inner]) * free, per_side)  # (z, ty, tx), (t, 2)
    common = power
    if len(details) == 2:
        even, odd = (_clipped(half, _strength(half))[inner] for half in details)
        common, _ = _tiled(even * odd * free, per_side)
    # a binned pixel b·i … b·i + b − 1 has its middle at b·i + (b − 1) / 2
    middle = (bin_px - 1) / 2 - np.array([nx // 2, ny // 2])
    places = (places + _BORDER_PX) * bin_px + middle
    heights_ang = np.asarray((heights - nz // 2) * voxel_size_ang, dtype=np.float64)
    across = (beads[:, :2] * bin_px + middle) * voxel_size_ang
    return Energy(
        z_ang=heights_ang,
        places_ang=places * voxel_size_ang,
        values=_standardised(common / share, power / share),
        gold_ang=np.column_stack([across, heights_ang[beads[:, 2].astype(int)]]),
        halves=halves is not None,
    )


def _standardised(energy: Array, power: Array) -> Array:
    """``(t, z)`` energy ``(z, ty, tx)`` over the power of each tile's surroundings, in standard deviations.

    Tiles that are much fuller than most throughout the depth, near a film or on carbon, say nothing of the specimen.
    """
    seen = np.isfinite(power[0])
    local = np.full(seen.shape, np.nan)
    if seen.any():
        local[seen] = np.median(power[:, seen], axis=0)
        usual = float(np.median(local[seen]))
        local[seen & ~((local > _LEAST_COVERED * usual) & (local < _FULLEST * usual))] = np.nan
    if np.isfinite(local).sum() < 4:
        return np.full((seen.size, len(energy)), np.nan)
    ratio = (energy / _smoothed(local)).reshape(len(energy), -1).T
    known = ratio[np.isfinite(ratio)]
    middle = np.median(known)
    spread = 1.4826 * np.median(np.abs(known - middle))
    return np.asarray((ratio - middle) / max(spread, 1e-12))


def _smoothed(local: Array) -> Array:
    """Median of each tile and its neighbours; NaN where the tile itself is."""

    def middle(values: Array) -> float:
        known = values[np.isfinite(values)]
        return float(np.median(known)) if known.size else np.nan

    return np.where(np.isfinite(local), generic_filter(local, middle, 3, mode="nearest"), np.nan)


def _details(volume: VolumeSource, heights: NDArray[np.int64], bin_px: int, pixel_ang: float) -> Layers:
    """``(z, y, x)`` band-passed, binned layers."""
    _, ny, nx = volume.shape
    height, width = _quick(ny // bin_px), _quick(nx // bin_px)
    if min(height, width) < 4 * _BORDER_PX:
        raise ImageError(
            f"a volume of {nx} × {ny} voxels is too narrow to tell where its specimen lies",
            mend="reconstruct a wider field",
        )
    band = _band((height, width), pixel_ang)
    out = np.empty((len(heights), height, width), np.float32)
    for index, z in enumerate(heights):
        layer = volume.block(slice(int(z), int(z) + 1), slice(0, ny), slice(0, nx))[0]
        binned = _binned(layer[: height * bin_px, : width * bin_px], bin_px)
        if not np.isfinite(binned).all():
            raise ImageError(f"the volume's layer z={z} holds NaN or infinity", mend="reconstruct the tomogram again")
        terms = torch.fft.rfft2(torch.from_numpy(binned)) * band
        out[index] = torch.fft.irfft2(terms, s=(height, width)).numpy()
    return out


def _strength(detail: Layers) -> np.float32:
    """Robust standard deviation of detail."""
    strength = np.float32(1.4826) * np.median(np.abs(_sample(detail)))
    if not strength > 0:
        raise ImageError("nearly every voxel of the volume is the same", mend="reconstruct the tomogram again")
    return np.float32(strength)


def _clipped(detail: Layers, strength: np.float32) -> Layers:
    return np.clip(detail, -_CLIP * strength, _CLIP * strength)


def _quick(size: int) -> int:
    """The largest number not above `size` without a prime factor above 5: the transform of others takes long."""

    def left(number: int) -> int:
        for factor in (2, 3, 5):
            while number % factor == 0:
                number //= factor
        return number

    return next(number for number in range(size, 0, -1) if left(number) == 1)


def _sample(detail: Layers) -> Layers:
    """Some of the layers' pixels, away from the sides."""
    return detail[:: max(1, len(detail) // 24), _BORDER_PX:-_BORDER_PX:2, _BORDER_PX:-_BORDER_PX:2]


def _gold(detail: Layers, strength: np.float32, pixel_ang: float) -> tuple[NDArray[np.bool_], Array]:
    """``(y, x)`` columns that gold lies in or near, and ``(g, 3)`` x, y (pixels) and layer of what is a bead's size."""
    strong = max(np.quantile(np.abs(_sample(detail)), 0.95), 1.5 * strength)
    power = np.maximum(detail.max(axis=0), -detail.min(axis=0))
    gold = power > _GOLD * strong
    marks, count = label(gold)
    beads = []
    for number, place in enumerate(find_objects(marks), start=1):
        if max(part.stop - part.start for part in place) * pixel_ang > _LARGEST_BEAD_ANG:
            continue
        y, x = np.unravel_index(np.where(marks == number, power, 0.0)[place].argmax(), marks[place].shape)
        y, x = y + place[0].start, x + place[1].start
        beads.append((x, y, int(np.abs(detail[:, y, x]).argmax())))
    reach = int(np.ceil(_GOLD_RADIUS_ANG / pixel_ang))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    near = binary_dilation(gold, x**2 + y**2 <= reach**2) if count else gold
    return np.asarray(near), np.array(beads, dtype=np.float64).reshape(-1, 3)


def _binned(layer: Layers, bin_px: int) -> Layers:
    """Means over squares of `bin_px` pixels."""
    if bin_px == 1:
        return np.ascontiguousarray(layer)
    height, width = (size // bin_px for size in layer.shape)
    rows = layer[: height * bin_px : bin_px, : width * bin_px].copy()
    for row in range(1, bin_px):
        rows += layer[row : height * bin_px : bin_px, : width * bin_px]
    columns = rows[:, ::bin_px].copy()
    for column in range(1, bin_px):
        columns += rows[:, column::bin_px]
    return columns / np.float32(bin_px**2)


def _band(shape: tuple[int, int], pixel_ang: float) -> torch.Tensor:
    shortest = max(_SHORTEST_ANG / pixel_ang, _SHORTEST_PX)
    k_y, k_x = frequency_axes(shape)
    k2 = k_x**2 + k_y**2
    return torch.exp(-0.5 * k2 * shortest**2) * (1 - torch.exp(-0.5 * k2 * (_LONGEST * shortest) ** 2))


def _tiles(shape: tuple[int, ...], pixel_ang: float) -> tuple[int, int]:
    """Tiles along y and x."""
    longest = max(shape)
    along = int(np.clip(round(longest * pixel_ang / _TILE_ANG), *_TILES))
    rows, columns = (max(2, round(along * size / longest)) for size in shape)
    return rows, columns


def _tiled(layers: Layers, per_side: tuple[int, int]) -> tuple[Array, Array]:
    """``(z, ty, tx)`` means over tiles, and ``(t, 2)`` their centres (x, y) in pixels."""
    sums: NDArray[np.floating] = layers
    centres = []
    for axis, count in zip((1, 2), per_side, strict=True):
        edges = np.linspace(0, layers.shape[axis], count + 1).round().astype(int)
        sums = np.add.reduceat(sums, edges[:-1], axis=axis) / np.diff(edges).reshape([-1, 1] if axis == 1 else [-1])
        centres.append((edges[:-1] + edges[1:] - 1) / 2)
    y, x = np.meshgrid(*centres, indexing="ij")
    return sums.astype(np.float64), np.stack([x.ravel(), y.ravel()], axis=-1)
