"""What a network is trained on: cubes with something in them, and others, apart from those, to judge it by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lamella.errors import ImageError
from lamella.records import VolumeSource
from lamella.tomograms.networks.wedge import Wedge
from lamella.tomograms.survey import Samples, survey

__all__ = ["Cut", "Ground", "TrainingSet", "lay_out", "plan_patches"]

Array = NDArray[np.float32]
Size = tuple[int, int, int]

_BIN = 4  # voxels over which content is judged
_HELD = 0.3  # of the field's edge: of the corner that is held out
_MARGIN = 8  # voxels between what is trained on and what is held out: noise reaches as far
_EVEN_SHARE = 0.3  # of the patches are drawn wherever they lie, the others by their content
_MOST_HELD = 12  # blocks that are judged
_SMALLEST = 16  # voxels of a patch's edge in the plane


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingSet:
    """One tomogram to learn from.

    Attributes
    ----------
    name
        of the tilt series.
    voxel_size_ang
        edge of a voxel, Å.
    first, second
        its halves ``(z, y, x)``; the whole, twice, for noise2void.
    wedge
        which frequencies its views measured.
    bright_field
        whether mass is dark.
    """

    name: str
    voxel_size_ang: float
    first: VolumeSource
    second: VolumeSource
    wedge: Wedge
    bright_field: bool = True


@dataclass(frozen=True)
class Cut:
    """How patches are cut: their size (z, y, x), a multiple of `align`; `cubes` where all edges must be alike."""

    size: Size
    align: int
    cubes: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Ground:
    """Where patches of one tomogram may be taken.

    Attributes
    ----------
    source
        the tomogram.
    mean, noise
        of both halves, grey values: patches are in units of the noise about the mean.
    corners, odds
        ``(n, 3)`` zyx of the first voxel of every patch to train on, and how likely it is drawn.
    held, held_size
        ``(m, 3)`` of the blocks to judge by, which no patch comes near, and their size.
    """

    source: TrainingSet
    mean: float
    noise: float
    corners: NDArray[np.int64]
    odds: NDArray[np.float64]
    held: NDArray[np.int64]
    held_size: Size

    def read(self, corner: Sequence[int], size: Size) -> tuple[Array, Array]:
        """The patch of both halves, normalised."""
        first, second = self.source.first, self.source.second
        found = [
            (_read(volume, corner, size, self.mean) - self.mean) / self.noise for volume in _distinct(first, second)
        ]
        return found[0].astype(np.float32), found[-1].astype(np.float32)

    def draw(self, random: np.random.Generator, size: Size) -> tuple[Array, Array]:
        """A patch of both halves, flipped along any axis, which keeps the missing wedge; a quarter turn would not."""
        corner = self.corners[random.choice(len(self.corners), p=self.odds)]
        flips = tuple(int(axis) for axis in np.flatnonzero(random.random(3) < 0.5))
        first, second = self.read(corner, size)
        if random.random() < 0.5:
            first, second = second, first
        return np.flip(first, flips), np.flip(second, flips)


def _distinct(first: VolumeSource, second: VolumeSource) -> list[VolumeSource]:
    return [first] if first is second else [first, second]


def _read(volume: VolumeSource, corner: Sequence[int], size: Size, outside: float) -> Array:
    """A block of a volume, `outside` where it reaches beyond it along z."""
    nz = volume.shape[0]
    z, y, x = (int(c) for c in corner)
    low, high = max(z, 0), min(z + size[0], nz)
    block = volume.block(slice(low, high), slice(y, y + size[1]), slice(x, x + size[2]))
    if high - low == size[0]:
        return block
    out = np.full(size, outside, dtype=np.float32)
    out[low - z : high - z] = block
    return out


def plan_patches(shapes: Sequence[Size], edge: int, align: int, *, cubes: bool) -> Cut:
    """Patches for volumes of some shapes: cubes of `edge`, smaller where a volume has no room for them.

    Parameters
    ----------
    shapes
        (z, y, x) of each volume.
    edge
        wanted, voxels.
    align
        sizes are multiples of it.
    cubes
        whether z must be as long as y and x, whatever a volume has.

    Raises
    ------
    ImageError
        if a volume is too small to learn from.
    """
    plane = min(min(edge, int(max(shape[1:]) * (1 - _HELD)) - _MARGIN, *shape[1:]) for shape in shapes)
    plane -= plane % align
    thick = min(min(edge, shape[0]) for shape in shapes)
    thick -= thick % align
    if plane < max(_SMALLEST, align) or thick < align or min(min(shape[1:]) for shape in shapes) * _HELD < align:
        worst = min(shapes, key=min)
        raise ImageError(
            f"a tomogram of {worst[2]} × {worst[1]} × {worst[0]} voxels is too small to train a network on",
            mend="reconstruct at a smaller reconstruct.pixel_size, lower denoise.depth, or apply a denoise.model",
        )
    return Cut((plane if cubes else thick, plane, plane), align, cubes)


def lay_out(source: TrainingSet, cut: Cut, seed: int) -> Ground:
    """Look at a tomogram once and decide where patches are drawn, and what is held out.

    One corner of the field, as deep as the tomogram, is held out: a corner costs the fewest places for patches, and
    the one with the second most in it leaves the richest to learn from. A patch counts by the signal in it: the product
    of both halves, smoothed, which noise that they do not share leaves at zero; of one volume the square, less its
    median.

    Raises
    ------
    ImageError
        if the halves differ in shape, a voxel is not finite, or one is constant.
    """
    first, second = source.first, source.second
    if first.shape != second.shape:
        raise ImageError(
            f"{source.name}: halves of {first.shape} and {second.shape} voxels", mend="reconstruct both again"
        )
    views = [survey(volume, Samples.of(volume)) for volume in _distinct(first, second)]
    mean = float(np.mean([view.mean for view in views]))
    noise = float(np.mean([view.noise for view in views]))
    power = _content(source, mean, noise)
    shape, size = first.shape, cut.size
    places = np.array(list(product(*(_steps(n, edge) for n, edge in zip(shape, size, strict=True)))))
    edges = [int(n * _HELD) // cut.align * cut.align for n in shape[1:]]
    corner = _held_corner(power, shape, edges)
    places = places[~_touch(places, size, corner, edges)]
    held, held_size = _held_blocks(shape, cut, corner, edges)
    best = np.argsort(-_sums(power, held, held_size), kind="stable")[:_MOST_HELD]
    weight = np.clip(_sums(power, places, size), 0.0, None)
    odds = weight / weight.sum() if weight.sum() > 0 else np.full(len(weight), 1 / len(weight))
    odds = _EVEN_SHARE / len(odds) + (1 - _EVEN_SHARE) * odds
    return Ground(
        source=source,
        mean=mean,
        noise=noise,
        corners=places,
        odds=odds / odds.sum(),
        held=_shuffled(held[best], seed),
        held_size=held_size,
    )


def _shuffled(held: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The held-out blocks in an order of their own, so that a batch of them is mixed."""
    return held[np.random.default_rng(seed).permutation(len(held))]


