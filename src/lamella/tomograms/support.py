"""What the data support of a denoised tomogram, judged by halves whose noise the denoised ones never saw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.errors import ImageError
from lamella.fourier import fast_size
from lamella.geometry import TiltGeometry
from lamella.progress import Progress, no_progress
from lamella.records import VolumeSink, VolumeSource
from lamella.runtime import choose_device, free_memory_bytes, give_memory_back, prepare
from lamella.tomograms.support_band import Band, measure_band
from lamella.tomograms.support_texture import Texture, measure_texture
from lamella.tomograms.support_windows import LocalSums, UnsupportedPlace, Verdict, judge
from lamella.tomograms.tiles import Tile, plan_tiles

__all__ = ["Halves", "SupportResult", "measure_support"]

Array = NDArray[np.float32]
Size = tuple[int, int, int]
Slices = tuple[slice, slice, slice]

WINDOW_ANG = 40.0
"""Standard deviation of the window in which support is judged: 94 Å at half its height."""
_LEAST_WINDOW_PX = 2.0
_BLOCKS_PER_WINDOW = 1.5  # so many blocks in a standard deviation
_HALO_WINDOWS = 6.0  # three widths of the background that the band's filter takes away
_BYTES_PER_VOXEL = 60  # four volumes, a transform, the band's weights and what making them takes
_SLAB = 2**22  # voxels that are written together


@dataclass(frozen=True, kw_only=True)
class Halves:
    """Two half tomograms of one shape, and the same after denoising, each by itself.

    Attributes
    ----------
    even, odd
        as reconstructed.
    denoised_even, denoised_odd
        the method applied to each; neither may have seen the other half.
    """

    even: VolumeSource
    odd: VolumeSource
    denoised_even: VolumeSource
    denoised_odd: VolumeSource

    def __post_init__(self) -> None:
        shapes = {name: tuple(getattr(self, name).shape) for name in self.__dataclass_fields__}
        if len(set(shapes.values())) > 1:
            raise ImageError(
                "halves of different shapes: " + ", ".join(f"{name} {shape}" for name, shape in shapes.items()),
                mend="reconstruct both halves with the settings of the whole",
            )

    def block(self, part: Slices, pad: list[tuple[int, int]]) -> list[Array]:
        """One part of all four, mirrored outwards where it is padded."""
        return [
            np.pad(np.asarray(source.block(*part), dtype=np.float32), pad, mode="symmetric")
            for source in (self.even, self.odd, self.denoised_even, self.denoised_odd)
        ]


@dataclass(frozen=True, kw_only=True, eq=False)
class SupportResult:
    """What came of the comparison.

    Attributes
    ----------
    median
        of the support of what is visible, weighted by contrast.
    unsupported
        share of the visible contrast of which less than half can be in the data.
    untestable
        share of the denoised halves' contrast where the data measure nothing: in the missing wedge, and beyond
        the halves' resolution.
    resolution_ang
        finest detail that was judged, Å.
    window_ang
        standard deviation of the windows, Å.
    places
        unsupported places, the strongest first; positions (x, y, z) in Å from the centre voxel, sizes as the diameter
        of a ball, Å.
    verdict, block_px
        local numbers by blocks of so many voxels along each axis.
    texture
        what is drawn between visible structures, judged over the volume as a whole; None where there is no between.
    tiles
        pieces in which the work was done.
    """

    median: float
    unsupported: float
    untestable: float
    resolution_ang: float
    window_ang: float
    places: tuple[tuple[UnsupportedPlace, tuple[float, float, float], float], ...]
    verdict: Verdict
    block_px: int
    texture: Texture | None
    tiles: int


def measure_support(
    halves: Halves,
    voxel_size_ang: float,
    sink: VolumeSink,
    *,
    geometry: TiltGeometry | None = None,
    memory_bytes: float | None = None,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> SupportResult:
    """Compare each denoised half with the raw other half, place by place, where the data measure anything.

    Parameters
    ----------
    halves
        the raw and the denoised halves, `(z, y, x)`, in the same grey values.
    voxel_size_ang
        edge of a voxel, Å.
    sink
        takes the map of support, 0 … 1, slab by slab.
    geometry
        of the views: what lies in their missing wedge is not judged. None judges all directions.
    memory_bytes
        most memory to take; half of what is free where None.

    Raises
    ------
    ImageError
        if shapes differ, or a voxel is not finite.
    SettingsError
        if the memory does not hold the smallest tiles.

    Notes
    -----
    Method and formulas: `docs/explanation/denoising.md`. Two denoised halves agree on what a method draws whatever the
    data say. The raw other half does not: its noise is independent of what was denoised, so the slope of its regression
    on the denoised half is the share of the drawn contrast that is in the specimen.
    """
    prepare()
    give_memory_back()  # what denoising left is in pieces of other sizes
    where = torch.device(choose_device(device))
    window_px = max(_LEAST_WINDOW_PX, WINDOW_ANG / voxel_size_ang)
    band = measure_band(halves.even, halves.odd, window_px, geometry)
    block_px = max(1, int(window_px / _BLOCKS_PER_WINDOW))
    budget = free_memory_bytes(where.type) / 2 if memory_bytes is None else memory_bytes
    shape: Size = halves.even.shape
    sums, drawn, judged, tiles = _local_sums(halves, band, shape, block_px, window_px, budget, where, progress)
    verdict = judge(sums, window_px / block_px, float(block_px**3))
    _write(verdict.support.astype(np.float32), shape, block_px, sink)
    progress(1.0, "")
    return SupportResult(
        median=verdict.median,
        unsupported=verdict.unsupported,
        untestable=max(0.0, 1 - judged / drawn) if drawn > 0 else 0.0,
        resolution_ang=voxel_size_ang / band.highest,
        window_ang=window_px * voxel_size_ang,
        places=tuple(_in_ang(place, shape, block_px, voxel_size_ang) for place in verdict.places),
        verdict=verdict,
        block_px=block_px,
        texture=measure_texture(halves, band, verdict.visible, verdict.flagged, block_px, window_px),
        tiles=tiles,
    )


def _local_sums(
    halves: Halves,
    band: Band,
    shape: Size,
    block_px: int,
    window_px: float,
    budget: float,
    device: torch.device,
    progress: Progress,
) -> tuple[LocalSums, float, float, int]:
    """Means over blocks, the denoised halves' contrast, what of it was judged, and the number of tiles."""
    z, y, x = (ceil(n / block_px) for n in shape)
    halo = ceil(_HALO_WINDOWS * window_px / block_px)
    out = [np.zeros((z, y, x), np.float32) for _ in range(5)]
    held = float(sum(part.nbytes for part in out)) * 4  # judging takes three times their size
    tiles = plan_tiles((z, y, x), halo, lambda size: _tile_bytes(size, (z, y, x), block_px, halo), budget - held)
    masks: dict[Size, tuple[Tensor, Tensor, Tensor, float]] = {}
    drawn = judged = 0.0
    for number, tile in enumerate(tiles):
        progress(0.95 * number / len(tiles), f"support, tile {number + 1} of {len(tiles)}")
        part, pad = _read(tile, shape, block_px, halo)
        nz, ny, nx = (piece.stop - piece.start + sum(more) for piece, more in zip(part, pad, strict=True))
        size: Size = (nz, ny, nx)
        if size not in masks:
            masks.clear()
            give_memory_back()  # tiles of one size take what those of another have left only in part
            masks[size] = _masks(band, size, device)
        blocks = halves.block(part, pad)
        if not all(np.isfinite(block).all() for block in blocks):
            raise ImageError(
                "a half tomogram, or what denoising made of it, holds voxels that are not finite",
                mend="reconstruct both halves again",
            )
        fields, whole, inside = _fields(blocks, masks[size])
        drawn, judged = drawn + whole, judged + inside
        for target, product in zip(out[:4], _products(fields, masks[size][-1]), strict=True):
            target[tile.core] = tile.crop(_block_sums(_inner(product, tile, pad, block_px), block_px))
    counts = [np.minimum(block_px, n - block_px * np.arange(m)) for n, m in zip(shape, (z, y, x), strict=True)]
    voxels = np.multiply.outer(np.multiply.outer(counts[0], counts[1]), counts[2])
    out[4] = (voxels / block_px**3).astype(np.float32)
    return LocalSums(*out), drawn, judged, len(tiles)


