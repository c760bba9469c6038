"""The score of a template in a whole tomogram: block by block, the template and its background."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.particles.matching import BlockSearch, Scores
from lamella.particles.pick_settings import PickSettings
from lamella.particles.search_grid import search_grid
from lamella.particles.search_plan import Block, SearchPlan, blocks, read_block, score_shape
from lamella.particles.search_state import Forgetful, SearchKeeper, SearchState
from lamella.particles.template import Template
from lamella.particles.template_cube import TemplateCube
from lamella.particles.template_weights import SearchWeights
from lamella.progress import Progress, no_progress
from lamella.records import VolumeSink, VolumeSource

__all__ = ["ScoreVolume", "search_tomogram"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Shape = tuple[int, int, int]

_BACKGROUND_STEPS = 1.6  # times the search's: its score changes slowly with place, and few orientations tell it
_PLANES = 16
_AT_ONCE = 64  # orientations between two offers of the state; even, as they are compared in pairs


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
    keeper: SearchKeeper | None = None,
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
    keeper
        is offered the state every few orientations; a search goes on from the state that it holds, to the same result.
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
    searches = [(TemplateCube.of(template.volume, highest), grid)]
    behind = search_grid(_BACKGROUND_STEPS * plan.step_deg, settings.symmetry)
    behind = behind if settings.background else behind[:0]
    if len(behind):
        searches.append((TemplateCube.of(template.with_random_phases(settings.seed).volume, highest), behind))
    mean = _mean(volume)
    parts = blocks(volume.shape, plan, template, settings.memory)
    radius = template.diameter_ang / template.voxel_size_ang / 2 / plan.ratio
    keeper = keeper or Forgetful()
    at = _start(keeper.last(), parts, shape)
    results = ((at.score, at.which), (at.background, at.background_which))
    for number in range(at.block, len(parts)):
        part = parts[number]
        block = BlockSearch(
            *read_block(volume, part, plan, mean), plan.ratio, radius, weights, highest * plan.ratio, device
        )
        for turn in range(at.turn, len(searches)):
            at = _compared(block, searches[turn], at, keeper, _Told(progress, searches))
            whole, own = part.inner
            results[turn][0][whole] = block.normalised(_scores(at, device)).cpu().numpy()[own]
            results[turn][1][whole] = at.best_which[own]
            at = _fresh(at, number, turn + 1, part.shape)
        if number + 1 < len(parts):
            at = _fresh(at, number + 1, 0, parts[number + 1].shape)
    score, background = at.score, at.background
    if len(behind):
        known = np.isfinite(score) & np.isfinite(background)
        score[known] -= background[known] - np.float32(background[known].mean(dtype=np.float64))
    return ScoreVolume(
        score=score, which=at.which, matrices=grid, background_which=at.background_which, background_matrices=behind
    )


def _start(last: SearchState | None, parts: list[Block], shape: Shape) -> SearchState:
    """Where a stopped search of the same blocks stood, else before the first orientation."""
    if last is not None and last.block < len(parts) and last.fits(len(parts), shape, parts[last.block].shape):
        return last
    first = parts[0].shape
    return SearchState(
        blocks=len(parts), block=0, turn=0, compared=0,
        score=np.full(shape, -np.inf, np.float32), which=np.zeros(shape, np.int32),
        background=np.zeros(shape, np.float32), background_which=np.zeros(shape, np.int32),
        best=np.full(first, -np.inf, np.float32), best_which=np.zeros(first, np.int32),
    )  # fmt: skip


def _fresh(state: SearchState, block: int, turn: int, shape: Shape) -> SearchState:
    """Before the first orientation of a turn."""
    best, which = np.full(shape, -np.inf, np.float32), np.zeros(shape, np.int32)
    return replace(state, block=block, turn=turn, compared=0, best=best, best_which=which)


def _compared(
    block: BlockSearch, search: tuple[TemplateCube, Array], at: SearchState, keeper: SearchKeeper, told: _Told
) -> SearchState:
    """The state after a block was compared with all orientations of a turn."""
    cube, orientations = search
    scores = _scores(at, block.device)
    for first in range(at.compared, len(orientations), _AT_ONCE):
        some = orientations[first : first + _AT_ONCE]
        scores = block.search(cube, some, scores, first)
        at = replace(
            at, compared=first + len(some), best=scores.best.cpu().numpy(), best_which=scores.which.cpu().numpy()
        )
        told(at)
        keeper.keep(at)
    return at


def _scores(at: SearchState, device: str) -> Scores:
    return Scores(torch.from_numpy(at.best).to(device), torch.from_numpy(at.best_which).to(device))


class _Told:
    """Progress of a block's turn as part of the whole."""

    def __init__(self, progress: Progress, searches: list[tuple[TemplateCube, Array]]) -> None:
        counts = [len(orientations) for _cube, orientations in searches]
        self.progress, self.total = progress, sum(counts)
        self.before = [sum(counts[:turn]) for turn in range(len(counts))]

    def __call__(self, at: SearchState) -> None:
        done = (self.before[at.turn] + at.compared) / self.total
        self.progress((at.block + done) / at.blocks, "comparing with the template")


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
