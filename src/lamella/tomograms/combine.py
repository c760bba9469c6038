"""`combine`: the tomograms of two tilt axes of one specimen become one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lamella.errors import InputError
from lamella.parallel import part_of
from lamella.progress import Progress, no_progress
from lamella.records import Tomogram, VolumeSink, VolumeSource
from lamella.runtime import free_memory_bytes, give_memory_back
from lamella.tomograms.combine_coverage import Coverage
from lamella.tomograms.combine_merge import Block, Pair, Voxels, merge
from lamella.tomograms.combine_record import (
    check_pair,
    dose_before_second,
    exposed_later,
    second_in_first,
)
from lamella.tomograms.combine_register import Registration, register
from lamella.tomograms.combine_resample import Grid, resample
from lamella.tomograms.combine_scale import relative_scale
from lamella.tomograms.combine_settings import CombineSettings
from lamella.tomograms.combine_working import WorkingPair, working_volume

__all__ = ["CombineResult", "Volumes", "combine"]

Array = NDArray[np.float64]

_SHARE_OF_FREE = 0.4
_SHORTEST_HALO_PX = 32
_SAME_VOXEL = 1e-3


@dataclass(frozen=True, kw_only=True)
class Volumes:
    """The volumes of one part (whole, even or odd) of both series, and where their combination goes."""

    first: VolumeSource
    second: VolumeSource
    sink: VolumeSink


@dataclass(frozen=True, kw_only=True, eq=False)
class CombineResult:
    """What came of combining two tomograms.

    Attributes
    ----------
    tomogram
        the record: views of both series in the first one's frame, its box, no files yet.
    registration
        how the second lies on the first.
    scale
        what the second's values were multiplied by.
    added_dose
        e/Å² added to the second's, exposed after the first; None where doses are unknown.
    blocks
        in which it was worked.
    """

    tomogram: Tomogram
    registration: Registration
    scale: float
    added_dose: float | None
    blocks: int


def combine(
    first: Tomogram,
    second: Tomogram,
    volumes: Mapping[str, Volumes],
    settings: CombineSettings,
    name: str,
    *,
    beads: tuple[Array, Array] | None = None,
    progress: Progress = no_progress,
) -> CombineResult:
    """Register the second tomogram onto the first, and combine them by what each series measures.

    Parameters
    ----------
    first, second
        records of the two; the first was exposed first, and its frame and box are kept.
    volumes
        by part: ``whole``, by which they are registered, and any others, all combined by the same weights.
    settings
        see `CombineSettings`.
    name
        of the combined series.
    beads
        ``(n, 3)``, ``(m, 3)`` places of gold beads in the two, Å; None where they are not known.

    Raises
    ------
    InputError
        if the two cannot be of one specimen: by their records, or because they agree nowhere.
    ImageError
        if a volume is empty or not finite.
    SettingsError
        if the memory is too small for any block.
    PostconditionError
        if the result is not finite.
    """
    check_pair(first.tilt_series, second.tilt_series)
    voxel = first.voxel_size_ang
    if abs(second.voxel_size_ang - voxel) > _SAME_VOXEL * voxel:
        raise InputError(
            f"{first.name} has voxels of {voxel:g} Å and {second.name} of {second.voxel_size_ang:g} Å",
            mend="reconstruct both with one reconstruct.pixel_size",
        )
    whole = volumes["whole"]
    small = [working_volume(v, voxel, one.name) for v, one in ((whole.first, first), (whole.second, second))]
    deep = max(v.shape[0] for v in (whole.first, whole.second)) * voxel
    added = dose_before_second(first.tilt_series, second.tilt_series)
    later = exposed_later(second.tilt_series, added)
    coarse = tuple(Coverage.of(one, small[0].grid.voxel_ang, deep) for one in (first.tilt_series, later))
    pair = WorkingPair(
        first=small[0], second=small[1], coverages=(coarse[0], coarse[1]), names=(first.name, second.name)
    )
    found = register(pair, settings, beads, part_of(progress, 0.0, 0.4))
    scale = relative_scale(pair, found)
    own = (Coverage.of(first.tilt_series, voxel, deep), Coverage.of(later, voxel, deep).turned(found.motion.rotation.T))
    del small, pair
    give_memory_back()  # what registration held is in pieces of other sizes
    blocks = _merge(list(volumes.values()), own, found, scale, voxel, settings, part_of(progress, 0.4, 1.0))
    moved = second_in_first(later, found.motion, found.warp)
    record = replace(
        first, tilt_series=first.tilt_series.joined(moved, name), volume=None, even_volume=None,
        odd_volume=None, denoised=None, support=None, gold=None, quality={},
    )  # fmt: skip
    return CombineResult(tomogram=record, registration=found, scale=scale, added_dose=added, blocks=blocks)


def _merge(
    volumes: Sequence[Volumes],
    coverages: tuple[Coverage, Coverage],
    found: Registration,
    scale: float,
    voxel_ang: float,
    settings: CombineSettings,
    progress: Progress,
) -> int:
    """Combine every part in blocks that fit the memory; how many blocks."""
    grid = Grid(shape=volumes[0].first.shape, voxel_ang=voxel_ang)

    def laid_on(source: VolumeSource) -> Callable[[Block], tuple[Voxels, Voxels]]:
        there = Grid(shape=source.shape, voxel_ang=voxel_ang)
        return lambda block: resample(source, there, found.motion, found.warp, grid, block)

    pairs = [Pair(one.first, laid_on(one.second), one.sink) for one in volumes]
    budget = _SHARE_OF_FREE * free_memory_bytes() if settings.memory == "auto" else settings.memory * 2**30
    halo = max(_SHORTEST_HALO_PX, grid.shape[0] // 4)
    return merge(pairs, grid.shape, coverages, scale, halo, budget, progress)