def _steps(n: int, edge: int) -> NDArray[np.int64]:
    """First voxels of patches along an axis, a quarter of an edge apart, the last one included; centred if too thin."""
    if n < edge:
        return np.array([(n - edge) // 2])
    return np.unique(np.append(np.arange(0, n - edge, max(1, edge // 4)), n - edge))


def _held_corner(power: NDArray[np.float64], shape: Size, edges: Sequence[int]) -> tuple[int, int]:
    """First (y, x) of the corner of the field with the second most content."""
    _, ny, nx = shape
    corners = [(y, x) for y in (0, ny - edges[0]) for x in (0, nx - edges[1])]
    sums = _sums(power, np.array([(0, y, x) for y, x in corners]), (shape[0], edges[0], edges[1]))
    return corners[int(np.argsort(-sums, kind="stable")[1])]


def _touch(places: NDArray[np.int64], size: Size, corner: tuple[int, int], edges: Sequence[int]) -> NDArray[np.bool_]:
    """Which patches come nearer to what is held out than the margin."""
    near = np.ones(len(places), dtype=bool)
    for axis in (0, 1):
        begin = places[:, axis + 1]
        near &= (begin < corner[axis] + edges[axis] + _MARGIN) & (begin + size[axis + 1] > corner[axis] - _MARGIN)
    return near


def _held_blocks(
    shape: Size, cut: Cut, corner: tuple[int, int], edges: Sequence[int]
) -> tuple[NDArray[np.int64], Size]:
    """First voxels of blocks that cover the part that is held out, and their size: a patch's, where there is room.

    Near the end of a block the network lacks surroundings. Blocks smaller than patches would ask for more of what it
    was not taught, and rank networks by that; so blocks overlap rather than shrink.
    """
    y, x = (min(size, edge // cut.align * cut.align) for size, edge in zip(cut.size[1:], edges, strict=True))
    if cut.cubes:
        y = x = min(y, x)
    size = (y if cut.cubes else cut.size[0], y, x)
    along_z = _steps(shape[0], size[0])[::4]  # an edge apart
    planes = [
        corner[axis] + np.unique(np.linspace(0, edge - width, -(-edge // width)).astype(np.int64))
        for axis, (edge, width) in enumerate(zip(edges, (y, x), strict=True))
    ]
    return np.array(list(product(along_z, *planes))), size


def _content(source: TrainingSet, mean: float, noise: float) -> NDArray[np.float64]:
    """Signal power of blocks of 4³ voxels, in units of the noise."""
    shape = source.first.shape
    small = [max(1, n // _BIN) for n in shape]
    power = np.zeros(small)
    one = source.first is source.second
    for z in range(small[0]):
        rows = slice(z * _BIN, min((z + 1) * _BIN, shape[0]))
        a = _binned(source.first, rows, small, mean, noise)
        power[z] = a * (a if one else _binned(source.second, rows, small, mean, noise))
    if one:
        power -= np.median(power)
    return power


def _binned(volume: VolumeSource, rows: slice, small: Sequence[int], mean: float, noise: float) -> NDArray[np.float64]:
    """Means over 4³ voxels of a few sections, ``(y, x)``."""
    height, width = (min(n, count * _BIN) for n, count in zip(volume.shape[1:], small[1:], strict=True))
    plane = volume.block(rows, slice(0, height), slice(0, width)).mean(axis=0, dtype=np.float64)
    blocks = plane.reshape(small[1], height // small[1], small[2], width // small[2])
    return np.asarray((blocks.mean(axis=(1, 3)) - mean) / noise, dtype=np.float64)


def _sums(power: NDArray[np.float64], corners: NDArray[np.int64], size: Size) -> NDArray[np.float64]:
    """Sum of the content over boxes, from sums that run along every axis."""
    total = np.zeros(np.add(power.shape, 1))
    total[1:, 1:, 1:] = power.cumsum(0).cumsum(1).cumsum(2)
    low = [np.clip(corners[:, a] // _BIN, 0, power.shape[a] - 1) for a in range(3)]
    high = [np.clip(-(-(corners[:, a] + size[a]) // _BIN), low[a] + 1, power.shape[a]) for a in range(3)]
    out = np.zeros(len(corners))
    for ends in product((0, 1), repeat=3):
        at = tuple((high, low)[end][axis] for axis, end in enumerate(ends))
        out += (-1) ** sum(ends) * total[at]
    return out
