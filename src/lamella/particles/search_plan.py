"""How a search is done: how fine in angle and in space, and in which blocks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lamella.errors import ImageError
from lamella.fourier import crop_volume, fast_size
from lamella.geometry import point_group
from lamella.particles.pick_settings import PickSettings
from lamella.particles.template import Template
from lamella.records import VolumeSource
from lamella.runtime import free_memory_bytes

__all__ = ["Block", "SearchPlan", "blocks", "plan_search", "read_block"]

Shape = tuple[int, int, int]

_VOXELS_OF_DETAIL = 3.0
_DETAILS = 6.0  # of the diameter, that a first search looks at
_FOLLOWS = 1.57  # resolution over the way of the particle's rim in half a step
_COARSEST_DEG = 30.0
_PER_DETAIL = 2.4  # voxels of the search in the finest detail
_RATIOS = ((4, 1), (3, 1), (5, 2), (2, 1), (5, 3), (3, 2), (4, 3), (5, 4), (1, 1))
_BYTES, _BYTES_READ = 48, 16  # per voxel of the search, and of the tomogram, that a block takes
_TAPER_PX = 4


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """How fine a search is.

    Attributes
    ----------
    resolution_ang
        finest detail that is compared at the end, when peaks are polished.
    search_resolution_ang, step_deg
        finest detail and angle between orientations of the search over the whole tomogram.
    coarser
        (a, b): b voxels of the search are as long as a of the tomogram.
    """

    resolution_ang: float
    search_resolution_ang: float
    step_deg: float
    coarser: tuple[int, int]

    @property
    def ratio(self) -> float:
        """Voxel of the search over the tomogram's."""
        return self.coarser[0] / self.coarser[1]


@dataclass(frozen=True)
class Block:
    """A part of the tomogram that is searched at once.

    Attributes
    ----------
    start, stop
        of what is read, voxels of the tomogram, z, y, x; starts are whole voxels of the search.
    shape
        of the block, voxels of the search, padded.
    inner
        where its results lie in the whole score volume, and where in the block.
    """

    start: Shape
    stop: Shape
    shape: Shape
    inner: tuple[tuple[slice, slice, slice], tuple[slice, slice, slice]]


def plan_search(template: Template, settings: PickSettings) -> SearchPlan:
    """Choose angle step and resolution that go together.

    Notes
    -----
    A step θ moves the rim of a particle of diameter D by up to D θ / 4 from the nearest orientation of the grid; detail
    finer than D θ / 1.57 is lost by that. On its own the search looks at a sixth of the diameter in steps of 15°, or at
    three voxels where these are coarser; what a symmetry saves is spent on finer steps in part. Peaks are polished at
    the full resolution afterwards.
    """
    voxel, diameter = template.voxel_size_ang, template.diameter_ang
    finest = _VOXELS_OF_DETAIL * voxel if settings.resolution == "auto" else float(settings.resolution)
    if finest < 2 * voxel:
        raise ImageError(
            f"a resolution of {finest:g} Å in voxels of {voxel:g} Å",
            mend="set pick.resolution to two voxels or more, or reconstruct.pixel_size finer",
        )
    if settings.angle_step == "auto":
        step = math.degrees(_FOLLOWS * max(finest, diameter / _DETAILS) / diameter)
        step *= len(point_group(settings.symmetry)) ** (-1 / 9)
        step = min(step, _COARSEST_DEG)
    else:
        step = float(settings.angle_step)
    coarse = max(finest, diameter * math.radians(step) / _FOLLOWS)
    coarser = next((pair for pair in _RATIOS if pair[0] / pair[1] * voxel <= coarse / _PER_DETAIL), (1, 1))
    return SearchPlan(resolution_ang=finest, search_resolution_ang=coarse, step_deg=step, coarser=coarser)


def score_shape(shape: Shape, plan: SearchPlan) -> Shape:
    """Size of the score volume of a tomogram ``(z, y, x)``."""
    a, b = plan.coarser
    z, y, x = (math.ceil(n * b / a) for n in shape)
    return z, y, x


