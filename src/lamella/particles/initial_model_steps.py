"""Steps of a first model: mini-batches whose poses are anything between random and certain, and their maps.

Each step draws a batch, finds the posterior of its poses on a grid that is turned at random, and mixes the batch's sums
into those of the steps before (online expectation-maximisation; Cappé & Moulines 2009, J. R. Stat. Soc. B 71:593). The
likelihood is flattened at first, by a temperature that falls to 1, and the detail that is compared becomes finer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from lamella.fourier import soft_mask
from lamella.geometry.angular_grid import angular_grid
from lamella.geometry.rotations import euler_matrix
from lamella.kernels.central_slices import padded_transform
from lamella.particles.initial_model_data import Pictures
from lamella.particles.initial_model_maps import believed_map
from lamella.particles.initial_model_search import PoseGrid, add_nodes, node_scores, node_weights
from lamella.particles.refine_maps import MapSums
from lamella.particles.sampling import place_grid

__all__ = ["ModelState", "Setting", "Step", "first_state", "likelihood_of", "make_maps", "next_state", "pose_grid"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

_LEAST_SHARE = 0.35
"""Of a map, that the newest batch makes: what it forgets of the steps before."""
_BYTES_AT_ONCE = 1 << 28
_EDGE_PX = 2.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """What all steps of a first model share.

    Attributes
    ----------
    pictures
        of all particles, tomogram by tomogram.
    box_px
        of the coarse pictures and maps.
    radius_px
        of the particle.
    shift_width_px
        standard deviation of a place's coordinates from where the particle was cut out.
    """

    pictures: Sequence[Pictures]
    box_px: int
    radius_px: float
    shift_width_px: float

    def __len__(self) -> int:
        return sum(len(part) for part in self.pictures)

    def mask(self) -> Tensor:
        """Soft sphere of the particle."""
        radius = min(self.radius_px, self.box_px / 2 - _EDGE_PX - 0.5)
        return soft_mask((self.box_px,) * 3, radius, _EDGE_PX)


@dataclass(frozen=True, kw_only=True)
class Step:
    """How one step is done.

    Attributes
    ----------
    shell
        finest detail that is compared.
    order
        of the grid of orientations.
    batch
        particles.
    heat
        temperature, in median standard deviations of a particle's log-posterior over the nodes; at least 1 in all.
    shift_px
        step of the seven places that are searched; 0: only where the particle is believed to be.
    """

    shell: int
    order: int
    batch: int
    heat: float
    shift_px: float


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelState:
    """The maps of all classes.

    Attributes
    ----------
    sums
        of each class.
    maps
        ``(c, n, n, n)``.
    pictures
        of all particles, with where they are believed to be.
    """

    sums: tuple[MapSums, ...]
    maps: Tensor
    pictures: tuple[Pictures, ...]


def first_state(
    setting: Setting, classes: int, shell: int, rng: np.random.Generator, given: Array | None = None
) -> ModelState:
    """Maps from random orientations, or those given ``(n, 3, 3)``; each particle in a class by chance."""
    sums = [_empty(setting) for _ in range(classes)]
    for part in setting.pictures:
        coarse = part.up_to(shell)
        matrices = Rotation.random(len(part), random_state=rng).as_matrix().reshape(-1, 3, 3)
        if given is not None:
            matrices = np.swapaxes(part.turns, 1, 2) @ given[part.numbers]
        owner = rng.permutation(len(part)) % classes
        for index in range(len(part)):
            sums[owner[index]].add(coarse.terms(index), matrices[index][None], np.zeros((1, 3)), np.ones(1))
    return ModelState(sums=tuple(sums), maps=make_maps(sums, setting, shell), pictures=tuple(setting.pictures))


def next_state(setting: Setting, state: ModelState, step: Step, rng: np.random.Generator) -> ModelState:
    """The maps after one more batch."""
    count = len(setting)
    chosen = np.sort(rng.permutation(count)[: step.batch])
    grid = pose_grid(setting, step, rng)
    transforms = [padded_transform(one).numpy() for one in state.maps]
    sums = [_empty(setting) for _ in state.sums]
    moved = []
    start = 0
    for part in state.pictures:
        here = chosen[(chosen >= start) & (chosen < start + len(part))] - start
        start += len(part)
        places = part.places.copy()
        batches = part.up_to(step.shell).take(here).batches(_bytes_of_one(grid, transforms), _BYTES_AT_ONCE)
        first = 0
        for some in batches:
            scores = node_scores(transforms, some, grid)
            spread = float(np.median(scores.reshape(len(some), -1).std(axis=1)))
            weights, _ = node_weights(scores, max(1.0, step.heat * spread))
            add_nodes(sums, some, grid, weights)
            best = weights.max(axis=(1, 2)).argmax(axis=1)
            places[here[first : first + len(some)]] += grid.places_px[best]
            first += len(some)
        moved.append(replace(part, places=places))
    newest = max(_LEAST_SHARE, step.batch / count)
    scale = np.float32(newest * count / step.batch)
    for new, old in zip(sums, state.sums, strict=True):
        new.grid *= scale
        new.grid += np.float32(1 - newest) * old.grid
    return ModelState(sums=tuple(sums), maps=make_maps(sums, setting, step.shell), pictures=tuple(moved))


def likelihood_of(setting: Setting, state: ModelState, step: Step) -> float:
    """Mean over the particles of the log-likelihood that the maps give them, poses and classes summed over."""
    grid = pose_grid(setting, step, None)
    transforms = [padded_transform(one).numpy() for one in state.maps]
    total = 0.0
    for part in state.pictures:
        for some in part.up_to(step.shell).batches(_bytes_of_one(grid, transforms), _BYTES_AT_ONCE):
            total += float(node_weights(node_scores(transforms, some, grid), 1.0)[1].sum())
    return total / len(setting)


def pose_grid(setting: Setting, step: Step, rng: np.random.Generator | None, symmetry: str = "C1") -> PoseGrid:
    """The grid of a step, turned at random so that no orientation is always between its nodes."""
    matrices = euler_matrix(*angular_grid(step.order, symmetry).T)
    if rng is not None:
        matrices = Rotation.random(random_state=rng).as_matrix() @ matrices
    places = np.zeros((1, 3))
    if step.shift_px > 0:
        places = place_grid(step.shift_px, step.shift_px)
    return PoseGrid(matrices=matrices, places_px=places, width_px=setting.shift_width_px)


def make_maps(sums: Sequence[MapSums], setting: Setting, shell: int) -> Tensor:
    """Maps ``(c, n, n, n)`` of the classes' sums."""
    mask = setting.mask()
    return torch.stack([believed_map(one, mask, highest_shell=shell) for one in sums]).float()


def _empty(setting: Setting) -> MapSums:
    return MapSums(setting.box_px, np.eye(3)[None])


def _bytes_of_one(grid: PoseGrid, transforms: Sequence[NDArray[np.complex64]]) -> float:
    return 24.0 * len(transforms) * len(grid.matrices) * len(grid.places_px)