def _masks(band: Band, size: Size, device: torch.device) -> tuple[Tensor, Tensor, Tensor, float]:
    """The band's factors for a tile, what takes its background away, and the share of the noise that the band keeps."""
    white, plain = band.weights(size, device)
    columns = torch.full((plain.shape[-1],), 2.0, device=device)
    columns[0] = 1.0
    if size[-1] % 2 == 0:
        columns[-1] = 1.0
    kept = float((plain.double() ** 2 * columns).sum()) / float(np.prod(size))
    return white, plain, band.structure(size, device), kept


def _fields(blocks: list[Array], masks: tuple[Tensor, Tensor, Tensor, float]) -> tuple[list[Tensor], float, float]:
    """The blocks under the band's filter, and the contrast of the denoised halves, all and inside the band.

    The blocks are taken out of their list one by one, as they are done with.
    """
    white, plain, structure, _kept = masks
    size = blocks[0].shape
    fields: list[Tensor] = []
    whole = inside = 0.0
    while blocks:
        block = torch.from_numpy(blocks.pop(0)).to(white.device)
        terms = torch.fft.rfftn(block.sub_(block.mean(dtype=torch.float64).float()))
        del block
        if len(fields) >= 2:
            power = terms.abs().mul_(structure).square_()
            whole += float(power.sum(dtype=torch.float64))
            power *= (plain / structure.clamp(min=1e-6)).square_()
            inside += float(power.sum(dtype=torch.float64))
            del power
        fields.append(torch.fft.irfftn(terms.mul_(white), s=size))
        del terms
    return fields, whole, inside