def blocks(shape: Shape, plan: SearchPlan, template: Template, memory_gib: float | str) -> list[Block]:
    """Cut a tomogram into blocks that overlap by the template and fit into the memory.

    Raises
    ------
    ImageError
        if the template is larger than the tomogram.
    """
    radius = math.ceil(template.diameter_ang / template.voxel_size_ang / 2)
    if min(shape) < 2 * radius:
        raise ImageError(
            f"a template of {template.diameter_ang:.0f} Å in a tomogram of "
            f"{' × '.join(f'{n * template.voxel_size_ang:.0f}' for n in shape[::-1])} Å",
            mend="reconstruct a thicker tomogram (reconstruct.thickness), or check the template's voxel size",
        )
    limit = 0.5 * free_memory_bytes() if memory_gib == "auto" else float(memory_gib) * 2**30
    a, b = plan.coarser
    margin = a * math.ceil((radius + 2 * a) / a)
    counts = [1, 1, 1]
    while True:
        parts = list(_cut(shape, counts, margin, a, b))
        voxels = max(math.prod(part.shape) for part in parts)
        if voxels * (_BYTES + _BYTES_READ * plan.ratio**3) <= limit or min(parts[0].shape) * a / b < 5 * margin:
            return parts
        longest = int(np.argmax([part / count for part, count in zip(shape, counts, strict=True)]))
        counts[longest] += 1


def _cut(shape: Shape, counts: list[int], margin: int, a: int, b: int) -> Iterator[Block]:
    axes = []
    for size, count in zip(shape, counts, strict=True):
        units = math.ceil(size / a)
        edges = [a * round(units * part / count) for part in range(count)] + [size]
        axes.append([_span(low, high, size, margin, a, b) for low, high in itertools.pairwise(edges)])
    for z, y, x in itertools.product(*axes):
        spans = (z, y, x)
        start, stop, padded = (tuple(span[k] for span in spans) for k in range(3))
        whole, own = (tuple(span[k] for span in spans) for k in (3, 4))
        yield Block(start, stop, padded, (whole, own))  # type: ignore[arg-type]


def _span(low: int, high: int, size: int, margin: int, a: int, b: int) -> tuple[int, int, int, slice, slice]:
    """One axis of a block: what is read, its padded size, and where its results lie."""
    start, stop = max(0, low - margin), min(size, high + margin)
    clipped = start == 0 or stop == size
    padded = b * fast_size(math.ceil((stop - start + (margin if clipped else 0)) / a))
    first, last = low * b // a, math.ceil(high * b / a)
    return start, stop, padded, slice(first, last), slice(first - start * b // a, last - start * b // a)


def read_block(volume: VolumeSource, block: Block, plan: SearchPlan, mean: float) -> tuple[Tensor, Tensor]:
    """A block with mass positive on the voxels of the search, and where it holds the tomogram (1) or padding (0).

    Raises
    ------
    ImageError
        if it holds values that are not numbers.
    """
    values = torch.from_numpy(
        np.array(volume.block(*(slice(a, b) for a, b in zip(block.start, block.stop, strict=True))), np.float32)
    )
    if not torch.isfinite(values).all():
        raise ImageError("the tomogram holds values that are not numbers", mend="reconstruct it again")
    values = mean - values
    for axis in range(3):
        values *= _taper(values.shape[axis]).reshape([-1 if axis == other else 1 for other in range(3)])
    a, b = plan.coarser
    full = tuple(n * a // b for n in block.shape)
    padded = torch.zeros(full)
    padded[tuple(slice(0, n) for n in values.shape)] = values
    inside = torch.zeros(block.shape)
    inside[tuple(slice(0, n * b // a) for n in values.shape)] = 1.0
    return crop_volume(padded, block.shape), inside


def _taper(count: int) -> Tensor:
    """1 inside, falling over a few voxels at both ends."""
    place = torch.arange(count, dtype=torch.float32) + 0.5
    inward = torch.minimum(place, count - place)
    return 0.5 * (1 - torch.cos(math.pi * (inward / _TAPER_PX).clamp(0, 1)))
