"""The score of a template in a whole tomogram: block by block, the template and its background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.particles.matching import BlockSearch
from lamella.particles.pick_settings import PickSettings
from lamella.particles.search_grid import search_grid
from lamella.particles.search_plan import SearchPlan, blocks, read_block, score_shape
from lamella.particles.template import Template
from lamella.particles.template_cube import TemplateCube
from lamella.particles.template_weights import SearchWeights
from lamella.progress import Progress, no_progress
from lamella.records import VolumeSink, VolumeSource

__all__ = ["ScoreVolume", "search_tomogram"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

_BACKGROUND_STEPS = 1.6  # times the search's: its score changes slowly with place, and few orientations tell it
_PLANES = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreVolume:
    """Scores on the voxels of the search, whose voxel 0 is the tomogram's.

    Attributes
    ----------
    score
        ``(z, y, x)`` deviations of noise, over the background's where there is one; −inf where nothing was searched.
    which, background_which
        number of the best orientation of the template, and of the one with random phases.
    matrices, background_matrices
        the orientations, ``(k, 3, 3)``; the background's are none where it was not asked for.
    """

    score: Floats
    which: NDArray[np.int32]
    matrices: Array
    background_which: NDArray[np.int32]
    background_matrices: Array

    @property
    def orientations(self) -> int:
        """How many of the template were compared."""
        return len(self.matrices)

    def write(self, sink: VolumeSink, shape: tuple[int, int, int], ratio: float) -> None:
        """Give the scores to a sink on the tomogram's voxels, interpolated linearly, some planes at a time."""
        known = np.isfinite(self.score)
        lowest = np.float32(self.score[known].min()) if known.any() else np.float32(0)
        filled = np.where(known, self.score, lowest)
        z, y, x = (_Between.of(count, ratio, size) for count, size in zip(shape, self.score.shape, strict=True))
        for start in range(0, shape[0], _PLANES):
            planes = z.some(start, start + _PLANES).blend(filled, 0)
            sink(start, 0, 0, np.ascontiguousarray(x.blend(y.blend(planes, 1), 2)))


def search_tomogram(
    volume: VolumeSource,
    template: Template,
    weights: SearchWeights,
    plan: SearchPlan,
    settings: PickSettings,
    *,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> ScoreVolume:
    """Compare every voxel of a tomogram with the template in all orientations of the plan.

    Parameters
    ----------
    volume
        the tomogram, mass dark.
    template, weights
        on its voxels.
    plan
        see `plan_search`.
    settings
        symmetry, background, memory, seed.
    device
        ``cpu`` or a torch device.

    Notes
    -----
    Memory: 12 bytes per voxel of the search for the results, and about 48 for the block that is worked on; blocks are
    cut to fit.
    """
    shape = score_shape(volume.shape, plan)
    highest = template.voxel_size_ang / plan.search_resolution_ang  # cycles per voxel of the tomogram
    grid = search_grid(plan.step_deg, settings.symmetry)
    cube = TemplateCube.of(template.volume, highest)
    behind = search_grid(_BACKGROUND_STEPS * plan.step_deg, settings.symmetry)
    behind = behind if settings.background else behind[:0]
    other = TemplateCube.of(template.with_random_phases(settings.seed).volume, highest) if len(behind) else None
    score, background = np.full(shape, -np.inf, np.float32), np.zeros(shape, np.float32)
    which, background_which = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    mean = _mean(volume)
    parts = blocks(volume.shape, plan, template, settings.memory)
    radius = template.diameter_ang / template.voxel_size_ang / 2 / plan.ratio
    for number, part in enumerate(parts):
        done = _Told(progress, number, len(parts), len(grid), len(grid) + len(behind))
        search = BlockSearch(
            *read_block(volume, part, plan, mean), plan.ratio, radius, weights, highest * plan.ratio, device
        )
        whole, own = part.inner
        found = search.search(cube, grid, progress=done.first)
        score[whole] = search.normalised(found).cpu().numpy()[own]
        which[whole] = found.which.cpu().numpy()[own]
        if other is not None:
            found = search.search(other, behind, progress=done.second)
            background[whole] = search.normalised(found).cpu().numpy()[own]
            background_which[whole] = found.which.cpu().numpy()[own]
    if other is not None:
        known = np.isfinite(score) & np.isfinite(background)
        score[known] -= background[known] - np.float32(background[known].mean(dtype=np.float64))
    return ScoreVolume(
        score=score, which=which, matrices=grid, background_which=background_which, background_matrices=behind
    )


@dataclass(frozen=True)
class _Told:
    """Progress of a block's two searches as part of the whole."""

    progress: Progress
    number: int
    blocks: int
    split: int
    total: int

    def first(self, fraction: float, text: str = "") -> None:
        self.progress((self.number + fraction * self.split / self.total) / self.blocks, text)

    def second(self, fraction: float, text: str = "") -> None:
        done = (self.split + fraction * (self.total - self.split)) / self.total
        self.progress((self.number + done) / self.blocks, text)


def _mean(volume: VolumeSource) -> float:
    depth = volume.shape[0]
    sums = [
        float(volume.block(slice(z, min(z + _PLANES, depth)), slice(None), slice(None)).sum(dtype=np.float64))
        for z in range(0, depth, _PLANES)
    ]
    return sum(sums) / float(np.prod(volume.shape))


@dataclass(frozen=True, eq=False)
class _Between:
    """Index of the voxel below each finer voxel, of the one above, and how far it is between them."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    part: Floats

    @classmethod
    def of(cls, count: int, ratio: float, size: int) -> _Between:
        """Of `count` finer voxels, `ratio` of which are one of `size`."""
        place = np.minimum(np.arange(count) / ratio, size - 1)
        low = place.astype(np.int64)
        return cls(low, np.minimum(low + 1, size - 1), (place - low).astype(np.float32))

    def some(self, start: int, stop: int) -> _Between:
        """Of the finer voxels from `start` to `stop`."""
        return _Between(self.low[start:stop], self.high[start:stop], self.part[start:stop])

    def blend(self, values: Floats, axis: int) -> Floats:
        """Values interpolated along an axis."""
        part = self.part.reshape([-1 if axis == other else 1 for other in range(3)])
        out: Floats = np.take(values, self.low, axis) * (1 - part) + np.take(values, self.high, axis) * part
        return out