def _products(fields: Sequence[Tensor], kept: float) -> Iterator[Array]:
    """Voxel by voxel what `LocalSums` sums up, one after the other."""
    even, odd, clean_even, clean_odd = fields
    yield (odd * clean_even).addcmul_(even, clean_odd).mul_(0.5).cpu().numpy()
    yield clean_even.square().addcmul_(clean_odd, clean_odd).mul_(0.5).cpu().numpy()
    yield (clean_even * clean_odd).cpu().numpy()
    yield (even - odd).square_().mul_(0.5 / max(kept, 1e-12)).cpu().numpy()


def _read(tile: Tile, shape: Size, block_px: int, halo: int) -> tuple[Slices, list[tuple[int, int]]]:
    """The voxels of a tile of blocks, and how far to mirror them outwards: a full halo at the volume's border, too."""
    parts, pad = [], []
    for padded, n in zip(tile.padded, shape, strict=True):
        start, stop = padded.start * block_px, padded.stop * block_px
        before = halo * block_px if start == 0 else 0
        after = max(0, stop - n) + (halo * block_px if stop >= n else 0)
        parts.append(slice(start, min(stop, n)))
        pad.append((before, after + _more(before + min(stop, n) - start + after)))
    return (parts[0], parts[1], parts[2]), pad


def _more(size: int) -> int:
    """Voxels that make a transform of `size` a fast one."""
    return fast_size(size) - size


def _inner(values: Array, tile: Tile, pad: list[tuple[int, int]], block_px: int) -> Array:
    """The whole blocks of a tile, without what was mirrored around them."""
    starts = [before for before, _after in pad]
    sizes = [(padded.stop - padded.start) * block_px for padded in tile.padded]
    return values[tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))]


def _block_sums(values: Array, block_px: int) -> Array:
    """Mean over cubes of `block_px` voxels."""
    z, y, x = (n // block_px for n in values.shape)
    out: Array = values.reshape(z, block_px, y, block_px, x, block_px).mean(axis=(1, 3, 5), dtype=np.float32)
    return out


def _tile_bytes(size: Size, whole: Size, block_px: int, halo: int) -> float:
    """Memory for a tile of so many blocks, halo included; what spans an axis as a whole is mirrored at both ends."""
    edges = [fast_size((n + 2 * halo if n == most else n) * block_px) for n, most in zip(size, whole, strict=True)]
    return _BYTES_PER_VOXEL * float(np.prod(edges))


def _write(support: Array, shape: Size, block_px: int, sink: VolumeSink) -> None:
    """The blocks' support, interpolated linearly between their centres, at every voxel."""
    nz, ny, nx = shape
    step = max(1, _SLAB // (ny * nx))
    y, x = (((np.arange(n) + 0.5) / block_px - 0.5).astype(np.float32) for n in (ny, nx))
    for z0 in range(0, nz, step):
        z = ((np.arange(z0, min(nz, z0 + step)) + 0.5) / block_px - 0.5).astype(np.float32)
        slab = _between(_between(_between(support, z, 0), y, 1), x, 2)
        sink(z0, 0, 0, np.ascontiguousarray(slab, dtype=np.float32))


def _between(values: Array, places: NDArray[np.float32], axis: int) -> Array:
    """Linear interpolation along one axis, held at its ends."""
    low = np.clip(np.floor(places).astype(int), 0, values.shape[axis] - 1)
    high = np.minimum(low + 1, values.shape[axis] - 1)
    part = np.clip(places - low, 0, 1).reshape([-1 if other == axis else 1 for other in range(3)])
    out: Array = values.take(low, axis) * (1 - part) + values.take(high, axis) * part
    return out


def _in_ang(
    place: UnsupportedPlace, shape: Size, block_px: int, voxel_ang: float
) -> tuple[UnsupportedPlace, tuple[float, float, float], float]:
    x, y, z = (
        (min(at * block_px, n) - 0.5 - n // 2) * voxel_ang for at, n in zip(place.position, shape[::-1], strict=True)
    )
    diameter = 2 * (3 * place.blocks * block_px**3 / (4 * np.pi)) ** (1 / 3) * voxel_ang
    return place, (x, y, z), float(diameter)
